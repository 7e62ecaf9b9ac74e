"""The textbook SampleCNN: the reference's layer table, one plain module after the other."""

from __future__ import annotations

from torch import nn

from antiphon.encoders.samplecnn import SampleCNN

CHANNELS = (128, 128, 256, 256, 256, 256, 256, 256, 512)
POOLS = {
    22050: (3, 3, 3, 3, 3, 3, 3, 3, 3),
    16000: (3, 3, 3, 3, 3, 3, 5, 2, 2),
    12000: (3, 3, 3, 3, 2, 4, 4, 2, 2),
    8000: (3, 3, 3, 2, 2, 4, 4, 2, 2),
}


def textbook(sample_rate: int) -> nn.Sequential:
    """Waveforms ``(B, 1, T)`` to maps ``(B, 512, F)``, every kernel padded by one."""
    blocks = [_block(1, 128, 3, stride=3, padding=0)]
    for before, after, size in zip((128, *CHANNELS), CHANNELS, POOLS[sample_rate], strict=False):
        blocks.append(_block(before, after, size).append(nn.MaxPool1d(size)))
    blocks.append(_block(512, 512, 3))
    return nn.Sequential(*blocks)


def _block(
    before: int, after: int, kernel: int, stride: int = 1, padding: int = 1
) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(before, after, kernel, stride=stride, padding=padding),
        nn.BatchNorm1d(after),
        nn.ReLU(),
    )


def flops(sample_rate: int, window: int) -> float:
    """Of one clip forwards, counting a multiplication and an addition as two."""
    frames, before = window // 3, 128
    total = 2.0 * frames * 3 * 128
    for after, size in zip(CHANNELS, POOLS[sample_rate], strict=True):
        total += 2.0 * frames * before * after * size
        frames, before = frames // size, after
    return total + 2.0 * frames * 512 * 512 * 3


def same_weights(sample_rate: int) -> tuple[SampleCNN, nn.Sequential]:
    """Ours and the textbook's with one and the same state."""
    ours = SampleCNN(sample_rate, padding="reference")  # type: ignore[arg-type]
    plain = textbook(sample_rate)
    own = list(ours.state_dict().values())
    plain.load_state_dict(dict(zip(plain.state_dict(), own, strict=True)))
    return ours, plain
