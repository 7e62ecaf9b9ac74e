"""The loop: it learns, it can be killed at any moment, and it says what is wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import safetensors.torch
import torch
import yaml
from small import encoder_for
from torch import Tensor

from antiphon import cli
from antiphon.chain import Chain
from antiphon.devices import check_devices, float32_products, make_fabric
from antiphon.encoders.melpatch import MelPatch
from antiphon.excerpts import Batch
from antiphon.gradcache import two_passes
from antiphon.methods import Method
from antiphon.methods.clmr import CLMR
from antiphon.methods.hubert import HuBERT
from antiphon.optim import Optim
from antiphon.recipes import recipe, training_arguments
from antiphon.runs import Run
from antiphon.train import Train, TrainingStopped, pretrain


def small(seed: int = 0, **settings) -> CLMR:
    torch.manual_seed(seed)
    return CLMR(MelPatch(8000, bands=32, dim=32, depth=1, seconds=1.0), **settings)


def weights(run: Run) -> dict[str, Tensor]:
    return safetensors.torch.load_file(run.folder / "encoder.safetensors")


def test_an_out_that_can_not_be_written_is_found_before_the_work(tones, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("antiphon.train.pack", lambda *_, **__: pytest.fail("packed for nothing"))
    with pytest.raises(NotADirectoryError, match="is no folder"):
        pretrain(tones, tmp_path / "file" / "run", CLMR(MelPatch()))


def test_a_run_is_a_folder(tones, tmp_path):
    run = pretrain(
        tones, tmp_path / "run", small(), train=Train(steps=12, batch=8, watch_every=5, log_every=4)
    )
    names = {path.name for path in run.folder.iterdir()}
    assert names >= {
        "config.yaml", "log.jsonl", "checkpoint", "encoder.safetensors", "card.md", "data.json"
    }  # fmt: skip
    events = run.events()
    assert [e["event"] for e in events if e["event"] not in {"step", "watch"}] == ["start", "end"]
    assert [e["step"] for e in run.events("step")] == [1, 4, 8, 12]
    assert [e["step"] for e in run.events("watch")] == [5, 10, 12]
    assert set(run.events("watch")[0]) >= {
        "alignment", "uniformity", "effective_rank", "spread", "knn"
    }  # fmt: skip
    end = run.events("end")[0]
    assert end["clips"] == 12 * 8 * 2
    assert end["peak_memory_mb"] > 50
    assert list(run.tracks) == [t.id for t in tones.split("train")]
    assert run.config["split"] == "train"
    encoder = run.encoder()
    assert not encoder.training
    assert not any(p.requires_grad for p in encoder.parameters())
    assert "MelPatch" in (run.folder / "card.md").read_text()


def test_the_same_seed_gives_the_same_weights(tones, tmp_path):
    settings = {"train": Train(steps=5, batch=4), "progress": False}
    one = pretrain(tones, tmp_path / "a", small(), **settings)
    two = pretrain(tones, tmp_path / "b", small(), **settings)
    other = pretrain(tones, tmp_path / "c", small(), seed=1, **settings)
    assert one.digest == two.digest != other.digest


def test_a_complete_run_is_left_alone(tones, tmp_path):
    settings = {"train": Train(steps=3, batch=4), "progress": False}
    before = pretrain(tones, tmp_path / "run", small(), **settings).digest
    assert pretrain(tones, tmp_path / "run", small(seed=9), **settings).digest == before
    with pytest.raises(ValueError, match=r"(?s)another config.*steps.*another --out"):
        pretrain(tones, tmp_path / "run", small(), train=Train(steps=4, batch=4))


COMMAND = """
import sys, torch
from antiphon import cli
torch.set_num_threads(1)
sys.exit(cli.main(sys.argv[1:]))
"""


def command(folder, out) -> list[str]:
    words = f"pretrain {folder} --out {out} --recipe clmr-mel --seed 3 --train.steps 40 "
    words += "--train.batch 4 --train.checkpoint_minutes 0.002 --train.watch_every 7 "
    words += "--train.log_every 5 --encoder MelPatch --encoder.sample_rate 8000 "
    words += "--encoder.seconds 1 --encoder.bands 32 --encoder.dim 32 --optim.name adamw"
    return [sys.executable, "-c", COMMAND, *words.split()]


def test_killed_and_resumed_is_bit_for_bit_the_same(tone_folder, tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    through = subprocess.run(
        command(tone_folder, tmp_path / "through"),
        env=environment,
        capture_output=True,
        check=False,
    )
    assert through.returncode == 0, through.stderr.decode()
    kills = 0
    for _ in range(20):
        process = subprocess.Popen(
            command(tone_folder, tmp_path / "killed"), env=environment, stderr=subprocess.DEVNULL
        )
        checkpoint = tmp_path / "killed" / "checkpoint"
        seen = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if checkpoint.exists() and checkpoint.stat().st_mtime_ns > seen and kills < 3:
                time.sleep(0.05 * kills)  # at different moments of the loop
                process.send_signal(signal.SIGKILL)
                process.wait()  # the last kill may come when all is done: nothing to resume then
                kills += not Run(tmp_path / "killed").events("end")
                break
            time.sleep(0.005)
        process.wait()
        if process.returncode == 0:
            break
    assert kills >= 1
    one, two = Run(tmp_path / "through"), Run(tmp_path / "killed")
    assert len(two.events("resume")) == kills
    assert two.events("end")
    a, b = weights(one), weights(two)
    assert all(a[key].equal(b[key]) for key in a)
    steps = [e["step"] for e in two.events("step")]
    assert steps == sorted(set(steps))
    left = [path.name for path in two.folder.iterdir() if path.name.endswith(".partial")]
    assert len(left) <= kills


def test_a_resumed_run_keeps_to_the_tracks_it_began_with(tones, tmp_path):
    class Interrupted(CLMR):
        def after_step(self, progress: float) -> None:
            if progress == 0.5 and not self.__dict__.get("resumed"):
                signal.raise_signal(signal.SIGINT)

    def method() -> CLMR:
        torch.manual_seed(0)
        return Interrupted(MelPatch(8000, bands=32, dim=32, depth=1, seconds=1.0))

    settings = {"train": Train(steps=4, batch=4), "split": "all", "progress": False}
    began = replace(tones, tracks=tones.tracks[:8], splits={})
    with pytest.raises(KeyboardInterrupt):
        pretrain(began, tmp_path / "run", method(), **settings)
    with pytest.raises(ValueError, match="gone or changed, '00' for one"):
        pretrain(replace(began, tracks=tones.tracks[1:]), tmp_path / "run", method(), **settings)
    going_on = method()
    going_on.__dict__["resumed"] = True
    more = replace(tones, splits={})
    run = pretrain(more, tmp_path / "run", going_on, **settings)
    assert list(run.tracks) == [t.id for t in began]
    assert run.finished


def test_ctrl_c_saves_and_says_how_to_go_on(tones, tmp_path, capsys, monkeypatch):
    class Interrupted(CLMR):
        def after_step(self, progress: float) -> None:
            if progress == 0.5:
                signal.raise_signal(signal.SIGINT)

    def method() -> CLMR:
        torch.manual_seed(0)
        return Interrupted(MelPatch(8000, bands=32, dim=32, depth=1, seconds=1.0))

    train = Train(steps=4, batch=4)
    with pytest.raises(KeyboardInterrupt):
        pretrain(tones, tmp_path / "run", method(), train=train)
    assert Run(tmp_path / "run").load_checkpoint()["step"] == 2
    resumed = pretrain(tones, tmp_path / "run", method(), train=train)
    monkeypatch.setattr(Interrupted, "after_step", CLMR.after_step)
    assert pretrain(tones, tmp_path / "whole", method(), train=train).digest == resumed.digest
    monkeypatch.setattr(cli, "_demo", lambda words: (_ for _ in ()).throw(KeyboardInterrupt))
    assert cli.main(["demo"]) == 130
    assert "same command goes on" in capsys.readouterr().err


def test_learning_on_synthetic_tracks(tones, tmp_path):
    """B = 8: chance is log 15 = 2.708 (specs: falls well below)."""
    run = pretrain(
        tones.split("train"),
        tmp_path / "run",
        small(temperature=0.5),
        Chain("none"),
        Optim("adamw", lr=3e-3, warmup=0.05, schedule="cosine"),
        Train(steps=150, batch=8, watch_every=50),
        split="all",
        progress=False,
    )
    losses = [e["loss"] for e in run.events("step")]
    assert losses[0] > 1.5
    assert losses[-1] < 1.6
    assert run.events("step")[-1]["accuracy"] > 0.8


def test_accumulation_sees_more_batches(tones, tmp_path):
    run = pretrain(
        tones,
        tmp_path / "run",
        small(),
        train=Train(steps=3, batch=4, accumulate=2),
        progress=False,
    )
    assert run.events("end")[0]["clips"] == 3 * 4 * 2 * 2


class Broken(Method):
    """Its loss is not finite after some steps."""

    views = 1

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        loss = self.encoder.embed(batch.views[0]).square().mean()
        return {"loss": loss * torch.nan}


class Collapsing(Method):
    """Teaches the encoder to say the same of everything."""

    views = 1

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        vectors = self.encoder.embed(batch.views[0])
        return {"loss": (vectors - 1.0).square().mean()}


class Dead(MelPatch):
    """Says the same of everything."""

    def embed(self, x: Tensor) -> Tensor:
        return super().embed(x) * 0 + 1


def test_a_loss_that_is_not_finite_stops_and_says_what_to_try(tones, tmp_path):
    with pytest.raises(TrainingStopped, match=r"loss is nan. Try a lower --optim.lr"):
        pretrain(tones, tmp_path / "run", Broken(small().encoder), train=Train(steps=9, batch=4))


def test_a_collapse_stops_and_says_what_to_try(tones, tmp_path):
    dead = Dead(8000, bands=32, dim=32, depth=1, seconds=1.0)
    with pytest.raises(TrainingStopped, match=r"(?s)collapsed.*Try"):
        pretrain(tones, tmp_path / "run", CLMR(dead), train=Train(steps=40, batch=4, watch_every=5))
    assert len(Run(tmp_path / "run").events("watch")) == 2


def test_advice_on_a_collapse_fits_the_method(tones, tmp_path):
    told = []
    for number, kind in enumerate((CLMR, Collapsing)):
        dead = Dead(8000, bands=32, dim=32, depth=1, seconds=1.0)
        with pytest.raises(TrainingStopped, match=r"Try a lower --optim.lr") as stopped:
            pretrain(tones, tmp_path / str(number), kind(dead), train=Train(20, 4, watch_every=5))
        told.append(str(stopped.value))
    assert "--method.temperature" in told[0]
    assert "--method" not in told[1]


def test_a_method_says_what_encoder_it_needs():
    class Causal(Broken):
        needs = frozenset({"causal"})

    with pytest.raises(ValueError, match=r"needs a causal encoder, as .*; MelPatch is not"):
        Causal(small().encoder)


def test_tensorboard_if_asked(tones, tmp_path):
    run = pretrain(
        tones, tmp_path / "run", small(), train=Train(steps=2, batch=4, tensorboard=True)
    )
    assert list((run.folder / "tensorboard").glob("events.out.*"))


def test_bf16_trains(tones, tmp_path):
    run = pretrain(
        tones, tmp_path / "run", small(), train=Train(steps=3, batch=4, precision="bf16-mixed")
    )
    assert all(value.isfinite().all() for value in weights(run).values())


def test_reading_a_checkpoint_runs_no_code(tones, tmp_path):
    run = pretrain(tones, tmp_path / "run", small(), train=Train(steps=2, batch=4))

    class Evil:
        def __reduce__(self):
            return (os.system, ("touch " + str(tmp_path / "harm"),))

    torch.save({"method": Evil()}, run.folder / "checkpoint")
    with pytest.raises(Exception, match=r"[Ww]eights"):
        run.load_checkpoint()
    assert not (tmp_path / "harm").exists()


def test_a_config_repeats_the_run(tone_folder, tmp_path):
    words = command(tone_folder, tmp_path / "one")[3:]
    words[words.index("--train.steps") + 1] = "4"
    assert cli.main(words) == 0
    config = tmp_path / "one" / "config.yaml"
    assert cli.main(["pretrain", "--config", str(config), "--out", str(tmp_path / "two")]) == 0
    assert yaml.safe_load(config.read_text()) == Run(tmp_path / "two").config
    assert Run(tmp_path / "one").digest == Run(tmp_path / "two").digest


def test_recipe_then_config_then_command_line(tmp_path):
    assert recipe("clmr-mel")["train"].steps == 5000
    (tmp_path / "c.yaml").write_text("train: {steps: 70, batch: 6}\n")
    words = f"demo --out x --train.batch 5 --config {tmp_path}/c.yaml --recipe clmr-mel".split()
    train = training_arguments(words)["train"]
    assert (train.steps, train.batch, train.clip) == (70, 5, 1.0)


def test_the_log_is_json_lines(tones, tmp_path):
    run = pretrain(tones, tmp_path / "run", small(), train=Train(steps=2, batch=4))
    for line in (run.folder / "log.jsonl").read_text().splitlines():
        assert "event" in json.loads(line)


def test_one_track_is_not_enough(tones, tmp_path):
    with pytest.raises(ValueError, match="only one here"):
        pretrain(replace(tones, tracks=tones.tracks[:1], splits={}), tmp_path / "run", small())


def test_a_spoilt_checkpoint_is_never_written(tones, tmp_path):
    train = Train(steps=60, batch=4, log_every=50, checkpoint_minutes=0.0)
    with pytest.raises(TrainingStopped, match=r"is (nan|inf)"):
        pretrain(tones, tmp_path / "run", small(), Chain("none"), Optim(lr=1e30), train)
    assert all(value.isfinite().all() for value in weights(Run(tmp_path / "run")).values())


def test_chunks_train_the_same_model(tones, tmp_path):
    """MelPatch has no batch-norm: two passes, in parts of 3, 3 and 2 items, change nothing."""
    settings = {"optim": Optim("lars", lr=0.3), "progress": False}
    one, other = (
        pretrain(tones, tmp_path / f"{n}", small(), train=Train(10, 8, chunk=n), **settings)
        for n in (None, 3)
    )
    torch.testing.assert_close(weights(other), weights(one), rtol=1e-4, atol=2e-5)


def test_chunks_draw_alike_in_both_passes_and_count_once(tones):
    """One chunk is one pass, with dropout and batch-norm and all that they remember."""

    def gradients(chunked: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        torch.manual_seed(0)
        layers = [torch.nn.Flatten(), torch.nn.Linear(80, 8), torch.nn.BatchNorm1d(8)]
        method = CLMR(Plain(torch.nn.Sequential(*layers, torch.nn.Dropout(0.5))))
        model = make_fabric("cpu", "32-true").setup(method)
        batch = Batch(torch.randn(2, 6, 1, 80), torch.arange(6))
        torch.manual_seed(1)
        if chunked:
            two_passes(make_fabric("cpu", "32-true"), model, batch, 6)
        else:
            torch.manual_seed(int(torch.randint(2**62, (1,))))
            model(batch)["loss"].backward()
        return {n: p.grad for n, p in method.named_parameters()}, dict(method.named_buffers())

    torch.testing.assert_close(gradients(True), gradients(False), rtol=1e-5, atol=1e-7)


class Plain(MelPatch):
    """Any layers as an encoder."""

    def __init__(self, net: torch.nn.Module) -> None:
        super().__init__(8000, bands=32, dim=8, depth=0, seconds=1.0)
        self.net = net
        for parameter in (*self.to_patches.parameters(), *self.norm.parameters()):
            parameter.requires_grad_(False)

    def embed(self, x: Tensor) -> Tensor:
        return torch.cat([self.net(x)] * 2, 1)


def test_chunks_are_refused_to_a_method_that_does_not_compare(tones, tmp_path):
    with pytest.raises(ValueError, match=r"train.chunk is for methods .* Broken does not"):
        pretrain(tones, tmp_path / "run", Broken(small().encoder), train=Train(2, 4, chunk=2))


def test_settings_younger_than_the_run_have_their_defaults(tones, tmp_path):
    run = pretrain(tones, tmp_path / "run", small(), train=Train(2, 4))
    config = run.config
    del config["train"]["chunk"], config["train"]["devices"]
    run.write_config(config)
    assert pretrain(tones, tmp_path / "run", small(), train=Train(2, 4)).finished
    with pytest.raises(ValueError, match="'chunk': 2"):
        pretrain(tones, tmp_path / "run", small(), train=Train(2, 4, chunk=2))


def test_the_log_says_where_the_time_goes(tones, tmp_path):
    run = pretrain(tones, tmp_path / "run", small(), train=Train(20, 8, log_every=20))
    shares = run.events("step")[-1]["shares"]
    assert set(shares) == {"waiting", "augment", "model"}
    assert 0.3 < sum(shares.values()) <= 1


def test_without_a_compiler_training_goes_on(tones, tmp_path, monkeypatch, capsys):
    def no_compiler(*args, **kwargs):
        def fail(*args, **kwargs):
            raise RuntimeError("no C++ compiler\nat all")

        return fail

    monkeypatch.setattr(torch, "compile", no_compiler)
    run = pretrain(tones, tmp_path / "run", small(), train=Train(2, 4, compile=True))
    assert run.finished
    assert "no effect here, training goes on: no C++ compiler\n" in capsys.readouterr().err


def test_how_a_gpu_multiplies_is_put_back():
    def state():
        return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32

    before = state()
    with float32_products(torch.device("cpu"), True):
        assert state() == before
    for tf32, wanted in ((True, "high"), (False, "highest")):
        with float32_products(torch.device("cuda"), tf32):
            assert state() == (wanted, tf32)
        assert state() == before


def test_too_few_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_devices("auto", 2)
    check_devices("cpu", 4)
    with pytest.raises(ValueError, match="there are 2 GPUs here"):
        check_devices("cuda", 4)


def test_snapshots_are_kept_along_the_run(tones, tmp_path):
    run = pretrain(tones, tmp_path / "run", small(), train=Train(12, 4, snapshots=3))
    assert run.snapshots == [4, 8, 12]
    events = run.events("snapshot")
    assert [e["step"] for e in events] == run.snapshots
    assert 0 < events[0]["seconds"] < events[1]["seconds"] < events[2]["seconds"]
    files = [run.folder / "snapshots" / f"{step:06d}.safetensors" for step in run.snapshots]
    assert files[2].read_bytes() == (run.folder / "encoder.safetensors").read_bytes()
    assert len({file.read_bytes() for file in files}) == 3
    kept, end = run.encoder(step=4).state_dict(), run.encoder().state_dict()
    assert all(kept[name].shape == end[name].shape for name in kept)
    assert not all(kept[name].equal(end[name]) for name in kept)
    assert not run.encoder(step=4).training
    with pytest.raises(FileNotFoundError, match="no snapshot of step 5; there are: 4, 8, 12"):
        run.encoder(step=5)


def test_more_snapshots_than_steps_are_refused():
    with pytest.raises(ValueError, match=r"train.snapshots must be from 0 to train.steps \(3\)"):
        Train(3, snapshots=4)


def test_a_run_that_was_stopped_and_killed_ends_with_the_same_snapshots(tones, tmp_path):
    class Stopped(CLMR):
        def after_step(self, progress: float) -> None:
            if progress == 0.3 and self.__dict__["part"] == 0:
                signal.raise_signal(signal.SIGINT)
            if progress == 0.8 and self.__dict__["part"] == 1:
                raise RuntimeError("killed")

    def train(name: str, part: int) -> Run:
        torch.manual_seed(0)
        method = Stopped(MelPatch(8000, bands=32, dim=32, depth=1, seconds=1.0))
        method.__dict__["part"] = part
        return pretrain(tones, tmp_path / name, method, train=Train(10, 4, snapshots=5))

    whole = train("whole", 2)
    with pytest.raises(KeyboardInterrupt):
        train("parts", 0)
    with pytest.raises(RuntimeError, match="killed"):
        train("parts", 1)
    assert Run(tmp_path / "parts").snapshots == [2, 4, 6]  # the last two came after the checkpoint
    parts = train("parts", 2)
    assert whole.snapshots == parts.snapshots == [2, 4, 6, 8, 10]
    assert [e["step"] for e in parts.events("snapshot")] == parts.snapshots
    for step in whole.snapshots:
        one, other = whole.encoder(step).state_dict(), parts.encoder(step).state_dict()
        assert all(one[name].equal(other[name]) for name in one)


def test_preparing_counts_as_training_time(tones, tmp_path):
    class Slow(CLMR):
        def prepare(self, batches) -> None:
            next(batches)
            time.sleep(0.4)

    torch.manual_seed(0)
    method = Slow(MelPatch(8000, bands=32, dim=32, depth=1, seconds=1.0))
    run = pretrain(tones, tmp_path / "run", method, train=Train(2, 4))
    assert run.events("step")[0]["seconds"] > 0.4


def test_a_run_can_be_the_teacher_of_the_next(tones, tmp_path):
    def pupil(**settings) -> HuBERT:
        return HuBERT(encoder_for(HuBERT), clusters=8, fit_frames=300, length=4, **settings)

    def go(out, method, steps=2):
        return pretrain(
            tones, tmp_path / out, method, Chain("none"), train=Train(steps, 4), progress=False
        )

    first = go("first", pupil())
    second = go("second", pupil(teacher=str(first.folder), layer=1))
    known = second.read("data.json")["teacher"]
    assert known == {"run": str(first.folder.resolve()), "hash": first.digest}
    assert first.digest in (second.folder / "card.md").read_text()
    weights = second.load_checkpoint()["method"]
    assert not any("teacher" in name for name in weights)
    assert weights["clusters.centroids"].shape == (1, 8, 32)

    other = go("other", pupil(), steps=3)
    shutil.copy(other.folder / "encoder.safetensors", first.folder)
    (second.folder / "log.jsonl").write_text("")  # as if it had been stopped
    with pytest.raises(ValueError, match="another one than when"):
        go("second", pupil(teacher=str(first.folder), layer=1))
