"""antiphon: self-supervised learning of music representations.

From a folder of recordings to a frozen encoder, an honest probe of it, and a file to ship:
``open`` a data set, ``pretrain``, ``probe``, ``report``, ``embed``.

The names are imported when they are first used: the processes that decode, and those that only
look at a folder, start without torch.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from antiphon.chain import Chain
    from antiphon.datasets import Dataset, Track, open
    from antiphon.embed import Embedder, embed
    from antiphon.encoders import Encoder
    from antiphon.evaluate import probe
    from antiphon.importing import import_published
    from antiphon.methods import Method
    from antiphon.optim import Optim
    from antiphon.recipes import recipe
    from antiphon.report import report
    from antiphon.runs import Run
    from antiphon.similar import similar
    from antiphon.survey import survey
    from antiphon.tagging import tag
    from antiphon.train import Train, pretrain

__all__ = [
    "Chain",
    "Dataset",
    "Embedder",
    "Encoder",
    "Method",
    "Optim",
    "Run",
    "Track",
    "Train",
    "embed",
    "import_published",
    "open",
    "pretrain",
    "probe",
    "recipe",
    "report",
    "similar",
    "survey",
    "tag",
]

_HOMES = {
    "Chain": "chain",
    "Dataset": "datasets",
    "Embedder": "embed",
    "Encoder": "encoders",
    "Method": "methods",
    "Optim": "optim",
    "Run": "runs",
    "Track": "datasets",
    "Train": "train",
    "embed": "embed",
    "import_published": "importing",
    "open": "datasets",
    "pretrain": "train",
    "probe": "evaluate",
    "recipe": "recipes",
    "report": "report",
    "similar": "similar",
    "survey": "survey",
    "tag": "tagging",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    setattr(sys.modules[__name__], name, value)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        # Importing antiphon.embed would put the module in the place of the function.
        if isinstance(value, ModuleType) and name in _HOMES:
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
