"""Embedding by every encoder: ours, the textbook's, and the machine's limit."""

from __future__ import annotations

from bench.measure import Page
from bench.models import measure


def run(quick: bool) -> Page:
    """Clips/s forwards, without gradients."""
    return measure("embedding", 32, quick)
