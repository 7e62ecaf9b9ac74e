"""Which excerpt does item i of step s see: a pure function of (seed, s, i).

Nothing here has a state, so it doesn't matter how many workers or machines there are, nor how
often a run was stopped: step s always sees the same batch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from antiphon.pack import Pack

_CROP, _AUGMENT, _ORDER, _STEP, _STRETCH = range(5)  # what a drawn number is for


class Batch(NamedTuple):
    """What one step sees.

    Attributes:
        views: waveforms ``(V, B, 1, T)`` in [-1, 1].
        tracks: the number of each item's track ``(B,)``.
        clean: the views as they were before any augmentation, for targets; None if they still are.
        labels: of each item, for methods that learn from them: class numbers ``(B,)``, or tags
            ``(B, C)`` of 0 and 1, float32.
    """

    views: Tensor
    tracks: Tensor
    clean: Tensor | None = None
    labels: Tensor | None = None

    @property
    def sound(self) -> Tensor:
        """The views without augmentation ``(V, B, 1, T)``."""
        return self.views if self.clean is None else self.clean

    def augmented(self, views: Tensor) -> Batch:
        """The same batch with altered views, that remembers how they were."""
        clean = None if views is self.views else self.sound
        return Batch(views, self.tracks, clean, self.labels)

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device; from pinned memory while the CPU goes on."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> Batch:
        """The same batch in memory that a GPU can read by itself."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        clean = None if self.clean is None else change(self.clean)
        labels = None if self.labels is None else change(self.labels)
        return Batch(change(self.views), change(self.tracks), clean, labels)


class Excerpts:
    """Batches of random crops: V independent crops of one track are an item's V views.

    An epoch goes once through the tracks, in an order of its own; those that don't fill a last
    batch are left out of it. A batch never holds a track twice, unless there are fewer tracks than
    items.

    Args:
        pack: the tracks; each at least ``window`` samples long.
        window: T, in samples.
        batch: items in a step, of all processes together.
        views: V, crops an item.
        seed: of everything that is drawn.
        rank: the number of this process, which takes its :func:`share` of every batch.
        ranks: how many processes there are; the batches do not depend on it.
        within: seconds of a stretch of the track, of a place of its own each time, that an item's
            crops are taken from; None for the whole track.
        labels: a row for each track, if the method is to learn from them.
    """

    def __init__(
        self,
        pack: Pack,
        window: int,
        batch: int,
        views: int = 2,
        seed: int = 0,
        rank: int = 0,
        ranks: int = 1,
        within: float | None = None,
        labels: Tensor | None = None,
    ) -> None:
        short = int((pack.lengths < window).sum())
        if short or not len(pack):
            raise ValueError(f"{short} of {len(pack)} tracks are shorter than {window} samples")
        self.pack, self.window, self.batch, self.views, self.seed = pack, window, batch, views, seed
        self.share, self.within, self.labels = share(batch, rank, ranks), within, labels

    def tracks(self, step: int) -> NDArray[np.int64]:
        """The track numbers ``(B,)`` of a step, of all processes."""
        count = len(self.pack)
        if count >= self.batch:
            epoch, place = divmod(step, count // self.batch)
            order = _order(self.seed, epoch, count)
            return order[place * self.batch : (place + 1) * self.batch]
        epochs, places = np.divmod(np.arange(self.batch) + step * self.batch, count)
        pairs = zip(epochs, places, strict=True)
        return np.array([_order(self.seed, int(epoch), count)[place] for epoch, place in pairs])

    def starts(self, step: int) -> NDArray[np.int64]:
        """Where each crop begins ``(V, B)``: uniform over [0, length - T], the ends included.

        With ``within``, uniform over a stretch, which lies uniformly in the track.
        """
        chances = uniforms(self.seed, step, self.views, self.batch, _CROP)
        lengths = self.pack.lengths[self.tracks(step)]
        if self.within is None:
            return _places(chances, lengths - self.window)
        stretch = round(self.within * self.pack.sample_rate)
        stretches = np.clip(stretch, self.window, lengths)
        where = uniforms(self.seed, step, 1, self.batch, _STRETCH)
        return _places(where, lengths - stretches) + _places(chances, stretches - self.window)

    def at(self, step: int) -> Batch:
        """This process's share of the batch of a step."""
        tracks, starts = self.tracks(step)[self.share], self.starts(step)[:, self.share]
        views = np.empty((self.views, len(tracks), 1, self.window), np.int16)
        for view in range(self.views):
            for item, (track, start) in enumerate(zip(tracks, starts[view], strict=True)):
                views[view, item, 0] = self.pack.read(int(track), int(start), self.window)
        waveforms = torch.from_numpy(views).to(torch.float32).div_(32767)
        numbers = torch.from_numpy(tracks.copy())
        labels = None if self.labels is None else self.labels[numbers]
        return Batch(waveforms, numbers, labels=labels)

    def generators(self, step: int) -> list[list[torch.Generator]]:
        """A generator for each view and item of :meth:`at`, for all that augmentations draw."""
        seeds = keys(self.seed, step, self.views, self.batch, _AUGMENT)[:, self.share]
        return [[torch.Generator().manual_seed(int(s)) for s in row] for row in seeds]


def share(batch: int, rank: int, ranks: int) -> slice:
    """Which items of a batch are a process's own: the rank-th of equal parts.

    Raises:
        ValueError: the parts would not be equal.

    >>> share(8, 1, 4)
    slice(2, 4, None)
    """
    if batch % ranks:
        near = [n for n in (batch // ranks * ranks, (batch // ranks + 1) * ranks) if n]
        raise ValueError(
            f"train.batch is the batch of all processes together: {batch} items can't be shared "
            f"equally by {ranks}; {' or '.join(map(str, near))} can"
        )
    size = batch // ranks
    return slice(rank * size, (rank + 1) * size)


def step_seed(seed: int, step: int, rank: int = 0) -> int:
    """For what a method draws for the whole batch (dropout, masks).

    Each process draws its own: unlike crops and augmentations, this depends on how many there are.
    """
    return int(keys(seed, step, 1, rank + 1, _STEP)[0, rank])


def keys(seed: int, step: int, views: int, batch: int, purpose: int) -> NDArray[np.uint64]:
    """Independent 63-bit numbers ``(V, B)``, by hashing (seed, step, view, item, purpose)."""
    view, item = np.meshgrid(np.arange(views), np.arange(batch), indexing="ij")
    mixed = np.zeros((views, batch), np.uint64)
    for part in (seed, purpose, step, view, item):
        mixed = _splitmix(mixed ^ np.asarray(part, dtype=np.int64).astype(np.uint64))
    return mixed >> np.uint64(1)


def uniforms(seed: int, step: int, views: int, batch: int, purpose: int) -> NDArray[np.float64]:
    """Numbers in [0, 1) ``(V, B)`` from :func:`keys`."""
    return (keys(seed, step, views, batch, purpose) >> np.uint64(10)) / 2.0**53


def _places(chances: NDArray[np.float64], last: NDArray[np.int64]) -> NDArray[np.int64]:
    """Whole numbers from 0 to ``last``, both included, from numbers in [0, 1)."""
    return np.minimum((chances * (last + 1)).astype(np.int64), last)


def _splitmix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64 (Steele, Lea and Flood, 2014): wraps around by design."""
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    key = int(keys(seed, epoch, 1, 1, _ORDER)[0, 0])
    return np.random.default_rng(key).permutation(count)
