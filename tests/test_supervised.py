"""Labels that teach: the losses, the plateau, what is frozen, and the head's own score."""

from __future__ import annotations

import json
import signal
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn
from torch.nn import functional

from antiphon import cli
from antiphon.chain import Chain
from antiphon.datasets import Dataset, Track
from antiphon.encoders import Encoder
from antiphon.encoders.dieleman import Dieleman
from antiphon.encoders.melcnn import MelCNN
from antiphon.encoders.melpatch import MelPatch
from antiphon.encoders.pase import PASE
from antiphon.encoders.samplecnn import SampleCNN
from antiphon.encoders.statistics import LogMelStatistics
from antiphon.encoders.transformer import Transformer
from antiphon.evaluate import probe
from antiphon.excerpts import Batch, Excerpts
from antiphon.heads import predict, trained_head
from antiphon.labels import label_tensor, labelled, set_aside, with_labels
from antiphon.methods.clmr import CLMR
from antiphon.methods.supervised import Supervised, freeze
from antiphon.optim import Optim, Plateau
from antiphon.pack import pack
from antiphon.recipes import recipe, training_arguments
from antiphon.report import report
from antiphon.runs import Run
from antiphon.train import Train, pretrain
from antiphon.validate import Validation


def small(seed: int = 0) -> MelPatch:
    torch.manual_seed(seed)
    return MelPatch(8000, bands=32, dim=32, depth=1, seconds=1.0)


def convolutional(seed: int = 0) -> MelCNN:
    torch.manual_seed(seed)
    return MelCNN(8000, bands=32, channels=4, seconds=1.0)


QUICK = {
    "augment": Chain("none"),
    "optim": Optim("adamw", lr=3e-3),
    "progress": False,
}


def weights(run: Run) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(run.folder / "encoder.safetensors")


def tagged(tones: Dataset) -> Dataset:
    """The same tracks with tags: a drone, an even number, and some without any."""
    tracks = []
    for number, track in enumerate(tones):
        tags = [*(["drone"] if number % 2 else []), *(["third"] if number % 3 == 0 else [])]
        tracks.append(replace(track, labels=tuple(tags)))
    return Dataset("tagged", tuple(tracks), "multilabel", splits=tones.splits)


# --- the published models


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("supervised", 1_844_224 + 25_650),
        ("supervised-pons", 5_379_126),
        ("supervised-1dcnn", 107_870),
    ],
)
def test_the_published_models_with_fifty_tags(name, count):
    method = recipe(name)["method"]
    method.set_classes("multilabel", [f"tag {n}" for n in range(50)])
    assert parameters(method) == count
    assert all(p.requires_grad for p in method.parameters())


def test_the_head_of_pons_is_in_the_published_order():
    method = recipe("supervised-pons")["method"]
    method.set_classes("multilabel", [f"tag {n}" for n in range(50)])
    kinds = [type(part) for part in method.head]
    assert kinds == [nn.Dropout, nn.Linear, nn.ReLU, nn.BatchNorm1d, nn.Dropout, nn.Linear]
    assert sum(map(parameters, method.head)) == 538_550


def test_the_recipe_is_lees_optimiser():
    optim = recipe("supervised")["optim"]
    assert (optim.name, optim.momentum, optim.weight_decay) == ("sgd", 0.9, 1e-6)
    plateau = optim.plateau()
    plateau.look(1.0)
    rates = []
    while not plateau.ended:
        rates.append(optim.rate(0, 10, 23) * plateau.scale)
        for _ in range(3):
            plateau.look(2.0)
    assert rates == pytest.approx([0.01, 0.002, 0.0004, 0.00008, 0.000016])


# --- the losses


def test_tags_are_taught_by_binary_cross_entropy():
    torch.manual_seed(0)
    method = Supervised(small())
    method.set_classes("multilabel", ["a", "b", "c"])
    x, y = 0.1 * torch.randn(1, 4, 1, 8000), torch.tensor([[0, 1, 1]] * 3 + [[0, 0, 0]]).float()
    loss = method.eval()(Batch(x, torch.arange(4), labels=y))["loss"]
    p = method.head(method.encoder.embed(x[0])).sigmoid().double().detach()
    slow = 0.0
    for i in range(4):
        for c in range(3):
            slow -= float((p[i, c] if y[i, c] else 1 - p[i, c]).log()) / 12
    assert loss.item() == pytest.approx(slow, rel=1e-5)
    said = method.probabilities(x[0]).detach().double()
    torch.testing.assert_close(said, p, rtol=1e-5, atol=1e-6)


def test_classes_are_taught_by_cross_entropy():
    torch.manual_seed(0)
    method = Supervised(small())
    method.set_classes("multiclass", ["a", "b", "c"])
    x, y = 0.1 * torch.randn(1, 4, 1, 8000), torch.tensor([0, 2, 1, 2])
    values = method.eval()(Batch(x, torch.arange(4), labels=y))
    logits = method.head(method.encoder.embed(x[0]))
    torch.testing.assert_close(values["loss"], functional.cross_entropy(logits, y))
    p = method.probabilities(x[0])
    torch.testing.assert_close(p.sum(1), torch.ones(4))
    assert values["accuracy"] == (p.argmax(1) == y).float().mean()


def test_a_crop_has_the_labels_of_its_track(tones):
    packed = pack(tones, 8000)
    labels = label_tensor(tones, packed)
    assert labels.tolist() == [(n + 1) % 2 for n in range(16)]  # drone, plain
    excerpts = Excerpts(packed, 8000, 6, views=1, labels=labels)
    for step in range(3):
        batch = excerpts.at(step)
        assert batch.labels.equal(labels[batch.tracks])
        assert batch.augmented(batch.views + 1).to(torch.device("cpu")).labels.equal(batch.labels)
    tags = label_tensor(tagged(tones), pack(tagged(tones), 8000))
    assert tags.dtype == torch.float32
    assert tags[:4].tolist() == [[0, 1], [1, 0], [0, 0], [1, 1]]
    assert Excerpts(packed, 8000, 6).at(0).labels is None


def test_it_wants_classes_and_labels():
    method = Supervised(small())
    x = torch.zeros(1, 2, 1, 8000)
    with pytest.raises(RuntimeError, match="no head"):
        method.probabilities(x[0])
    with pytest.raises(ValueError, match="no classes"):
        method.set_classes("none", [])
    method.set_classes("multiclass", ["a", "b"])
    with pytest.raises(ValueError, match="this batch has none"):
        method(Batch(x, torch.arange(2)))
    for bad in ({"hidden": 0}, {"dropout": 1.0}, {"tune": 9}, {"tune": -1}):
        with pytest.raises(ValueError, match="--method"):
            Supervised(small(), **bad)


# --- which tracks


def test_tracks_without_a_class_are_left_out_and_without_tags_are_not(tones):
    some = replace(tones, tracks=(replace(tones.tracks[0], labels=()), *tones.tracks[1:]))
    kept = with_labels(some)
    assert [t.id for t in kept] == [t.id for t in tones.tracks[1:]]
    assert kept.splits["train"] == tones.splits["train"][1:]
    assert len(labelled(tagged(tones), "it")) == 16


def test_what_can_not_be_learned_from_is_refused(tones, tmp_path):
    bare = Dataset("bare", tuple(replace(t, labels=()) for t in tones))
    with pytest.raises(ValueError, match=r"Supervised learns from labels, and data set 'bare' has"):
        pretrain(bare, tmp_path / "run", Supervised(small()), **QUICK)
    one = Dataset("one", tuple(replace(t, labels=("x",)) for t in tones))
    with pytest.raises(ValueError, match="are of 1"):
        pretrain(one, tmp_path / "run", Supervised(small()), **QUICK)
    plateau = {**QUICK, "optim": Optim("sgd", schedule="plateau")}
    for method, train in (
        (CLMR(small()), Train(steps=2)),
        (Supervised(small()), Train(steps=2, validate_every=0)),
    ):
        with pytest.raises(ValueError, match="plateau goes by the validation loss"):
            pretrain(tones, tmp_path / "run", method, train=train, **plateau)
    assert not (tmp_path / "run").exists()


def test_tracks_are_set_aside_by_group_and_seed(tones):
    tracks = tuple(replace(t, group=f"album {n // 2}") for n, t in enumerate(tones))
    albums = replace(tones, tracks=tracks)
    packed = pack(albums, 8000)
    rest, aside = set_aside(packed, albums, seed=0)
    assert len(rest) + len(aside) == 16
    assert 1 <= len(aside) <= 4
    assert not {t.group for t in rest.tracks} & {t.group for t in aside.tracks}
    assert set_aside(packed, albums, seed=0)[1].digests == aside.digests
    others = {set_aside(packed, albums, seed=seed)[1].digests for seed in range(5)}
    assert len(others) > 1


# --- the plateau


def test_a_course_of_losses():
    plateau = Plateau(patience=2, reductions=2)
    course = [1.0, 0.9, 0.95, 0.91, 0.8, 0.8, 0.81, 0.9, 0.7, float("nan"), 0.7]
    said = [plateau.look(loss) for loss in course]
    assert said == [
        "better", "better", "wait", "cut", "better", "wait", "cut", "wait", "better", "wait", "end",
    ]  # fmt: skip
    assert plateau.scale == pytest.approx(0.2**3)
    assert plateau.ended


def test_other_schedules_never_cut():
    plateau = Optim("adamw", schedule="cosine").plateau()
    assert [plateau.look(loss) for loss in [1.0] + 50 * [2.0]] == ["better"] + 50 * ["wait"]


class Course(Supervised):
    """Its losses in eval mode are written down beforehand."""

    losses = (3.0, 2.0, 2.5, 2.75, 1.0, 1.5, 1.75, 9.0, 9.0)  # exact in float32

    def forward(self, batch):
        if self.training:
            return super().forward(batch)
        self.looks = getattr(self, "looks", -1) + 1
        return {"loss": torch.tensor(self.losses[self.looks])}


def test_best_weights_come_back_and_then_it_ends(tones, tmp_path):
    """One look is one batch here: 2 of 16 tracks are held out, and 16 windows are read at once."""
    kept = []

    class Watched(Course):
        def after_step(self, progress):
            kept.append({n: x.clone() for n, x in self.state_dict().items()})

    method = Watched(small())
    run = pretrain(
        tones, tmp_path / "run", method, Chain("none"),
        Optim("sgd", lr=0.1, schedule="plateau", patience=2, reductions=1),
        Train(steps=100, batch=16, validate_every=2, log_every=1), progress=False,
    )  # fmt: skip
    valid = [(e["step"], e["valid_loss"]) for e in run.events("valid")]
    assert valid == [(2 * n + 2, loss) for n, loss in enumerate(Course.losses[:7])]
    rates = {e["step"]: e["lr"] for e in run.events("step")}
    assert [rates[n] for n in (8, 9, 14)] == pytest.approx([0.1, 0.02, 0.02])
    assert run.events("end")[0]["steps"] == 14
    best = kept[9]  # after step 10, when the loss was 1.0
    for name, tensor in weights(run).items():
        assert tensor.equal(best[f"encoder.{name}"]), name
    # step 9 began from the weights after step 4, with no momentum: a plain Nesterov step
    gap = sum((kept[8][n] - kept[3][n]).abs().sum() for n in kept[3] if "weight" in n)
    drift = sum((kept[7][n] - kept[3][n]).abs().sum() for n in kept[3] if "weight" in n)
    assert gap < 0.2 * drift


def test_validation_is_the_mean_over_fixed_windows(tones):
    packed = pack(tones, 8000)
    labels = label_tensor(tones, packed)
    method = Supervised(convolutional(), dropout=0.5)
    method.set_classes("multiclass", tones.classes)
    validation = Validation(packed, labels, 8000, 5, Plateau())
    assert len(validation.places) == 16 * 8
    values = validation.measure(method.eval(), torch.device("cpu"))
    samples = np.stack([packed.read(t, s, 8000) for t, s in validation.places])
    x = torch.from_numpy(samples / np.float32(32767))
    truth = labels[torch.tensor([t for t, _ in validation.places])]
    whole = method(Batch(x[None, :, None], truth, labels=truth))
    assert values["loss"] == pytest.approx(whole["loss"].item(), rel=1e-4)
    assert values["accuracy"] == pytest.approx(whole["accuracy"].item(), rel=1e-6)


def test_of_a_long_track_ten_windows_are_looked_at(tones):
    packed = pack(tones, 8000)
    validation = Validation(packed, label_tensor(tones, packed), 400, 5, Plateau())
    starts = [s for t, s in validation.places if t == 0]
    assert len(starts) == 10
    assert (starts[0], starts[-1]) == (0, 63600)
    assert all(start % 400 == 0 for start in starts)


# --- a run


@pytest.fixture(scope="module")
def run(tones, tmp_path_factory):
    method = Supervised(convolutional(), dropout=0.2)
    return pretrain(
        replace(tones, splits={"train": tones.splits["train"], "test": tones.splits["test"]}),
        tmp_path_factory.mktemp("runs") / "labels",
        method,
        train=Train(steps=60, batch=8, validate_every=20),
        **QUICK,
    )


def test_it_learns_and_its_head_is_scored_beside_the_probes(run, tones):
    rows = probe(run, tones, probes=("linear",), retrieval_seconds=2.0, progress=False)
    head = [r for r in rows if r["probe"] == "head" and r["metric"] == "accuracy"]
    assert [r["model"] for r in head] == ["pretrained", "linear probe", "majority"]
    assert head[0]["value"] >= 0.8  # chance is 0.5
    assert (head[0]["tracks"], head[0]["heard"], head[0]["split"]) == (6, 0, "test")
    assert {p["against"] for p in head[0]["paired"]} == {"linear probe", "majority"}
    (linear,) = [
        r for r in rows
        if (r["probe"], r["metric"], r["model"]) == ("linear", "accuracy", "pretrained")
    ]  # fmt: skip
    assert head[1]["value"] == linear["value"]
    details = run.read("scores.json")["details"]
    assert {d["probe"] for d in details} == {"linear", "head"}
    page = report(run).read_text()
    assert "Its own head" in page
    assert "Validation loss" in page


def test_the_run_says_what_it_learned(run, tones):
    sheet = run.read("data.json")
    assert sheet["classes"] == list(tones.classes)
    assert set(sheet["valid"]) | set(sheet["tracks"]) == set(tones.splits["train"])
    assert not set(sheet["valid"]) & set(sheet["tracks"])
    card = (run.folder / "card.md").read_text()
    assert "trained with labels by Supervised" in card
    assert "without labels" not in card
    assert run.read_head()[1:] == ("multiclass", tones.classes)


def test_the_head_predicts_the_mean_over_windows(run, tones):
    packed = pack(tones, 8000)
    method = trained_head(run)
    p = predict(method, packed, np.array([3, 12]))
    for row, track in zip(p, (3, 12), strict=True):
        x = torch.from_numpy(packed.read(track, 0, 64000) / np.float32(32767)).view(8, 1, 8000)
        torch.testing.assert_close(
            torch.from_numpy(row), method.probabilities(x).mean(0).double(), rtol=1e-4, atol=1e-5
        )


def test_a_head_that_has_seen_the_answers_is_not_scored(run, tones, capsys):
    everything = replace(tones, splits={})
    rows = probe(run, everything, probes=("knn",), seeds=1, resamples=20, progress=False)
    assert not [r for r in rows if r["probe"] == "head"]
    assert "seen the labels of 10 of the 16" in " ".join(capsys.readouterr().err.split())
    other = replace(tones, classes=("drone", "noise", "plain"))
    rows = probe(run, other, probes=("knn",), seeds=1, resamples=20, progress=False)
    assert not [r for r in rows if r["probe"] == "head"]
    assert "other classes" in " ".join(capsys.readouterr().err.split())


def test_other_classes_do_not_go_on_in_its_folder(run, tones, tmp_path):
    renamed = replace(tones, classes=("drone", "plain", "tone"))
    with pytest.raises(ValueError, match="begun with 2 classes, and now there are 3"):
        pretrain(renamed, run.folder, Supervised(convolutional()), **QUICK)


def test_a_run_from_before_plateaus_is_still_the_same_run(run, tones):
    config = run.config
    for name in ("factor", "patience", "reductions"):
        del config["optim"][name]
    run.write_config(config)
    method = Supervised(convolutional(), dropout=0.2)
    train = Train(steps=60, batch=8, validate_every=20)
    assert pretrain(tones, run.folder, method, train=train, **QUICK).digest == run.digest
    later = {**QUICK, "optim": replace(QUICK["optim"], patience=9)}
    with pytest.raises(ValueError, match="another configuration"):
        pretrain(tones, run.folder, method, train=train, **later)


def test_tags_train_and_are_scored(tones, tmp_path):
    data = tagged(tones)
    splits = {"train": data.splits["train"], "valid": data.splits["test"][:2],
              "test": data.splits["test"][2:]}  # fmt: skip
    data = replace(data, splits=splits)
    run = pretrain(
        data, tmp_path / "run", Supervised(small(), hidden=8, norm=True),
        train=Train(steps=4, batch=8, validate_every=2), **QUICK,
    )  # fmt: skip
    assert set(run.read("data.json")["valid"]) == set(splits["valid"])
    assert set(run.tracks) == set(splits["train"])
    rows = probe(run, data, probes=("linear",), seeds=1, resamples=20, progress=False)
    assert {r["metric"] for r in rows if r["probe"] == "head"} >= {"roc-auc-tag", "pr-auc-tag"}


def test_a_stopped_run_ends_in_the_same_weights(tones, tmp_path):
    class Interrupted(Supervised):
        def after_step(self, progress):
            if progress == 0.5 and not self.__dict__.get("resumed"):
                signal.raise_signal(signal.SIGINT)

    def method():
        return Interrupted(convolutional(), dropout=0.2)

    settings = {
        "augment": Chain("none"),
        "optim": Optim("sgd", lr=0.1, schedule="plateau", patience=1, reductions=9),
        "train": Train(steps=12, batch=8, validate_every=1),
        "progress": False,
    }
    with pytest.raises(KeyboardInterrupt):
        pretrain(tones, tmp_path / "run", method(), **settings)
    assert Run(tmp_path / "run").load_checkpoint()["validation"]["best"]
    going_on = method()
    going_on.__dict__["resumed"] = True
    torch.manual_seed(77)  # of no effect: the head is drawn from the run's seed
    stopped = pretrain(tones, tmp_path / "run", going_on, **settings)
    through = method()
    through.__dict__["resumed"] = True
    whole = pretrain(tones, tmp_path / "whole", through, **settings)
    assert stopped.digest == whole.digest
    assert stopped.read_head()[0].keys() == whole.read_head()[0].keys()
    assert all(x.equal(whole.read_head()[0][n]) for n, x in stopped.read_head()[0].items())
    assert [e["valid_loss"] for e in stopped.events("valid")] == [
        e["valid_loss"] for e in whole.events("valid")
    ]


# --- fine-tuning


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name in before if not before[name].equal(after[name])}


def test_only_the_last_layers_move(run, tones, tmp_path):
    before = weights(run)
    for tune, moved in ((1, {"blocks.4"}), (2, {"blocks.3", "blocks.4"}), (0, set())):
        method = Supervised(convolutional(7), start=str(run.folder), tune=tune)
        tuned = pretrain(
            tones, tmp_path / f"{tune}", method, train=Train(steps=4, batch=8), **QUICK
        )
        found = changed(before, weights(tuned))
        assert {name[:8] for name in found} == moved, tune
        if moved:  # statistics too
            assert any("running_mean" in name for name in found)
    assert tuned.digest == run.digest
    sheet = tuned.read("data.json")
    assert sheet["teacher"] == {"run": str(run.folder.resolve()), "hash": run.digest}
    assert "Begun with the encoder of" in (tuned.folder / "card.md").read_text()
    assert tuned.config["method"]["init_args"]["start"] == str(run.folder.resolve())


def test_all_layers_start_where_the_run_ended(run, tones, tmp_path):
    method = Supervised(convolutional(7), start=str(run.folder))
    train = Train(steps=1, batch=8)
    still = {**QUICK, "optim": Optim("sgd", lr=0.0)}
    tuned = pretrain(tones, tmp_path / "run", method, train=train, **still)
    found = changed(weights(run), weights(tuned))
    assert found
    assert all("running" in name or "tracked" in name for name in found)


def test_a_start_of_another_kind_is_refused(run, tones, tmp_path):
    wider = MelCNN(8000, bands=32, channels=8, seconds=1.0)
    for encoder, why in ((small(), "it is a MelCNN for 8000 Hz"), (wider, "it has other sizes")):
        with pytest.raises(ValueError, match=why):
            pretrain(tones, tmp_path / "run", Supervised(encoder, start=str(run.folder)), **QUICK)


@pytest.mark.parametrize(
    "made",
    [
        lambda: SampleCNN(8000),
        lambda: Dieleman(8000, filters=4),
        lambda: PASE(width=0.125, seconds=1.0),
        lambda: Transformer(8000, size="tiny", front_end="log-mel", layer_drop=0.0, seconds=1.0),
    ],
    ids=["samplecnn", "dieleman", "pase", "transformer"],
)
def test_layers_are_frozen_from_the_front(made):
    encoder: Encoder = made()
    count = len(encoder.eval().layers(torch.zeros(1, 1, encoder.window)))
    sizes = []
    for last in (0, 1, count // 2, count):
        freeze(encoder, last)
        sizes.append(sum(p.numel() for p in encoder.parameters() if p.requires_grad))
    assert sizes[0] == 0
    assert sizes == sorted(sizes)
    freeze(encoder, None)
    assert sizes[-1] == sum(p.numel() for p in encoder.parameters() if p.requires_grad)
    # what is below the last layer says the same in training mode, dropout and all
    method = Supervised(encoder, tune=1)
    x = 0.1 * torch.randn(2, 1, encoder.window)
    with torch.no_grad():
        method.train()
        state = {n: b.clone() for n, b in encoder.named_buffers()}
        trained = encoder.layers(x)[:-1]
        method.eval()
        for a, b in zip(trained, encoder.layers(x)[:-1], strict=True):
            torch.testing.assert_close(a, b)
    layers = dict(encoder.named_modules())
    for name, buffer in encoder.named_buffers():
        owner = layers[name.rpartition(".")[0]]
        if not buffer.equal(state[name]):
            affine = list(owner.parameters())
            assert all(p.requires_grad for p in affine), name


def test_an_encoder_without_weights_is_a_frozen_one():
    method = Supervised(LogMelStatistics(8000, bands=16, seconds=1.0))
    method.set_classes("multiclass", ["a", "b"])
    values = method.train()(
        Batch(0.1 * torch.randn(1, 2, 1, 8000), torch.arange(2), labels=torch.tensor([0, 1]))
    )
    values["loss"].backward()
    assert method.head[-1].weight.grad is not None


def test_fine_tuning_takes_the_encoder_of_its_start(run, tmp_path):
    words = f"demo --out {tmp_path} --recipe supervised-small --method.start {run.folder}"
    made = training_arguments(words.split())
    assert isinstance(made["method"].encoder, MelCNN)
    assert made["method"].encoder.arguments["channels"] == 4
    assert made["method"].encoder.sample_rate == 8000
    assert made["method"].dropout == 0.5
    other = training_arguments([*words.split(), "--encoder", "Dieleman"])
    assert isinstance(other["method"].encoder, Dieleman)


def test_the_command_line_says_what_is_wrong(tone_folder, tmp_path, capsys):
    words = f"pretrain {tone_folder} --out {tmp_path / 'run'} --recipe supervised-small"
    assert cli.main(words.split()) == 2
    assert "--labels folder" in capsys.readouterr().err
    assert cli.main([*words.split(), "--method.start", str(tmp_path)]) == 2
    assert "is not a run" in capsys.readouterr().err


def test_labels_of_folders_teach(tones, tmp_path):
    """Sub-folders are the classes, and a tenth is set aside."""
    for track in tones:
        place = tmp_path / "music" / track.labels[0] / f"{track.id}.wav"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(track.path)
    run = pretrain(
        str(tmp_path / "music"), tmp_path / "run", Supervised(small()), labels="folder",
        train=Train(steps=2, batch=4), **QUICK,
    )  # fmt: skip
    assert run.read("data.json")["classes"] == ["drone", "plain"]
    assert len(run.read("data.json")["valid"]) == 2
    assert json.loads((run.folder / "log.jsonl").read_text().splitlines()[-1])["event"] == "end"


def test_one_track_a_class_can_not_be_validated(tones, tmp_path):
    tracks = tuple(Track(t.id, t.path, (t.id,)) for t in tones)
    with pytest.raises(ValueError, match=r"set aside.*--train.validate_every 0"):
        pretrain(Dataset("own", tracks), tmp_path / "run", Supervised(small()), **QUICK)
    run = pretrain(
        Dataset("own", tracks), tmp_path / "run", Supervised(small()),
        train=Train(steps=2, batch=4, validate_every=0), **QUICK,
    )  # fmt: skip
    assert not run.events("valid")


def test_two_processes_train_and_validate_as_one(tones, tmp_path):
    runs = []
    for devices in (1, 2):
        run = pretrain(
            tones, tmp_path / f"{devices}", Supervised(convolutional(), hidden=8, norm=True),
            Chain("none"), Optim("sgd", lr=0.05, schedule="plateau", patience=1, reductions=9),
            Train(steps=6, batch=8, devices=devices, validate_every=2), progress=False,
        )  # fmt: skip
        runs.append(run)
    one, two = runs
    assert [e["processes"] for r in runs for e in r.events("start")] == [1, 2]
    for a, b in zip(one.events("valid"), two.events("valid"), strict=True):
        assert a["valid_loss"] == pytest.approx(b["valid_loss"], rel=1e-4)
    torch.testing.assert_close(weights(two), weights(one), rtol=1e-3, atol=1e-4)


def test_tracks_that_said_when_to_stop_count_as_heard(tmp_path):
    run = Run(tmp_path)
    run.write("data.json", {"tracks": {"a": "1"}, "valid": {"b": "2"}})
    assert run.heard == {"a": "1", "b": "2"}
