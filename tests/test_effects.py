"""Stretch, compression, chorus and distortion: what can be measured of them is what was asked."""

import math

import numpy as np
import pytest
import torch
from sounds import LENGTH, RATE, change, decibels, middle, music, peak_hz, seeded, sine
from torch import Tensor

from antiphon.augment._signal import read_at
from antiphon.augment.effects import Chorus, Compress, Distortion, TimeStretch

# ------------------------------------------------------------------------------------ time stretch


@pytest.mark.parametrize("factor", [2**-0.5, 0.9, 1.1, 2**0.5])
@pytest.mark.parametrize("hz", [110.0, 441.7, 3000.0, 8000.0])
def test_a_stretched_tone_keeps_its_pitch_and_level(hz: float, factor: float) -> None:
    x = sine(hz)
    part = slice(4000, int(0.65 * LENGTH))  # before any sound begins again
    y = change(TimeStretch(), x, factor=factor)
    assert y.shape == x.shape
    assert abs(1200 * math.log2(peak_hz(y[part]) / hz)) < 5
    assert abs(decibels(y[part], x[part])) < 1


def onsets(y: Tensor, expected: list[int]) -> list[float]:
    """The centre of the energy around each place."""
    where = torch.arange(-2000, 2000)
    found = []
    for place in expected:
        energy = y[place - 2000 : place + 2000].double().square()
        assert energy.sum() > 0.3
        found.append(place + float((energy * where).sum() / energy.sum()))
    return found


@pytest.mark.parametrize("factor", [2**-0.5, 0.85, 1.2, 2**0.5])
def test_a_stretched_train_of_clicks_has_another_tempo(factor: float) -> None:
    clicks = torch.zeros(LENGTH)
    times = list(range(4000, LENGTH - 4000, 9000))
    clicks[times] = 1
    y = change(TimeStretch(), clicks, factor=factor)
    expected = [round(t * factor) for t in times if t * factor < min(factor, 1) * LENGTH - 2500]
    assert len(expected) > 3
    found = onsets(y, expected)
    for place, measured in zip(expected, found, strict=True):
        assert abs(measured - place) < 0.008 * RATE
    tempo = (found[-1] - found[0]) / (len(found) - 1)
    assert tempo == pytest.approx(9000 * factor, rel=0.01)


def test_what_is_over_too_soon_begins_again() -> None:
    clicks = torch.zeros(LENGTH)
    clicks[6000] = 1
    y = change(TimeStretch(), clicks, factor=2**-0.5)
    again = round((LENGTH + 6000) * 2**-0.5)
    onsets(y, [round(6000 * 2**-0.5), again])
    slow = change(TimeStretch(), clicks, factor=2**0.5)
    assert slow[20000:].square().sum() < 0.01


def test_a_factor_of_one_is_identity() -> None:
    x = music(2)[:, 0]
    torch.testing.assert_close(change(TimeStretch(), x, factor=1.0), x, atol=2e-5, rtol=0)


def test_nothing_aliases_in_a_stretch() -> None:
    for factor in (2**-0.5, 2**0.5):
        y = change(TimeStretch(), sine(9000), factor=factor)[4000 : int(0.65 * LENGTH)]
        spectrum = torch.fft.rfft(y * torch.hann_window(len(y))).abs().square()
        hz = torch.arange(len(spectrum)) * RATE / len(y)
        near = (hz - 9000).abs() < 300
        assert spectrum[~near].sum() < 1e-3 * spectrum[near].sum()


def test_factors_are_drawn_evenly_as_logarithms() -> None:
    u = torch.rand(4000, 1, dtype=torch.float64, generator=seeded())
    drawn = TimeStretch().draw(u)["factor"].log2()
    assert float(drawn.mean()) == pytest.approx(0, abs=0.02)
    assert -0.5 <= drawn.min() < -0.49
    with pytest.raises(ValueError, match=r"within 0\.5 to 2"):
        TimeStretch(factor=(0.2, 1.0))


def test_reading_between_samples_is_exact_for_tones_and_on_samples() -> None:
    x = torch.stack([sine(hz) for hz in (200, 2000, 7000)])
    place = torch.arange(1000.0, 1800.0, 0.77, dtype=torch.float64).expand(3, -1)
    true = [torch.sin(2 * math.pi * hz * place[0] / RATE).float() for hz in (200, 2000, 7000)]
    torch.testing.assert_close(read_at(x, place), torch.stack(true), atol=5e-3, rtol=0)
    whole = torch.arange(LENGTH, dtype=torch.float64).expand(3, -1)
    torch.testing.assert_close(read_at(x, whole), x, atol=1e-5, rtol=0)
    outside = torch.tensor([[-1e6, -50.0, LENGTH + 50.0, 1e9]], dtype=torch.float64)
    assert read_at(x, outside.expand(3, -1)).abs().max() < 1e-6


# ------------------------------------------------------------------------------------- compression

FAST = {"attack_ms": 1.0, "release_ms": 200.0}


def below_a_peak(x: Tensor) -> Tensor:
    """The same, with one last sample of 1, so that levels are what they are below 0 dB."""
    return torch.cat([x[:-1], torch.ones(1)])


@pytest.mark.parametrize("level", [-60.0, -30.0, -21.0, -15.0, -10.0, -1.0])
@pytest.mark.parametrize("ratio", [1.5, 4.0, 10.0])
def test_above_the_threshold_levels_rise_by_the_ratio(level: float, ratio: float) -> None:
    x = below_a_peak(10 ** (level / 20) * sine(1000))
    step = Compress(make_up=False)
    y = change(step, x, threshold_db=-20.0, ratio=ratio, **FAST)
    over = max(0.0, level + 20)
    expected = -over * (1 - 1 / ratio)
    assert decibels(middle(y), middle(x)) == pytest.approx(expected, abs=0.15)
    made_up = change(Compress(), x, threshold_db=-20.0, ratio=ratio, **FAST)
    gain = decibels(middle(made_up), middle(y))
    assert gain == pytest.approx(20 * (1 - 1 / ratio), abs=1e-3)


def gain_at(y: Tensor, x: Tensor, sample: int) -> float:
    """Gain in decibels at the crest nearest to a sample."""
    near = slice(sample - 6, sample + 6)
    crest = int(x[near].abs().argmax())
    return 20 * math.log10(float(y[near][crest] / x[near][crest]))


@pytest.mark.parametrize("attack", [2.0, 10.0, 30.0])
def test_it_grips_with_its_time_constant(attack: float) -> None:
    begins = 20000
    x = sine(2000) * torch.where(torch.arange(LENGTH) < begins, 0.001, 1.0)
    step = Compress(make_up=False)
    y = change(step, x, threshold_db=-30.0, ratio=4.0, attack_ms=attack, release_ms=500.0)
    final = gain_at(y, x, LENGTH - 100)
    assert final == pytest.approx(-22.5, abs=0.1)
    for constants in (0.5, 1.0, 2.0):
        there = begins + round(constants * attack * RATE / 1000)
        expected = final * (1 - math.exp(-constants))
        # a crest is up to 0.25 ms away
        slope = abs(final) * math.exp(-constants) / attack
        assert gain_at(y, x, there) == pytest.approx(expected, abs=0.3 * slope + 0.1)


@pytest.mark.parametrize("release", [100.0, 400.0])
def test_it_gives_ten_decibels_back_in_its_release(release: float) -> None:
    ends = 20000
    x = sine(2000) * torch.where(torch.arange(LENGTH) < ends, 1.0, 0.01)
    step = Compress(make_up=False)
    y = change(step, x, threshold_db=-30.0, ratio=4.0, attack_ms=0.5, release_ms=release)
    first = ends + round(0.1 * release * RATE / 1000)
    later = first + round(release * RATE / 1000)
    assert gain_at(y, x, later) - gain_at(y, x, first) == pytest.approx(10, abs=0.3)
    at_last = first + round(2.5 * release * RATE / 1000)
    if at_last < LENGTH:
        assert gain_at(y, x, at_last) == pytest.approx(0, abs=0.1)


def test_compression_equals_the_recursion() -> None:
    """Hold, straight release and one pole, sample by sample in double precision."""
    x = music(1, 3000)[0, 0]
    wanted = 20 * np.log10(np.maximum(np.abs(x.double().numpy()) / float(x.abs().max()), 1e-5))
    wanted = np.maximum(wanted + 25, 0) * (1 - 1 / 3)
    fall, pole = 10 / (60 * RATE / 1000), math.exp(-1 / (5 * RATE / 1000))
    held, smooth, gains = 0.0, 0.0, []
    for value in wanted:
        held = max(value, held - fall)
        smooth = pole * smooth + (1 - pole) * held
        gains.append(10 ** (-smooth / 20))
    step = Compress(make_up=False)
    y = change(step, x, threshold_db=-25.0, ratio=3.0, attack_ms=5.0, release_ms=60.0)
    np.testing.assert_allclose(y.numpy(), x.numpy() * np.array(gains), atol=1e-5)


def test_compression_narrows_the_range_and_does_not_ask_for_the_level() -> None:
    quiet_then_loud = music(1)[0, 0] * torch.linspace(0.01, 1, LENGTH)
    settings = {"threshold_db": -35.0, "ratio": 6.0, **FAST}
    y = change(Compress(), quiet_then_loud, **settings)
    before = decibels(quiet_then_loud[-9000:], quiet_then_loud[2000:9000])
    assert decibels(y[-9000:], y[2000:9000]) < before - 8
    faint = change(Compress(), 0.01 * quiet_then_loud, **settings)
    torch.testing.assert_close(faint, 0.01 * y, rtol=1e-3, atol=1e-6)


# -------------------------------------------------------------------------- chorus and distortion


def test_chorus_without_wandering_is_an_echo() -> None:
    click = torch.zeros(LENGTH)
    click[1000] = 1
    still = Chorus(depth_ms=(0.0, 0.0))
    settings = {"delay_ms": 20.0, "depth_ms": 0.0, "rate_hz": 1.0, "mix": 0.5, "phase": 0.3}
    y = change(still, click, **settings)
    assert float(y[1000]) == pytest.approx(1 / 1.5, abs=1e-5)
    assert float(y[1441]) == pytest.approx(0.5 / 1.5, abs=1e-5)
    assert y.abs().sum() < 1.001


def test_chorus_is_three_copies_whose_delays_wander() -> None:
    hz, delay, depth, rate, mix, phase = 700.0, 0.022, 0.0015, 1.3, 0.8, 0.4
    t = torch.arange(LENGTH, dtype=torch.float64) / RATE
    voices = [
        torch.sin(
            2 * math.pi * hz
            * (t - delay - depth * torch.sin(2 * math.pi * (rate * t + phase + voice / 3)))
        )
        for voice in range(3)
    ]  # fmt: skip
    expected = (torch.sin(2 * math.pi * hz * t) + mix / 3 * torch.stack(voices).sum(0)) / (1 + mix)
    settings = {"delay_ms": 22.0, "depth_ms": 1.5, "rate_hz": rate, "mix": mix, "phase": phase}
    y = change(Chorus(), sine(hz), **settings)
    torch.testing.assert_close(middle(y), middle(expected).float(), atol=3e-3, rtol=0)
    with pytest.raises(ValueError, match="depth_ms"):
        Chorus(delay_ms=(1.0, 2.0), depth_ms=(0.5, 1.5))


def harmonics(drive: float, count: int) -> list[float]:
    """Fourier coefficients of tanh(g sin) / tanh(g), by the trapezium rule."""
    angle = np.arange(1 << 14) * 2 * np.pi / (1 << 14)
    wave = np.tanh(drive * np.sin(angle)) / np.tanh(drive)
    return [float(2 * np.mean(wave * np.sin(k * angle))) for k in range(1, count + 1)]


@pytest.mark.parametrize("drive_db", [0.0, 12.0, 26.0])
def test_distortion_adds_the_odd_harmonics_that_tanh_has(drive_db: float) -> None:
    length = 44100  # of which 220.5 Hz is a whole part
    x = 0.3 * sine(220.5, length)
    y = change(Distortion(), x, drive_db=drive_db)
    periods = y[4400:-4400]  # 353 of 100 samples
    found = torch.fft.rfft(periods.double()).imag * (-2 / len(periods))
    step = len(periods) // 100
    expected = harmonics(10 ** (drive_db / 20), 15)
    for k, amplitude in enumerate(expected, 1):
        assert float(found[k * step]) == pytest.approx(0.3 * amplitude, abs=3e-4), k
    assert all(abs(amplitude) < 1e-9 for amplitude in expected[1::2])
    assert float(y.abs().max()) == pytest.approx(0.3, rel=0.05)


def test_distortion_hardly_folds_back() -> None:
    length = 44100
    y = change(Distortion(), sine(5000, length), drive_db=20.0)
    spectrum = torch.fft.rfft(y * torch.hann_window(length)).abs()
    hz = torch.arange(len(spectrum)) * RATE / length
    third = (hz - (RATE - 15000)).abs() < 50  # where it would be without more samples
    assert spectrum[third].max() < 0.003 * spectrum.max()
    naive = torch.tanh(10 * sine(5000, length)) * torch.hann_window(length)
    assert torch.fft.rfft(naive).abs()[third].max() > 0.1 * spectrum.max()
