"""Other programs open what is written: TensorBoard's own code reads it, the Parquet is plain."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from antiphon import embed
from antiphon.datasets import Dataset, Track
from antiphon.encoders.melpatch import MelPatch
from antiphon.methods.clmr import CLMR
from antiphon.train import Train, pretrain


@pytest.fixture(scope="module")
def run(tones, tmp_path_factory):
    torch.manual_seed(0)
    method = CLMR(MelPatch(8000, bands=32, dim=16, depth=1, seconds=1.0))
    folder = tmp_path_factory.mktemp("runs") / "small"
    return pretrain(tones, folder, method, train=Train(steps=2, batch=4), progress=False)


@pytest.fixture
def odd(tones, tmp_path) -> Dataset:
    """Tracks whose names try to break a table."""
    tracks = []
    names = ["tab\there", "line\nbreak", 'quote"s', "音楽 ♫", "sep\u2028par\x85", "plain, comma"]
    for number, name in enumerate(names):
        path = tmp_path / f"{name}.wav"
        shutil.copy(tones.tracks[number].path, path)
        labels = ("rock\tand\nroll", "ünï") if number == 1 else ("a",)
        tracks.append(Track(f"{number} {name}", str(path), labels, group=f"by\t{number % 2}"))
    return Dataset("odd", tuple(tracks))


def plugin(folder: Path):
    """TensorBoard's projector, on a folder without any run in it."""
    from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin

    class Runs:
        def list_runs(self, *_, **__):
            return []

    return ProjectorPlugin(SimpleNamespace(data_provider=Runs(), logdir=str(folder)))


def get(app, path: str, **query: str) -> bytes:
    from werkzeug.test import Client

    answer = Client(app).get(path, query_string=query, headers={"Accept-Encoding": "identity"})
    assert answer.status_code == 200, answer.data
    return answer.data


@pytest.mark.parametrize("windows", [False, True])
def test_tensorboard_reads_it(run, odd, tmp_path, windows):
    folder = tmp_path / "new" / "points"
    table = embed(
        run, odd, tmp_path / "all.parquet", windows=windows, projector=folder, progress=False
    )
    rows = pq.read_table(table).to_pylist()
    opened = plugin(folder)
    apps = opened.get_plugin_apps()
    config = json.loads(get(apps["/info"], "/info", run="."))
    (about,) = config["embeddings"]
    assert about["tensorShape"] == [len(rows), 32]
    name = about["tensorName"]
    assert name == ("windows" if windows else "tracks")
    tensor = np.frombuffer(get(apps["/tensor"], "/tensor", run=".", name=name), np.float32)
    np.testing.assert_allclose(
        tensor.reshape(-1, 32), [row["vector"] for row in rows], rtol=1e-6, atol=1e-9
    )
    text = get(apps["/metadata"], "/metadata", run=".", name=name).decode()
    head, *lines = [line.split("\t") for line in text.removesuffix("\n").split("\n")]
    assert head == ["title", "track", "start", "seconds", "labels", "group", "path"]
    assert len(lines) == len(rows)
    assert all(len(line) == 7 for line in lines)
    for line, row in zip(lines, rows, strict=True):
        cells = dict(zip(head, line, strict=True))
        assert cells["track"] == " ".join(row["track"].split())
        assert float(cells["start"]) == row["start"]
        assert cells["group"] in {"by 0", "by 1"}
    assert {line[0] for line in lines} == {
        "tab here", "line break", 'quote"s', "音楽 ♫", "sep par", "plain, comma"
    }  # fmt: skip
    assert {line[4] for line in lines} == {"rock and roll, ünï", "a"}


def test_its_configuration_is_the_protocol_buffers(run, odd, tmp_path):
    from google.protobuf import text_format
    from tensorboard.plugins.projector import ProjectorConfig

    embed(run, odd, tmp_path / "all.parquet", projector=tmp_path / "points", progress=False)
    text = (tmp_path / "points" / "projector_config.pbtxt").read_text()
    config = text_format.Parse(text, ProjectorConfig())
    assert config.embeddings[0].metadata_path == "metadata.tsv"


def test_where_it_can_not_be_written_is_said_first(run, odd, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        embed(run, odd, tmp_path / "a.parquet", projector=tmp_path / "file", progress=False)
    assert not (tmp_path / "a.parquet").exists()


@pytest.mark.parametrize("windows", [False, True])
def test_embedding_atlas_gets_the_format_that_it_asks_for(run, odd, tmp_path, windows):
    """A Parquet file with a column of equally long lists of numbers, none of them missing."""
    out = embed(run, odd, tmp_path / "all.parquet", windows=windows, progress=False)
    table = pq.read_table(out)
    kind = table.schema.field("vector").type
    assert pa.types.is_fixed_size_list(kind)
    assert kind.value_type == pa.float32()
    vectors = np.stack(table.to_pandas()["vector"].to_list())
    assert vectors.shape == (table.num_rows, 32)
    assert np.isfinite(vectors).all()
    for name in ("path", "track"):
        assert pa.types.is_string(table.schema.field(name).type)
    assert table["path"].null_count == table["vector"].null_count == 0
