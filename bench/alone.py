"""What the worker processes of `decoding` do: in a module that imports little, as theirs do."""

from antiphon import audio


def decoded(rate: int, path: str) -> int:
    """Decode and resample a file to ``rate`` Hz, and throw it away; returns its samples' number."""
    return sum(len(block) for block in audio.stream(path, rate))
