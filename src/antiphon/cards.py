"""What a run says of itself: the data sheet it learned from, and its model card."""

from __future__ import annotations

from typing import Any

from antiphon.datasets import Dataset
from antiphon.pack import Pack
from antiphon.runs import Run


def data_sheet(dataset: Dataset, tracks: Pack) -> dict[str, Any]:
    """What ``data.json`` holds: whose data, each track's content hash, what was skipped."""
    return {
        "name": dataset.name,
        "licence": dataset.licence,
        "citation": dataset.citation,
        "homepage": dataset.homepage,
        "hours": tracks.seconds / 3600,
        "classes": list(dataset.classes),
        "tracks": dict(zip((t.id for t in tracks.tracks), tracks.digests, strict=True)),
        "skipped": [{"path": s.track.id, "reason": s.reason} for s in tracks.skipped],
    }


def card(run: Run) -> str:
    """A model card: what this encoder is, for whoever finds the folder."""
    config, sheet = run.config, run.read("data.json")
    end = run.events("end")[-1]
    start = (run.events("start") or run.events("resume"))[0]
    encoder = config["encoder"]["class_path"].rpartition(".")[2]
    method = config["method"]["class_path"].rpartition(".")[2]
    labels = (run.folder / "head.safetensors").exists()
    how = "trained with labels" if labels else "pre-trained without labels"
    teacher = sheet.get("teacher")
    said = "Begun with the encoder of" if labels else "Taught by"
    taught = f"\n{said} {teacher['run']}, weights {teacher['hash']}.\n" if teacher else ""
    return f"""---
library_name: antiphon
tags: [audio, music, {"" if labels else "self-supervised-learning, "}{method.lower()}]
---
# {run.name}

{encoder} ({start["encoder_parameters"]:,} parameters), {how} by {method} on
{len(sheet["tracks"])} tracks ({sheet["hours"]:.2f} hours) of the data set `{sheet["name"]}`, split
`{config["split"]}`: {end["steps"]:,} steps, {end["clips"]:,} clips, {end["seconds"]:,.0f} s on
{start["device"]}.
{taught}
Licence of the data: {sheet["licence"] or "not stated by the data set"}

    import antiphon
    encoder = antiphon.Run.open("{run.folder.name}").encoder()   # waveform (B, 1, T) -> (B, F, D)

`config.yaml` repeats the run (`antiphon pretrain --config config.yaml --out NEW`), `data.json`
names every track it was trained on, `report.html` says what it is worth.
"""
