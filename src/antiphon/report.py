"""Run -> report."""
def report(run: str) -> None:
    """Stub, being written."""
