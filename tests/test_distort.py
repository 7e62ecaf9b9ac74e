"""The distortions of PASE+: each does what its numbers say."""

import math
from itertools import pairwise

import pytest
import torch
from sounds import (
    LENGTH,
    RATE,
    Transfers,
    change,
    decibels,
    middle,
    music,
    seeded,
    several,
    sine,
)
from torch import Tensor

from antiphon.augment.distort import (
    AdditiveNoise,
    BandDrop,
    Chop,
    Clip,
    Downsample,
)
from antiphon.augment.effects import Chorus, Distortion
from antiphon.augmentation import Augmentation
from antiphon.chain import PRESETS, Chain


def noise(batch: int = 1, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(batch, 1, LENGTH, generator=seeded(seed))


def power(x: Tensor) -> Tensor:
    return torch.fft.rfft(x.double()).abs().square()


def hertz(n: int = LENGTH) -> Tensor:
    return torch.arange(n // 2 + 1) * RATE / n


# ------------------------------------------------------------------------------------- each alone


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_clip_ends_at_its_share_of_the_peak(share: float) -> None:
    x = 0.37 * sine(431.7)
    y = change(Clip(), x, share=share)
    assert float(y.abs().max()) == pytest.approx(share * float(x.abs().max()), rel=1e-6)
    below = x.abs() < share * x.abs().max()
    assert torch.equal(y[below], x[below])
    # a sine is above a share s of its peak for 1 - 2 asin(s) / pi of the time
    flat = (y.abs() == y.abs().max()).double().mean()
    assert float(flat) == pytest.approx(1 - 2 * math.asin(share) / math.pi, abs=0.01)


def test_clip_draws_each_share_as_often() -> None:
    drawn = Clip().draw(torch.rand(3000, 1, dtype=torch.float64, generator=seeded()))["share"]
    assert sorted(set(drawn.tolist())) == [0.1, 0.3, 0.5]
    for share in (0.1, 0.3, 0.5):
        assert float((drawn == share).double().mean()) == pytest.approx(1 / 3, abs=0.03)
    with pytest.raises(ValueError, match="within 0 to 1"):
        Clip(share=(0.5, 1.5))
    with pytest.raises(ValueError, match="share="):
        Clip(share=())


@pytest.mark.parametrize(("low", "octaves"), [(150.0, 0.5), (500.0, 1.0), (2000.0, 2.0)])
def test_band_drop_kills_inside_and_keeps_outside(low: float, octaves: float) -> None:
    high = low * 2**octaves
    for hz, inside in [
        (low * 0.9, False),
        (low * 0.99, False),
        (low * 2 ** (octaves / 2), True),
        (low * 1.15, True),
        (high / 1.15, True),
        (high * 1.01, False),
        (high * 1.1, False),
    ]:
        x = sine(hz)
        y = change(BandDrop(), x, low_hz=low, octaves=octaves)
        level = decibels(middle(y), middle(x))
        assert level < -20 if inside else abs(level) < 1, hz


def test_band_drop_shifts_no_phase() -> None:
    x = sine(300)
    y = change(BandDrop(), x, low_hz=1000.0, octaves=1.0)
    torch.testing.assert_close(middle(y), middle(x), atol=1e-3, rtol=0)


@pytest.mark.parametrize("factor", [1.5, 2.0, 4.0])
def test_downsampled_sound_has_nothing_above_the_new_nyquist(factor: float) -> None:
    x = noise()[0, 0]
    y = change(Downsample(), x, factor=factor)
    nyquist = RATE / 2 / factor
    window = torch.hann_window(LENGTH)
    before, after, hz = power(x * window), power(y * window), hertz()
    above = hz > nyquist + 2
    assert float(after[above].sum() / before[above].sum()) < 1e-5
    below = (hz > 20) & (hz < 0.88 * nyquist)
    assert float(after[below].sum() / before[below].sum()) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("holes", [1, 2, 5])
@pytest.mark.parametrize("share", [0.05, 0.25, 0.6])
def test_chop_silences_its_share_in_so_many_holes(share: float, holes: int) -> None:
    x = 1 + music(1)[0, 0].square()  # never 0 by itself
    places = {f"place_{i + 1}": (0.0, 0.3, 0.999, 0.5, 0.7)[i] for i in range(5)}
    y = change(Chop(), x, share=share, holes=float(holes), **places)
    silent = y == 0
    assert float(silent.double().mean()) == pytest.approx(share, abs=1e-3)
    assert torch.equal(y[~silent], x[~silent])
    begins = int((silent.int().diff() == 1).sum()) + int(silent[0])
    assert begins == holes
    for part in torch.tensor_split(silent, holes):
        assert float(part.double().mean()) == pytest.approx(share, abs=1e-3)


@pytest.mark.parametrize("snr", [0.0, 5.0, 10.0])
@pytest.mark.parametrize("fall", [0.0, 6.0])
def test_additive_noise_has_the_level_and_the_colour_asked_for(snr: float, fall: float) -> None:
    x = music(3)
    step = AdditiveNoise(snr_db=(snr,), fall_db=(fall, fall), swing_db=0.0)
    added = step(x, RATE, several(3)).double() - x
    for item, sound in zip(added, x, strict=True):
        assert decibels(sound, item) == pytest.approx(snr, abs=0.05)
    spectrum, hz = power(added[:, 0]).mean(0), hertz()
    octaves = [
        10 * math.log10(float(spectrum[(hz >= low) & (hz < 2 * low)].mean()))
        for low in (250, 500, 1000, 2000, 4000)
    ]
    for one, higher in pairwise(octaves):
        assert one - higher == pytest.approx(fall, abs=0.5)
    assert not torch.allclose(added[0], added[1])


def test_additive_noise_comes_and_goes() -> None:
    def wander(swing: float) -> float:
        step = AdditiveNoise(fall_db=(0.0, 0.0), swing_db=swing)
        x = music(4)
        added = step(x, RATE, several(4)) - x
        levels = added.square().unfold(2, 2000, 2000).mean(3).log10() * 10
        return float(levels.std(2).mean())

    assert wander(0.0) < 0.5
    assert 3 < wander(6.0) < 8
    with pytest.raises(ValueError, match="within 0 to 20"):
        AdditiveNoise(swing_db=-1.0)


# ---------------------------------------------------------------------------------------- presets


def test_the_preset_of_pase_plus_is_the_papers() -> None:
    steps = PRESETS["pase+"]()
    chances = {type(step).__name__: step.p for step in steps}
    assert chances == {
        "Reverb": 0.5,
        "AdditiveNoise": 0.4,
        "BandDrop": 0.35,
        "Downsample": 0.25,
        "Clip": 0.2,
        "Chop": 0.2,
        "Overlap": 0.1,
    }
    assert list(chances)[:2] == ["Reverb", "AdditiveNoise"]
    arguments = {type(step).__name__: step.arguments for step in steps}
    assert arguments["AdditiveNoise"]["snr_db"] == (0.0, 5.0, 10.0)
    assert arguments["Clip"]["share"] == (0.1, 0.3, 0.5)
    assert arguments["Overlap"]["snr_db"] == (5.0, 7.5, 10.0)


def test_the_preset_of_music_is_table_2_2() -> None:
    arguments = {type(step).__name__: step.arguments for step in PRESETS["music"]()}
    assert list(arguments) == ["PitchShift", "TimeStretch", "BackgroundMix", "Compress"]
    assert arguments["PitchShift"]["semitones"] == (-1.0, 1.0)
    assert arguments["TimeStretch"]["factor"] == pytest.approx((2**-0.5, 2**0.5))


@pytest.mark.parametrize("name", ["pase+", "music"])
def test_nothing_waits_for_the_device(name: str) -> None:
    steps = [type(step).__name__ for step in PRESETS[name]()] + ["Chorus", "Distortion"]
    chain = Chain([*Chain(name, p=dict.fromkeys(steps[:-2], 1.0)).steps, *_guitars()])
    x = music(16, 8000).to("meta")
    with Transfers() as transfers:
        y = chain(x, RATE, several(16))
    assert (y.device.type, y.shape) == ("meta", (16, 1, 8000))
    assert transfers.count == len(steps)


def _guitars() -> list[Augmentation]:
    return [Chorus(), Distortion()]


@pytest.mark.parametrize("name", ["pase+", "music"])
def test_silence_among_sounds_stays_silent(name: str) -> None:
    steps = {type(step).__name__: 1.0 for step in PRESETS[name]()}
    x = music(4, 8000)
    x[2] = 0
    for y in (Chain(name, p=steps)(x, RATE, several(4)), Chain(_guitars())(x, RATE, several(4))):
        assert y.isfinite().all()
        assert not y[2].any()
        assert y[[0, 1, 3]].abs().amax(2).min() > 0.01


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", ["pase+", "music"])
def test_a_gpu_hears_the_same(name: str) -> None:
    never = {"PitchShift": 0.0, "TimeStretch": 0.0} if name == "music" else {}
    steps = {type(step).__name__: 1.0 for step in PRESETS[name]()} | never
    chain, x = Chain([*Chain(name, p=steps).steps, *_guitars()]), music(4)
    y = chain(x.cuda(), RATE, several(4)).cpu()
    torch.testing.assert_close(y, chain(x, RATE, several(4)), atol=2e-3, rtol=1e-2)
