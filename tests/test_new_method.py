"""The method that the docs walk through is one file, and it trains."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest
import torch

from antiphon.chain import Chain
from antiphon.encoders.melpatch import MelPatch
from antiphon.optim import Optim
from antiphon.recipes import training_arguments
from antiphon.train import Train, pretrain

PAGE = Path(__file__).parents[1] / "docs" / "new-method.md"


@pytest.fixture
def simsiam(tmp_path, monkeypatch):
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)[0]
    (tmp_path / "my_methods.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("my_methods").SimSiam
    del sys.modules["my_methods"]


def test_it_is_about_sixty_lines(simsiam):
    lines = Path(sys.modules["my_methods"].__file__).read_text().splitlines()
    assert len(lines) <= 65
    assert max(map(len, lines)) <= 100


def test_it_trains_and_goes_on(simsiam, tones, tmp_path):
    def go(steps):
        torch.manual_seed(0)
        method = simsiam(MelPatch(8000, bands=32, dim=32, depth=1, seconds=1.0))
        return pretrain(
            tones, tmp_path / f"{steps}", method, Chain("none"), Optim("adamw", lr=1e-3),
            Train(steps, 8, log_every=10), progress=False,
        )  # fmt: skip

    steps = go(60).events("step")
    assert steps[0]["loss"] == pytest.approx(0.0, abs=0.4)
    assert steps[-1]["loss"] < steps[0]["loss"] - 0.3
    assert steps[-1]["spread"] > 0.3


def test_the_command_line_knows_it_by_its_path(simsiam):
    words = "demo --out x --encoder MelPatch --method my_methods.SimSiam --augment.p.Gain 0"
    made = training_arguments(words.split())
    assert type(made["method"]) is simsiam
