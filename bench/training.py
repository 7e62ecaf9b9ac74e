"""Training step of every encoder: ours, the textbook's, and the machine's limit."""

from __future__ import annotations

from bench.measure import Page
from bench.models import measure


def run(quick: bool) -> Page:
    """Clips/s forwards and backwards."""
    return measure("training", 16, quick)
