"""Many teachers: a run of them is repeatable, learns, says what each counts, and draws it."""

from __future__ import annotations

import math

import pytest
import safetensors.torch
import torch

from antiphon import recipes
from antiphon.chain import Chain
from antiphon.configured import build, describe
from antiphon.encoders.melpatch import MelPatch
from antiphon.encoders.samplecnn import SampleCNN
from antiphon.excerpts import Batch
from antiphon.methods.multitask import MultiTask
from antiphon.optim import Optim
from antiphon.report import report
from antiphon.runs import Run
from antiphon.train import Train, pretrain

SCHEMES = ["equal", "inverse-mean", "uncertainty", "gradnorm", "dwa", "pcgrad"]
WORKERS = ["log-mel", "mfcc", "lim"]


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def small(workers=WORKERS, seed: int = 0, **settings) -> MultiTask:
    torch.manual_seed(seed)
    encoder = MelPatch(8000, bands=32, hop=160, patch=2, dim=32, depth=1, seconds=1.0)
    return MultiTask(encoder, workers, **{"hidden": 32, "channels": 16, **settings})


def batch(items: int = 4, views: int = 1, seed: int = 0) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    return Batch(0.1 * torch.randn(views, items, 1, 8000, generator=draw), torch.arange(items))


def gradients(method: MultiTask, step: Batch) -> list[torch.Tensor]:
    method.zero_grad()
    torch.manual_seed(0)
    method(step)["loss"].backward()
    return [p.grad.clone() for p in method.encoder.parameters()]


def test_the_loss_is_the_sum_and_all_is_logged():
    method = small()
    values = method(batch())
    assert list(values) == ["loss", *WORKERS, *(f"weight/{name}" for name in WORKERS)]
    assert values["loss"].item() == pytest.approx(sum(values[n].item() for n in WORKERS))
    assert values["weight/lim"] == 1.0
    assert values["lim"].item() == pytest.approx(math.log(2), abs=0.1)
    half = small(weighting="uncertainty")(batch())
    assert half["weight/mfcc"] == 0.5


def test_a_worker_of_weight_nought_leaves_the_encoder_alone():
    without, step = small(["log-mel", "mfcc"]), batch()
    ignored = small(["log-mel", "mfcc", "waveform"], weighting="fixed", fixed={"waveform": 0.0})
    ignored.load_state_dict(without.state_dict(), strict=False)
    for a, b in zip(gradients(without, step), gradients(ignored, step), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_head_learns_with_every_weighting(scheme):
    method, step = small([*WORKERS, "waveform"], weighting=scheme), batch()
    method.prepare(iter([batch(64)] * 4))
    optimiser, found = torch.optim.Adam(method.parameters(), 3e-3), []
    for number in range(12):
        torch.manual_seed(number)
        values = method(step)
        optimiser.zero_grad()
        values["loss"].backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())
        optimiser.step()
        found.append({name: value.item() for name, value in values.items()})
    for name in ("log-mel", "mfcc"):
        assert found[-1][name] < found[0][name]


def test_two_crops_where_one_worker_needs_them():
    method = small([*WORKERS, "spc", "contrastive"])
    assert (method.views, small().views) == (2, 1)
    values = method(batch(6, views=2))
    assert values["contrastive"].item() == pytest.approx(math.log(11), abs=1.0)
    assert all(value.isfinite() for value in values.values())


def test_preparing_makes_every_target_alike():
    """Before, the errors are in decibels and nats; after, each is about 1."""
    method = small(["log-mel", "mfcc", "log-power"])
    method.prepare(batch(16, seed=seed) for seed in range(100))
    values = method(batch(16, seed=200))
    for name in ("log-mel", "mfcc", "log-power"):
        assert values[name].item() == pytest.approx(1.0, abs=0.25)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"hidden": 0}, r"--method.hidden must be at least 1"),
        ({"channels": 0}, r"--method.channels must be at least 1"),
        ({"error": "mae"}, r"--method.error is one of mse, l1, not 'mae'"),
        ({"context": 2}, "odd number"),
        ({"temperature": 0.0}, "must be positive"),
    ],
)
def test_settings_that_can_not_be_are_refused(settings, why):
    with pytest.raises(ValueError, match=why):
        MultiTask(MelPatch(8000, seconds=1.0), **settings)


def test_what_can_not_be_played_is_refused():
    with pytest.raises(ValueError, match="SampleCNN makes 1 of"):
        MultiTask(SampleCNN(8000), ["contrastive", "mfcc"])
    assert MultiTask(SampleCNN(8000), ["contrastive"]).views == 2
    with pytest.raises(ValueError, match="different names"):
        small(["mfcc", "mfcc"])
    with pytest.raises(ValueError, match="list of different names, got 'mfcc'"):
        small("mfcc")
    with pytest.raises(ValueError, match="no worker 'melody'"):
        small(["melody"])
    with pytest.raises(ValueError, match="who are not among"):
        small(weighting="fixed", fixed={"melody": 1.0})


def run(data, out, steps: int = 8, **settings) -> Run:
    names = [*WORKERS, "contrastive"]
    return pretrain(
        data,
        out,
        small(names, **{"weighting": "gradnorm", **settings}),
        Chain("thesis", p={"PitchShift": 0.0}),
        Optim("adamw", lr=1e-3),
        Train(steps, 4, log_every=2, watch_every=100, clip=1.0),
        progress=False,
    )


def weights(found: Run) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(found.folder / "encoder.safetensors")


def test_a_run_that_is_stopped_goes_on_as_if_it_had_not_been(tones, tmp_path, monkeypatch):
    whole = run(tones, tmp_path / "whole")
    after_step = MultiTask.after_step

    def stopped(self: MultiTask, progress: float) -> None:
        if progress > 0.5:
            raise KeyboardInterrupt
        after_step(self, progress)

    import antiphon.train as train

    saved = train._Loop._after_step

    def saving(loop) -> str:
        note = saved(loop)
        loop._save()
        return note

    with monkeypatch.context() as patch:
        patch.setattr(MultiTask, "after_step", stopped)
        patch.setattr(train._Loop, "_after_step", saving)
        with pytest.raises(KeyboardInterrupt):
            run(tones, tmp_path / "parts")
    parts = run(tones, tmp_path / "parts")
    assert len(parts.events("resume")) == 1
    torch.testing.assert_close(weights(parts), weights(whole), rtol=0, atol=0)
    names = [name for name in whole.events("step")[-1] if name.startswith("weight/")]
    assert len(names) == 4
    for a, b in zip(whole.events("step"), parts.events("step"), strict=True):
        assert [a[name] for name in names] == [b[name] for name in names]
        assert sum(a[name] for name in names) == pytest.approx(4.0, abs=1e-4)
    page = report(whole).read_text()
    assert "how much each worker&#39;s loss counts" in page
    assert "weight/" not in page


def test_two_processes_train_the_model_of_one(tones, tmp_path):
    for devices in (1, 2):
        torch.set_num_threads(devices)
        pretrain(
            tones,
            tmp_path / f"{devices}",
            small(["log-mel", "rms", "contrastive"], weighting="gradnorm"),
            Chain("none"),
            Optim("lars", lr=0.1),
            Train(8, 4, devices=devices, log_every=4, watch_every=100),
            progress=False,
        )
    one, two = Run(tmp_path / "1"), Run(tmp_path / "2")
    for a, b in zip(one.events("step"), two.events("step"), strict=True):
        for name in ("loss", "contrastive", "weight/rms", "weight/contrastive"):
            assert a[name] == pytest.approx(b[name], rel=1e-4)
    torch.testing.assert_close(weights(two), weights(one), rtol=1e-4, atol=2e-5)
    fresh = small().encoder.state_dict()
    assert any(not fresh[n].allclose(w, atol=1e-3) for n, w in weights(one).items())


def test_two_processes_project_in_the_same_order(tones, tmp_path):
    """Else their weights would drift apart, and so would all that follows."""
    method = small([*WORKERS, "contrastive"], weighting="pcgrad")
    torch.set_num_threads(2)
    train = Train(4, 4, devices=2, log_every=1, watch_every=2)
    found = pretrain(tones, tmp_path, method, Chain("none"), train=train, progress=False)
    assert len(found.events("step")) == 4
    assert all(event["weight/contrastive"] >= 1.0 for event in found.events("step"))


@pytest.mark.parametrize("scheme", ["uncertainty", "gradnorm", "pcgrad"])
def test_mixed_precision(scheme):
    method, step = small([*WORKERS, "waveform", "contrastive"], weighting=scheme), batch(4, views=2)
    with torch.autocast("cpu", torch.bfloat16):
        values = method(step)
    values["loss"].backward()
    assert values["loss"].dtype == torch.float32
    assert all(p.grad.isfinite().all() for p in method.parameters())
    plain = small([*WORKERS, "waveform", "contrastive"], weighting=scheme)(step)
    for name in ("log-mel", "waveform", "contrastive", "weight/log-mel"):
        assert values[name].item() == pytest.approx(plain[name].item(), rel=0.05)


@pytest.mark.parametrize("name", ["multitask", "multitask-small", "pase", "pase-small"])
def test_recipes(name):
    """Each can take a step of its own."""
    method = recipes.recipe(name)["method"]
    names = list(method.workers)
    if name.startswith("pase"):
        assert method.encoder.sample_rate == 16000
        assert names == ["waveform", "log-power", "mfcc", "f0", "rms", "zcr", "lim", "gim", "spc"]
    else:
        assert {"log-mel", "chroma-cqt", "tempogram", "onset"} <= {*names}
    if not name.endswith("small"):
        return
    sound = 0.1 * torch.randn(method.views, 2, 1, method.encoder.window)
    values = method(Batch(sound, torch.arange(2)))
    values["loss"].backward()
    assert all(value.isfinite() for value in values.values())


def test_workers_and_weights_are_chosen_on_the_command_line():
    settings = {"method.workers": "[mfcc, spc]", "method.weighting": "fixed"}
    made = recipes.recipe("multitask-small", **settings, **{"method.fixed": "{spc: 0.1}"})["method"]
    assert list(made.workers) == ["mfcc", "spc"]
    assert made.weighting.weights.tolist() == [1.0, pytest.approx(0.1)]
    again = build(describe(made))
    assert (list(again.workers), again.views) == (["mfcc", "spc"], 1)
