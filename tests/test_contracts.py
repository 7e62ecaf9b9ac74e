"""What is found in the package is held to its contract, and imports go one way."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import pickle
import re
from pathlib import Path

import pytest
import torch
from small import encoder_for, labelled_batch, ready, small_encoder

import antiphon
from antiphon import datasets, recipes
from antiphon.configured import build, describe
from antiphon.encoders import names as encoder_names
from antiphon.methods import names as method_names
from antiphon.optim import Optim
from antiphon.settings import Train

PACKAGE = Path(antiphon.__file__).parent

# The way of one datum, from the disk to the page. What a step may import stands before it.
ORDER = [
    "files", "progress", "allocator", "cores", "ahead", "configured", "distributed", "launch",
    "norm", "folds", "datasets", "audio", "shards", "decoders", "pack", "fingerprint", "leaks",
    "survey", "labels", "excerpts", "dsp", "features", "augmentation", "augment", "chain", "fused",
    "encoders", "published", "losses", "masking", "quantiser", "targets", "weighting", "workers",
    "methods", "gradcache", "optim", "validate", "watch", "runs", "importing", "settings",
    "lessons", "cards", "journal", "devices", "train", "windows", "tables", "projector", "embed",
    "hear", "segments", "index", "playlist", "examples", "similar", "metrics", "resampling",
    "subsets", "probes", "protocol", "saved", "scores", "heads", "probing", "evaluate", "interpret",
    "maps", "figures", "drawings", "findings", "tagging", "verdict", "report", "look", "listen",
    "options", "recipes", "studies", "demo", "cli", "__main__",
]  # fmt: skip


def imports(file: Path) -> set[str]:
    """The modules of the package that a file imports: antiphon.X.Y as X.Y."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "antiphon":
            inside = (node.module or "").partition(".")[2]
            found |= {f"{inside}.{a.name}" if inside else a.name for a in node.names}
        elif isinstance(node, ast.Import):
            found |= {
                a.name.partition(".")[2] for a in node.names if a.name.startswith("antiphon.")
            }
    return {name for name in found if not name.startswith("__")}


def room(name: str) -> str:
    return name.split(".")[0]


FILES = sorted(f for f in PACKAGE.rglob("*.py") if f != PACKAGE / "__init__.py")


def test_every_room_has_its_place():
    rooms = {room(".".join(f.relative_to(PACKAGE).with_suffix("").parts)) for f in FILES}
    assert rooms <= set(ORDER)
    assert set(ORDER) <= rooms


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_no_module_imports_one_further_down_the_line(file):
    own = room(".".join(file.relative_to(PACKAGE).with_suffix("").parts))
    for name in imports(file):
        assert ORDER.index(room(name)) <= ORDER.index(own), f"{file.name} imports {name}"


def test_siblings_never_import_each_other():
    for file in (PACKAGE / "methods").glob("*.py"):
        others = {n.split(".")[1] for n in imports(file) if n.startswith("methods.") and "." in n}
        files = {f.stem for f in (PACKAGE / "methods").glob("*.py")}
        assert not others & files


@pytest.mark.parametrize(
    ("folder", "banned"),
    [
        ("datasets", {"torch", "lightning_fabric", "soundfile", "av"}),
        ("metrics.py", {"torch", "soundfile", "av"}),
        ("probes", {"soundfile", "av", "soxr"}),
        ("methods", {"soundfile", "av", "pathlib", "os", "pyarrow"}),
    ],
)
def test_what_a_room_never_touches(folder, banned):
    place = PACKAGE / folder
    for file in [place] if place.is_file() else place.rglob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        used = {
            (node.module or "").split(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
        } | {
            alias.name.split(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        assert not used & banned, file


@pytest.mark.parametrize("kind", method_names().values(), ids=lambda c: c.__name__)
class TestMethodContract:
    @pytest.fixture
    def method(self, kind):
        torch.manual_seed(0)
        return ready(kind(encoder_for(kind)))

    def test_a_step_gives_a_loss_and_gradients(self, method):
        views = 0.1 * torch.randn(method.views, 4, 1, method.encoder.window)
        values = method(labelled_batch(method, views))
        assert values["loss"].ndim == 0
        assert all(value.isfinite().all() for value in values.values())
        values["loss"].backward()
        for name, p in method.named_parameters():
            if p.requires_grad and not name.endswith(
                "mask_vector"
            ):  # idle where frames are dropped
                assert p.grad is not None, name
                assert p.grad.isfinite().all(), name

    def test_any_batch_size(self, method):
        for size in (2, 3, 7):
            views = 0.1 * torch.randn(method.views, size, 1, method.encoder.window)
            assert method(labelled_batch(method, views))["loss"].isfinite()

    def test_it_can_be_sent_to_another_process(self, method):
        again = pickle.loads(pickle.dumps(method))
        assert all(
            tensor.equal(again.state_dict()[name]) for name, tensor in method.state_dict().items()
        )

    def test_half_the_precision_gives_nearly_the_same_loss(self, method):
        views = 0.1 * torch.randn(method.views, 2, 1, method.encoder.window)
        batch = labelled_batch(method, views)
        losses = []
        for enabled in (False, True):
            torch.manual_seed(1)  # of masks and negatives
            with torch.autocast("cpu", torch.bfloat16, enabled):
                losses.append(method(batch)["loss"])
        assert losses[1].item() == pytest.approx(losses[0].item(), rel=0.03)
        losses[1].backward()
        assert all(p.grad.isfinite().all() for p in method.parameters() if p.grad is not None)
        assert any((p.grad != 0).any() for p in method.encoder.parameters() if p.grad is not None)

    def test_its_advice_names_options_that_it_has(self, method):
        own = inspect.signature(type(method)).parameters
        known = {f"--method.{name}" for name in own} | {
            f"--{part}.{field.name}"
            for part, settings in (("optim", Optim), ("train", Train))
            for field in dataclasses.fields(settings)
        }
        named = set(re.findall(r"--[\w.]+\w", method.advice))
        assert named
        assert named <= known

    def test_it_can_be_described_and_built(self, method):
        again = ready(build(describe(method)))
        assert type(again) is type(method)
        again.load_state_dict(method.state_dict())


@pytest.mark.parametrize("encoder", encoder_names().values(), ids=lambda c: c.__name__)
@pytest.mark.parametrize("kind", method_names().values(), ids=lambda c: c.__name__)
def test_a_method_plays_with_an_encoder_or_says_what_is_missing(kind, encoder):
    torch.manual_seed(0)
    made, refusal = small_encoder(encoder), ""
    try:
        method = ready(kind(made))
    except ValueError as error:
        refusal = str(error)
    missing = [need for need in sorted(kind.needs) if not getattr(made, need, False)]
    if missing:
        assert f"{kind.__name__} needs a {missing[0]} encoder" in refusal
    if refusal:
        assert encoder.__name__ in refusal
        assert missing or re.search("learns its own|frames", refusal)
        return
    views = 0.1 * torch.randn(method.views, 2, 1, made.window)
    assert method(labelled_batch(method, views))["loss"].isfinite()


@pytest.mark.parametrize("name", datasets.names())
class TestDatasetContract:
    def test_it_has_a_data_sheet(self, name):
        assert len(datasets.about(name)) > 20

    def test_it_refuses_to_guess(self, name, tmp_path):
        load = __import__(f"antiphon.datasets.{name}", fromlist=["load"]).load
        if name != "demo":  # the only one that is inside the package
            with pytest.raises(ValueError, match="say which"):
                load(None)
            return
        dataset = load(None)
        assert dataset.name == name
        assert dataset.licence
        assert dataset.citation
        assert all(Path(track.path).is_file() for track in dataset)


@pytest.mark.parametrize("name", recipes.names())
class TestRecipeContract:
    def test_it_can_be_made(self, name):
        made = recipes.recipe(name)
        assert made["method"].encoder is not None
        assert made["train"].steps > 0

    def test_it_says_what_it_is_for(self, name):
        assert len(recipes.about(name)) > 20


def test_the_published_recipe_is_the_papers():
    made = recipes.recipe("clmr")
    assert made["optim"].peak(96) == pytest.approx(0.7348, abs=1e-4)
    assert made["train"].batch == 96
    assert made["method"].temperature == 0.5
    assert sum(p.numel() for p in made["method"].projector.parameters()) == 327_680
    assert sum(p.numel() for p in made["method"].encoder.parameters()) == 2_368_512
    linear = recipes.recipe("clmr", **{"method.projector": "linear"})["method"]
    assert sum(p.numel() for p in linear.projector.parameters()) == 65_536
    rewrite = recipes.recipe("clmr", **{"method.out": 64})["method"]
    assert sum(p.numel() for p in rewrite.projector.parameters()) == 294_912
    none = recipes.recipe("clmr", **{"method.projector": "none"})["method"]
    assert not list(none.projector.parameters())


def test_your_own_class_can_be_used():
    made = recipes.recipe("demo", encoder="antiphon.encoders.melcnn.MelCNN")
    assert type(made["method"].encoder).__name__ == "MelCNN"


def test_public_names_are_documented():
    for name in antiphon.__all__:
        assert getattr(antiphon, name).__doc__, name
