"""Recipes: named configurations of a pre-training, each saying where its numbers come from.

A recipe is a ``.yaml`` file of this package; its existence is enough. A recipe is overridden by
``--config FILE``, and both by what is said on the command line.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace

from antiphon.augment import Chain
from antiphon.encoders import Encoder
from antiphon.encoders import names as encoder_names
from antiphon.methods import names as method_names
from antiphon.optim import Optim
from antiphon.options import Parser
from antiphon.train import Train, pretrain

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Every recipe there is."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def about(name: str) -> str:
    """A recipe's first comment: what it is for."""
    lines = _file(name).read_text(encoding="utf-8").splitlines()
    return lines[0].lstrip("# ").rstrip() if lines else ""


def recipe(name: str, **settings: Any) -> dict[str, Any]:
    """The arguments of :func:`antiphon.pretrain` that a recipe stands for.

    Args:
        name: of the recipe.
        settings: what to change, by dotted name: ``recipe("clmr", **{"train.steps": 100})``.

    >>> recipe("clmr-mel", **{"train.steps": 6})["train"].steps
    6
    """
    parser = training_parser(name)
    words = [f"--{key}={value}" for key, value in settings.items()]
    made = instantiate(parser, parser.parse_args(["data", "--out=out", *words]))
    return {key: value for key, value in made.items() if key not in {"data", "out"}}


def training_parser(recipe: str | None = None, prog: str | None = None) -> Parser:
    """A parser of all that :func:`antiphon.pretrain` takes; a recipe gives it its defaults."""
    encoder_names(), method_names()  # so that a class is known by its bare name
    parser = Parser(
        prog=prog,
        description=(pretrain.__doc__ or "").partition("Args:")[0].strip(),
        default_config_files=[str(_file(recipe))] if recipe else [],
    )
    parser.add_argument("data", nargs="?", type=str | None, help="a folder, a table, or demo")
    parser.add_argument("--recipe", default=recipe, help=f"one of: {', '.join(names())}")
    parser.add_argument("--config", action="config", help="a .yaml file; of another run, say")
    parser.add_function_arguments(
        pretrain, skip={"data", "augment", "optim", "train", "progress"}, as_positional=False
    )
    parser.add_subclass_arguments(Encoder, "encoder", help="what is trained")
    parser.link_arguments("encoder", "method.init_args.encoder", apply_on="instantiate")
    parser.add_class_arguments(Train, "train")
    parser.add_class_arguments(Optim, "optim")
    parser.add_class_arguments(Chain, "augment")
    return parser


def instantiate(parser: Parser, config: Namespace) -> dict[str, Any]:
    """The arguments of ``pretrain``, with the initial weights drawn from the seed."""
    if config.encoder is None or config.method is None:
        parser.error("say what to train: --recipe NAME, or --encoder and --method")
    if config.data is None:
        parser.error("say what to train on: a folder, a table, or demo")
    torch.manual_seed(config.seed)
    made = vars(parser.instantiate(config))
    left_out = {"config", "recipe", "encoder", "__default_config__"}
    return {key: value for key, value in made.items() if key not in left_out}


def _file(name: str) -> Path:
    file = FOLDER / f"{name}.yaml"
    if not file.is_file():
        raise ValueError(f"there is no recipe {name!r}; there are: {', '.join(names())}")
    return file
