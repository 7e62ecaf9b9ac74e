"""The pictures' showpiece is a feature that a look is sure of."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pandas as pd
import pytest

for needed in ("playwright", "uvicorn", "PIL"):
    pytest.importorskip(needed)

SCRIPT = Path(__file__).parents[1] / "scripts/screenshots.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("screenshots", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def looked(folder: Path, left_out: str | None = None) -> Path:
    part = {"left_out": left_out, "file": "occurrence.parquet"}
    (folder / "look.json").write_text(json.dumps({"parts": {"occurrence": part}}))
    rows = {"feature": [66, 100, 474, 7], "p": [4e-5, 1e-3, 4e-8, float("nan")]}
    pd.DataFrame({**rows, "q": [0.0504, 0.3, 2e-4, float("nan")]}).to_parquet(
        folder / "occurrence.parquet"
    )
    return folder


def test_it_is_the_surest_of_all_features(script, tmp_path, capsys):
    assert script.telling(looked(tmp_path)) == 474
    assert capsys.readouterr().out == "feature 474: q 0.0002, beyond chance\n"


def test_without_labels_it_is_the_first(script, tmp_path):
    assert script.telling(looked(tmp_path, "no track has a label")) == 0
