"""Recipes: named configurations of a pre-training, each saying where its numbers come from.

A recipe is a ``.yaml`` file of this package; its existence is enough. A recipe is overridden by
``--config FILE``, and both by what is said on the command line.
"""

from __future__ import annotations

import json
from argparse import SUPPRESS
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from antiphon.chain import Chain
from antiphon.encoders import Encoder
from antiphon.encoders import names as encoder_names
from antiphon.methods import names as method_names
from antiphon.optim import Optim
from antiphon.options import Parser
from antiphon.runs import Run
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
    words = ["data", "--out=out", f"--recipe={name}"]
    made = training_arguments([*words, *(f"--{key}={value}" for key, value in settings.items())])
    return {key: value for key, value in made.items() if key not in {"data", "out"}}


def training_arguments(words: Sequence[str], prog: str | None = None) -> dict[str, Any]:
    """The arguments of ``pretrain`` that a command line stands for, ready to be used.

    Whatever the order of the words, a recipe gives way to a config file, and both to the rest. The
    initial weights are drawn from the seed. A run that starts from another one has its encoder,
    unless one is said.
    """
    recipe, rest = take(list(words), "--recipe")
    config_file, rest = take(rest, "--config")
    if config_file:
        _refuse_imported(Path(config_file).expanduser())
    rest = [*_encoder_of_the_start(rest), *rest]
    parser = training_parser(recipe, prog)
    given = parser.parse_args([*(["--config", config_file] if config_file else []), *rest])
    if given.encoder is None:
        parser.error("say what to train: --recipe NAME, or --encoder and --method")
    if "data" not in given:
        parser.error("say what to train on: a folder, a table, or demo")
    torch.manual_seed(given.seed)
    made = vars(parser.instantiate(given))
    left_out = {"config", "recipe", "encoder", "__default_config__"}
    return {key: value for key, value in made.items() if key not in left_out}


def _refuse_imported(config_file: Path) -> None:
    """A run of published weights was not trained here, and its config can't say how."""
    try:
        config = yaml.safe_load(config_file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return  # the parser says what is wrong with it
    if isinstance(config, dict) and "imported" in config:
        run = config_file.parent
        raise ValueError(
            f"{config_file} is of imported weights, which were not trained here: it says nothing "
            f"of how, and can't be repeated. Use them as they are (`antiphon probe {run} DATA`, "
            f"`antiphon embed {run} DATA --out T.parquet`), or have a new encoder learn from them: "
            f"--recipe hubert --method.teacher {run}"
        )


def _encoder_of_the_start(words: list[str]) -> list[str]:
    """The option that gives a fine-tuned run the encoder of the one it starts from."""
    start, rest = take(words, "--method.start")
    if start in (None, "null") or take(rest, "--encoder")[0]:
        return []
    return [f"--encoder={json.dumps(Run.open(str(start)).config['encoder'])}"]


def take(words: list[str], option: str) -> tuple[str | None, list[str]]:
    """The last value of an option, and the words without it."""
    value, rest, number = None, [], 0
    while number < len(words):
        word = words[number]
        if word == option and number + 1 < len(words):
            value, number = words[number + 1], number + 1
        elif word.startswith(f"{option}="):
            value = word.partition("=")[2]
        else:
            rest.append(word)
        number += 1
    return value, rest


def training_parser(recipe: str | None = None, prog: str | None = None) -> Parser:
    """A parser of all that :func:`antiphon.pretrain` takes; a recipe gives it its defaults."""
    encoder_names(), method_names()  # so that a class is known by its bare name
    parser = Parser(
        prog=prog,
        description=(pretrain.__doc__ or "").partition("Args:")[0].strip(),
        default_config_files=[str(_file(recipe))] if recipe else [],
    )
    parser.add_argument(
        "data", nargs="?", type=str, default=SUPPRESS, help="a folder, a table, or demo"
    )
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


def _file(name: str) -> Path:
    file = FOLDER / f"{name}.yaml"
    if not file.is_file():
        raise ValueError(f"there is no recipe {name!r}; there are: {', '.join(names())}")
    return file
