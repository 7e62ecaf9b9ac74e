"""What are few labels worth: on a frozen encoder, and to a network that has nothing else."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon.datasets import Dataset
from antiphon.datasets import open as open_dataset
from antiphon.evaluate import embed_excerpts, with_baselines
from antiphon.files import write_atomically
from antiphon.heads import predict as predict_by_head
from antiphon.heads import trained_head
from antiphon.labels import labelled, set_aside, targets
from antiphon.metrics import METRICS
from antiphon.pack import Pack, pack
from antiphon.probing import Embedded, predict
from antiphon.progress import say
from antiphon.protocol import divide
from antiphon.recipes import recipe as made_by
from antiphon.resampling import Metric, resample_groups
from antiphon.runs import Run
from antiphon.scores import Replicated, score_rows
from antiphon.studies import Study
from antiphon.studies._contest import Contest
from antiphon.studies._page import Column, Figure, Line, Page, Row
from antiphon.studies._rows import title
from antiphon.studies._terms import Entry, Terms
from antiphon.subsets import stratified_subset
from antiphon.train import pretrain
from antiphon.verdict import beyond
from antiphon.windows import pick_device

_SSL, _SUPERVISED = "pretrained", "supervised"
_ARMS = (_SSL, _SUPERVISED, "random-init", "log-mel", "mfcc")
_WORDS = {
    "more": "scores higher than",
    "less": "scores lower than",
    "none": "is not told apart from",
    "unknown": "can't be compared with",
}

# Figures 6.5 and 6.6 of the thesis: PR-AUC over tags, of CLMR's linear probe and of a supervised
# network. The text calls that one equivalent, SampleCNN; its ends are table 6.1's Pons, 34.92 and
# 28.53, where SampleCNN has 34.38 and none. The numbers are of the notebook that drew the figures.
_PUBLISHED = {
    "mtat": {
        1: (0.3312, 0.2481), 2: (0.3344, 0.2676), 5: (0.3366, 0.2774), 10: (0.3368, 0.2837),
        20: (0.3411, 0.3165), 50: (0.3453, 0.3354), 100: (0.3511, 0.349),
    },
    "msd": {
        1: (0.2231, 0.1425), 2: (0.2285, 0.1746), 5: (0.232, 0.2077), 10: (0.2327, 0.2306),
        20: (0.2319, 0.2537), 50: (0.24, 0.27), 100: (0.25, 0.2853),
    },
}  # fmt: skip


def label_efficiency(
    data: str | Dataset = "demo",
    out: str = "runs/label-efficiency",
    budget: str = "600 steps",
    recipe: str = "demo",
    supervised: str = "supervised-small",
    run: str | None = None,
    percents: list[float] | None = None,
    steps: int | None = None,
    **terms: Any,
) -> Path:
    """Few labels: a probe on a frozen encoder, against a network that learns from them alone.

    The encoder is pre-trained on all training tracks without labels. Then a share of these is
    given labels, with every class in its share and at least once, and each smaller subset is part
    of the larger ones. A probe on the frozen encoder and a network from scratch learn from the same
    subset, and are asked about the same test tracks; an untrained encoder and plain features stand
    beside. Ctrl-C at any moment: the same call goes on from there.

    Args:
        data: has labels, and the splits ``train`` and ``test``. What it has as ``valid`` stops
            probes and network, whatever the share; without, a tenth of ``train``.
        out: the study's folder, with all runs in it.
        budget: of the pre-training: 90s, 10m, 2h, or 600 steps, 30 epochs.
        recipe: of the pre-training.
        supervised: recipe of the network.
        run: an encoder that is pre-trained already; budget and recipe are its own then.
        percents: shares of the labels; default 1, 2, 5, 10, 20, 50 and 100.
        steps: the most that the network is trained; default its recipe's.
        terms: what all studies have in common, see :class:`~antiphon.studies._terms.Terms`.
            ``seeds`` is how many subsets of each size are drawn; of ``probes`` the first is taken.

    Returns:
        The path of ``label-efficiency.html``; ``table.csv`` and ``table.json`` lie beside it.

    Raises:
        ValueError: no labels or no such splits or recipes, shares that are none, several points
            or training seeds, or the folder holds another study.
    """
    shared = Terms(data, budget, **terms)
    percents = sorted(set(percents or (1, 2, 5, 10, 20, 50, 100)))
    if wrong := [percent for percent in percents if not 0 < percent <= 100]:
        said = ", ".join(f"{percent:g}" for percent in wrong)
        raise ValueError(f"--percents are over 0 and at most 100, not {said}")
    if shared.points > 1 or shared.train_seeds > 1:
        raise ValueError(
            "label-efficiency trains one encoder with one seed, and asks its end alone: leave out "
            "--points and --train_seeds; --seeds is how many subsets of each size are drawn"
        )
    if not shared.probes:
        raise ValueError("the frozen encoder needs a probe: --probes [linear]")
    made_by(supervised)  # so that a mistake is found before the pre-training
    dataset = labelled(open_dataset(data, shared.labels), "label-efficiency")
    if missing := {"train", "test"} - set(dataset.splits):
        raise ValueError(
            f"data set {dataset.name!r} has no split {' and no split '.join(sorted(missing))}: a "
            "table with a column split says which tracks are which"
        )
    settings = {"recipe": recipe, "supervised": supervised, "run": run, "steps": steps}
    known = Run.open(run) if run else None
    if known:
        known.encoder()  # it has one
        settings["weights"] = known.digest
    study = Study(out, {**shared.settings(dataset), **settings})
    contest = Contest(study, shared, dataset, "entry")
    row, _ = contest.row(Entry(_SSL, recipe, run=known))
    if row["failed"]:
        what = f"{run} could not be scored" if run else "the encoder could not be pre-trained"
        raise ValueError(f"{what}: {row['failed']}")
    encoder = known or Run(study.folder / _SSL)
    arms = _Arms(study, shared, dataset, encoder, supervised, steps)
    rows: list[Row] = []
    for share, chosen in arms.subsets(percents):
        said = ", ".join(f"{percent:g}" for percent in share)
        if shared.progress:
            say(f"{said} % of the labels: {len(chosen[0])} tracks, {len(chosen)} times", "bold")
        rows.append(arms.row(share, chosen))
        path = _page(rows, arms, row).write(study.folder, "label-efficiency")
    if shared.progress:
        print(_page(rows, arms, row).text())
        print(path)
    return path


class _Arms:
    """All that learns from a subset, and what it says of the test tracks."""

    def __init__(
        self,
        study: Study,
        terms: Terms,
        dataset: Dataset,
        run: Run,
        supervised: str,
        steps: int | None,
    ) -> None:
        self.study, self.terms, self.dataset, self.run = study, terms, dataset, run
        self.supervised, self.steps = supervised, steps
        encoder = run.encoder()
        where = pick_device(terms.device)
        self.packed = self.pack(encoder.sample_rate)
        self.y, self.usable = targets(dataset, self.packed)
        self.own_valid = bool({"valid", "validation"} & set(dataset.splits))
        if not self.own_valid:
            self.dataset = dataset = self._with_valid()
        train = set(dataset.splits["train"])
        self.train = np.array(
            [n for n, t in enumerate(self.packed.tracks) if t.id in train and self.usable[n]]
        )
        models = with_baselines(encoder, run.config["seed"])
        self.embedded: dict[str, Embedded] = {
            name: embed_excerpts(model.to(where), self.packed, encoder.seconds)
            for name, model in models.items()
        }
        protocol = divide(dataset, self.packed, self.y, self.usable, 1)
        self.tested = protocol.tested
        self.groups = np.array([track.group for track in self.packed.tracks])
        self.seed: int | None = None if "imported" in run.config else run.config["seed"]
        self.drawn = resample_groups(self.groups[self.tested], terms.resamples)

    def _with_valid(self) -> Dataset:
        """A tenth of the training tracks set aside, whole groups, to stop all by."""
        learning = self.dataset.split("train")
        ids = set(learning.splits["train"])
        pairs = zip(self.packed.tracks, self.packed.digests, strict=True)
        packed = self.packed.only({t.id: digest for t, digest in pairs if t.id in ids})
        rest, aside = set_aside(packed, learning, self.terms.seed)
        parts = {"train": rest, "valid": aside}
        found = {name: tuple(track.id for track in part.tracks) for name, part in parts.items()}
        return replace(self.dataset, splits={**self.dataset.splits, **found})

    def pack(self, rate: int) -> Pack:
        """All tracks at a rate."""
        return pack(self.dataset, rate, self.terms.cache, progress=self.terms.progress)

    def subsets(self, percents: Sequence[float]) -> list[tuple[list[float], list[list[str]]]]:
        """The shares that are of the same size, and the ids of each of their subsets."""
        found: dict[int, tuple[list[float], list[list[str]]]] = {}
        for percent in percents:
            several = []
            for seed in range(self.terms.seeds):
                chosen = stratified_subset(self.y[self.train], percent / 100, seed)
                several.append([self.packed.tracks[n].id for n in self.train[chosen]])
            share, _ = found.setdefault(len(several[0]), ([], several))
            share.append(percent)
        return list(found.values())

    def row(self, share: Sequence[float], chosen: Sequence[Sequence[str]]) -> Row:
        """The scores of all arms, each the mean over the subsets."""
        said: dict[str, list[NDArray[np.float64]]] = {arm: [] for arm in _ARMS}
        for seed, ids in enumerate(chosen):
            splits = {**self.dataset.splits, "train": tuple(ids)}
            few = replace(self.dataset, splits=splits)
            few = replace(few, name=f"{few.name}-{few.splits_hash}")
            for arm in _ARMS:
                said[arm].append(self._once(arm, few, seed))
        row: Row = {
            "percents": ", ".join(f"{percent:g}" for percent in share),
            "labelled": len(chosen[0]),
            "share": len(chosen[0]) / len(self.train),
            "splits hash": self.dataset.splits_hash,
            "seeds": len(chosen),
            "training seed": self.seed,
        }
        known = _PUBLISHED.get(self.dataset.name.partition(",")[0], {})
        published = next((v for p, v in known.items() if p == share[-1]), (None, None))
        row |= {"published": published[0], "published supervised": published[1]}
        about = {"tracks": len(self.tested)}
        for metric, function in METRICS[self.dataset.task or "none"].items():
            metrics: dict[str, Metric] = {
                arm: Replicated(function, self.y[self.tested], np.stack(p))
                for arm, p in said.items()
            }
            for score in score_rows(metrics, self.drawn, about):
                key = f"{score['model']} {metric}"
                row |= {key: score["value"], f"{key} low": score["low"]}
                row[f"{key} high"] = score["high"]
                for pair in score["paired"]:
                    gain = f"{metric} minus {pair['against']}"
                    row |= {gain: pair["difference"], f"{gain} low": pair["low"]}
                    row[f"{gain} high"] = pair["high"]
        return row

    def _once(self, arm: str, few: Dataset, seed: int) -> NDArray[np.float64]:
        """What an arm says of the tested tracks; found in the study's folder if it said it."""
        path = self.study.folder / "parts" / "answers" / f"{arm}-{few.splits_hash}-{seed}.npy"
        if not path.exists():
            made: Callable[[Dataset, int], NDArray[np.float64]]
            made = self._network if arm == _SUPERVISED else lambda f, s: self._probe(arm, f, s)
            file = io.BytesIO()
            np.save(file, made(few, seed), allow_pickle=False)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, file.getvalue())
        found: NDArray[np.float64] = np.load(path, allow_pickle=False)
        return found

    def _probe(self, arm: str, few: Dataset, seed: int) -> NDArray[np.float64]:
        (folds,) = divide(few, self.packed, self.y, self.usable, 1).folds
        name, groups = self.terms.probes[0], self.groups
        embedded = self.embedded[arm]
        return predict(name, few, embedded, self.y, groups, folds, seed, self.tested, [])

    def _network(self, few: Dataset, seed: int) -> NDArray[np.float64]:
        more = {"train.steps": self.steps} if self.steps else {}
        made = made_by(self.supervised, seed=self.terms.seed + seed, **more)
        if self.terms.device != "auto":
            made["train"] = replace(made["train"], device=self.terms.device)
        folder = self.study.folder / f"{_SUPERVISED}-{len(few.splits['train'])}-{seed}"
        run = pretrain(few, folder, **{**made, "cache": self.terms.cache, "progress": False})
        method = trained_head(run)
        assert method is not None
        rate = method.encoder.sample_rate
        packed = self.packed if rate == self.packed.sample_rate else self.pack(rate)
        number = {track.id: n for n, track in enumerate(packed.tracks)}
        asked = np.array([number[self.packed.tracks[n].id] for n in self.tested])
        return predict_by_head(method.to(pick_device(self.terms.device)), packed, asked)


def _page(rows: Sequence[Row], arms: _Arms, pretrained: Row) -> Page:
    metrics = list(METRICS[arms.dataset.task or "none"])
    main = "pr-auc-tag" if "pr-auc-tag" in metrics else metrics[0]
    probe = arms.terms.probes[0]
    columns = [
        Column("percents", "% of labels", brief=True),
        Column("labelled", "Labelled tracks", brief=True),
    ]
    for metric in [main, *(metric for metric in metrics if metric != main)]:
        brief = metric == main
        columns += [
            Column(f"{_SSL} {metric}", f"{title(metric)}, pre-trained", "score", brief=brief),
            Column(f"{_SUPERVISED} {metric}", "from scratch", "score", brief=brief),
        ]
        columns += [
            Column(f"{metric} minus {arm}", f"pre-trained minus {arm}", "difference", brief=brief)
            for arm in _ARMS[1:]
        ]
    if any(row["published"] is not None for row in rows):
        columns += [
            Column("published", "PR-AUC in the thesis, CLMR"),
            Column("published supervised", "in the thesis, supervised"),
        ]
    gain = f"{main} minus {_SUPERVISED}"
    readings = [beyond({"low": row[f"{gain} low"], "high": row[f"{gain} high"]}) for row in rows]
    said = "; ".join(
        f"with {row['labelled']} labelled tracks it {_WORDS[reading]} the network "
        f"({row[gain]:+.3f})".replace("-", "−")
        for row, reading in zip(rows, readings, strict=True)
    )
    return Page(
        title="Few labels",
        lead=(
            f"A {probe} probe on the frozen encoder against {arms.supervised} from scratch, by "
            f"{title(main)} on {arms.dataset.name}: {said}."
        ),
        notes=[
            "Each figure is the mean over "
            f"{arms.terms.seeds} subsets of that size; brackets are 95 % intervals from resampled "
            "groups of test tracks, and the chance of the subset is not in them. Differences are "
            "paired: the same subsets, the same test tracks.",
            f"Of each class one track is labelled at least, so {rows[0]['labelled']} of "
            f"{len(arms.train)} training tracks are the fewest; shares that come to as many tracks "
            "share a row.",
            _heard(arms)
            + (
                "The valid split stops all, with all its labels."
                if arms.own_valid
                else f"{len(arms.dataset.splits['valid'])} of the training tracks are set aside "
                "with their labels, and stop all, whatever the share."
            ),
            *([f"Leaks: {pretrained['leaks']}"] if pretrained.get("leaks") else []),
            f"Pre-trained: {pretrained.get('method')}, {pretrained.get('encoder')}, "
            f"{pretrained.get('steps')} steps{_seeds(arms)}. Scored on {len(arms.tested)} test "
            f"tracks, splits {arms.dataset.splits_hash}.",
        ],
        columns=columns,
        rows=rows,
        figures=[_curves(rows, metric) for metric in metrics if metric == main],
        about=arms.study.settings,
    )


def _heard(arms: _Arms) -> str:
    """What the encoder has heard of the tracks that are learned from, and of those asked about."""
    run, digests = arms.run, set(arms.run.heard.values())
    if "imported" in run.config:
        return "What the encoder was pre-trained on isn't known. "
    learned, tested = (
        (sum(arms.packed.digests[n] in digests for n in numbers), len(numbers))
        for numbers in (arms.train, arms.tested)
    )
    how = "" if run.read_head() else ", without labels"
    many = "All" if learned[0] == learned[1] else f"{learned[0]} of"
    said = f"{many} {learned[1]} training tracks were heard in pre-training{how}. "
    if tested[0]:
        return said + f"So were {tested[0]} of the {tested[1]} test tracks, which flatters it. "
    return said + f"None of the {tested[1]} test tracks was. "


def _seeds(arms: _Arms) -> str:
    """With what seeds all was trained."""
    first, count = arms.terms.seed, arms.terms.seeds
    own = "" if arms.seed is None else f", seed {arms.seed}"
    network = f"seed {first}" if count == 1 else f"seeds {first} to {first + count - 1}"
    return f"{own}; the network of each subset has a seed of its own, {network}"


def _curves(rows: Sequence[Row], metric: str) -> Figure:
    x = [row["labelled"] for row in rows]
    lines = []
    for arm in _ARMS:
        key = f"{arm} {metric}"
        band = [(row[f"{key} low"], row[f"{key} high"]) for row in rows]
        drawn = band if arm in (_SSL, _SUPERVISED) else ()
        lines.append(Line(arm, x, [row[key] for row in rows], drawn))
    return Figure(
        f"{title(metric)} over labelled tracks",
        "“supervised” learns from the labels alone; of all others a probe does, on frozen vectors. "
        "Bands are 95 % intervals.",
        "labelled tracks",
        title(metric),
        lines,
    )
