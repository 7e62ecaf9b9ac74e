"""The augmentations: their physics, and the contract that every one of them keeps."""

import inspect
import math

import numpy as np
import pytest
import torch
from scipy.signal import lfilter
from sounds import (
    LENGTH,
    RATE,
    Transfers,
    change,
    decibels,
    middle,
    music,
    peak_hz,
    seeded,
    several,
    sine,
)
from torch import Tensor

from antiphon import augment, augmentation, dsp
from antiphon.augment import (
    Augmentation,
    Delay,
    Filter,
    Gain,
    Noise,
    PitchShift,
    Polarity,
    Reverb,
)
from antiphon.augmentation import Mixture, uniforms
from antiphon.chain import PRESETS, Chain

CLASSES = list(augment.names().values())
RANGES = {  # what `draw` may give for the default arguments, both ends included
    "Polarity": {},
    "Noise": {"snr_db": (40, 80), "seed": (0, 2**31 - 1)},
    "Gain": {"db": (-6, 0)},
    "Filter": {"high_pass": (0, 1), "cutoff_hz": (200, 4000)},
    "Delay": {"milliseconds": (200, 500)},
    "PitchShift": {"cents": (-700, 700)},
    "Reverb": {"room_size": (0, 100), "reverberance": (0, 100), "damping": (0, 100)},
}


# ---------------------------------------------------------------------------------- the contract


def test_classes_are_found() -> None:
    assert {c.__name__ for c in CLASSES} >= set(RANGES)
    assert Augmentation not in CLASSES


@pytest.mark.parametrize("cls", CLASSES)
class TestContract:
    @pytest.mark.parametrize("rate", [8000, 22050, 44100])
    @pytest.mark.parametrize("length", [800, 16000])
    def test_shape_dtype_and_finite(self, cls: type[Augmentation], rate: int, length: int) -> None:
        for x in (music(3, length), torch.zeros(2, 1, length)):
            y = cls()(x, rate, seeded())
            assert y.shape == x.shape
            assert y.dtype == x.dtype
            assert y.isfinite().all()
            if not x.any():
                assert not y.any()

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
    def test_other_precisions(self, cls: type[Augmentation], dtype: torch.dtype) -> None:
        x = music(2, 8000)
        y = cls()(x.to(dtype), RATE, seeded())
        assert y.dtype == dtype
        expected = cls()(x.to(dtype).float(), RATE, seeded())
        torch.testing.assert_close(y.float(), expected, atol=0.01, rtol=0.01)

    def test_probability(self, cls: type[Augmentation]) -> None:
        x = music(16, 12000)
        assert torch.equal(cls(p=0.0)(x, RATE, seeded()), x)
        assert (cls(p=1.0)(x, RATE, seeded()) != x).any(2).all()
        half = (cls(p=0.5)(x, RATE, seeded()) != x).any(2)[:, 0]
        coins = uniforms(16, 1 + cls.draws, seeded())[:, 0] < 0.5
        assert torch.equal(half, coins)
        assert 0 < coins.sum() < 16
        with pytest.raises(ValueError, match=r"p=1\.5 is no probability; give 0 to 1"):
            cls(p=1.5)

    def test_same_seed_same_sound(self, cls: type[Augmentation]) -> None:
        x = music(3, 12000)
        before = x.clone()
        assert torch.equal(cls()(x, RATE, seeded(1)), cls()(x, RATE, seeded(1)))
        assert torch.equal(x, before)
        if cls.draws:
            assert not torch.equal(cls()(x, RATE, seeded(1)), cls()(x, RATE, seeded(2)))

    def test_an_item_does_not_know_its_batch(self, cls: type[Augmentation]) -> None:
        if issubclass(cls, Mixture):
            pytest.skip("it hears another one: see test_mixtures.py")
        x = music(5, 12000)
        together = cls(p=0.7)(x, RATE, several(5))
        for i in range(5):
            alone = cls(p=0.7)(x[i : i + 1], RATE, [seeded(100 + i)])
            torch.testing.assert_close(together[i : i + 1], alone, atol=2e-5, rtol=1e-4)

    def test_draw_is_a_pure_function_within_its_ranges(self, cls: type[Augmentation]) -> None:
        u = torch.rand(500, cls.draws, dtype=torch.float64, generator=seeded())
        u[0], u[1] = 0.0, 1 - 2**-53
        state = torch.get_rng_state()
        step = cls()
        parameters, again = step.draw(u), step.draw(u)
        assert torch.equal(torch.get_rng_state(), state)
        assert set(parameters) == set(RANGES.get(cls.__name__, parameters))
        for name, value in parameters.items():
            assert value.shape == (500,)
            assert torch.equal(value, again[name])
            low, high = RANGES.get(cls.__name__, {}).get(name, (-math.inf, math.inf))
            assert value.min() >= low - 1e-9
            assert value.max() <= high + 1e-9

    def test_no_gradient_and_no_global_randomness(self, cls: type[Augmentation]) -> None:
        state = torch.get_rng_state()
        y = cls()(music(2, 8000).requires_grad_(), RATE, seeded())
        assert not y.requires_grad
        assert torch.equal(torch.get_rng_state(), state)

    def test_is_documented(self, cls: type[Augmentation]) -> None:
        text = inspect.getdoc(cls) or ""
        for name in inspect.signature(cls).parameters:
            assert f"    {name}: " in text
        assert "p=0.25" in repr(cls(p=0.25))


def test_errors_teach() -> None:
    with pytest.raises(ValueError, match="mono batches"):
        Polarity()(torch.zeros(2, 100), RATE, seeded())
    with pytest.raises(ValueError, match="mono batches"):
        Polarity()(torch.zeros(2, 2, 100), RATE, seeded())
    with pytest.raises(ValueError, match="3 generators for 2 items"):
        Polarity()(torch.zeros(2, 1, 100), RATE, several(3))
    with pytest.raises(ValueError, match="lower one first"):
        Gain(db=(0.0, -6.0))
    with pytest.raises(ValueError, match="within 0 to 100"):
        Reverb(room_size=(0.0, 101.0))
    with pytest.raises(ValueError, match="within -24 to 24"):
        PitchShift(semitones=(-30.0, 0.0))
    with pytest.raises(ValueError, match="'sinc' or 'first_order'"):
        Filter(kind="butter")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="above 0"):
        Delay(step=0.0)


# ----------------------------------------------------------------------------------- the physics


def test_polarity_twice_is_identity() -> None:
    x = music(2, 1000)
    once = Polarity()(x, RATE, seeded())
    assert torch.equal(once, -x)
    assert torch.equal(Polarity()(once, RATE, seeded()), x)


@pytest.mark.parametrize("snr", [0.0, 20.0, 40.0, 60.0])
def test_noise_has_the_requested_level_and_is_white(snr: float) -> None:
    x = music(2)
    added = Noise(snr_db=(snr, snr))(x, RATE, seeded()).double() - x
    for item, sound in zip(added, x, strict=True):
        assert decibels(sound, item) == pytest.approx(snr, abs=0.1)
        power = torch.fft.rfft(item[0]).abs().square()
        for band in power[: len(power) // 8 * 8].chunk(8):
            assert float(band.mean() / power.mean()) == pytest.approx(1, abs=0.15)
    assert not torch.allclose(added[0], added[1] * added[0].std() / added[1].std(), atol=1e-4)


def test_noise_is_drawn_evenly_in_amplitude_or_in_decibels() -> None:
    u = torch.rand(20000, 2, dtype=torch.float64, generator=seeded())
    amplitude = 10 ** (-Noise(snr_db=(40.0, 80.0)).draw(u)["snr_db"] / 20)
    assert float(amplitude.mean()) == pytest.approx((1e-4 + 1e-2) / 2, rel=0.02)
    even = Noise(snr_db=(40.0, 80.0), uniform_in="decibels").draw(u)["snr_db"]
    assert float(even.mean()) == pytest.approx(60, abs=0.3)


def test_noise_clips_if_asked() -> None:
    x = sine(440)[None, None]
    assert Noise(snr_db=(20.0, 20.0))(x, RATE, seeded()).max() > 1
    assert Noise(snr_db=(20.0, 20.0), clip=True)(x, RATE, seeded()).max() == 1


def test_gain_changes_the_level_by_what_was_drawn() -> None:
    x = music(8, 4000)
    step = Gain(db=(-20.0, -1.0))
    drawn = step.draw(uniforms(8, 2, several(8))[:, 1:])["db"]
    y = step(x, RATE, several(8))
    for i in range(8):
        assert decibels(y[i], x[i]) == pytest.approx(float(drawn[i]), abs=1e-3)


def test_whole_decibels_reach_both_ends() -> None:
    u = torch.rand(2000, 1, dtype=torch.float64, generator=seeded())
    drawn = Gain(db=(-20.0, -1.0), integer=True).draw(u)["db"]
    assert sorted(set(drawn.tolist())) == list(range(-20, 0))


@pytest.mark.parametrize("rate", [16000, 22050, 44100])
def test_sinc_filters_kill_what_is_beyond_and_pass_the_rest(rate: int) -> None:
    step = Filter()
    for hz, high, cutoff, kept in [
        (6000, False, 2200, False),
        (500, False, 2200, True),
        (4800, False, 3500, False),
        (100, True, 200, False),
        (500, True, 1200, False),
        (2000, True, 1200, True),
    ]:
        x = sine(hz, rate=rate)
        change_db = decibels(
            middle(change(step, x, rate, high_pass=high, cutoff_hz=float(cutoff))), middle(x)
        )
        if kept:
            assert abs(change_db) < 1
        else:
            assert change_db < -20


def test_sinc_filter_shifts_no_phase() -> None:
    x = sine(500)
    y = change(Filter(), x, high_pass=False, cutoff_hz=2200.0)
    torch.testing.assert_close(middle(y), middle(x), atol=0.01, rtol=0)
    click = torch.zeros(LENGTH)
    click[30000] = 1
    y = change(Filter(), click, high_pass=False, cutoff_hz=2200.0)
    assert int(y.argmax()) == 30000
    torch.testing.assert_close(y[30000:30400], y[29601:30001].flip(0), atol=1e-6, rtol=0)


@pytest.mark.parametrize("length", [3000, 30000])  # one piece, several pieces
@pytest.mark.parametrize("high", [False, True])
def test_sinc_filter_equals_direct_convolution(high: bool, length: int) -> None:
    x = music(1, length)[0, 0].double()
    cutoff = torch.tensor([2345 / RATE], dtype=torch.float64)
    half = int(4 * RATE / 2345)
    t = np.arange(-half, half + 1)
    kernel = np.sinc(2 * 2345 / RATE * t) * np.hanning(2 * half + 1)
    padded = np.pad(x.numpy(), half, mode="edge")
    slow = np.convolve(padded, kernel / kernel.sum(), mode="valid")
    slow = x.numpy() - slow if high else slow
    fast = dsp.sinc_filter(x[None], cutoff, torch.tensor([high]), 200 / RATE)[0].numpy()
    np.testing.assert_allclose(fast, slow, atol=1e-9)


@pytest.mark.parametrize("kind", ["sinc", "first_order"])
def test_cut_off_at_half_the_sample_rate(kind: str) -> None:
    step = Filter(kind=kind)  # type: ignore[arg-type]
    x = sine(1000, rate=8000)
    y = change(step, x, 8000, high_pass=False, cutoff_hz=4000.0)
    assert abs(decibels(middle(y), middle(x))) < 0.1
    for rate in (1000, 2000, 4000):  # cut-offs far beyond: still finite, nothing doubled
        y = change(step, x, rate, high_pass=True, cutoff_hz=1200.0)
        assert y.isfinite().all()
        assert y.abs().max() < 1.5


@pytest.mark.parametrize("high", [False, True])
@pytest.mark.parametrize(
    ("cutoff", "rate"), [(200.0, 44100), (2200.0, 22050), (3900.0, 8000), (4000.0, 8000)]
)
def test_first_order_equals_the_recursion(cutoff: float, rate: int, high: bool) -> None:
    x = music(2, 20000)[:, 0]
    tangent = math.tan(math.pi * min(cutoff / rate, 0.45 if high else 0.49))
    c = (tangent - 1) / (tangent + 1)
    b = [(1 - c) / 2, -(1 - c) / 2] if high else [(1 + c) / 2, (1 + c) / 2]
    slow = lfilter(b, [1, c], x.double().numpy())
    y = change(Filter(kind="first_order"), x, rate, high_pass=high, cutoff_hz=cutoff)
    np.testing.assert_allclose(y.numpy(), slow, atol=2e-6)


def test_first_order_is_much_softer_than_sinc() -> None:
    """9.3 dB at 6 kHz for 2.2 kHz in the analogue limit; the bilinear map adds 2 at 22,050 Hz."""
    soft = Filter(kind="first_order")
    for rate, expected in [(192000, -9.3), (44100, -9.7), (22050, -11.3)]:
        x = sine(6000, rate=rate)
        y = change(soft, x, rate, high_pass=False, cutoff_hz=2200.0)
        assert decibels(middle(y), middle(x)) == pytest.approx(expected, abs=0.1)
    x = sine(2200)
    y = change(soft, x, high_pass=False, cutoff_hz=2200.0)
    assert decibels(middle(y), middle(x)) == pytest.approx(-3.01, abs=0.02)


def test_filter_draws_both_kinds_in_their_own_ranges() -> None:
    u = torch.rand(4000, 2, dtype=torch.float64, generator=seeded())
    drawn = Filter().draw(u)
    high = drawn["high_pass"]
    assert float(high.double().mean()) == pytest.approx(0.5, abs=0.03)
    low_cut, high_cut = drawn["cutoff_hz"][~high], drawn["cutoff_hz"][high]
    assert 2200 <= low_cut.min() < 2210
    assert 3990 < low_cut.max() <= 4000
    assert 200 <= high_cut.min() < 210
    assert 1190 < high_cut.max() <= 1200


@pytest.mark.parametrize("normalise", [True, False])
def test_delay_of_an_impulse(normalise: bool) -> None:
    click = torch.zeros(LENGTH)
    click[100] = 1
    step = Delay(factor=0.2, normalise=normalise)
    y = change(step, click, milliseconds=350.0)
    later = 100 + round(0.350 * RATE)
    scale = 0.5 if normalise else 1.0
    assert y.nonzero()[:, 0].tolist() == [100, later]
    assert float(y[100]) == pytest.approx(scale)
    assert float(y[later]) == pytest.approx(scale * 0.2)


def test_delay_draws_every_step_and_may_pass_the_end() -> None:
    u = torch.rand(2000, 1, dtype=torch.float64, generator=seeded())
    assert sorted(set(Delay().draw(u)["milliseconds"].tolist())) == list(range(200, 501, 50))
    short = Delay((1.0), (200.0, 450.0)).draw(u)["milliseconds"]
    assert sorted(set(short.tolist())) == list(range(200, 451, 50))
    x = music(1, 800)[0, 0]
    torch.testing.assert_close(change(Delay(), x, milliseconds=500.0), x / 2)


@pytest.mark.parametrize("semitones", [-12, -7, -3.37, 0.5, 4, 7, 12])
def test_pitch_moves_by_the_interval_and_keeps_level_and_length(semitones: float) -> None:
    for hz in (220.0, 441.7, 1500.0):
        x = sine(hz)
        y = change(PitchShift(), x, cents=100.0 * semitones)
        assert y.shape == x.shape
        cents = 1200 * math.log2(peak_hz(middle(y)) / hz)
        assert cents == pytest.approx(100 * semitones, abs=2)
        assert abs(decibels(middle(y), middle(x))) < 0.2


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_pitch_at_other_sample_rates(rate: int) -> None:
    x = sine(440, rate=rate)
    y = change(PitchShift(), x, rate, cents=1200.0)
    assert peak_hz(middle(y), rate) == pytest.approx(880, abs=rate / len(x))
    assert abs(decibels(middle(y), middle(x))) < 0.5


def test_pitch_shift_of_nothing_is_identity() -> None:
    x = music(2)[:, 0]
    torch.testing.assert_close(change(PitchShift(), x, cents=0.0), x, atol=1e-5, rtol=0)


@pytest.mark.parametrize("cents", [-700.0, -350.0, 350.0, 700.0])
def test_pitch_shift_keeps_the_tempo(cents: float) -> None:
    times = list(range(3000, LENGTH - 3000, 9000))
    clicks = torch.zeros(LENGTH)
    clicks[times] = 1
    y = change(PitchShift(), clicks, cents=cents).abs()
    for t in times:
        energy = y[t - 2900 : t + 2900].square()
        where = torch.arange(-2900, 2900)
        assert abs(int(energy.argmax()) - 2900) < 0.03 * RATE
        assert abs(float((energy * where).sum() / energy.sum())) < 0.015 * RATE
        # and stays a click: most of its energy within 30 ms to either side
        assert energy[where.abs() < 0.03 * RATE].sum() > 0.8 * energy.sum()


def test_pitch_shift_keeps_a_click_whole_and_in_its_place() -> None:
    where = torch.arange(-2900, 2900) / RATE
    for first in (3000, 3222, 3444):  # wherever the frames fall
        clicks = torch.zeros(LENGTH)
        clicks[first : LENGTH - 3000 : 9000] = 1
        for cents in (-700.0, -350.0, 350.0, 700.0):
            y = change(PitchShift(), clicks, cents=cents)
            for t in range(first, LENGTH - 3000, 9000):
                energy = y[t - 2900 : t + 2900].square()
                assert energy[where.abs() < 0.03].sum() > 0.97 * energy.sum()
                assert abs(float((energy * where).sum() / energy.sum())) < 0.008


def score(ratio: float) -> Tensor:
    """Four decaying notes over a held fifth: a piece whose transposition is known."""
    t = torch.arange(LENGTH, dtype=torch.float64) / RATE
    y = 0.1 * (sine(110 * ratio) + sine(165 * ratio)).double()
    for i, hz in enumerate((261.63, 329.63, 392.0, 311.13)):
        since = (t - 0.1 - 0.6 * i).clamp(min=0)
        envelope = (since * 200).clamp(max=1) * torch.exp(-since / 0.3)
        for h in range(1, 9):
            y += 0.2 / h * envelope * torch.sin(2 * math.pi * hz * h * ratio * since)
    return y.float()


def spectral_convergence(y: Tensor, truth: Tensor) -> float:
    window = torch.hann_window(2048)
    a, b = (torch.stft(s, 2048, 512, window=window, return_complex=True).abs() for s in (y, truth))
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("semitones", [-7.0, -3.37, 2.0, 5.0, 7.0])
def test_pitch_shift_sounds_like_the_piece_played_in_another_key(semitones: float) -> None:
    """Within 0.12 of the truth, where sound that isn't shifted is beyond 1."""
    ratio = 2 ** (semitones / 12)
    y = change(PitchShift(), score(1.0), cents=100 * semitones)
    assert spectral_convergence(y, score(ratio)) < 0.12
    assert spectral_convergence(score(1.0), score(ratio)) > 0.9


@pytest.mark.parametrize("semitones", [-7.0, -4.5, -0.3, 1.0, 3.37, 7.0])
@pytest.mark.parametrize("hz", [110.0, 233.3, 440.0])
def test_f0_moves_by_the_ratio_within_three_cents(hz: float, semitones: float) -> None:
    harmonics = torch.stack([sine(hz * h) / h for h in range(1, 9)]).sum(0) / 3
    y = middle(change(PitchShift(), harmonics, cents=100 * semitones))
    spectrum = torch.fft.rfft(y * torch.hann_window(len(y)), 1 << 19).abs()
    bin_hz = RATE / (1 << 19)
    for h in range(1, 6):  # every harmonic, not the lowest alone
        expected = hz * h * 2 ** (semitones / 12)
        low, high = (int(expected * 2 ** (c / 1200) / bin_hz) for c in (-60, 60))
        found = (low + int(spectrum[low:high].argmax())) * bin_hz
        assert abs(1200 * math.log2(found / expected)) < 3


def test_pitch_shift_keeps_a_chord_together() -> None:
    notes = (220.0, 277.18, 329.63, 440.0)
    x = sum((sine(hz) for hz in notes), torch.zeros(LENGTH)) / 4
    y = change(PitchShift(), x, cents=700.0)
    assert abs(decibels(middle(y), middle(x))) < 0.5
    expected = sum((sine(hz * 2 ** (7 / 12)) for hz in notes), torch.zeros(LENGTH)) / 4
    window = torch.hann_window(len(middle(x)))
    got, want = (torch.fft.rfft(middle(s) * window).abs() for s in (y, expected))
    assert float((got * want).sum() / (got.norm() * want.norm())) > 0.99


def test_pitch_shift_drops_what_would_alias() -> None:
    y = change(PitchShift(), sine(9000), cents=700.0)  # would become 13,485 Hz
    assert decibels(middle(y), middle(sine(9000))) < -40


def slow_freeverb(
    x: np.ndarray, rate: int, room: float, reverberance: float, damping: float
) -> np.ndarray:
    """The recursions one by one, in double precision."""
    shape = -1 / math.log(1 - 0.3)
    top = 100 / (math.log(1 - 0.98) * shape + 1)
    feedback = 1 - math.exp((reverberance - top) / (shape * top))
    pole = 0.2 + 0.3 * damping / 100
    scale = (0.1 + 0.9 * room / 100) * rate / 44100
    wet = np.zeros_like(x)
    for samples in (1116, 1188, 1277, 1356, 1422, 1491, 1557, 1617):
        m = int(samples * scale + 0.5)
        b = np.zeros(m + 2)
        b[m], b[m + 1] = 1, -pole
        a = np.zeros(m + 1)
        a[0], a[1] = 1, -pole
        a[m] -= feedback * (1 - pole)
        wet += lfilter(b, a, x)
    for samples in (225, 341, 441, 556):
        m = int(samples * rate / 44100 + 0.5)
        b, a = np.zeros(m + 1), np.zeros(m + 1)
        b[0], b[m], a[0], a[m] = -1, 1.5, 1, -0.5
        wet = lfilter(b, a, wet)
    return 0.015 * wet


@pytest.mark.parametrize(
    ("rate", "room", "reverberance", "damping"),
    [(22050, 100, 100, 0), (22050, 0, 100, 100), (22050, 40, 70, 30), (8000, 0, 0, 0)],
)
def test_reverb_equals_the_recursions(
    rate: int, room: float, reverberance: float, damping: float
) -> None:
    x = music(1, 30000)[0, 0]
    x[10000:] = 0  # the tail alone, where wrapped sound would show
    slow = slow_freeverb(x.double().numpy(), rate, room, reverberance, damping)
    wet = (
        change(Reverb(), x, rate, room_size=room, reverberance=reverberance, damping=damping)
        .double()
        .numpy()
        - x.double().numpy()
    )
    assert np.abs(wet - slow).max() < 1e-3 * np.abs(slow).max()
    assert decibels(torch.tensor(wet - slow), torch.tensor(slow)) < -65


def reverberation_time(reverberance: float, room: float = 50.0) -> float:
    """Seconds until the tail of an impulse has fallen by 20 dB."""
    click = torch.zeros(LENGTH)
    click[0] = 1
    y = change(Reverb(), click, room_size=room, reverberance=reverberance, damping=50.0)
    left = y[1:].double().square().flip(0).cumsum(0).flip(0)
    return float((left > 0.01 * left[0]).sum()) / RATE


def test_reverb_decays_and_lasts_longer_in_a_livelier_or_larger_room() -> None:
    times = [reverberation_time(r) for r in (0.0, 25.0, 50.0, 75.0, 100.0)]
    assert times == sorted(times)
    assert times[0] < 0.1 < 0.3 < times[-1]
    sizes = [reverberation_time(50.0, room) for room in (0.0, 50.0, 100.0)]
    assert sizes == sorted(sizes)
    click = torch.zeros(LENGTH)
    click[0] = 1
    y = change(Reverb(), click, room_size=60.0, reverberance=60.0, damping=50.0)
    levels = [decibels(part, click) for part in y[1:].chunk(6)]
    assert levels == sorted(levels, reverse=True)


def test_damping_dulls_the_tail() -> None:
    click = torch.zeros(LENGTH)
    click[0] = 1
    bright = []
    for damping in (0.0, 100.0):
        y = change(Reverb(), click, room_size=50.0, reverberance=70.0, damping=damping)
        power = torch.fft.rfft(y[2000:]).abs().square()
        bright.append(float(power[len(power) // 2 :].sum() / power.sum()))
    assert bright[1] < bright[0] / 2


def test_reverb_of_nothing_is_finite_and_keeps_the_dry_sound() -> None:
    x = music(2)[:, 0]
    y = change(Reverb(), x, room_size=0.0, reverberance=0.0, damping=0.0)
    assert y.shape == x.shape
    assert y.isfinite().all()
    assert decibels(y - x, x) < -10


# --------------------------------------------------------------------------- presets and the chain


def settings(chain: list[Augmentation]) -> dict[str, dict[str, object]]:
    return {
        type(step).__name__: {k: getattr(step, k) for k in inspect.signature(type(step)).parameters}
        for step in chain
    }


def test_presets_have_the_stated_ranges() -> None:
    order = ["Polarity", "Noise", "Gain", "Filter", "Delay", "PitchShift", "Reverb"]
    thesis = settings(PRESETS["thesis"]())
    v1 = settings(PRESETS["reference_v1"]())
    v2 = settings(PRESETS["reference_v2"]())
    assert PRESETS["none"]() == []
    for preset, noise in ((thesis, 0.01), (v1, 0.0), (v2, 0.01)):
        assert list(preset) == order
        assert [preset[name]["p"] for name in order] == [0.8, noise, 0.3, 0.8, 0.3, 0.6, 0.6]
        assert preset["Filter"]["low_pass_hz"] == (2200, 4000)
        assert preset["Filter"]["high_pass_hz"] == (200, 1200)
        assert preset["PitchShift"]["semitones"] == (-7, 7)
        assert preset["Delay"]["step"] == 50
        assert preset["Delay"]["normalise"] is True
    assert thesis["Gain"] == {"p": 0.3, "db": (-6, 0), "integer": False}
    assert v1["Gain"] == {"p": 0.3, "db": (-20, -1), "integer": True}
    assert v2["Gain"] == {"p": 0.3, "db": (-20, -1), "integer": False}
    assert (thesis["Delay"]["milliseconds"], thesis["Delay"]["factor"]) == ((200, 500), 0.5)
    assert (v1["Delay"]["milliseconds"], v1["Delay"]["factor"]) == ((200, 450), 0.2)
    assert (v2["Delay"]["milliseconds"], v2["Delay"]["factor"]) == ((200, 450), 0.5)
    assert [p["Filter"]["kind"] for p in (thesis, v1, v2)] == ["sinc", "first_order", "sinc"]
    assert [p["Filter"]["integer"] for p in (thesis, v1, v2)] == [False, True, False]
    assert [p["PitchShift"]["integer_cents"] for p in (thesis, v1, v2)] == [False, True, True]
    for name in ("room_size", "reverberance", "damping"):
        assert [p["Reverb"][name] for p in (thesis, v1, v2)] == [(0, 100), (1, 100), (0, 99)]
    assert [p["Reverb"]["integer"] for p in (thesis, v1, v2)] == [False, True, True]
    assert v1["Noise"]["snr_db"] == (40, 40)
    assert v1["Noise"]["clip"] is True
    for preset in (thesis, v2):
        assert preset["Noise"]["snr_db"] == (40, 80)
        assert preset["Noise"]["uniform_in"] == "amplitude"
        assert preset["Noise"]["clip"] is False


@pytest.mark.parametrize("name", list(PRESETS))
def test_every_preset_runs(name: str) -> None:
    x = music(4, 12000)
    y = Chain(name)(x, RATE, seeded())
    assert y.shape == x.shape
    assert y.isfinite().all()
    assert torch.equal(y, x) == (name == "none")


def test_two_views_of_one_call_differ() -> None:
    x = music(4, 12000)
    views = Chain().views(torch.stack([x, x]), RATE, seeded())
    assert views.shape == (2, 4, 1, 12000)
    assert (views[0] != views[1]).any(2).all()


def test_asymmetric_leaves_all_but_the_last_view_alone() -> None:
    names = [c.__name__ for c in CLASSES]
    chain = Chain("thesis", p={name: 1.0 for name in names if name in RANGES}, asymmetric=True)
    x = music(4, 12000)
    views = chain.views(torch.stack([x, x]), RATE, seeded())
    assert torch.equal(views[0], x)
    assert (views[1] != x).any(2).all()
    both = [several(4), several(4, 200)]
    torch.testing.assert_close(
        chain.views(torch.stack([x, x]), RATE, both)[1], chain(x, RATE, several(4, 200))
    )


def test_a_view_depends_on_its_own_generator_alone() -> None:
    x = torch.stack([music(3, 12000), music(3, 12000, seed=1)])
    chain = Chain()
    views = chain.views(x, RATE, [several(3), several(3, 200)])
    alone = chain(x[1, 2:], RATE, [seeded(202)])
    torch.testing.assert_close(views[1, 2:], alone, atol=1e-4, rtol=1e-3)


def test_a_skipped_step_does_not_move_the_draws_of_the_next() -> None:
    x = music(6, 4000)
    steps: list[Augmentation] = [Noise(0.0), Delay(0.0), Gain(1.0)]
    first = Chain(steps)(x, RATE, several(6))
    steps = [Noise(1.0, (40.0, 80.0)), Delay(0.0), Gain(1.0)]
    with_noise = Chain(steps)(x, RATE, several(6))
    for a, b, sound in zip(first, with_noise, x, strict=True):
        assert decibels(a, sound) == pytest.approx(decibels(b, sound), abs=0.01)


def test_one_call_of_the_generator_per_item() -> None:
    chain = Chain()
    generators = several(2)
    chain(music(2, 2000), RATE, generators)
    columns = sum(1 + step.draws for step in chain.steps)
    reference = seeded(100)
    torch.rand(columns, dtype=torch.float64, generator=reference)
    assert torch.equal(generators[0].get_state(), reference.get_state())


def test_probabilities_by_name() -> None:
    chain = Chain("thesis", p={"PitchShift": 0.4, "Reverb": 0.0})
    assert {type(s).__name__: s.p for s in chain.steps}["PitchShift"] == 0.4
    mine = [Gain(0.3)]
    assert Chain(mine, p={"Gain": 1.0}).steps[0].p == 1.0  # type: ignore[arg-type]
    assert mine[0].p == 0.3
    with pytest.raises(ValueError, match="no 'Pitch' in this chain, which has Polarity, Noise"):
        Chain("thesis", p={"Pitch": 0.4})
    with pytest.raises(ValueError, match=r"Reverb=1\.2 is no probability"):
        Chain("thesis", p={"Reverb": 1.2})
    with pytest.raises(
        ValueError, match=r"thesis, reference_v1, reference_v2, pase\+, music, none"
    ):
        Chain("clmr")
    with pytest.raises(ValueError, match="give \\(V, B, 1, T\\)"):
        Chain().views(music(2, 1000), RATE, seeded())
    with pytest.raises(ValueError, match="1 lists of generators for 2 views"):
        Chain().views(torch.zeros(2, 1, 1, 1000), RATE, [several(1)])


def test_chain_in_half_precision_rounds_once() -> None:
    x = music(3, 8000).half()
    y = Chain()(x, RATE, seeded())
    assert y.dtype == torch.float16
    assert torch.equal(y, Chain()(x.float(), RATE, seeded()).half())


@pytest.mark.parametrize("name", ["thesis", "reference_v1"])
@pytest.mark.parametrize("p", [0.5, 1.0])
def test_nothing_waits_for_the_device(name: str, p: float) -> None:
    """The meta device holds no values: to ask it for one, or for a sound, is an error."""
    x = music(16, 8000).to("meta")
    with pytest.raises(NotImplementedError):
        x.cpu()
    chain = Chain(name, p=dict.fromkeys(RANGES, p))
    with Transfers() as transfers:
        y = chain(x, RATE, several(16))
    assert (y.device.type, y.shape, y.dtype) == ("meta", x.shape, x.dtype)
    assert transfers.count == len(RANGES)  # one a step: its parameters and the items' numbers


def test_parameters_arrive_as_they_were_sent() -> None:
    sound = torch.zeros(2, 1, 4, device="meta")
    u = uniforms(5, 3, seeded())
    chosen = torch.tensor([0, 2, 3])
    for step, dtype in ((Noise(), torch.float32), (Filter(), torch.float64)):
        here = step.draw(u[chosen, 1:])
        _, there = augmentation.sent(chosen, here, sound.to(dtype))
        for name, value in here.items():
            assert there[name].device.type == "meta"
            assert there[name].shape == (3,)
            expected = dtype if value.is_floating_point() else value.dtype
            assert there[name].dtype == expected


def test_noise_of_a_seed_is_gaussian_and_no_other_seeds() -> None:
    y = dsp.white_noise(torch.tensor([0, 1, 2, 2**31 - 1]), 200_000).double()
    assert y.isfinite().all()
    torch.testing.assert_close(y.mean(1), torch.zeros(4).double(), atol=0.01, rtol=0)
    torch.testing.assert_close(y.square().mean(1), torch.ones(4).double(), atol=0.01, rtol=0)
    torch.testing.assert_close(y.pow(4).mean(1), torch.full((4,), 3.0).double(), atol=0.1, rtol=0)
    inside = (y.abs() < 1.959964).double().mean(1)
    torch.testing.assert_close(inside, torch.full((4,), 0.95).double(), atol=0.003, rtol=0)
    spectrum = torch.fft.rfft(y, 1 << 19)
    for i in range(4):
        for j in range(i + 1):  # neither is one seed's noise another's, however much later
            together = torch.fft.irfft(spectrum[i] * spectrum[j].conj()) / y.shape[1]
            together[0] -= float(i == j)
            assert together.abs().max() < 0.02


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", ["thesis", "reference_v1"])
def test_a_gpu_hears_the_same(name: str) -> None:
    chain = Chain(name, p={c: 1.0 for c in RANGES if c != "PitchShift"})
    x = music(4)
    y = chain(x.cuda(), RATE, several(4)).cpu()
    torch.testing.assert_close(y, chain(x, RATE, several(4)), atol=1e-3, rtol=1e-2)
