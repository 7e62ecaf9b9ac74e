"""Workers: small heads on an encoder's frames, each with a task that teaches it something.

A worker sees the frames of the altered sound, and makes its targets of the clean sound. LIM, GIM
and SPC draw from torch's generator on the CPU, and compare the items of their own process only.
"""

from __future__ import annotations

from antiphon import features
from antiphon.encoders import Encoder
from antiphon.workers.base import Worker
from antiphon.workers.games import Contrastive, GlobalInfoMax, LocalInfoMax, TimeOrder
from antiphon.workers.reconstruction import Error, Regression, Waveform

__all__ = ["Error", "Worker", "make", "names"]

_STEPS = 0.01, 0.02  # seconds between a feature's frames: the encoder's own, or the nearer of these
_GAMES: dict[str, type[LocalInfoMax | TimeOrder]] = {
    "lim": LocalInfoMax,
    "gim": GlobalInfoMax,
    "spc": TimeOrder,
}


def names() -> list[str]:
    """Every worker there is: those that are no features, and a regression of each feature."""
    return ["waveform", "contrastive", *_GAMES, *features.names()]


def make(
    name: str,
    encoder: Encoder,
    hidden: int = 256,
    error: Error = "mse",
    context: int = 1,
    channels: int = 512,
    temperature: float = 0.5,
) -> Worker:
    """A worker by name: see :func:`names`.

    Args:
        name: of the worker.
        encoder: whose frames it sees.
        hidden: width of the heads' hidden layer.
        error: of regressions.
        context: of regressions.
        channels: of "waveform".
        temperature: of "contrastive".

    Raises:
        ValueError: there is no such worker, or an excerpt has too few frames for it.
    """
    worker: Worker
    if name == "waveform":
        worker = Waveform(encoder, channels)
    elif name == "contrastive":
        worker = Contrastive(encoder, temperature=temperature)
    elif name in _GAMES:
        worker = _GAMES[name](encoder, hidden)
    elif name in features.names():
        least, most = (round(step * encoder.sample_rate) for step in _STEPS)
        hop = min(max(least, encoder.hop), most)
        longest = max(2, encoder.window // hop // 2)  # periods that an excerpt holds twice
        settings = {"lags": min(384, longest)} if name == "tempogram" else {}
        feature = features.make(name, encoder.sample_rate, hop, **settings)
        worker = Regression(encoder, feature, hidden, error, context)
    else:
        raise ValueError(f"there is no worker {name!r}; there are: {', '.join(names())}")
    count = encoder.window_frames
    if count < worker.least:
        raise ValueError(
            f"the worker {name!r} needs {worker.least} frames of an excerpt, and "
            f"{type(encoder).__name__} makes {count} of {encoder.seconds:g} s: a longer "
            "--encoder.seconds, or an encoder with a shorter hop"
        )
    return worker
