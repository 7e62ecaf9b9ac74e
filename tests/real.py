"""Real annotation files, for tests that can be held to them; those skip where there are none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_BESIDE = Path(__file__).parents[2] / "shared" / "data"


def folder(name: str) -> Path:
    """The folder of a data set's real annotation; skips the test if it isn't there."""
    place = Path(os.environ.get("ANTIPHON_SHARED_DATA") or _BESIDE) / name
    if not place.is_dir():
        pytest.skip(f"no real annotation of {name}: {place} isn't there (ANTIPHON_SHARED_DATA)")
    return place
