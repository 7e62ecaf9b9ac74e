"""antiphon: self-supervised learning of music representations.

From a folder of recordings to a frozen encoder, an honest probe of it, and a file to ship:
``open`` a data set, ``pretrain``, ``probe``, ``report``, ``embed``.
"""

__version__ = "0.1.0"

from antiphon.chain import Chain
from antiphon.datasets import Dataset, Track, open
from antiphon.embed import Embedder, embed
from antiphon.encoders import Encoder
from antiphon.evaluate import probe
from antiphon.methods import Method
from antiphon.optim import Optim
from antiphon.recipes import recipe
from antiphon.report import report
from antiphon.runs import Run
from antiphon.survey import survey
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
    "open",
    "pretrain",
    "probe",
    "recipe",
    "report",
    "survey",
]
