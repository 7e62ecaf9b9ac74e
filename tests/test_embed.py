"""Embedding: every window of every track, whatever is killed or broken on the way."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pandas
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from antiphon import audio, cli
from antiphon import embed as embed_function
from antiphon.datasets import Track
from antiphon.embed import Embedder
from antiphon.encoders.melpatch import MelPatch
from antiphon.hear import get_scene_embeddings, get_timestamp_embeddings, load_model
from antiphon.methods.clmr import CLMR
from antiphon.pack import pack
from antiphon.train import Train, pretrain
from antiphon.windows import file_windows, pack_windows


@pytest.fixture(scope="module")
def run(tones, tmp_path_factory):
    torch.manual_seed(0)
    method = CLMR(MelPatch(8000, bands=32, dim=16, depth=1, seconds=1.0))
    folder = tmp_path_factory.mktemp("runs") / "small"
    return pretrain(tones, folder, method, train=Train(steps=2, batch=4), progress=False)


def test_a_row_a_track(run, tone_folder, tmp_path, capsys):
    out = tmp_path / "x.parquet"
    assert cli.main(["embed", str(run.folder), str(tone_folder), "--out", str(out)]) == 0
    table = pq.read_table(out)
    assert table.column_names == ["path", "track", "start", "seconds", "vector"]
    assert len(table) == 16
    assert set(table["seconds"].to_pylist()) == {8.0}
    metadata = {k.decode(): v.decode() for k, v in pq.read_schema(out).metadata.items()}
    assert metadata["model"] == "small"
    assert metadata["model_hash"] == run.digest
    assert metadata["window_seconds"] == "1.0"
    assert not (tmp_path / "x.parquet.parts").exists()


def test_it_opens_elsewhere(run, tone_folder, tmp_path):
    out = embed_function(run, str(tone_folder), tmp_path / "x.parquet", progress=False)
    assert np.stack(pandas.read_parquet(out)["vector"]).shape == (16, 32)
    assert polars.read_parquet(out)["vector"].dtype == polars.Array(polars.Float32, 32)


def test_windows_and_their_mean(run, tone_folder, tmp_path):
    path = sorted(tone_folder.glob("*.wav"))[3]
    one = pq.read_table(embed_function(run, str(path), tmp_path / "a.parquet", progress=False))
    words = ["embed", str(run.folder), str(path), "--out", str(tmp_path / "b.parquet"), "--windows"]
    assert cli.main(words) == 0
    each = pq.read_table(tmp_path / "b.parquet")
    assert each["start"].to_pylist() == [float(n) for n in range(8)]
    vectors = np.array(each["vector"].to_pylist())
    np.testing.assert_allclose(vectors.mean(0), one["vector"].to_pylist()[0], atol=1e-5)
    samples = torch.from_numpy(audio.read(path, 8000, 2.0, 1.0))
    with torch.no_grad():
        alone = run.encoder().embed(samples[None, None])[0].numpy()
    np.testing.assert_allclose(vectors[2], alone, atol=1e-4)


def test_windows_of_a_file_are_those_of_the_pack(tones):
    packed = pack(tones, 8000)
    from_pack = list(pack_windows(packed, 3000))
    from_files = [w for n, track in enumerate(tones) for w in file_windows(track, n, 8000, 3000)]
    assert [w[:3] for w in from_pack] == [w[:3] for w in from_files]
    for a, b in zip(from_pack, from_files, strict=True):
        np.testing.assert_allclose(a.samples, np.clip(b.samples, -1, 1), atol=1 / 32767)


@pytest.mark.parametrize(
    ("samples", "count", "seconds"), [(29_100, 10, 2.678), (59_049, 1, 2.678), (2_205, 1, 0.1)]
)
def test_how_many_windows(tmp_path, samples, count, seconds):
    """29.1 s at 22,050 Hz are ten windows of 59,049 samples; a multiple keeps its last."""
    frames = round(29.1 * 22050) if samples == 29_100 else samples
    soundfile.write(tmp_path / "a.wav", np.ones(frames, np.float32), 22050, subtype="FLOAT")
    windows = list(file_windows(Track("a", str(tmp_path / "a.wav")), 0, 22050, 59049))
    assert len(windows) == count
    assert all(len(w.samples) == 59049 for w in windows)
    assert windows[0].seconds == pytest.approx(seconds, abs=1e-3)


def test_bad_files_are_left_out_and_listed(run, tone_folder, tmp_path, capsys):
    (tmp_path / "bad.mp3").write_bytes(b"nothing" * 40)
    whole = audio.read(sorted(tone_folder.glob("*.wav"))[0])
    soundfile.write(tmp_path / "half.flac", np.tile(whole, 20), 8000)
    content = (tmp_path / "half.flac").read_bytes()
    (tmp_path / "half.flac").write_bytes(content[: len(content) // 2])
    out = embed_function(run, [str(tone_folder), str(tmp_path)], tmp_path / "x.parquet")
    assert len(pq.read_table(out)) == 16
    skipped = json.loads(pq.read_schema(out).metadata[b"skipped"])
    assert {path.rpartition("/")[2] for path in skipped} == {"bad.mp3", "half.flac"}
    with pytest.raises(ValueError, match="not one file could be embedded"):
        embed_function(run, str(tmp_path / "bad.mp3"), tmp_path / "y.parquet")


def test_a_killed_embedding_goes_on(run, tone_folder, tmp_path, monkeypatch):
    out = tmp_path / "x.parquet"
    whole = pq.read_table(embed_function(run, str(tone_folder), out, progress=False))
    out.unlink()
    monkeypatch.setattr(sys.modules["antiphon.embed"], "_PART_SECONDS", 0.0)
    seen = []
    original = audio.stream

    def failing(path, *args, **kwargs):
        seen.append(path)
        if len(seen) == 10:
            raise KeyboardInterrupt
        return original(path, *args, **kwargs)

    monkeypatch.setattr(audio, "stream", failing)
    with pytest.raises(KeyboardInterrupt):
        embed_function(run, str(tone_folder), out, batch=8, progress=False)
    assert list((tmp_path / "x.parquet.parts").glob("part-*"))
    assert not out.exists()
    seen.extend([""] * 10)
    before = len(seen)
    again = pq.read_table(embed_function(run, str(tone_folder), out, progress=False))
    assert len(seen) - before < 16
    assert again["path"].to_pylist() == whole["path"].to_pylist()
    np.testing.assert_allclose(
        np.array(again["vector"].to_pylist()), np.array(whole["vector"].to_pylist()), atol=1e-5
    )


def test_parts_of_another_model_are_not_used(run, tone_folder, tmp_path, monkeypatch):
    parts = tmp_path / "x.parquet.parts"
    parts.mkdir()
    table = pq.read_table(embed_function(run, str(tone_folder), tmp_path / "y.parquet"))
    other = table.replace_schema_metadata({"model": "other", "ended": "[0]", "failed": "{}"})
    with pa.ipc.new_file(parts / "part-0.arrow", other.schema) as file:
        file.write_table(other)
    out = embed_function(run, str(tone_folder), tmp_path / "x.parquet")
    assert len(pq.read_table(out)) == 16


def test_windows_too_short_for_the_encoder(run, tone_folder, tmp_path):
    with pytest.raises(ValueError, match=r"0.5 s are shorter .* takes \(1.000 s"):
        embed_function(run, str(tone_folder), tmp_path / "x.parquet", seconds=0.5)


MEMORY = """
import sys, resource
from antiphon import embed
embed(sys.argv[1], sys.argv[2], sys.argv[3], progress=False)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_a_long_file_takes_no_more_memory_than_a_short_one(run, tmp_path):
    peaks = []
    for minutes in (1, 120):
        path = tmp_path / f"{minutes}.wav"
        with soundfile.SoundFile(path, "w", 8000, 1, "PCM_16") as file:
            for minute in range(minutes):
                draw = np.random.default_rng(minute)
                file.write(draw.uniform(-0.1, 0.1, 8000 * 60))
        words = [sys.executable, "-c", MEMORY, run.folder, path, tmp_path / f"{minutes}.parquet"]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout))
    assert len(pq.read_table(tmp_path / "120.parquet")) == 1
    assert peaks[1] < peaks[0] + 100  # MB; two hours are 230 MB as float32 samples


def test_embedder_in_a_pipeline(run, tones):
    paths, labels = [t.path for t in tones], [t.labels[0] for t in tones]
    pipeline = make_pipeline(Embedder(run.folder), LogisticRegression())
    pipeline.fit(paths[:10], labels[:10])
    assert pipeline.predict(paths[10:]).shape == (6,)
    assert Embedder(run.folder).transform(paths[:2]).shape == (2, 32)


def test_hears_three_functions(run):
    model = load_model(str(run.folder))
    sounds = torch.randn(3, 16000) * 0.1
    assert get_scene_embeddings(sounds, model).shape == (3, model.scene_embedding_size)
    frames, times = get_timestamp_embeddings(sounds, model)
    assert frames.shape[2] == model.timestamp_embedding_size
    assert frames.shape[:2] == times.shape
    assert times[0, 1] == pytest.approx(1000 * model.hop / 8000)
    assert get_scene_embeddings(sounds[:, :100], model).isfinite().all()


def test_parts_of_another_request_are_not_used(run, tone_folder, tmp_path, monkeypatch):
    first, second = sorted(tone_folder.glob("*.wav"))[:2]
    module = sys.modules["antiphon.embed"]
    monkeypatch.setattr(module, "_PART_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(
            module.Parts, "finish", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            embed_function(run, str(first), tmp_path / "x.parquet", progress=False)
    out = embed_function(run, str(second), tmp_path / "x.parquet", progress=False)
    assert pq.read_table(out)["track"].to_pylist() == [second.name]


def test_parts_of_one_file_are_rows_of_their_own(run, tone_folder, tmp_path):
    path = sorted(tone_folder.glob("*.wav"))[0]
    (tmp_path / "t.csv").write_text(
        f"id,path,start,seconds\nx,{path},0,4\ny,{path},0,8\nz,{path},4,4\n"
    )
    out = embed_function(run, str(tmp_path / "t.csv"), tmp_path / "x.parquet", progress=False)
    assert pq.read_table(out)["track"].to_pylist() == ["x", "y", "z"]


RANKS = """
import sys
import torch.distributed as dist
from antiphon import embed
rank, run, data, bad, out = int(sys.argv[1]), *sys.argv[2:]
dist.init_process_group("gloo", init_method=f"file://{out}.ranks", rank=rank, world_size=2)
embed(run, [data, bad], out, windows=True, progress=False)
dist.destroy_process_group()
"""


def test_ranks_write_the_table_of_one(run, tone_folder, tmp_path):
    bad = tmp_path / "bad.mp3"
    bad.write_bytes(b"nothing" * 40)
    alone, shared = tmp_path / "alone.parquet", tmp_path / "shared.parquet"
    data = [str(tone_folder), str(bad)]
    one = pq.read_table(embed_function(run, data, alone, windows=True, progress=False))
    ranks = [
        subprocess.Popen([sys.executable, "-c", RANKS, str(n), run.folder, *data, shared])
        for n in range(2)
    ]
    assert [rank.wait(timeout=120) for rank in ranks] == [0, 0]
    two = pq.read_table(shared)
    assert two.schema.metadata == one.schema.metadata
    assert two.drop_columns("vector") == one.drop_columns("vector")
    np.testing.assert_allclose(
        np.array(two["vector"].to_pylist()), np.array(one["vector"].to_pylist()), atol=1e-5
    )
    assert not (tmp_path / "shared.parquet.parts").exists()
