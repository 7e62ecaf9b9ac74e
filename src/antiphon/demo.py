"""The main job on the built-in real music, from pre-training to the report."""

from __future__ import annotations

from antiphon.evaluate import probe
from antiphon.progress import say
from antiphon.recipes import recipe
from antiphon.report import report
from antiphon.scores import format_scores
from antiphon.train import pretrain


def demo(out: str = "runs/demo", seed: int = 0, progress: bool = True) -> None:
    """Pre-train on the demo's training tracks, probe on its held-out ones, write the report.

    Args:
        out: the run's folder; a stopped demo goes on where it was.
        seed: of everything random.
        progress: show how far it is.
    """
    say("pre-training on the training tracks of the built-in music", "bold")
    run = pretrain("demo", out, **recipe("demo", seed=seed))
    say("probing on the tracks that it never heard", "bold")
    rows = probe(run, "demo", progress=progress)
    page = report(run)
    print(format_scores(rows))
    print(page)
