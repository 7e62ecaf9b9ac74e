"""The command line as a person meets it: help that teaches, errors that name the way out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from antiphon import cli, options
from antiphon.runs import Run


def say(words: str, capsys) -> tuple[int, str]:
    """The exit status and all that is printed."""
    try:
        status = cli.main(words.split())
    except SystemExit as stop:
        status = int(stop.code or 0)
    printed = capsys.readouterr()
    return status, printed.out + printed.err


def test_without_words_it_explains_itself(capsys):
    status, text = say("", capsys)
    assert status == 0
    for verb in (
        "list",
        "data",
        "pretrain",
        "import",
        "embed",
        "probe",
        "tag",
        "listen",
        "report",
        "study",
        "demo",
    ):
        assert f"\n  {verb}" in text


@pytest.mark.parametrize(
    "verb", ["data", "pretrain", "import", "embed", "probe", "tag", "listen", "report", "demo"]
)
def test_every_verb_has_help(verb, capsys):
    status, text = say(f"{verb} --help", capsys)
    assert status == 0
    assert f"antiphon {verb}" in text
    assert len(text.splitlines()) > 8


def test_help_explains_the_options_of_training(capsys):
    text = say("pretrain --help", capsys)[1]
    for option in ("--train.steps", "--optim.lr", "--augment.asymmetric", "--encoder", "--recipe"):
        assert option in text
    assert "a kill costs at most this" in " ".join(text.split())


def test_list_names_what_there_is(capsys):
    status, text = say("list", capsys)
    assert status == 0
    for name in ("clmr-mel", "SampleCNN", "MelPatch", "CLMR", "PitchShift", "reference_v1", "demo"):
        assert name in text


@pytest.mark.parametrize(
    ("words", "answers"),
    [
        ("frobnicate", ["no verb 'frobnicate'", "pretrain"]),
        ("pretrain demo --out x --recipe clmrr", ["no recipe 'clmrr'", "clmr-mel"]),
        (
            "pretrain demo --out x --recipe clmr --train.stpes 6",
            ["'--train.stpes'", "did you mean --train.steps", "--train.batch"],
        ),
        ("pretrain demo --out x --recipe clmr --trian.steps 6", ["did you mean --train.steps"]),
        (
            "pretrain demo --out x --recipe clmr --encoder.sampel_rate 6",
            ["sampel_rate", "did you mean --encoder.sample_rate", "--encoder.padding"],
        ),
        (
            "pretrain demo --out x --recipe apc --method.shfit 3",
            ["APC takes no 'shfit'; did you mean --method.shift?", "--method.codes"],
        ),
        (
            "pretrain demo --out x --recipe apc --method.shift soon",
            ["antiphon pretrain: --method.shift: Expected a int. Got value: soon"],
        ),
        (
            "pretrain demo --out x --recipe apc --encoder.cell gur",
            ["antiphon pretrain: --encoder.cell: Expected", "'transformer']. Got value: gur\n"],
        ),
        (
            "pretrain demo --out x --recipe clmr --encoder MelCN",
            ["did you mean MelCNN", "my.module"],
        ),
        (
            "pretrain demo --out x --recipe clmr --train.steps soon",
            ["--train.steps", "int", "soon"],
        ),
        ("pretrain demo --out x --recipe clmr --train.batch 1", ["train.batch must be"]),
        ("pretrain demo --out x --recipe apc --method.codes -1", ["--method.codes must be 0"]),
        ("pretrain demo --out x --recipe clmr --augment.p.Pitch 1", ["no 'Pitch'", "PitchShift"]),
        ("pretrain demo --out x", ["--recipe NAME"]),
        ("pretrain --out x --recipe clmr", ["say what to train on"]),
        ("pretrain demo --recipe clmr", ["--out"]),
        ("pretrain dmeo --out x --recipe clmr", ["'dmeo'", "demo"]),
        ("probe nowhere demo", ["nowhere is not a run", "antiphon pretrain"]),
        ("report nowhere", ["nowhere is not a run"]),
        ("listen nowhere demo", ["nowhere is not a run"]),
        ("listen run", ["DATA"]),
        ("data nowhere", ["neither a folder, a table, nor a data set"]),
        ("embed run", ["DATA", "--out"]),
        ("probe run demo --probes [linera]", ["linear", "linera"]),
    ],
)
def test_mistakes_are_answered_with_the_right_words(words, answers, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, text = say(words, capsys)
    assert status == 2
    for answer in answers:
        assert answer in text
    assert "Traceback" not in text
    assert len(text.splitlines()) < 12
    assert not list(tmp_path.iterdir())


def test_a_misspelt_key_in_a_config_file(tmp_path, capsys):
    (tmp_path / "c.yaml").write_text("train: {stesp: 5}\n")
    status, text = say(f"pretrain demo --out x --recipe clmr --config {tmp_path}/c.yaml", capsys)
    assert status == 2
    assert "stesp" in text
    assert "steps" in text


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> Path:
    """What people have: mp3, m4a, flac in stereo at 44.1 kHz, odd names, one corrupt file."""
    folder = tmp_path_factory.mktemp("music")
    draw = np.random.default_rng(0)

    def song(seconds: float = 12.0) -> np.ndarray:
        t = np.arange(round(44100 * seconds)) / 44100
        left = 0.3 * np.sin(2 * np.pi * draw.uniform(100, 2000) * t)
        return np.stack([left, 0.1 * draw.standard_normal(len(t))], 1).astype(np.float32)

    (folder / "album").mkdir()
    soundfile.write(folder / "album" / "one.flac", song(), 44100)
    soundfile.write(folder / "album" / "twö (live) #2 'x'.mp3", song(), 44100)
    soundfile.write(folder / "three.wav", song(4.0), 44100, subtype="PCM_24")
    soundfile.write(folder / "blip.wav", song(0.1), 44100)
    with av.open(str(folder / "four.m4a"), "w") as file:
        stream = file.add_stream("aac", rate=44100, layout="stereo")
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(song().T), format="fltp", layout="stereo"
        )
        frame.sample_rate = 44100
        fifo = av.AudioFifo()
        fifo.write(frame)
        while (part := fifo.read(1024, partial=True)) is not None:
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))
    content = (folder / "album" / "one.flac").read_bytes()
    (folder / "corrupt.mp3").write_bytes(b"\x00\x01\x02 not an mp3" * 300)
    (folder / "torn.flac").write_bytes(content[: len(content) // 3])
    return folder


def test_any_folder_can_be_trained_on_embedded_and_reported(mixed, tmp_path, capsys):
    run = tmp_path / "run"
    status, text = say(f"pretrain {mixed} --out {run} --recipe clmr-mel --train.steps 6", capsys)
    assert status == 0
    assert "4 of 7 tracks" in text
    for name in ("corrupt.mp3", "torn.flac", "blip.wav"):
        assert f"skipped {name}" in " ".join(text.split())
    assert {s["path"] for s in Run(run).read("data.json")["skipped"]} == {
        "corrupt.mp3", "torn.flac", "blip.wav"
    }  # fmt: skip
    status, text = say(f"embed {run} {mixed} --out {tmp_path}/x.parquet", capsys)
    assert status == 0
    assert "5 rows" in text
    assert "corrupt.mp3" in text
    assert say(f"report {run}", capsys)[0] == 0
    assert (run / "report.html").is_file()
    status, text = say(f"data {mixed}", capsys)
    assert status == 0
    assert "corrupt.mp3" in text


def test_as_a_program(tmp_path):
    program = Path(sys.executable).with_name("antiphon")
    done = subprocess.run(
        [program, "data", "nowhere"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("antiphon: 'nowhere' is neither")
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "names", "shares"),
    [
        (["--names", "knn"], ["knn"], None),
        (["--names=knn,mlp", "--shares", "0.5"], ["knn", "mlp"], [0.5]),
        (["--names", "[knn, mlp]", "--shares", "[]"], ["knn", "mlp"], []),
        (["--names", "[]", "--shares", "null"], [], None),
        (["--names", "[a]", "--names+=b"], ["a", "b"], None),
    ],
)
def test_a_list_is_written_with_brackets_or_without(words, names, shares):
    def function(names: list[str] | tuple[str, ...] = (), shares: list[float] | None = None):
        return list(names), shares

    assert options.call("prog", "about", function, words, {}) == (names, shares)
