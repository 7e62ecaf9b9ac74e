"""The invariance card: what can't be heard moves nothing, and what can be heard is read."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from antiphon import cli, recipes
from antiphon.chain import Chain
from antiphon.datasets import Dataset
from antiphon.encoders import Encoder
from antiphon.encoders.melpatch import MelPatch
from antiphon.encoders.statistics import LogMelStatistics
from antiphon.methods.clmr import CLMR
from antiphon.optim import Optim
from antiphon.studies._alterations import ALTERATIONS, Alteration
from antiphon.studies._card import card
from antiphon.studies._reading import _ridge, read_amount, read_whether
from antiphon.studies.invariance import Excerpts, invariance, measure
from antiphon.train import Train, pretrain

RATE, TRACKS, EACH = 8000, 12, 3
KNOWN = {alteration.name: alteration for alteration in ALTERATIONS}


class LevelBlind(Encoder):
    """Log-mel statistics of the sound at a level of its own: deaf to any gain."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = LogMelStatistics(RATE, bands=24, seconds=0.1)
        self.sample_rate, self.hop, self.dim = RATE, self.inner.hop, self.inner.dim
        self.window = self.inner.window

    def layers(self, x):
        return self.inner.layers(x)

    def embed(self, x):
        return self.inner.embed(x / x.square().mean((1, 2), keepdim=True).sqrt())


class Crests(LevelBlind):
    """How far the wave goes up, and how far down: it hears the sign."""

    def embed(self, x):
        return torch.stack([x.amax((1, 2)), x.amin((1, 2))], 1)


@pytest.fixture(scope="module")
def excerpts() -> Excerpts:
    """Coloured noise of each track's own, at one level, that goes further up than down."""
    draw = np.random.default_rng(0)
    pieces, owners = [], np.repeat(np.arange(TRACKS), EACH)
    for owner in owners:
        own = np.random.default_rng(100 + owner).normal(0, 0.4, 12)
        spectrum = np.fft.rfft(draw.standard_normal(RATE))
        bands = np.interp(np.linspace(0, 11, len(spectrum)), np.arange(12), own)
        sound = np.fft.irfft(spectrum * np.exp(bands))
        sound = sound / sound.std()
        sound = np.where(sound > 0, 1.5 * sound, sound)
        pieces.append(0.1 * sound / np.sqrt(np.square(sound).mean()))
    sound = torch.tensor(np.stack(pieces), dtype=torch.float32)[:, None]
    return Excerpts(sound, owners, np.array([f"g{owner}" for owner in owners]))


@pytest.fixture(scope="module")
def found(excerpts):
    models = {
        "pretrained": LevelBlind().eval(),
        "log-mel": LogMelStatistics(RATE, bands=24, seconds=0.1).eval(),
        "crests": Crests().eval(),
    }
    chosen = [KNOWN["polarity"], KNOWN["gain"], KNOWN["low-pass"]]
    return measure(models, excerpts, chosen, resamples=100)[0]


def pick(rows, alteration, metric, model, step=None):
    (row,) = [
        r
        for r in rows
        if (r["alteration"], r["metric"], r["model"], r["step"])
        == (alteration, metric, model, step)
    ]
    return row


def test_a_spectrogram_is_deaf_to_polarity(found):
    assert pick(found, "polarity", "movement", "log-mel")["value"] == 0
    assert pick(found, "polarity", "recall@1", "log-mel")["value"] == 1
    read = pick(found, "polarity", "legibility", "log-mel")
    assert (read["measured"], read["value"]) == ("accuracy", 0.5)


def test_what_hears_the_sign_tells_it(found):
    assert pick(found, "polarity", "movement", "crests")["value"] > 0.5
    assert pick(found, "polarity", "legibility", "crests")["value"] > 0.95


def test_what_is_deaf_to_level_by_construction_is_deaf_to_gain(found):
    moved = pick(found, "gain", "movement", "pretrained")
    assert moved["value"] == pytest.approx(0, abs=1e-3)
    assert pick(found, "gain", "legibility", "pretrained")["value"] < 0.05
    assert pick(found, "gain", "recall@1", "pretrained", 4)["value"] == 1


def test_log_mel_statistics_read_the_gain(found):
    read = pick(found, "gain", "legibility", "log-mel")
    assert read["measured"] == "R²"
    assert 0.95 < read["low"] <= read["value"] <= read["high"] <= 1
    steps = [pick(found, "gain", "movement", "log-mel", n)["value"] for n in (1, 2, 3, 4)]
    assert steps == sorted(steps)
    assert steps[0] > 0.01
    assert pick(found, "gain", "movement", "log-mel")["value"] == pytest.approx(
        np.mean(steps), abs=1e-5
    )


def test_differences_are_paired(found):
    paired = {p["against"]: p for p in pick(found, "gain", "legibility", "pretrained")["paired"]}
    assert paired["log-mel"]["high"] < -0.9
    paired = {p["against"]: p for p in pick(found, "gain", "movement", "pretrained")["paired"]}
    assert paired["log-mel"]["high"] < 0


def test_filters_are_read_beyond_what_the_level_tells(found):
    assert pick(found, "low-pass", "legibility", "pretrained")["value"] > 0.8


def test_cut_offs_beyond_the_sample_rate_are_left_out(found):
    assert {row["step"] for row in found if row["alteration"] == "low-pass"} == {None, 1, 2, 3}
    assert KNOWN["low-pass"].at(RATE) == [(2200,), (1200,), (600,)]
    assert len(KNOWN["low-pass"].at(22050)) == 4


def test_as_far_as_another_track_is_one(excerpts):
    class Swap:
        draws = 0

        def draw(self, u):
            return {}

        def transform(self, x, rate, parameters):
            return x.roll(EACH, 0)  # each becomes an excerpt of the track before

    swap = Alteration("swap", "", ((1.0,),), lambda _: Swap())
    rows, _ = measure({"pretrained": LevelBlind().eval()}, excerpts, [swap], resamples=20)
    assert pick(rows, "swap", "movement", "pretrained")["value"] == pytest.approx(1, abs=0.15)
    assert pick(rows, "swap", "recall@1", "pretrained")["value"] == 0


def test_another_excerpt_of_the_same_track_is_nearer_than_another_track(excerpts):
    same = measure({"pretrained": LevelBlind().eval()}, excerpts, [], resamples=20)[1]
    assert 0.05 < same[0]["value"] < 0.9


@pytest.mark.parametrize("alteration", ALTERATIONS, ids=lambda a: a.name)
def test_every_alteration_alters_more_at_its_later_steps(alteration):
    draw = torch.Generator().manual_seed(0)
    x = 0.1 * torch.randn(2, 1, 22050, generator=draw)
    x = x + 0.2 * torch.sin(torch.arange(22050) * 2 * torch.pi * 440 / 22050)
    changes = []
    for step in (alteration.steps[0], alteration.steps[-1]):
        for level in step:
            y = alteration(x, 22050, level)
            assert y.shape == x.shape
            assert y.isfinite().all()
            torch.testing.assert_close(y, alteration(x, 22050, level), rtol=0, atol=0)
        changes.append(float((y - x).square().mean()))
    assert changes[0] > 1e-8
    if alteration.name in {"gain", "low-pass", "high-pass", "noise", "clipping"}:
        assert changes[1] > changes[0]


def test_a_gain_is_what_it_says():
    x = 0.1 * torch.randn(3, 1, 8000)
    y = KNOWN["gain"](x, 8000, -12)
    torch.testing.assert_close(y, x * 10 ** (-12 / 20))
    assert [a.name for a in ALTERATIONS if not a.graded] == ["polarity"]
    assert KNOWN["low-pass"].scale(1024) == 10
    assert KNOWN["pitch shift"].text((-2, 2)) == "±2"


@pytest.mark.parametrize(("n", "d"), [(40, 5), (12, 30)])
def test_ridge_is_scikit_learns(n, d):
    draw = np.random.default_rng(n)
    X, y, asked = draw.normal(2, 3, (n, d)), draw.normal(size=n), draw.normal(2, 3, (7, d))
    scale, mean = X.std(0), X.mean(0)
    for penalty in (0.1, 30.0):
        theirs = Ridge(alpha=penalty).fit((X - mean) / scale, y).predict((asked - mean) / scale)
        ours = _ridge(X, y, asked, np.array([penalty]))[0]
        np.testing.assert_allclose(ours, theirs, atol=1e-8)


def test_a_probe_of_an_amount_never_sees_the_group_it_is_asked_about():
    draw = np.random.default_rng(0)
    groups = np.repeat([f"g{n}" for n in range(20)], 6)
    y = draw.normal(size=120)
    heard = np.stack([y, draw.normal(size=120)], 1) @ draw.normal(size=(2, 4))
    assert np.corrcoef(read_amount(heard, y, groups), y)[0, 1] > 0.99
    # A vector that says only which group it is says nothing of another group's number.
    own = np.repeat(draw.normal(size=(20, 30)), 6, axis=0)
    number = np.repeat(draw.normal(size=20), 6)
    said = read_amount(own, number, groups)
    assert 1 - np.square(said - number).sum() / np.square(number - number.mean()).sum() < 0.1


def test_a_probe_of_whether_says_which():
    y = np.tile([0, 1], 30)
    groups = np.repeat([f"g{n}" for n in range(10)], 6)
    X = np.random.default_rng(0).normal(size=(60, 3)) + 6 * y[:, None]
    assert (read_whether(X, y, groups) == y).all()


def test_the_answer_says_less_and_more_only_of_what_is_read():
    def rows(name, metric, own, other, gap, step=None, measured="R²"):
        paired = [
            {"against": against, "difference": gap, "low": gap - 0.01, "high": gap + 0.01}
            for against in ("random-init", "log-mel", "mfcc")
        ]
        about = {"alteration": name, "metric": metric, "step": step, "level": [1.0]}
        about |= {"measured": measured}
        ends = {"low": own - 0.01, "high": own + 0.01}
        yield {"model": "pretrained", **about, "value": own, **ends, "paired": paired}
        for model in ("random-init", "log-mel", "mfcc"):
            yield {"model": model, **about, "value": other, **ends, "paired": []}

    found = []
    for name, moved, read in (("gain", -0.2, 0.05), ("noise", 0.2, -0.3)):
        own = 0.0 if name == "gain" else 0.5
        found += [*rows(name, "movement", 0.4 + moved, 0.4, moved)]
        found += [*rows(name, "legibility", own, own - read, read)]
        for step in (1, 4):
            found += [*rows(name, "movement", 0.1 * step, 0.4, moved, step)]
            found += [*rows(name, "recall@1", 0.9, 0.8, 0.1, step)]
    about = {
        "run": "mine", "sample_rate": 16000, "excerpts": 9, "seconds": 1.0, "tracks": 3,
        "groups": 3, "data": "x", "heard": 0,
    }  # fmt: skip
    page = card(found, [], [KNOWN["gain"], KNOWN["noise"]], about)
    assert page.lead == (
        "Noise moves this encoder most, by 0.60 of the distance between tracks, gain least, by "
        "0.20. Against its untrained self it moves less under 1 of 2 (gain) and more under 1 of 2 "
        "(noise), and a probe reads less of 1 of 2 (noise), beyond 95 % intervals."
    )
    assert [row["strengths"] for row in page.rows] == ["−3 to −20 dB", "30 to 0 dB SNR"]


@pytest.fixture(scope="module")
def run(tones, tmp_path_factory):
    torch.manual_seed(0)
    return pretrain(
        tones,
        tmp_path_factory.mktemp("runs") / "tones",
        CLMR(MelPatch(8000, bands=32, dim=16, depth=1, seconds=1.0)),
        Chain("none"),
        Optim("adamw", lr=3e-3),
        Train(steps=4, batch=8),
        progress=False,
    )


def test_the_card_of_a_run(run, tones, tmp_path, capsys):
    page = invariance(
        run.folder, tones, str(tmp_path / "card"), alterations=["polarity", "gain"], resamples=50
    )
    assert page == tmp_path / "card" / "invariance.html"
    table = json.loads((tmp_path / "card" / "table.json").read_text())
    assert table["settings"]["tracks"] == 6  # those that it has not heard
    assert table["settings"]["heard"] == 0
    assert table["settings"]["excerpts"] == 24
    assert table["settings"]["model_hash"] == run.digest
    assert [row["alteration"] for row in table["rows"]] == ["polarity", "gain"]
    with (tmp_path / "card" / "levels.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert {line["model"] for line in lines} == {"pretrained", "random-init", "log-mel", "mfcc"}
    assert [
        line["level"]
        for line in lines
        if (line["alteration"], line["metric"], line["model"]) == ("gain", "movement", "mfcc")
    ] == ["-3", "-6", "-12", "-20", ""]
    html = page.read_text()
    assert html.count("<svg") == 4
    assert "Invariance card of tones" in html
    printed = capsys.readouterr().out
    assert str(page) in printed
    assert "Against its untrained self" in printed


def test_a_recipe_is_trained_first(tones, tmp_path, monkeypatch):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "tiny.yaml").write_text(
        "# A recipe of no use but to be fast.\n"
        "encoder: {class_path: antiphon.encoders.melpatch.MelPatch, init_args: {sample_rate: 8000,"
        " bands: 32, dim: 16, depth: 1, seconds: 1.0}}\n"
        "method: {class_path: antiphon.methods.clmr.CLMR}\naugment: {augmentations: none}\n"
        "train: {batch: 8, steps: 3, watch_every: 20}\n"
    )
    monkeypatch.setattr(recipes, "FOLDER", tmp_path / "recipes")
    page = invariance(
        "tiny", tones, str(tmp_path / "o"), alterations=["gain"], resamples=20, progress=False
    )
    assert page.is_file()
    assert (tmp_path / "o" / "run" / "encoder.safetensors").is_file()


def test_mistakes(run, tones, capsys):
    with pytest.raises(ValueError, match="there is no alteration 'gian'; there are: polarity"):
        invariance(run, tones, alterations=["gian"])
    one = Dataset("one", tones.tracks[:1])
    with pytest.raises(ValueError, match="tracks of two groups with 1 s of sound; there are 1"):
        invariance(run, one, progress=False)
    assert cli.main(["study", "invariance", "nowhere"]) == 2
    assert "nowhere is not a run" in capsys.readouterr().err
