"""Published weights as a run, which every later verb takes; what is known of it is written down."""

from __future__ import annotations

import json
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from antiphon import __version__
from antiphon.configured import describe
from antiphon.files import check_writable, write_atomically
from antiphon.progress import say
from antiphon.published import Published, inspect_published
from antiphon.runs import Run


def import_published(
    folder: str | Path, out: str | Path, seconds: float = 5.0, progress: bool = True
) -> Run:
    """Make a run of published weights, which every later verb takes.

    Reads wav2vec 2.0, HuBERT, data2vec-audio and MERT in the Hugging Face layout; runs none of
    their code. What they were trained on isn't known here, and no score can tell.

    Args:
        folder: with config.json, model.safetensors or pytorch_model.bin, and
            preprocessor_config.json.
        out: the run's folder; made if need be.
        seconds: the window that it is to be used with.
        progress: say what was read.

    Returns:
        The run.

    Raises:
        FileNotFoundError: there is no such folder, or a file of it is missing.
        ValueError: the folder can't be read (says why), or ``out`` holds a run already.
    """
    run = Run(out)
    if run.config_path.exists():
        raise ValueError(f"{run.folder} holds a run already: choose another --out")
    check_writable(run.folder)
    found = inspect_published(folder, seconds)
    origin = {
        "folder": str(Path(folder).expanduser().resolve()),
        "model_type": found.model_type,
        "licence": found.licence,
        "files": found.files,
        "left_out": found.left_out,
    }
    parameters = sum(p.numel() for p in found.encoder.parameters())
    run.folder.mkdir(parents=True, exist_ok=True)
    run.save_encoder(found.encoder)
    run.write("data.json", _data_sheet(found))
    (run.folder / "log.jsonl").unlink(missing_ok=True)
    run.log(
        "start",
        step=0,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        antiphon=__version__,
        torch=torch.__version__,
        python=platform.python_version(),
        encoder_parameters=parameters,
    )
    run.log("end", steps=0)
    write_atomically(run.folder / "card.md", _card(run.name, origin, parameters))
    run.write_config({"imported": origin, "seed": 0, "encoder": describe(found.encoder)})  # last
    if progress:
        left = f", without {len(found.left_out)} tensors of heads" if found.left_out else ""
        say(f"{found.model_type}, {parameters:,} parameters{left}: {run.folder}")
        if not found.licence:
            say("the folder states no licence: see where it is from before you use it", "yellow")
    return run


def _data_sheet(found: Published) -> dict[str, Any]:
    """The tracks aren't known: none are listed, and no score claims that they were unheard."""
    return {
        "name": f"published {found.model_type} weights",
        "licence": None,
        "citation": None,
        "homepage": None,
        "hours": None,
        "classes": [],
        "skipped": [],
    }


def _card(name: str, origin: dict[str, Any], parameters: int) -> str:
    licence = f"\nlicense: {json.dumps(origin['licence'])}" if origin["licence"] else ""
    left = ", ".join(f"`{n}`" for n in origin["left_out"]) or "nothing"
    files = "\n".join(f"    {digest}  {file}" for file, digest in origin["files"].items())
    return f"""---
library_name: antiphon
tags: [audio, self-supervised-learning, {origin["model_type"]}]{licence}
---
# {name}

Transformer ({parameters:,} parameters) with published weights: the {origin["model_type"]} model of
`{Path(origin["folder"]).name}`, read by antiphon {__version__}. It was not trained here, and which
recordings it has heard isn't known: a score on music that it was pre-trained on would flatter it.

Licence of the weights: {origin["licence"] or "not stated by the folder; ask where it is from"}

Left out, as no part of an encoder: {left}

    import antiphon
    encoder = antiphon.Run.open("{name}").encoder()   # waveform (B, 1, T) -> (B, F, D)

Files it was made of (SHA-256):

{files}
"""
