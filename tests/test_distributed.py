"""Several processes train the model of one: the same sums, the same gradients, the same weights."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import processes
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from antiphon import cli
from antiphon.chain import Chain
from antiphon.distributed import agree, all_gather, all_reduce_sum, barrier, rank, world_size
from antiphon.encoders.melcnn import MelCNN
from antiphon.encoders.melpatch import MelPatch
from antiphon.encoders.recurrent import Recurrent
from antiphon.encoders.transformer import Transformer
from antiphon.launch import ProcessDied, launch
from antiphon.methods.apc import APC
from antiphon.methods.clmr import CLMR
from antiphon.norm import make_global
from antiphon.optim import Optim
from antiphon.runs import Run
from antiphon.train import Train, pretrain


@pytest.fixture(autouse=True)
def two_cores():
    torch.set_num_threads(2)  # shared out: one for each of two processes


def in_two(function, folder, **arguments) -> list[dict[str, Tensor]]:
    launch(function, 2, {"folder": str(folder), **arguments})
    return [torch.load(folder / f"2-{number}") for number in range(2)]


def in_one(function, folder, **arguments) -> dict[str, Tensor]:
    function(folder=str(folder), **arguments)
    return torch.load(folder / "1-0")


def test_one_process_is_a_world_of_its_own():
    x = torch.randn(3, 2, requires_grad=True)
    assert all_reduce_sum(x) is x
    assert all_gather(x) is x
    assert (rank(), world_size(), agree(True, False)) == (0, 1, (True, False))
    barrier()


def test_sums_and_gatherings(tmp_path):
    """L_r = (r + 1) * ...: gradients are those of L_0 + L_1, with weights 1 + 2."""
    for number, found in enumerate(in_two(processes.primitives, tmp_path)):
        assert found["sum"].tolist() == [10.0, 12.0]
        assert found["sum.grad"].tolist() == [3.0, 3.0]
        assert found["rows"].tolist() == [[0.0, 0.0], [1.0, 1.0], [1.0, 1.0]]
        wanted = torch.arange(1.0, 4.0)[[0] if number == 0 else [1, 2]]
        assert found["rows.grad"].equal(3 * wanted[:, None].expand(-1, 2))
        assert found["numbers"].tolist() == [0, 1, 2, 1, 2, 3]
        assert found["flags"].tolist() == [True, False]


def test_gathered_nt_xent_is_that_of_one_process(tmp_path):
    """Six items of five tracks: those of one track are in different processes."""
    one = in_one(processes.contrastive, tmp_path)
    for found in in_two(processes.contrastive, tmp_path):
        torch.testing.assert_close(found, one, rtol=1e-4, atol=1e-6)
    for chunk in (1, 2, 4, 6):  # in one process: 4 does not divide 6
        torch.testing.assert_close(
            in_one(processes.cached, tmp_path, chunk=chunk), one, rtol=1e-4, atol=1e-6
        )


def test_two_passes_in_two_processes_are_one_pass_in_one(tmp_path):
    one = in_one(processes.contrastive, tmp_path)
    for found in in_two(processes.cached, tmp_path, chunk=2):  # of three items
        torch.testing.assert_close(found, one, rtol=1e-4, atol=1e-6)


def test_batch_norm_over_all_processes(tmp_path):
    one = in_one(processes.normalised, tmp_path)
    for found in in_two(processes.normalised, tmp_path):
        torch.testing.assert_close(found, one, rtol=1e-9, atol=1e-12)


def test_fused_batch_norm_over_all_processes(tmp_path):
    one = in_one(processes.fused, tmp_path)
    for found in in_two(processes.fused, tmp_path):
        torch.testing.assert_close(found, one, rtol=1e-8, atol=1e-11)


def test_batch_norm_keeps_its_names_and_does_nothing_in_one_process():
    plain, made = processes.normed(), make_global(processes.normed())
    assert list(made.state_dict()) == list(plain.state_dict())
    assert isinstance(made[1], nn.BatchNorm2d)
    x = torch.randn(8, 1, 6, 6, dtype=torch.float64)
    assert made(x).equal(plain(x))
    torch.testing.assert_close(made.state_dict(), plain.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("how", ["raises", "dies"])
def test_a_failure_in_one_process_ends_all(how):
    began = time.monotonic()
    error = (
        (ValueError, "of rank 1") if how == "raises" else (ProcessDied, "process 1 of 2 has died")
    )
    with pytest.raises(error[0], match=error[1]):
        launch(processes.failing, 2, {"how": how})
    assert time.monotonic() - began < 30


def test_a_script_that_starts_itself_anew_is_told_and_does_not_hang(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import os\nfrom antiphon.launch import launch\nlaunch(os.getpid, 2, {})\n")
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode != 0
    assert "ProcessDied" in done.stderr
    assert "if __name__ == '__main__'" in done.stderr


def test_what_can_not_be_sent_is_refused():
    with pytest.raises(ValueError, match=r"can't be sent to other processes.*torchrun"):
        launch(lambda: None, 2, {})


def encoder(kind: str) -> MelPatch | MelCNN:
    torch.manual_seed(0)
    if kind == "MelPatch":
        return MelPatch(8000, bands=32, dim=32, depth=1, seconds=1.0)
    return MelCNN(8000, bands=32, channels=4, seconds=1.0)


def weights(folder: Path) -> dict[str, Tensor]:
    return safetensors.torch.load_file(folder / "encoder.safetensors")


@pytest.mark.parametrize(
    ("kind", "chunk", "lr", "chain"),
    [
        ("MelPatch", None, 0.3, "none"),
        ("MelPatch", None, 0.3, "thesis"),
        ("MelPatch", 3, 0.3, "none"),
        ("MelCNN", None, 0.03, "none"),
    ],
)
def test_two_processes_train_the_model_of_one(tones, tmp_path, kind, chunk, lr, chain):
    """LARS moves one-dimensional weights by the gradient itself: its scale would show."""
    for devices in (1, 2):
        torch.set_num_threads(devices)
        pretrain(
            tones,
            tmp_path / f"{devices}",
            CLMR(encoder(kind)),
            Chain(chain),
            Optim("lars", lr=lr),
            Train(20, 8, devices=devices, log_every=5, watch_every=10, chunk=chunk),
            progress=False,
        )
    one, two = Run(tmp_path / "1"), Run(tmp_path / "2")
    assert [e["event"] for e in one.events()] == [e["event"] for e in two.events()]
    for a, b in zip(one.events("step"), two.events("step"), strict=True):
        for name in ("loss", "gradient_norm", "accuracy"):
            assert a[name] == pytest.approx(b[name], rel=1e-4)
    torch.testing.assert_close(weights(two.folder), weights(one.folder), rtol=1e-4, atol=2e-5)
    fresh = encoder(kind).state_dict()
    assert any(not fresh[n].allclose(w, atol=1e-2) for n, w in weights(one.folder).items())


def test_two_processes_foretell_as_one(tones, tmp_path):
    """APC draws nothing, so that the sums are the same; the first one's scale is sent to both."""
    for devices in (1, 2):
        torch.set_num_threads(devices)
        torch.manual_seed(0)
        pretrain(
            tones,
            tmp_path / f"{devices}",
            APC(Recurrent(8000, 20, dim=16, depth=1, hop_seconds=0.04, seconds=1.0)),
            Chain("none"),
            Optim("adam", lr=0.003),
            Train(10, 8, devices=devices, log_every=5, watch_every=10),
            progress=False,
        )
    one, two = Run(tmp_path / "1"), Run(tmp_path / "2")
    assert one.events("step")[-1]["loss"] < 0.9 * one.events("step")[0]["loss"]
    for a, b in zip(one.events("step"), two.events("step"), strict=True):
        for name in ("loss", "copy", "gradient_norm"):
            assert a[name] == pytest.approx(b[name], rel=1e-4)
    assert weights(two.folder)["mean"].equal(weights(one.folder)["mean"])
    torch.testing.assert_close(weights(two.folder), weights(one.folder), rtol=1e-4, atol=1e-4)


def test_two_processes_hide_and_stay_one_model(tones, tmp_path):
    """Each draws masks of its own; the gradients and the teacher must be those of both."""
    torch.manual_seed(0)
    encoder = Transformer(
        8000, front_end="log-mel", patch=1, bands=32, channels=16, dim=32, depth=2, heads=2,
        seconds=1.0,
    )  # fmt: skip
    method = processes.Compared(encoder, masks=2, decoder_dim=32)
    train = Train(4, 4, devices=2, log_every=2, watch_every=4)
    run = pretrain(tones, tmp_path / "run", method, Chain("none"), train=train, progress=False)
    assert len(run.events("step")) == 3


def test_a_run_goes_on_with_another_number_of_processes(tone_folder, tmp_path):
    """Ctrl-C reaches all of two processes between the same two steps; one goes on."""
    words = f"pretrain {tone_folder} --recipe clmr-mel --seed 3 --train.steps 40 --train.batch 4 "
    words += "--encoder MelPatch --encoder.sample_rate 8000 --encoder.seconds 1 --train.log_every 2"
    words += " --augment.augmentations none --augment.p null --optim.name lars --optim.lr 0.3 --out"
    begin = [sys.executable, "-m", "antiphon", *words.split()]
    run = Run(tmp_path / "two")
    process = subprocess.Popen(
        [*begin, str(run.folder), "--train.devices", "2"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    while len(run.events("step")) < 3 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "the same command goes on" in said
    assert 0 < run.load_checkpoint()["step"] < 40
    torch.set_num_threads(1)
    assert cli.main([*words.split(), str(run.folder)]) == 0
    assert cli.main([*words.split(), str(tmp_path / "one")]) == 0
    assert [e["processes"] for e in run.events() if "processes" in e] == [2, 1]
    torch.testing.assert_close(weights(run.folder), weights(tmp_path / "one"), rtol=1e-4, atol=2e-5)


def test_torchrun(tone_folder, tmp_path):
    words = f"pretrain {tone_folder} --recipe clmr-mel --train.steps 2 --train.batch 4 "
    words += "--encoder MelPatch --encoder.sample_rate 8000 --encoder.seconds 1 "
    words += f"--out {tmp_path}/run"
    start = "-m torch.distributed.run --standalone --nproc-per-node 2 -m antiphon"
    done = subprocess.run(
        [sys.executable, *start.split(), *words.split()],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (began,) = Run(tmp_path / "run").events("start")
    assert began["processes"] == 2


def test_a_failure_while_training_ends_all(tones, tmp_path):
    began = time.monotonic()
    train = Train(20, 4, devices=2)
    with pytest.raises(OSError, match="a file is gone"):
        pretrain(tones, tmp_path / "run", processes.Spoilt(encoder("MelPatch")), train=train)
    assert time.monotonic() - began < 60


def test_a_batch_that_can_not_be_shared_is_refused_at_once(tones, tmp_path):
    with pytest.raises(ValueError, match="9 items can't be shared equally by 2; 8 or 10 can"):
        pretrain(tones, tmp_path, CLMR(encoder("MelPatch")), train=Train(5, 9, devices=2))
    assert not list(tmp_path.iterdir())
