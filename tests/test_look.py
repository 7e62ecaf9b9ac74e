"""A look end to end: known answers, nothing made twice, and a page that shows it all."""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from small import small_encoder
from test_report import CONFIG, Page, strict
from torch import Tensor, nn

from antiphon import cli, look, probe, report
from antiphon.configured import describe
from antiphon.datasets import Dataset, Track
from antiphon.encoders import Encoder
from antiphon.encoders.melpatch import MelPatch
from antiphon.encoders.recurrent import Recurrent
from antiphon.interpret.activations import activations
from antiphon.interpret.factors import factors
from antiphon.interpret.occurrence import multi_hot, occurrence
from antiphon.look._parts import PARTS
from antiphon.look._words import in_words
from antiphon.methods.clmr import CLMR
from antiphon.runs import Run
from antiphon.segments import segments
from antiphon.train import Train, pretrain

look_module = sys.modules["antiphon.look"]  # the name is that of its function, too
RATE = 8000
TONES = (1000, 2000, 3000)
LABELS = ("low", "middle", "<high>")


class BandEnergies(Encoder):
    """Features whose answers are known: the energy at three frequencies, and one that is dead."""

    def __init__(self) -> None:
        super().__init__()
        self.sample_rate, self.hop, self.dim, self.window = RATE, 8, 4, RATE
        self.bands = nn.Conv1d(1, 4, 64, stride=8, bias=False)
        t = torch.arange(64) / RATE
        for number, frequency in enumerate(TONES):
            self.bands.weight.data[number, 0] = torch.cos(2 * torch.pi * frequency * t) / 32
        self.bands.weight.data[3] = 0

    def layers(self, x: Tensor) -> list[Tensor]:
        return [self.bands(x).square().transpose(1, 2)]


def kept_run(folder: Path, encoder: Encoder) -> Run:
    """A run of an encoder that nobody trained."""
    run = Run(folder)
    run.write_config({**CONFIG, "encoder": describe(encoder)})
    run.save_encoder(encoder)
    return run


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> Dataset:
    """24 tracks of four seconds: one of three tones, from 2.0 to 2.5 s, in a little noise."""
    folder, tracks = tmp_path_factory.mktemp("planted"), []
    draw = np.random.default_rng(0)
    for number in range(24):
        sound = 0.01 * draw.standard_normal(4 * RATE)
        t = np.arange(RATE // 2) / RATE
        sound[2 * RATE : 2 * RATE + len(t)] += 0.4 * np.cos(2 * np.pi * TONES[number % 3] * t)
        path = folder / f"{number:02d}.wav"
        soundfile.write(path, sound.astype(np.float32), RATE, subtype="FLOAT")
        tracks.append(Track(path.stem, str(path), (LABELS[number % 3],)))
    return Dataset("planted", tuple(tracks))


@pytest.fixture(scope="module")
def known(planted, tmp_path_factory) -> tuple[Run, Path]:
    run = kept_run(tmp_path_factory.mktemp("runs") / "known", BandEnergies())
    return run, look(run, planted, progress=False)


@pytest.fixture(scope="module")
def trained(tones, tmp_path_factory) -> Run:
    torch.manual_seed(0)
    method = CLMR(MelPatch(8000, bands=32, dim=16, depth=1, seconds=1.0))
    folder = tmp_path_factory.mktemp("runs") / "small"
    run = pretrain(tones, folder, method, train=Train(steps=2, batch=4), progress=False)
    probe(run, tones, probes=["linear"], seeds=1, resamples=20, save=True, progress=False)
    return run


@pytest.fixture(scope="module")
def looked(trained, tones) -> Path:
    return look(trained, tones, progress=False)


@pytest.fixture
def copied(trained, looked, tmp_path) -> Run:
    shutil.copytree(trained.folder, tmp_path / "run")
    return Run(tmp_path / "run")


def about(folder: Path) -> dict:
    return json.loads((folder / "look.json").read_text())


def table(folder: Path, part: str) -> pd.DataFrame:
    return pd.read_parquet(folder / PARTS[part].file)


class TestKnownAnswers:
    def test_filters_find_their_frequencies(self, known):
        rows = table(known[1], "filters")
        own = rows[(rows.model == "pretrained") & (rows["filter"] < 3)]
        assert dict(zip(own["filter"], own.peak, strict=True)) == pytest.approx(
            dict(enumerate(TONES)), abs=RATE / own.samples.iloc[0]
        )
        for row in own.itertuples():
            bins = len(row.spectrum)
            assert np.argmax(row.spectrum) / (bins - 1) * 4000 == pytest.approx(row.peak, abs=15)
            assert np.max(row.spectrum) == 1
            assert row.objective_end > row.objective_start

    def test_the_dead_feature_is_named(self, known):
        assert about(known[1])["parts"]["activations"]["facts"]["dead"] == [3]
        rows = table(known[1], "activations").set_index("feature")
        assert rows.dead.tolist() == [False, False, False, True]
        assert rows.high[3] == 0

    def test_each_feature_is_of_its_label(self, known):
        rows = table(known[1], "occurrence")
        sure = rows[rows.q <= 0.05]
        assert set(zip(sure.feature, sure.tag, strict=True)) == set(enumerate(LABELS))
        assert (sure["count"] == 5).all()
        assert (sure.of == 5).all()  # a tenth would be two of 24
        assert sure.lift.tolist() == pytest.approx([3, 3, 3])
        facts = about(known[1])["parts"]["occurrence"]["facts"]
        assert (facts["significant"], facts["untrained"]) == (3, 3)  # it has the same weights
        # C(8, 5) of C(24, 5) draws: and three of nine cells are as sure
        assert sure.p.tolist() == pytest.approx([56 / 42504] * 3)
        assert sure.q.tolist() == pytest.approx([56 / 42504 * 3] * 3)
        assert rows[rows.feature == 3].p.isna().all()

    def test_saliency_is_where_the_tone_is(self, known):
        rows = table(known[1], "saliency")
        assert sorted(rows.feature) == [0, 1, 2]  # each of another label; the fourth is dead
        for row in rows.itertuples():
            assert row.start == 2.0
            assert int(row.track) % 3 == row.feature
            early = row.times < 0.5
            assert row.saliency[early].sum() > 50 * row.saliency[~early].sum()
            frames = row.frame_times < 0.45
            assert row.activation[frames].mean() > 50 * row.activation[row.frame_times > 0.55].max()

    def test_tracks_of_a_label_stay_together(self, known):
        facts = about(known[1])["parts"]["tracks"]["facts"]
        assert facts["vectors"]["value"] > 0.9
        assert facts["vectors"]["shuffled"] < 0.1
        assert facts["untrained"]["value"] == pytest.approx(facts["vectors"]["value"])

    def test_an_encoder_that_cannot_learn_is_its_untrained_self(self, known):
        rows = table(known[1], "cka")
        assert rows.cka.tolist() == pytest.approx([1, 1])
        assert rows.other.tolist() == ["itself", "untrained"]

    def test_the_page_says_so(self, known):
        page = Page(report(known[0]))
        assert "3 of 9 cells are beyond chance" in page.text
        assert "1 of 4 features are dead" in page.text
        assert "have 1.000 in the first layer and 1.000 in the last" in page.text
        assert "are above 0 in every segment" in page.text
        assert "means over time" not in page.text
        assert "<high>" not in page.source
        assert "&lt;high&gt;" in page.source


class TestTables:
    def test_they_are_what_the_functions_say(self, trained, looked, tones):
        found = segments(trained, tones, progress=False)
        means = activations(found.vectors)
        rows = table(looked, "activations")
        np.testing.assert_array_equal(rows["mean"], means.mean)
        np.testing.assert_array_equal(rows.sort_values("rank")["feature"], means.order)
        y = multi_hot([found.classes.index(t.labels[0]) for t in found.tracks], 2)
        counted = occurrence(found.vectors, found.track, y, 5)
        rows = table(looked, "occurrence")
        np.testing.assert_array_equal(rows["count"].to_numpy().reshape(-1, 2), counted.counts)
        np.testing.assert_array_equal(rows.q.to_numpy().reshape(-1, 2), counted.q)
        assert rows.tag[:2].tolist() == ["drone", "plain"]

    def test_there_is_one_for_every_part(self, looked):
        facts = about(looked)
        assert list(facts["parts"]) == list(PARTS)
        for name, part in facts["parts"].items():
            assert part["left_out"] is None, name
            assert len(table(looked, name)), name
        assert facts["segments"] == 128
        assert facts["features"] == 32
        assert facts["versions"]["torch"] == torch.__version__
        assert {path.name for path in looked.iterdir()} == {
            "look.json",
            *(part.file for part in PARTS.values()),
        }

    def test_ten_tracks_by_their_segments(self, looked):
        rows = table(looked, "segments")
        assert rows.groupby("track").size().tolist() == [8] * 10
        assert np.isfinite(rows[["x", "y"]]).all().all()
        assert len(table(looked, "tracks")) == 16

    def test_layers_and_the_untrained_twin(self, looked):
        rows = table(looked, "cka")
        own = rows[rows.other == "itself"].pivot(index="layer", columns="other_layer", values="cka")
        np.testing.assert_allclose(np.diag(own), 1)
        np.testing.assert_allclose(own, own.T)
        twin = rows[rows.other == "untrained"]
        assert len(twin) == 4
        assert (twin.cka < 0.9999).all()
        models = set(table(looked, "filters").model)
        assert models == {"pretrained", "random-init"}

    def test_weights_of_two_classes_are_too_few_for_three_factors(self, looked):
        facts = about(looked)["parts"]["factors"]["facts"]
        assert "2 rows" in facts["weights_left_out"]
        rows = table(looked, "factors")
        assert set(rows.of) == {"means", "deviations"}
        assert rows.groupby("factor").place.max().tolist() == [15, 15, 15]

    def test_means_and_deviations_have_factors_of_their_own(self, trained, looked, tones):
        rows, found = table(looked, "factors"), segments(trained, tones, progress=False)
        for kind, of in (("means", range(16)), ("deviations", range(16, 32))):
            own = rows[rows.of == kind]
            assert own.feature.tolist() == np.repeat(of, 3).tolist()
            alone = factors(found.vectors[:, of.start : of.stop])
            np.testing.assert_array_equal(own.loading.to_numpy().reshape(-1, 3), alone.loadings)
        assert about(looked)["parts"]["factors"]["facts"]["kinds"] == ["means", "deviations"]

    def test_two_untrained_encoders_stand_beside_the_layers(self, trained, looked):
        first, last = about(looked)["parts"]["cka"]["facts"]["chance"]
        assert 0 < first < 0.9999
        assert 0 < last < 0.9999
        assert f"first layers {first:.3f}, last layers {last:.3f}" in "\n".join(in_words(looked))


class TestNothingTwice:
    def counted(self, monkeypatch) -> list[str]:
        made: list[str] = []
        for name, part in list(PARTS.items()):

            def make(*a, name=name, own=part.make):
                made.append(name)
                return own(*a)

            monkeypatch.setitem(PARTS, name, part._replace(make=make))
        return made

    def test_the_same_call_makes_nothing(self, copied, tones, monkeypatch):
        made = self.counted(monkeypatch)
        folder = look(copied, tones, progress=False)
        assert made == []
        (folder / "cka.parquet").unlink()
        look(copied, tones, progress=False)
        assert made == ["cka"]

    def test_another_setting_costs_the_parts_it_touches(self, copied, tones, monkeypatch):
        made = self.counted(monkeypatch)
        folder = look(copied, tones, top=3, progress=False)
        assert made == ["occurrence", "saliency"]
        assert set(table(folder, "occurrence").of) == {3}
        look(copied, tones, parts=["saliency"], features=[7, 2], top=3, progress=False)
        assert made[2:] == ["saliency"]
        assert table(folder, "saliency").feature.tolist() == [7, 2]

    def test_other_weights_make_all_anew(self, copied, tones, monkeypatch):
        made = self.counted(monkeypatch)
        encoder = copied.encoder()
        with torch.no_grad():
            for parameter in encoder.parameters():
                parameter.mul_(1.1)
        copied.save_encoder(encoder)
        assert "of other weights than the run holds now" in Page(report(copied)).text
        look(copied, tones, parts=["activations", "filters"], progress=False)
        assert sorted(made) == ["activations", "filters"]
        (folder,) = (copied.folder / "look").iterdir()
        assert sorted(about(folder)["parts"]) == ["activations", "filters"]
        assert not (folder / "cka.parquet").exists()  # it was of the weights before

    def test_a_kill_costs_one_part(self, copied, tones, monkeypatch):
        shutil.rmtree(copied.folder / "look")

        def killed(*_):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setitem(PARTS, "factors", PARTS["factors"]._replace(make=killed))
            with pytest.raises(KeyboardInterrupt):
                look(copied, tones, progress=False)
        made = self.counted(monkeypatch)
        look(copied, tones, progress=False)
        assert made == list(PARTS)[list(PARTS).index("factors") :]


class TestInWords:
    """What is printed: a star where a cell is beyond chance, and none where it only looks so."""

    def lines(self, folder: Path, others: int) -> list[str]:
        cells = [("high", 1, 0.01, 0.001), ("low", 2, 0.0504, 0.004)]
        cells += [("high", 3 + n, 0.0499, 0.003) for n in range(others)]
        rows = [
            {"tag": tag, "feature": n, "q": q, "p": p, "count": 5, "of": 8, "lift": 3.0}
            for tag, n, q, p in cells
        ]
        pd.DataFrame(rows).to_parquet(folder / "occurrence.parquet")
        facts = {"top": 8, "tracks": 24, "significant": 1 + others, "cells": 40, "untrained": 2}
        part = {"left_out": None, "facts": facts, "warnings": []}
        known = {"model": "m", "segments": 96, "tracks": 24, "dataset": "d", "features": 20}
        (folder / "look.json").write_text(json.dumps({**known, "parts": {"occurrence": part}}))
        return [line.strip() for line in in_words(folder)[2:]]

    def test_all_that_are_beyond_chance_are_named_and_marked(self, tmp_path):
        assert self.lines(tmp_path, 1) == [
            "high: feature 1, 5 of 8, lift 3.0, q 0.01 *",
            "low: feature 2, 5 of 8, lift 3.0, q 0.0504",
            "high: feature 3, 5 of 8, lift 3.0, q 0.0499 *",
        ]

    def test_of_many_some_are_counted(self, tmp_path):
        assert self.lines(tmp_path, 10)[-1] == "and 2 more beyond chance: see the report"


def test_it_says_when_the_untrained_encoder_is_heard(copied, tones, monkeypatch):
    notes: list[str] = []

    @contextmanager
    def noted(label, total, shown=True, done=0):
        yield lambda steps=1, note="": notes.append(f"{label}: {note}" if not steps else "")

    monkeypatch.setattr(look_module, "bar", noted)
    look(copied, tones, parts=["occurrence"], top=3)
    said = [note for note in notes if note]
    assert said[0] == "occurrence: untrained encoder, track 1 of 16"
    assert len(said) == 16


class TestWhatIsNotThere:
    def test_no_labels_no_kept_probe_one_track(self, planted, tmp_path):
        run = kept_run(tmp_path / "run", BandEnergies())
        shutil.copy(planted.tracks[0].path, tmp_path / "one.wav")
        folder = look(run, str(tmp_path / "one.wav"), progress=False)
        parts = about(folder)["parts"]
        assert "no track has a label" in parts["occurrence"]["left_out"]
        assert "5 segments" in parts["segments"]["left_out"]
        assert "5 tracks" in parts["tracks"]["left_out"]
        assert len(table(folder, "saliency")) == 4
        page = Page(report(run))
        assert "Left out: no track has a label" in page.text

    def test_no_convolutions(self, planted, tmp_path):
        run = kept_run(tmp_path / "run", small_encoder(Recurrent))
        folder = look(run, planted, parts=["filters", "activations", "factors"], progress=False)
        parts = about(folder)["parts"]
        assert list(parts) == ["filters", "activations", "factors"]
        assert "Recurrent has no convolution" in parts["filters"]["left_out"]
        assert "keeps no probe" in parts["factors"]["facts"]["weights_left_out"]
        assert not (folder / "filters.parquet").exists()
        assert "Recurrent has no convolution" in Page(report(run)).text

    def test_too_few_features_for_the_factors(self, known, planted, tmp_path):
        shutil.copytree(known[0].folder, tmp_path / "run")
        folder = look(tmp_path / "run", planted, parts=["factors"], factors=4, progress=False)
        assert "4 factors of 3 features" in about(folder)["parts"]["factors"]["left_out"]
        assert not (folder / "factors.parquet").exists()  # that of three factors

    def test_a_run_without_a_look_has_no_such_section(self, tmp_path):
        run = kept_run(tmp_path / "run", BandEnergies())
        page = Page(report(run))
        assert "look" not in page.ids
        assert strict(run.folder / "report.json")["looks"] == []


def test_the_thesiss_top_segments_whosever_they_are(copied, tones):
    folder = look(copied, tones, parts=["occurrence"], top=20, per_track=None, progress=False)
    rows = table(folder, "occurrence")
    assert set(rows.of) == {20}
    assert rows.groupby("feature")["count"].sum().tolist() == [20] * 32  # one class each
    assert rows.q.isna().all()
    page = Page(report(copied))
    assert "so there is no test of chance" in page.text


def test_weights_of_a_kept_probe(planted, tmp_path):
    run = kept_run(tmp_path / "run", BandEnergies())
    probe(run, planted, probes=["linear"], seeds=1, resamples=20, leaks=False, save=True,
          progress=False)  # fmt: skip
    folder = look(run, planted, parts=["factors"], factors=1, progress=False)
    rows = table(folder, "factors")
    assert set(rows.of) == {"features", "weights"}
    facts = about(folder)["parts"]["factors"]["facts"]
    assert facts["probe"] == "linear probe of planted"
    assert facts["weights"]["rows"] == 3
    assert "Factors of the weights of the linear probe of planted" in Page(report(run)).text


def test_against_a_run_of_another_rate_and_window(copied, tones, tmp_path):
    torch.manual_seed(5)
    other = kept_run(tmp_path / "other", MelPatch(16000, bands=32, dim=24, depth=2, seconds=2.5))
    folder = look(copied, tones, parts=["cka"], against=str(other.folder), progress=False)
    rows = table(folder, "cka")
    assert rows.groupby("other").size().to_dict() == {"itself": 4, "other": 6, "untrained": 4}
    facts = about(folder)["parts"]["cka"]["facts"]
    assert facts["seconds"] == 2.5
    assert facts["excerpts"] == 48
    assert facts["against"] == "other"
    assert "To those of the run other" in Page(report(copied)).text


def test_against_itself_is_one(copied, tones, tmp_path):
    shutil.copytree(copied.folder, tmp_path / "same")
    folder = look(copied, tones, parts=["cka"], against=str(tmp_path / "same"), progress=False)
    rows = table(folder, "cka")
    same = rows[(rows.other == "same") & (rows.layer == rows.other_layer)]
    assert same.cka.tolist() == pytest.approx([1, 1])


@pytest.fixture(scope="module")
def seen(trained, looked, planted, tmp_path_factory) -> Run:
    """A run that was looked at over two collections, of the first of them last."""
    run = Run(tmp_path_factory.mktemp("runs") / "seen")
    shutil.copytree(trained.folder, run.folder)
    look(run, planted, parts=["activations"], progress=False)
    first = run.folder / "look" / looked.name
    later = about(first) | {"time": "2099-01-01T00:00:00"}
    (first / "look.json").write_text(json.dumps(later))
    report(run)
    return run


@pytest.fixture(scope="module")
def page(seen) -> Page:
    return Page(seen.folder / "report.html")


class TestReport:
    def test_every_figure_has_words_for_who_cannot_see_it(self, page):
        section = page.source.partition('<section id="look"')[2].partition("</section>")[0]
        for words in (
            "Spectra of the sounds that the 16 filters of blocks.0.mix like best",
            "Mean activation of 32 features in descending order over tones (128 segments) and "
            "planted (96 segments)",
            "How much oftener each of 2 labels",
            "The strongest features of 3 factors of the means",
            "The strongest features of 3 factors of the deviations",
            "Map of 80 segments by t-SNE, a sign for each track: 10 signs",
            "Map of 16 tracks by t-SNE, a sign for each label: 2 signs",
            "How alike this encoder&#x27;s layers are to each other",
            "How alike this encoder&#x27;s layers are to the untrained encoder&#x27;s",
            "along the sound that excites it most",
        ):
            assert f'aria-label="{words}' in section or words in section, words
        assert section.count("<svg") == section.count('role="img"') + section.count(
            'viewBox="-6 -6 12 12" aria-hidden="true"'
        )

    def test_it_is_one_file_that_asks_nothing_of_the_network(self, page):
        assert not {"script", "link", "img", "iframe", "object", "base", "image"} & set(page.tags)
        assert "url(" not in page.source.replace("url(#", "")
        assert len(page.ids) == len(set(page.ids))
        assert {link[1:] for link in page.links} <= set(page.ids)
        assert "#look" in page.links
        assert len(page.source) < 1_000_000

    def test_features_of_two_kinds_are_told_apart(self, page):
        assert "Of the 16 means over time, " in page.text
        assert "Factors of the deviations" in page.text
        assert "Factors of the features" not in page.text
        assert "two untrained encoders of other seeds have" in page.text

    def test_signs_and_colours(self, page):
        section = page.source.partition("Do a track&#39;s segments")[2].partition("</article>")[0]
        section = section or page.source.partition("Do a track's segments")[2]
        legend = section.partition('class="legend"')[2].partition("</ul>")[0]
        shapes = [part.partition('"')[0] for part in legend.split('<path d="')[1:]]
        assert len(shapes) == len(set(shapes)) == 10

    def test_the_json_has_the_data(self, seen):
        first, second = strict(seen.folder / "report.json")["looks"]
        assert (first["dataset"], second["dataset"]) == ("tones", "planted")
        assert set(first["results"]) == set(PARTS)
        assert len(first["results"]["activations"]["curve"]) == 32
        assert len(first["results"]["filters"]["blocks.0.mix"]["pretrained"]) == 16
        assert len(first["results"]["segments"]) == 80
        assert np.shape(first["results"]["cka"]["untrained"]) == (2, 2)
        assert len(first["results"]["saliency"][0]["saliency"]) == 200
        assert not first["stale"]


class TestCommandLine:
    def test_what_is_printed(self, copied, tone_folder, capsys):
        words = [str(copied.folder), str(tone_folder), "--parts", "activations,occurrence,cka"]
        assert cli.main(["look", *words]) == 0
        text = capsys.readouterr().out
        assert "over 128 segments of 16 tracks" in text
        assert "0 of 32 features are dead" in text
        assert "left out: no track has a label" in text
        assert "to untrained: first layers" in text
        assert str(copied.folder / "report.html") in text

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            ("--parts nonsense", "nonsense"),
            ("--features 3,32", "there is no feature 32: they are numbered from 0 to 31"),
            ("--layers blocks.7.mix", "no convolution 'blocks.7.mix': there are blocks.0.mix"),
            ("--top 0", "top=0"),
            ("--factors 0", "factors=0"),
            ("--layout pca", "umap"),
            ("--against nowhere", "nowhere is not a run"),
        ],
    )
    def test_errors_come_before_the_work(self, copied, tone_folder, capsys, words, said):
        shutil.rmtree(copied.folder / "segments")
        try:
            status = cli.main(["look", str(copied.folder), str(tone_folder), *words.split()])
        except SystemExit as stop:
            status = int(stop.code or 0)
        assert status == 2
        assert said in capsys.readouterr().err
        assert not (copied.folder / "segments").exists()
