"""An encoder that is looked at and left as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from antiphon.encoders import Encoder


@contextmanager
def still(encoder: Encoder) -> Iterator[torch.Tensor]:
    """Eval mode, with gradients, inside; every part's own mode again after.

    On GPUs a recurrent layer in eval mode has gradients only without cuDNN.

    Yields:
        A tensor of the encoder: sound should have its device and type.
    """
    modes = [(module, module.training) for module in encoder.modules()]
    cudnn = torch.backends.cudnn.enabled and not any(isinstance(m, nn.RNNBase) for m, _ in modes)
    encoder.eval()
    try:
        with torch.enable_grad(), torch.backends.cudnn.flags(enabled=cudnn):
            yield next(t for t in encoder.state_tensors() if t.is_floating_point())
    finally:
        for module, training in modes:
            module.training = training
