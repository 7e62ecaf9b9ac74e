"""The command line: verbs, each a function of the library. No logic lives here."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from inspect import signature

from rich.console import Console
from rich.table import Table

from antiphon import __version__
from antiphon.options import call

_VERBS = {
    "list": "what there is: recipes, encoders, methods, augmentations, data sets",
    "data": "look at a data set: counts, hours, rates, bad files, classes, leaks",
    "pretrain": "train an encoder on a folder of recordings, without labels (or by them)",
    "import": "make a run of published weights: wav2vec 2.0, HuBERT, data2vec-audio, MERT",
    "embed": "write the frozen encoder's vectors of some files to a Parquet table",
    "probe": "score a run on a data set, beside the baselines it must beat",
    "look": "what the features respond to: filters, tags, factors, planes, layers, saliency",
    "tag": "name what is heard in recordings: the top tags, by a run's kept probe",
    "similar": "what in a collection sounds like a recording, an excerpt, or several examples",
    "listen": "the listening room: a run's features and collections in the browser, to hear",
    "report": "write a run's report.html and report.json",
    "study": "experiments of several runs, each with one table and one page: study NAME",
    "demo": "the whole way on the built-in real music: pretrain, probe, report",
}

_RUN = {"type": str, "help": "a run's folder"}
_DATA = {"type": str, "help": "a folder, a table, or a data set's name"}

_START = """
antiphon learns representations of music from unlabelled audio, and shows what they are worth.

  antiphon data ~/Music                                      what is in the folder
  antiphon pretrain ~/Music --out runs/mine --recipe clmr-mel   learn from it
  antiphon probe runs/mine demo                              is it worth anything
  antiphon look runs/mine demo                               what has it learned
  antiphon report runs/mine                                  runs/mine/report.html
  antiphon embed runs/mine ~/Music --out mine.parquet        use it
  antiphon similar runs/mine ~/Music song.mp3                what sounds like this

`antiphon VERB --help` explains each verb and all its options.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in {"-h", "--help", "help"}:
        verbs = "\n".join(f"  {name:10} {text}" for name, text in _VERBS.items())
        print(f"usage: antiphon VERB ...\n{_START}\nverbs:\n{verbs}")
        return 0
    if words[0] == "--version":
        print(f"antiphon {__version__}")
        return 0
    verb, rest = words[0], words[1:]
    if verb not in _VERBS:
        return _refuse(f"there is no verb {verb!r}; the verbs are: {', '.join(_VERBS)}")
    try:
        return globals()[f"_{verb}"](rest) or 0
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 141
    except _expected_errors() as error:
        return _refuse(str(error))


def _refuse(message: str) -> int:
    print(f"antiphon: {message}", file=sys.stderr)
    return 2


def _expected_errors() -> tuple[type[Exception], ...]:
    """What a user can mend: one line, no traceback. Anything else is a bug, and shows its trace."""
    from antiphon.audio import AudioError
    from antiphon.launch import ProcessDied
    from antiphon.train import TrainingStopped

    return (AudioError, TrainingStopped, ProcessDied, ValueError, OSError, ModuleNotFoundError)


def _data(words: list[str]) -> None:
    from antiphon.survey import show

    call("antiphon data", _VERBS["data"], show, words, {"data": _DATA})


def _pretrain(words: list[str]) -> None:
    from antiphon.recipes import training_arguments
    from antiphon.train import pretrain

    pretrain(**training_arguments(words, "antiphon pretrain"))


def _import(words: list[str]) -> None:
    from antiphon.importing import import_published

    about = "a model in the Hugging Face layout: config.json, weights, preprocessor_config.json"
    folder = {"type": str, "help": about}
    call("antiphon import", _VERBS["import"], import_published, words, {"folder": folder})


def _embed(words: list[str]) -> None:
    from antiphon.embed import embed

    several = {"type": str, "nargs": "+", "help": "files, folders, tables or named data sets"}
    call("antiphon embed", _VERBS["embed"], embed, words, {"run": _RUN, "data": several})


def _probe(words: list[str]) -> None:
    from antiphon.evaluate import probe
    from antiphon.scores import format_scores

    rows = call("antiphon probe", _VERBS["probe"], probe, words, {"run": _RUN, "data": _DATA})
    print(format_scores(rows))


def _look(words: list[str]) -> None:
    from antiphon.look import show

    call("antiphon look", _VERBS["look"], show, words, {"run": _RUN, "data": _DATA})


def _tag(words: list[str]) -> int:
    from antiphon.tagging import show

    several = {"type": str, "nargs": "+", "help": "recordings, folders, tables, named data sets"}
    rows = call("antiphon tag", _VERBS["tag"], show, words, {"run": _RUN, "files": several})
    return int(any(row["failed"] for row in rows))


def _similar(words: list[str]) -> int:
    from antiphon.similar import show

    several = {"type": str, "nargs": "+", "help": "sound files, track ids, or song.mp3@30+5"}
    positional = {"run": _RUN, "data": _DATA, "queries": several}
    answer = call("antiphon similar", _VERBS["similar"], show, words, positional)
    return int(any(example.failed for example in answer.examples))


def _listen(words: list[str]) -> None:
    from antiphon.listen.server import listen

    second = {"type": str, "nargs": "?", "default": None, "help": "another, beside it"}
    places = {"run": _RUN, "data": _DATA, "data2": second}
    call("antiphon listen", _VERBS["listen"], listen, words, places)


def _report(words: list[str]) -> None:
    from antiphon.report import report

    print(call("antiphon report", _VERBS["report"], report, words, {"run": _RUN}))


def _demo(words: list[str]) -> None:
    from antiphon.demo import demo

    call("antiphon demo", _VERBS["demo"], demo, words, {})


def _study(words: list[str]) -> None:
    from antiphon import studies
    from antiphon.recipes import take

    if not words or words[0] in {"-h", "--help"}:
        width = max(map(len, studies.names()))
        found = "\n".join(f"  {name:{width}} {studies.about(name)}" for name in studies.names())
        print(f"usage: antiphon study NAME [DATA or RUN] ...\n\nstudies:\n{found}")
        return
    name, rest = words[0], words[1:]
    study = studies.study(name)
    chief, parameter = next(iter(signature(study).parameters.items()))
    if chief == "run":
        first = {"run": {**_RUN, "help": "a run's folder, or a recipe's name"}}
    else:
        where, rest = take(rest, "--data")  # as good as the place after the name
        rest = [where, *rest] if where else rest
        first = {"data": {**_DATA, "nargs": "?", "default": parameter.default}}
    call(f"antiphon study {name}", studies.about(name), study, rest, first)


def _list(words: list[str]) -> None:
    from antiphon import augment, chain, datasets, encoders, methods, recipes, studies

    table = Table(box=None, show_header=False, pad_edge=False)
    for recipe in recipes.names():
        table.add_row("recipe", recipe, recipes.about(recipe))
    for kind, found in (
        ("encoder", encoders.names()),
        ("method", methods.names()),
        ("augmentation", augment.names()),
    ):
        for name, thing in found.items():
            table.add_row(kind, name, (thing.__doc__ or "").splitlines()[0])
    for preset in chain.PRESETS:
        table.add_row("chain", preset, "a preset of --augment.augmentations")
    for study in studies.names():
        table.add_row("study", study, studies.about(study))
    for dataset in datasets.names():
        table.add_row("data set", dataset, datasets.about(dataset))
    Console().print(table, highlight=False)
