"""Published weights of wav2vec 2.0, HuBERT, data2vec and MERT, without the frameworks they came of.

A folder in the Hugging Face layout becomes an encoder of ours, or a run. Nothing that is read can
run code, and every tensor is used or left out by name: what isn't understood is refused.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import safetensors.torch
import torch
import yaml
from torch import Tensor

from antiphon.encoders.transformer import Transformer

_PREFIXES = {
    "wav2vec2": "wav2vec2.",
    "hubert": "hubert.",
    "data2vec-audio": "data2vec_audio.",
    "mert_model": "mert_model.",
}
_HEADS = re.compile(  # of pre-training and of fine-tuning
    r"(quantizer|project_q|project_hid|lm_head|projector|classifier|tdnn|objective)\.|"
    r"layer_weights$|feature_extractor\.(weight|bias)$"
)
_THEIRS = [  # ours -> theirs; ? stands for q, k and v
    (r"extractor\.convolutions\.(\d+)\.", r"feature_extractor.conv_layers.\1.conv."),
    (r"extractor\.norms\.(\d+)\.", r"feature_extractor.conv_layers.\1.layer_norm."),
    (r"feature_norm\.", r"feature_projection.layer_norm."),
    (r"project\.", r"feature_projection.projection."),
    (r"mask_vector$", r"masked_spec_embed"),
    (r"positions\.length$", "encoder.pos_conv_embed.conv.parametrizations.weight.original0"),
    (r"positions\.direction$", "encoder.pos_conv_embed.conv.parametrizations.weight.original1"),
    (r"positions\.bias$", "encoder.pos_conv_embed.conv.bias"),
    (r"positions\.convolutions\.(\d+)\.", r"encoder.pos_conv_embed.layers.\1.conv."),
    (r"norm\.", r"encoder.layer_norm."),
    (r"blocks\.(\d+)\.queries_keys_values\.", r"encoder.layers.\1.attention.?_proj."),
    (r"blocks\.(\d+)\.out\.", r"encoder.layers.\1.attention.out_proj."),
    (r"blocks\.(\d+)\.attention_norm\.", r"encoder.layers.\1.layer_norm."),
    (r"blocks\.(\d+)\.widen\.", r"encoder.layers.\1.feed_forward.intermediate_dense."),
    (r"blocks\.(\d+)\.narrow\.", r"encoder.layers.\1.feed_forward.output_dense."),
    (r"blocks\.(\d+)\.norm\.", r"encoder.layers.\1.final_layer_norm."),
]
_SIZES = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
}
_FIXED: dict[str, Any] = {  # the only value that our encoder knows; also theirs by default
    "hidden_act": "gelu",
    "feat_extract_activation": "gelu",
    "layer_norm_eps": 1e-5,
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "num_conv_pos_embedding_groups": 16,
    "feat_proj_layer_norm": True,
    "conv_pos_batch_norm": False,
    "add_adapter": False,
    "adapter_attn_dim": None,
    "deepnorm": False,
    "feature_extractor_cqt": False,
}
_SHORTEST = 400  # samples that a frame sees
_POSITIONS = {"num_conv_pos_embeddings": 128}
_DATA2VEC_POSITIONS = {"num_conv_pos_embeddings": 5, "conv_pos_kernel_size": 19}


class Published(NamedTuple):
    """What a folder holds.

    Attributes:
        encoder: in eval mode.
        model_type: as its ``config.json`` says.
        left_out: the tensors that are no part of an encoder: heads, quantisers, projections.
        files: SHA-256 of each file that was read, as the Hugging Face Hub shows it.
        licence: of the weights, if the folder's ``README.md`` says one.
    """

    encoder: Transformer
    model_type: str
    left_out: list[str]
    files: dict[str, str]
    licence: str | None


def read_published(folder: str | Path, seconds: float = 5.0) -> Transformer:
    """The encoder of a folder in the Hugging Face layout, in eval mode.

    It gives the same frames as the original, layer for layer. Waveforms are normalised as in the
    training of these models (``1e-5`` is added to the variance), if the folder asks for it.

    Args:
        folder: with ``config.json``, ``model.safetensors`` or ``pytorch_model.bin`` (whole or in
            parts), and ``preprocessor_config.json``.
        seconds: the window it is to be used with.

    Raises:
        FileNotFoundError: there is no such folder, or a file of it is missing.
        ValueError: another kind of model, a setting that isn't supported, weights that don't fit
            the configuration, or a file that is broken or could run code.
    """
    return inspect_published(folder, seconds).encoder


def inspect_published(folder: str | Path, seconds: float = 5.0) -> Published:
    """What :func:`read_published` reads, and what is known of it."""
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder} is not a folder; `hf download OWNER/MODEL --local-dir FOLDER` fetches "
            "published weights into one"
        )
    read: dict[str, Path] = {}
    config = _json(folder / "config.json", read)
    if config is None:
        raise FileNotFoundError(
            f"{folder} has no config.json, so it isn't a model in the Hugging Face layout"
        )
    kind = config.get("model_type")
    if kind not in _PREFIXES:
        raise ValueError(
            f"{folder / 'config.json'}: model_type is {kind!r}; "
            f"these can be read: {', '.join(_PREFIXES)}"
        )
    arguments = _arguments(folder / "config.json", kind, config)
    arguments |= _preparation(folder / "preprocessor_config.json", config, read)
    tensors = _tensors(folder, read)
    with torch.device("meta"):
        encoder = Transformer(**arguments, seconds=seconds)
    if encoder.window < _SHORTEST:
        raise ValueError(f"a window of {seconds:g} s is shorter than a frame: give more seconds")
    state, left_out = translate(encoder, tensors, _PREFIXES[kind], str(folder))
    if "mask_vector" not in state:
        if config.get("mask_time_prob", 0.05) or config.get("mask_feature_prob", 0.0):
            raise ValueError(f"{folder}: the weights lack masked_spec_embed")
        state["mask_vector"] = torch.zeros(encoder.dim)  # of a model that is never masked
    encoder.load_state_dict(state, assign=True)
    files = {name: _sha256(path) for name, path in read.items()}
    return Published(encoder.eval(), kind, left_out, files, _licence(folder / "README.md"))


def translate(
    encoder: Transformer, tensors: Mapping[str, Tensor], prefix: str, source: str
) -> tuple[dict[str, Tensor], list[str]]:
    """Their tensors under our names.

    Args:
        encoder: that they are for; only its shapes count.
        tensors: a state dict in the Hugging Face layout.
        prefix: of the encoder's tensors in models that have heads.
        source: where they are from, for errors.

    Returns:
        The encoder's state dict, in single precision and without ``mask_vector`` if there is none,
        and the names that were left out.

    Raises:
        ValueError: tensors are missing, of another shape, or unknown; names them.
    """
    theirs = {_spelling(name).removeprefix(prefix): name for name in tensors}
    if len(theirs) < len(tensors):
        raise ValueError(f"{source}: the weights have the same tensor under two names")
    state, used, missing, misfits = {}, set(), [], []
    for ours, own in encoder.state_dict().items():
        names = _names(ours)
        absent = [name for name in names if name not in theirs]
        used.update(names)
        if absent:
            missing += [name for name in absent if ours != "mask_vector"]
            continue
        parts = [tensors[theirs[name]] for name in names]
        shape = (own.shape[0] // len(parts), *own.shape[1:])
        wrong = [n for n, part in zip(names, parts, strict=True) if part.shape != shape]
        misfits += [f"{n} is {tuple(tensors[theirs[n]].shape)}, not {shape}" for n in wrong]
        if not wrong:
            state[ours] = torch.cat([part.float() for part in parts])
    over = [name for plain, name in theirs.items() if plain not in used]
    unknown = [name for name in over if not _HEADS.match(name)]
    for what, names in (
        ("the weights lack", missing),
        ("the weights don't fit config.json:", misfits),
        ("the weights have tensors that are unknown here:", unknown),
    ):
        if names:
            more = f" and {len(names) - 4} more" if len(names) > 4 else ""
            raise ValueError(f"{source}: {what} {', '.join(names[:4])}{more}")
    return state, sorted(over)


def _arguments(path: Path, kind: str, config: dict[str, Any]) -> dict[str, Any]:
    """What our encoder is to be made with, or why it can't be."""
    data2vec = kind == "data2vec-audio"
    fixed = _FIXED | (_DATA2VEC_POSITIONS if data2vec else _POSITIONS)
    refused = [
        f"{name} = {config[name]!r} (only {only!r})"
        for name, only in fixed.items()
        if config.get(name, only) != only
    ]
    sizes = {name: config.get(name, usual) for name, usual in _SIZES.items()}
    refused += [
        f"{name} = {size!r} (only whole numbers)"
        for name, size in sizes.items()
        if type(size) is not int or size < 1
    ]
    channels = config.get("conv_dim", [512] * 7)
    if not isinstance(channels, list) or len(channels) != 7 or len(set(channels)) > 1:
        refused.append(f"conv_dim = {channels!r} (only seven times the same)")
    norm = "layer" if data2vec else config.get("feat_extract_norm", "group")
    if norm not in ("group", "layer"):
        refused.append(f"feat_extract_norm = {norm!r} (only 'group', 'layer')")
    if refused:
        raise ValueError(f"{path}: these settings aren't supported: {'; '.join(refused)}")
    return {
        "extractor_norm": norm,
        "extractor_bias": bool(config.get("conv_bias", False)),
        "positions": 5 if data2vec else 1,
        # The original data2vec-audio ignores do_stable_layer_norm, which its configs set.
        "norm_first": not data2vec and bool(config.get("do_stable_layer_norm", False)),
        "channels": channels[0],
        "dim": sizes["hidden_size"],
        "depth": sizes["num_hidden_layers"],
        "heads": sizes["num_attention_heads"],
        "hidden": sizes["intermediate_size"],
        "dropout": float(config.get("hidden_dropout", 0.1)),
        "layer_drop": float(config.get("layerdrop", 0.1)),
    }


def _preparation(path: Path, config: dict[str, Any], read: dict[str, Path]) -> dict[str, Any]:
    """The rate, and whether waveforms are normalised, which is the default of the originals."""
    found = _json(path, read) or {}
    stated = found.get("sampling_rate"), config.get("sample_rate")
    rates = {int(rate) for rate in stated if rate is not None}
    if len(rates) > 1:
        raise ValueError(
            f"{path}: sampling_rate is {found['sampling_rate']}, but config.json has a "
            f"sample_rate of {config['sample_rate']}"
        )
    if not rates and config["model_type"] == "mert_model":
        raise FileNotFoundError(f"{path} is missing, and so nothing says the sample rate")
    return {
        "sample_rate": next(iter(rates), 16000),
        "normalise": bool(found.get("do_normalize", True)),
    }


def _json(path: Path, read: dict[str, Path]) -> dict[str, Any] | None:
    """A JSON object, noted as read; None if there is no such file."""
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path} is not a JSON object")
    read[path.name] = path
    return value


def _tensors(folder: Path, read: dict[str, Path]) -> dict[str, Tensor]:
    """The state dict, of one file or several; safetensors are preferred."""
    kinds: dict[str, Callable[[Path], dict[str, Tensor]]] = {
        "model.safetensors": _safetensors,
        "pytorch_model.bin": _pickle,
    }
    for name, load in kinds.items():
        index = _json(folder / f"{name}.index.json", read)
        parts = [name] if index is None else sorted(set(index.get("weight_map", {}).values()))
        if index is None and not (folder / name).is_file():
            continue
        tensors: dict[str, Tensor] = {}
        for part in parts:
            path = folder / part
            if Path(part).name != part or not path.is_file():
                raise FileNotFoundError(f"{folder / name}.index.json names {part}: no such file")
            tensors |= load(path)
            read[part] = path
        return tensors
    raise FileNotFoundError(f"{folder} has no weights: neither {' nor '.join(kinds)}")


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} is broken: {error}") from None


def _pickle(path: Path) -> dict[str, Tensor]:
    """A pickle of tensors and nothing else."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        name = re.search(r"GLOBAL (\S+)", str(error))
        what = f"it asks for {name[1]}" if name else "it isn't a plain table of tensors"
        raise ValueError(f"{path} is refused, as reading it could run code: {what}") from None
    except (RuntimeError, EOFError) as error:
        raise ValueError(f"{path} is broken: {str(error).splitlines()[0]}") from None
    if not isinstance(found, dict) or not all(isinstance(t, Tensor) for t in found.values()):
        raise ValueError(f"{path} isn't a state dict: a table of names and tensors")
    return found


def _spelling(name: str) -> str:
    """Weight norm's parts have had two names."""
    for old, new in (("weight_g", "original0"), ("weight_v", "original1")):
        if name.endswith(f".{old}"):
            return f"{name.removesuffix(old)}parametrizations.weight.{new}"
    return name


def _names(ours: str) -> list[str]:
    """The tensors that one of ours is made of, in their order."""
    for pattern, text in _THEIRS:
        theirs, found = re.subn(rf"^{pattern}", text, ours)
        if found:
            return [theirs.replace("?", part) for part in "qkv"] if "?" in theirs else [theirs]
    raise ValueError(f"{ours} has no counterpart in published weights")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _licence(path: Path) -> str | None:
    """What the head of a model card says."""
    if not path.is_file():
        return None
    head = re.match(r"---\s*\n(.*?)\n---", path.read_text(encoding="utf-8", errors="replace"), re.S)
    try:
        fields = yaml.safe_load(head[1]) if head else None
    except yaml.YAMLError:
        return None
    if not isinstance(fields, dict):
        return None
    found = fields.get("license")
    if found == "other":
        found = fields.get("license_name") or found
    return str(found) if found else None
