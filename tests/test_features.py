"""Features agree with librosa on real music, are finite on anything, and keep time."""

from __future__ import annotations

import math
import re
import warnings
from pathlib import Path

import librosa
import numpy as np
import pytest
import scipy.signal
import torch

import antiphon
from antiphon import audio, features
from antiphon.configured import build, describe
from antiphon.features import (
    CQT,
    F0,
    MFCC,
    ZCR,
    Contrast,
    Feature,
    Gammatone,
    LogMel,
    Onset,
    Tempogram,
    align,
    delta,
    deltas,
    mel_filters,
)
from antiphon.features.base import usual_frame
from antiphon.features.gammatone import equal_erb, gammatone_response
from antiphon.features.spectrum import _extremes

RATE, HOP = 22050, 512
C1 = 440 * 2 ** (-45 / 12)

# Difference to librosa over the range of librosa's values, of 6 s of six tracks: what 99 % of all
# numbers stay within, and the largest one. docs/features.md repeats them.
TOLERANCES = {
    "log-power": (5e-4, 5e-2),
    "log-mel": (5e-5, 3e-4),
    "mfcc": (1e-5, 3e-5),
    "chroma-stft": (1e-5, 3e-5),
    "chroma-cqt": (2e-2, 6e-2),
    "cqt": (1e-2, 3e-2),
    "tempogram": (1e-5, 3e-5),
    "onset": (1e-5, 3e-5),
    "contrast": (2e-3, 1e-2),
    "flatness": (1e-4, 1e-3),
    "rms": (1e-5, 3e-5),
    "zcr": (0.0, 0.0),
}
# Share of voiced frames on which f0 is within 50 cents of librosa.yin, and of what both it and
# librosa.pyin call voiced; decibels by which gammatone differs from scipy's filters: the median,
# and what 90 % stay within.
F0_TOLERANCES = {"yin": 0.9, "pyin": 0.9}
GAMMATONE_TOLERANCES = (0.2, 0.6)
TRACKS = (0, 20, 40, 60, 80, 110)


def sharpness(bins_per_octave: int) -> float:
    """Of a constant-Q spectrum with windows as long as librosa's."""
    ratio = 2 ** (1 / bins_per_octave)
    return (ratio**2 + 1) / (ratio + 1)


OURS = {  # settings that aren't the default
    "mfcc": {"deltas": 2},
    "cqt": {
        "bins": 84, "bins_per_octave": 12, "lowest": C1, "sharpness": sharpness(12)
    },
}  # fmt: skip


def librosas(name: str, y: np.ndarray, rate: int = RATE, hop: int = HOP) -> np.ndarray:
    """The same feature by librosa: (F, d)."""
    sound = {"y": y, "sr": rate, "hop_length": hop}
    n_fft, one = usual_frame(rate), librosa.feature
    if name == "log-power":
        found = np.abs(librosa.stft(y, n_fft=n_fft, hop_length=hop)) ** 2
        found = np.log(np.maximum(found, 1e-10))
    elif name == "log-mel":
        found = np.log(np.maximum(one.melspectrogram(**sound, n_fft=1024, n_mels=96), 1e-10))
    elif name == "mfcc":
        mel = librosa.power_to_db(one.melspectrogram(**sound, n_fft=2048), top_db=None)
        still = one.mfcc(S=mel, n_mfcc=20)
        found = np.concatenate([still, one.delta(still), one.delta(still, order=2)])
    elif name == "chroma-stft":
        found = one.chroma_stft(**sound, n_fft=n_fft, tuning=0)
    elif name == "chroma-cqt":
        found = one.chroma_cqt(**sound, tuning=0)
    elif name == "cqt":
        found = np.abs(librosa.cqt(**sound, fmin=C1, n_bins=84, tuning=0))
    elif name in ("onset", "tempogram"):
        found = librosa.onset.onset_strength(**sound, n_fft=n_fft)
        if name == "tempogram":
            found = one.tempogram(onset_envelope=found, sr=rate, hop_length=hop)
    elif name == "contrast":
        found = one.spectral_contrast(**sound, n_fft=n_fft)
    elif name == "flatness":
        found = one.spectral_flatness(y=y, hop_length=hop, n_fft=n_fft)
    elif name == "rms":
        found = one.rms(y=y, frame_length=n_fft, hop_length=hop)
    else:
        found = one.zero_crossing_rate(y, frame_length=n_fft, hop_length=hop)
    return np.atleast_2d(found).T


def ours(name: str, y: np.ndarray, rate: int = RATE, hop: int = HOP, **settings) -> np.ndarray:
    """A feature of one clip: (F, d)."""
    feature = features.make(name, rate, hop, **settings)
    return feature(torch.from_numpy(y)[None, None])[0].numpy()


def clip(number: int, rate: int = RATE, seconds: float = 6.0) -> np.ndarray:
    """Of the built-in music, in 16 bits as it is packed."""
    track = antiphon.open("demo").tracks[number]
    y = audio.read(track.path, rate, start=5.0, seconds=seconds)
    return (np.round(y * 32767) / 32767).astype(np.float32)


@pytest.fixture(scope="module")
def music() -> list[np.ndarray]:
    return [clip(number) for number in TRACKS]


@pytest.fixture(autouse=True)
def one_thread(two_threads):
    torch.set_num_threads(1)


def differences(name: str, clips: list[np.ndarray], rate: int = RATE, hop: int = HOP) -> np.ndarray:
    """To librosa, over the range of its values; constant-Q away from the ends."""
    found = []
    for y in clips:
        expected = librosas(name, y, rate, hop)
        got = ours(name, y, rate, hop, **OURS.get(name, {}))
        assert got.shape == expected.shape
        difference = np.abs(got - expected) / np.ptp(expected)
        end = round(0.25 * rate / hop) if "cqt" in name else 0
        found.append(difference[end : len(difference) - end].ravel())
    return np.concatenate(found)


@pytest.mark.parametrize("name", TOLERANCES)
def test_it_is_librosas(name, music):
    found = differences(name, music)
    most, largest = TOLERANCES[name]
    print(f"{np.median(found):.1e} | {np.quantile(found, 0.99):.1e} | {found.max():.1e}")
    assert np.quantile(found, 0.99) <= most
    assert found.max() <= largest


@pytest.mark.parametrize(("rate", "hop"), [(16000, 160), (44100, 441), (8000, 128)])
def test_it_is_librosas_at_other_rates(rate, hop):
    y = clip(20, rate, 3.0)
    for name, (most, largest) in TOLERANCES.items():
        if "cqt" in name or (name == "contrast" and rate == 8000):
            continue  # librosa is slow, or refuses
        found = differences(name, [y], rate, hop)
        assert np.quantile(found, 0.99) <= most, name
        assert found.max() <= 2 * largest, name


def test_the_page_says_what_is_asserted():
    page = (Path(__file__).parents[1] / "docs" / "features.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \| .*?((?:\| [-\d.e]+ )+)\|$", page, re.M)
    said = {name: [float(cell) for cell in cells.strip("| ").split("|")] for name, cells in rows}
    assert set(said) == set(TOLERANCES)
    for name, (width, median, most, largest, *tolerances) in said.items():
        assert features.make(name, RATE, HOP, **OURS.get(name, {})).dim == width
        assert tuple(tolerances) == TOLERANCES[name], name
        assert median <= most <= tolerances[0], name
        assert largest <= tolerances[1], name
    listed = set(re.findall(r"`([\w-]+)`", page))
    assert set(features.names()) <= listed
    for name, (most, _) in TOLERANCES.items():
        about = features.names()[name].__doc__ or ""
        assert (f"to {most:.0e}".replace("e-0", "e-") if most else "equal to it") in about, name
    for number in (*F0_TOLERANCES.values(), *GAMMATONE_TOLERANCES):
        assert f"**{number:g}**" in page


# --------------------------------------------------------------------------- every feature


def cqt_fits(name: str, rate: int) -> dict[str, int]:
    return {"bins": 300} if name == "cqt" and rate < 10000 else {}


@pytest.mark.parametrize("name", features.names())
class TestEveryFeature:
    @pytest.mark.parametrize(("rate", "hop"), [(8000, 80), (16000, 333), (48000, 512)])
    def test_frames(self, name, rate, hop):
        feature = features.make(name, rate, hop, **cqt_fits(name, rate))
        assert feature.frame_rate == rate / hop
        torch.manual_seed(0)
        for samples in (hop * 12, hop * 12 + 1, hop * 13 - 1):
            frames = feature(0.1 * torch.randn(2, 1, samples))
            assert frames.shape == (2, 1 + samples // hop, feature.dim)
            assert frames.dtype == torch.float32
            assert frames.isfinite().all()

    def test_what_is_no_music_is_finite(self, name):
        feature = features.make(name, 16000, 160)
        click, square = torch.zeros(8000), torch.ones(8000)
        click[4000] = 1.0
        square[::2] = -1.0
        for sound in (torch.zeros(8000), torch.ones(8000), click, square, torch.zeros(1)):
            for level in (1.0, 1e-7):
                assert feature(level * sound[None, None]).isfinite().all()

    def test_items_are_on_their_own(self, name):
        feature = features.make(name, 16000, 320)
        x = 0.1 * torch.randn(3, 1, 9000) * torch.tensor([1.0, 1e-3, 0.3])[:, None, None]
        together = feature(x)
        for one, frames in zip(x, together, strict=True):
            torch.testing.assert_close(feature(one[None])[0], frames, rtol=1e-3, atol=1e-3)

    def test_it_is_computed_in_single_precision(self, name):
        feature = features.make(name, 16000, 320)
        x = 0.1 * torch.randn(1, 1, 9000)
        expected = feature(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert feature(x).equal(expected)
        assert feature(x.double()).equal(expected)

    def test_it_is_repeatable_and_has_no_weights(self, name):
        feature = features.make(name, 16000, 320)
        assert isinstance(feature, Feature)
        assert not feature.state_dict()
        again = build(describe(feature))
        x = 0.1 * torch.randn(1, 1, 4000)
        assert again(x).equal(feature(x))

    def test_it_stays_on_its_device(self, name):
        """The meta device has no values: to ask for one, or to be elsewhere, is an error."""
        feature = features.make(name, 16000, 320).to("meta")
        frames = feature.compute(torch.zeros(300, 9000, device="meta"))
        assert frames.device.type == "meta"
        assert frames.shape == (300, 29, feature.dim)

    def test_stereo_is_refused(self, name):
        feature = features.make(name, 16000, 320)
        for shape in ((1, 2, 4000), (1, 4000)):
            with pytest.raises(ValueError, match="mono batches"):
                feature(torch.zeros(shape))

    def test_frames_are_where_the_sound_is(self, name):
        """Noise that begins in the middle changes frames from there on, whatever the hop."""
        if name in ("chroma", "chroma-cqt", "f0"):
            pytest.skip("low notes are heard from far, and noise has no pitch")
        rate, hop = 16000, 147
        torch.manual_seed(0)
        x = torch.randn(1, 1, rate) * (torch.arange(rate) >= rate // 2)
        settings = {"lags": 2} if name == "tempogram" else {}
        settings |= {"lowest": 440.0, "bins": 24, "bins_per_octave": 12} if name == "cqt" else {}
        frames = features.make(name, rate, hop, **settings)(x)[0]
        far = (frames - frames[0]).norm(dim=1)
        least = far.max() if name == "onset" else 0.5 * far[-40:].mean()
        begun = (far >= least).nonzero()[0].item()
        assert abs(begun * hop - rate / 2) < 0.07 * rate


def test_names_that_are_not_there():
    with pytest.raises(ValueError, match=r"there is no feature 'mel'; there are: .*log-mel"):
        features.make("mel", 16000, 160)
    with pytest.raises(ValueError, match="mfcc has no order; its settings are: coefficients"):
        features.make("mfcc", 16000, 160, order=2)


def test_what_a_rate_can_not_hold():
    with pytest.raises(ValueError, match="higher sample_rate, or fewer bins"):
        CQT(8000, 256)
    assert Contrast(8000, 128).dim == 6
    with pytest.raises(ValueError, match="holds 5"):
        Contrast(8000, 128, bands=6)
    with pytest.raises(ValueError, match="longer n_fft"):
        Contrast(48000, 128, n_fft=128)
    with pytest.raises(ValueError, match="quarter of the sample rate"):
        F0(8000, 80, highest=2500.0)
    with pytest.raises(ValueError, match="two periods"):
        F0(16000, 80, frame=512)
    with pytest.raises(ValueError, match="half the sample rate"):
        Gammatone(16000, 80, highest=9000.0)
    with pytest.raises(ValueError, match="must be positive"):
        LogMel(16000, 0)


# --------------------------------------------------------------------------- one by one


@pytest.mark.parametrize(("rate", "n_fft", "bands"), [(16000, 1024, 96), (22050, 2048, 128)])
def test_mel_filters_are_librosas(rate, n_fft, bands):
    ours = mel_filters(rate, n_fft, bands)
    np.testing.assert_allclose(
        ours.T, librosa.filters.mel(sr=rate, n_fft=n_fft, n_mels=bands), atol=1e-7
    )


def test_a_tone_is_in_its_band():
    rate, hz = 16000, 1000.0
    tone = torch.sin(2 * torch.pi * hz * torch.arange(rate) / rate)[None, None]
    edges = librosa.mel_frequencies(n_mels=98, fmax=rate / 2)
    band = LogMel(rate)(tone)[0, 20].argmax().item()
    assert edges[band] < hz < edges[band + 2]


def test_no_band_is_deaf():
    for rate in (8000, 16000, 48000):
        assert (LogMel(rate).filters.sum(0) > 0).all()
        assert (MFCC(rate).mel.filters.sum(0) > 0).all()
        assert (Onset(rate, 256).mel.filters.sum(0) > 0).all()
        assert (Gammatone(rate, 256).filters.sum(0) > 0).all()


def test_delta():
    assert delta(torch.tensor([[[1.0], [4.0], [2.0]]])).tolist() == [[[3.0], [-2.0]]]


@pytest.mark.parametrize("count", [1, 2, 3, 6, 9, 30])
def test_deltas_of_a_parabola(count):
    t = torch.arange(count, dtype=torch.float32)
    frames = (0.5 * t**2 + 3 * t)[None, :, None]
    assert deltas(frames).shape == deltas(frames, 2).shape == frames.shape
    if count >= 3:
        assert deltas(frames, 2).allclose(torch.ones_like(frames), atol=1e-4)
    middle = slice(4, -4)
    assert deltas(frames)[0, middle, 0].allclose((t + 3)[middle], atol=1e-4)


def tone(hertz: float, rate: int, harmonics: int = 1, seconds: float = 0.5) -> torch.Tensor:
    t = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    parts = [
        torch.sin(2 * torch.pi * k * hertz * t + k) / k
        for k in range(1, harmonics + 1)
        if k * hertz < rate / 2
    ]
    return 0.2 * sum(parts)[None, None].float()


@pytest.mark.parametrize("harmonics", [1, 6])
@pytest.mark.parametrize(("rate", "cents"), [(8000, 3), (16000, 3), (22050, 3), (48000, 3)])
def test_the_pitch_of_a_tone(rate, cents, harmonics):
    feature = F0(rate, 160)
    for hertz in (62.0, 82.41, 146.83, 261.63, 440.0, 659.26, 987.77):
        found = feature(tone(hertz, rate, harmonics))[0]
        inner = found[len(found) // 4 : -len(found) // 4]
        assert (1200 * (inner[:, 0] / math.log(2) - math.log2(hertz))).abs().max() < cents, hertz
        assert inner[:, 1].min() > 0.98


def test_pitches_of_librosas_yin_and_ours_agree(music):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        feature = F0(RATE, HOP)
        settings = {"fmin": 60, "fmax": 1000, "sr": RATE}
        settings |= {"frame_length": feature.frame, "hop_length": HOP}
        agreed, both = [], []
        for number, y in enumerate(music):
            found = feature(torch.from_numpy(y)[None, None])[0].numpy()
            voiced, hertz = found[:, 1] > feature.voiced, np.exp(found[:, 0])
            yin = librosa.yin(y, **settings)
            agreed.append((np.abs(np.log2(hertz / yin)) < 50 / 1200)[voiced])
            if number % 3 == 0:
                pyin, sure, _ = librosa.pyin(y, **settings)
                shared = voiced & sure
                both.append(np.abs(np.log2(hertz[shared] / pyin[shared])) < 50 / 1200)
    assert np.concatenate(agreed).mean() > F0_TOLERANCES["yin"]
    assert np.concatenate(both).mean() > F0_TOLERANCES["pyin"]


def test_what_has_no_pitch_is_not_voiced():
    feature, half = F0(16000, 160), 8000
    torch.manual_seed(0)
    noise, silence, steady = torch.randn(half), torch.zeros(half), torch.ones(half)
    for sound in (noise, silence, steady):
        frames = feature(sound[None, None])[0]
        assert frames[:, 1].max() < 0.5
        assert frames[:, 0].allclose(torch.tensor(0.5 * math.log(60 * 1000)))
    low, high = tone(200.0, 16000), tone(400.0, 16000)
    sound = torch.cat([silence[None, None], low, noise[None, None], high], 2)
    pitch, voicing = feature(sound)[0].T
    assert pitch[:70].exp().sub(200).abs().max() < 3
    assert pitch[125].item() == pytest.approx(math.log(math.sqrt(200 * 400)), abs=0.1)
    assert (pitch[110:140].diff() > 0).all()
    assert voicing[:40].max() < 0.6
    assert voicing[160:190].min() > 0.98


def test_onsets_and_tempo_of_a_click_track():
    rate, hop, beat = 22050, 441, 0.5
    x = torch.zeros(1, 1, 10 * rate)
    x[..., :: round(beat * rate)] = 1.0
    strength = Onset(rate, hop)(x)[0, :, 0]
    expected = torch.arange(1, 19) * beat * rate / hop
    found = torch.stack(
        [strength[int(f) - 10 : int(f) + 10].argmax() + int(f) - 10 for f in expected]
    )
    assert (found - expected).abs().max() <= 2
    frame = Tempogram(rate, hop, lags=200)(x)[0, 250]
    assert frame[10:60].argmax() + 10 == round(beat * rate / hop)
    assert frame[0] == 1


def test_gammatones_are_scipys():
    feature, off = Gammatone(RATE, HOP), []
    for number, centre in enumerate(feature.centres):
        if centre > 0.3 * RATE:
            continue
        b, _ = scipy.signal.gammatone(centre, "fir", order=4, numtaps=RATE // 4, fs=RATE)
        hertz = np.linspace(0.5 * centre, 1.5 * centre, 50)
        _, expected = scipy.signal.freqz(b, 1, hertz, fs=RATE)
        found = gammatone_response(hertz, centre)
        near = np.abs(expected) > 0.03
        ratio = np.abs(found[near]) / np.abs(expected[near])
        assert np.abs(20 * np.log10(ratio)).max() < 0.1
        if number % 6 == 0:
            y = clip(40)
            delay = round(RATE * 3 / (2 * np.pi * 1.019 * (24.7 + centre / 9.26449)))
            filtered = scipy.signal.fftconvolve(y.astype(np.float64), b)[delay:][: len(y)]
            window = feature.window.double().numpy()
            padded = np.pad(filtered, len(window) // 2)
            frames = np.lib.stride_tricks.sliding_window_view(padded, len(window))[::HOP]
            power = (frames**2 @ window**2) / (window**2).sum()
            got = feature(torch.from_numpy(y)[None, None])[0, :, number].numpy()
            off.append(np.abs(10 * np.log10(power) - got * 10 / math.log(10))[5:-5])
    median, most = GAMMATONE_TOLERANCES
    assert np.median(off) < median
    assert np.quantile(off, 0.9) < most


def test_equal_steps_of_the_ear():
    found = equal_erb(50.0, 8000.0, 64)
    erb = 21.4 * np.log10(1 + 0.00437 * found)
    assert np.allclose(np.diff(erb), np.diff(erb).mean(), rtol=1e-3)
    assert found[[0, -1]] == pytest.approx([50.0, 8000.0])


def test_peaks_and_valleys_are_the_same_with_gradients():
    x = torch.randn(2, 5, 40)
    with_gradients = _extremes(x.clone().requires_grad_(), 3)
    for plain, other in zip(_extremes(x, 3), with_gradients, strict=True):
        torch.testing.assert_close(plain, other.detach())


def test_signs_are_counted_not_touched():
    x = torch.zeros(1, 1, 4000)
    x[..., ::4], x[..., 2::4] = 0.5, -0.5
    assert ZCR(8000, 100)(x)[0, 20].item() == pytest.approx(0.5, abs=1e-2)


# --------------------------------------------------------------------------- alignment


@pytest.mark.parametrize(
    ("hop", "target_hop"), [(480, 441), (441, 480), (160, 160), (128, 1024), (512, 100), (160, 729)]
)
def test_aligning_does_not_drift_in_an_hour(hop, target_hop):
    """Clicks stay in their place, and a straight line stays straight."""
    hour = 3600 * 48000
    frames = torch.zeros(1, 1 + hour // hop, 2, dtype=torch.float64)
    clicks = torch.arange(50, frames.shape[1] - 50, 997)
    frames[0, clicks, 0] = 1.0
    frames[0, :, 1] = torch.arange(frames.shape[1]) * hop
    count = hour // target_hop
    found = align(frames, hop, count, target_hop)[0]
    assert found.shape == (count, 2)
    middles = (torch.arange(count, dtype=torch.float64) + 0.5) * target_hop
    reach = math.ceil(hop / target_hop) + 2
    nearest = (clicks * hop / target_hop).long()
    around = (nearest[:, None] + torch.arange(-reach, reach + 1)).clamp(0, count - 1)
    weight = found[around, 0]
    centre = (weight * middles[around]).sum(1) / weight.sum(1)
    assert (centre - clicks * hop).abs().max() <= max(hop, target_hop) / 2 + 1
    assert (centre - clicks * hop).mean().abs() < 0.05 * max(hop, target_hop)
    inner = slice(10, -10)
    assert (found[inner, 1] - middles[inner]).abs().max() < 0.13 * hop
    assert found[:, 0].sum().item() == pytest.approx(len(clicks) * hop / target_hop, rel=0.02)


def test_aligning_shifts_by_the_offset():
    frames = torch.arange(100.0)[None, :, None]
    assert align(frames, 160, 99, 160, offset=-80)[0, :, 0].equal(frames[0, :99, 0])
    assert align(frames, 160, 98, 160, offset=80)[0, :, 0].equal(frames[0, 1:99, 0])
    assert align(frames, 160, 40, 320)[0, :, 0].allclose(2 * torch.arange(40.0) + 1)
    half = align(frames, 160, 150, 80)[0, :, 0]
    assert half.allclose(torch.arange(150) / 2 + 0.25)


def test_aligning_averages_what_is_faster():
    frames = torch.tensor([0.0, 1.0, 0.0, 1.0]).repeat(50)[None, :, None]
    assert align(frames, 100, 90, 200)[0, 1:-1].allclose(torch.tensor(0.5))
    short = torch.ones(2, 4, 3, dtype=torch.bfloat16)
    assert align(short, 100, 5, 80).dtype == torch.bfloat16


def test_a_click_is_in_the_encoders_frame():
    rate = 22050
    x = torch.zeros(1, 1, 30 * rate)
    x[..., 20 * rate + 77] = 1.0
    level = features.make("rms", rate, 100, frame=200)
    for hop in (729, 441, 256, 90):
        found = align(level(x), 100, 30 * rate // hop, hop)[0, :, 0].argmax().item()
        assert abs((found + 0.5) * hop - (20 * rate + 77)) <= max(hop, 200)


def test_frames_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match="samples of one rate"):
        align(torch.zeros(1, 100, 1), 160, 100, 320)
    with pytest.raises(ValueError, match="must be positive"):
        align(torch.zeros(1, 100, 1), 0, 100, 320)
