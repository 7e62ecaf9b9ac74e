"""HEAR's three functions over a run's folder (neuralaudio.ai/hear2021-rules).

``hear-eval`` takes this module's name and a run's folder.
"""

from __future__ import annotations

import torch

from antiphon.encoders import Encoder
from antiphon.runs import Run


def load_model(model_file_path: str) -> Encoder:
    """The model of a run's folder."""
    encoder = Run.open(model_file_path).encoder()
    encoder.scene_embedding_size = encoder.embedding_dim  # type: ignore[assignment]
    encoder.timestamp_embedding_size = encoder.dim  # type: ignore[assignment]
    return encoder


@torch.inference_mode()
def get_scene_embeddings(audio: torch.Tensor, model: Encoder) -> torch.Tensor:
    """One vector a sound, ``(n, samples) -> (n, D)``."""
    return model.embed(_at_least_a_window(audio, model)[:, None])


@torch.inference_mode()
def get_timestamp_embeddings(
    audio: torch.Tensor, model: Encoder
) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames ``(n, F, D)`` and their times in milliseconds ``(n, F)``."""
    frames = model(_at_least_a_window(audio, model)[:, None])
    times = torch.arange(frames.shape[1]) * 1000.0 * model.hop / model.sample_rate
    return frames, times.expand(len(frames), -1)


def _at_least_a_window(x: torch.Tensor, model: Encoder) -> torch.Tensor:
    return torch.nn.functional.pad(x, (0, max(0, model.window - x.shape[-1])))
