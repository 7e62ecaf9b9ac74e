"""Is the representation still alive? Figures of embeddings that fall when training goes wrong."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from antiphon import distributed
from antiphon.excerpts import Excerpts
from antiphon.pack import Pack

_WATCHED = 128  # tracks that are embedded


@torch.no_grad()
def look(embed: Callable[[Tensor], Tensor], pack: Pack, window: int) -> dict[str, float]:
    """Embed two crops of some tracks, always the same ones: do they still differ?

    Every process embeds its share, and finds the figures of all.

    Args:
        embed: vectors of waveforms.
        pack: of the tracks.
        window: length of a crop in samples.

    Returns:
        ``alignment, uniformity, effective_rank, spread``, and ``knn`` if there are labels.
    """
    looked = Excerpts(pack, window, min(_WATCHED, len(pack)), views=2, seed=-1).at(0)
    own = looked.views.flatten(0, 1).tensor_split(distributed.world_size())[distributed.rank()]
    vectors = torch.cat([embed(part) for part in own.split(16)]).float()
    a, b = distributed.all_gather(vectors).cpu().chunk(2)
    values = {
        "alignment": alignment(a, b),
        "uniformity": uniformity(a) if len(a) > 1 else 0.0,
        "effective_rank": effective_rank(a),
        "spread": spread(a),
    }
    tracks = [pack.tracks[number] for number in looked.tracks]
    if any(track.labels for track in tracks) and len({t.group for t in tracks}) > 1:
        agree = neighbours_agree(a, [t.labels for t in tracks], [t.group for t in tracks])
        values |= {} if math.isnan(agree) else {"knn": agree}
    return values


def collapsed(values: dict[str, float], tracks: int) -> bool:
    """Whether a look at so many tracks shows no more difference between them."""
    dead = not all(map(math.isfinite, values.values()))
    return dead or values["spread"] < 1e-4 or (values["effective_rank"] < 1.1 and tracks > 2)


def alignment(a: Tensor, b: Tensor) -> float:
    """How far two views of one track lie apart on the unit sphere: mean of ||a - b||^2, 0 to 4.

    Wang and Isola, "Understanding contrastive representation learning" (2020). Small is good.
    """
    return (_unit(a) - _unit(b)).square().sum(1).mean().item()


def uniformity(a: Tensor) -> float:
    """How evenly embeddings fill the sphere: log mean exp(-2 ||a_i - a_j||^2), 0 is one point.

    Wang and Isola (2020). The lower, the more even; 0 is a collapse.
    """
    distances = torch.pdist(_unit(a).double())
    return distances.square().mul(-2).exp().mean().log().item()


def effective_rank(a: Tensor) -> float:
    """How many directions the embeddings really use: exp of the entropy of the singular values.

    Roy and Vetterli, "The effective rank" (2007), of the centred matrix. 1 is a line, and a
    collapse along the way.
    """
    values = torch.linalg.svdvals(a.double() - a.double().mean(0))
    if values.sum() <= 1e-12:
        return 1.0
    share = values / values.sum()
    return math.exp(-(share * share.clamp_min(1e-12).log()).sum().item())


def spread(a: Tensor) -> float:
    """The mean distance from the mean on the unit sphere; 0 if all embeddings are one."""
    unit = _unit(a)
    return (unit - unit.mean(0)).norm(dim=1).mean().item()


def neighbours_agree(
    a: Tensor, labels: Sequence[tuple[str, ...]], groups: Sequence[str], k: int = 5
) -> float:
    """How well labels can be told from the k nearest tracks of other groups, 0 to 1.

    With one label a track the share of tracks whose neighbours' vote is right; with several, the
    mean overlap (Jaccard) with the nearest neighbour's.
    """
    similarity = (
        functional.normalize(a - a.mean(0), dim=1) @ functional.normalize(a - a.mean(0), dim=1).T
    )
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    group = torch.tensor([numbers[g] for g in groups])
    similarity[(group[:, None] == group).to(similarity.device)] = -torch.inf
    near = similarity.topk(min(k, len(a) - 1), dim=1).indices.tolist()
    held: dict[str, set[str]] = {}
    for own, name in zip(labels, groups, strict=True):
        for label in own:
            held.setdefault(label, set()).add(name)
    scores = []
    single = max(len(own) for own in labels) <= 1
    for own, others in zip(labels, near, strict=True):
        if not any(len(held[label]) > 1 for label in own):
            continue  # no other group has its label: nobody could tell
        if single:
            votes = Counter(labels[other][0] for other in others if labels[other])
            scores.append(float(bool(votes) and votes.most_common(1)[0][0] == own[0]))
        else:
            first = set(labels[others[0]])
            scores.append(len(first & set(own)) / len(first | set(own)))
    return sum(scores) / len(scores) if scores else math.nan


def _unit(a: Tensor) -> Tensor:
    return functional.normalize(a.float(), dim=1)
