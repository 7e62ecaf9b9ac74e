"""What a run's own head is worth: the predictions it was trained to make, beside frozen probes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from antiphon.ahead import batched
from antiphon.configured import build
from antiphon.datasets import Dataset
from antiphon.methods import Classifier
from antiphon.metrics import METRICS, average_windows
from antiphon.pack import Pack
from antiphon.progress import say
from antiphon.protocol import Protocol
from antiphon.resampling import Metric, resample_groups
from antiphon.runs import Run
from antiphon.scores import Replicated, detail_of, score_rows
from antiphon.windows import pack_windows

_BATCH = 16  # windows at once

Predictions = NDArray[np.float64]


def trained_head(run: Run) -> Classifier | None:
    """The method that a run was trained with, encoder, head and all, in eval mode.

    None if it learned no labels, or was stopped before its first checkpoint.
    """
    kept = run.read_head()
    if kept is None:
        return None
    weights, task, classes = kept
    method: Classifier = build(run.config["method"], encoder=run.encoder())
    method.set_classes("multilabel" if task == "multilabel" else "multiclass", classes)
    method.head.load_state_dict(weights)
    return method.eval().requires_grad_(False)


@torch.inference_mode()
def predict(method: Classifier, packed: Pack, tracks: NDArray[np.int64]) -> Predictions:
    """Probabilities ``(tracks, C)``: the mean over a track's windows, one after the other."""
    device = next(tensor.device for tensor in method.encoder.state_tensors())
    asked = packed.only({packed.tracks[n].id: packed.digests[n] for n in tracks})
    windows = pack_windows(asked, method.encoder.window)
    owners, found = [], []
    for some in batched(windows, _BATCH):
        x = torch.from_numpy(np.stack([window.samples for window in some]))[:, None]
        found.append(method.probabilities(x.to(device)).double().cpu().numpy())
        owners += [window.track for window in some]
    return average_windows(np.concatenate(found), np.array(owners))[1]


def head_rows(
    run: Run,
    dataset: Dataset,
    packed: Pack,
    y: NDArray[np.int64],
    protocol: Protocol,
    probed: Mapping[str, Predictions],
    resamples: int,
    device: torch.device,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of a run's own head, as probe "head", and what the report draws of it.

    None if the run has no head, or one of other classes, or if it has seen the labels of tested
    tracks.

    Args:
        run: whose head it is.
        dataset: that is probed.
        packed: its tracks.
        y: their labels.
        protocol: which of them are tested.
        probed: what the frozen probes (and the majority) say of those, by name ``(seeds, n, C)``.
            The head is compared with each, on the same resamples.
        resamples: of the groups, for the intervals.
        device: where to predict.
    """
    method = trained_head(run)
    if method is None:
        return [], []
    if (method.task, method.classes) != (dataset.task, dataset.classes):
        say(f"the run's own head has other classes than {dataset.name!r}: not scored", "yellow")
        return [], []
    tested = protocol.tested
    heard = set(run.heard.values())
    if seen := sum(packed.digests[number] in heard for number in tested):
        say(
            f"the run's own head is not scored: it has seen the labels of {seen} of the "
            f"{len(tested)} tested tracks",
            "yellow",
        )
        return [], []
    own = predict(method.to(device), packed, tested)[None]
    groups = np.array([packed.tracks[number].group for number in tested])
    about = {
        "probe": "head",
        "dataset": dataset.name,
        "split": protocol.split,
        "protocol": f"trained on {run.config['split']} of {run.read('data.json')['name']}",
        "tracks": len(tested),
        "groups": len(np.unique(groups)),
        "seeds": 1,
        "heard": 0,
    }
    drawn, rows = resample_groups(groups, resamples), []
    all_said = {"pretrained": own, **probed}
    for metric, function in METRICS[dataset.task or "none"].items():
        found: dict[str, Metric] = {
            name: Replicated(function, y[tested], p) for name, p in all_said.items()
        }
        rows += score_rows(found, drawn, {**about, "metric": metric})
    detail = {
        "probe": "head",
        "dataset": dataset.name,
        "classes": list(dataset.classes),
        "task": dataset.task,
        "weights": [],
        **detail_of(dataset, y[tested], own),
    }
    return rows, [detail]
