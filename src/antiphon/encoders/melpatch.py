"""MelPatch: linear patches of a log-mel spectrogram, mixed over time. The fastest one here."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from antiphon.encoders import Encoder, Pooling
from antiphon.features import MelFrontEnd


class MelPatch(Encoder):
    """Patches of a few mel frames, each a vector, mixed by convolutions: 1.2 million parameters.

    Use it where minutes count: it sees hundreds of excerpts a second on one core. It has no
    batch-norm, so a batch of any size, even one, trains it.

    After ConvNeXt (Liu et al., 2022), over time alone.

    Args:
        sample_rate: in Hz.
        bands: of the mel spectrogram.
        hop: samples from one mel frame to the next.
        patch: mel frames in a patch.
        dim: width of a patch's vector.
        depth: blocks that mix patches over time.
        kernel: patches that a block sees at once.
        seconds: the window it is made for.
        pooling: of the frames over time.

    Shape:
        ``(B, 1, T) -> (B, F, dim)``, one frame every ``patch`` mel frames (64 ms at 16 kHz).

    >>> MelPatch()(torch.zeros(2, 1, 48000)).shape
    torch.Size([2, 47, 256])
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        bands: int = 96,
        hop: int = 256,
        patch: int = 4,
        dim: int = 256,
        depth: int = 2,
        kernel: int = 7,
        seconds: float = 3.0,
        pooling: Pooling = "mean+std",
    ) -> None:
        super().__init__()
        self.front_end = MelFrontEnd(sample_rate, bands, hop)
        self.sample_rate, self.pooling, self.dim, self.patch = sample_rate, pooling, dim, patch
        self.window = round(seconds * sample_rate)
        self.hop = patch * self.front_end.hop
        self.offset = -self.front_end.hop / 2  # mel frames are centred on multiples of their hop
        self.to_patches = nn.Linear(patch * bands, dim)
        self.norm = nn.LayerNorm(dim)
        self.blocks = nn.ModuleList(_Block(dim, kernel) for _ in range(depth))
        self.out_norm = nn.LayerNorm(dim)

    def layers(self, x: Tensor) -> list[Tensor]:
        """The patches' vectors, and the frames after each block."""
        mel = self.front_end(x)
        count = mel.shape[1] // self.patch
        patches = mel[:, : count * self.patch].reshape(len(mel), count, -1)
        frames = [self.norm(self.to_patches(patches))]
        for block in self.blocks:
            frames.append(block(frames[-1]))
        frames[-1] = self.out_norm(frames[-1])
        return frames


class _Block(nn.Module):
    def __init__(self, dim: int, kernel: int) -> None:
        super().__init__()
        self.mix = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.norm = nn.LayerNorm(dim)
        self.widen = nn.Linear(dim, 4 * dim)
        self.narrow = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.norm(self.mix(x.transpose(1, 2)).transpose(1, 2))
        return x + self.narrow(torch.relu(self.widen(mixed)))
