"""HuBERT: its numbers, targets that stand where they should, and that it can name them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from antiphon.configured import build, describe
from antiphon.encoders import Encoder
from antiphon.encoders.melcnn import MelCNN
from antiphon.encoders.transformer import Transformer
from antiphon.excerpts import Batch
from antiphon.features import CQT, Chroma
from antiphon.methods.hubert import HuBERT
from antiphon.targets import Clusters, Moments, slopes

RATE = 16000


@pytest.fixture(autouse=True)
def one_thread(two_threads):
    torch.set_num_threads(1)  # models this small only wait for the second one


def small(**settings) -> Encoder:
    small = {
        "sample_rate": RATE, "front_end": "log-mel", "patch": 1, "bands": 32, "channels": 16,
        "dim": 32, "depth": 2, "heads": 2, "dropout": 0.0, "layer_drop": 0.0, "seconds": 2.0,
    }  # fmt: skip
    return Transformer(**{**small, **settings})


def tone(hertz: float | list[float], seconds: float, rate: int = RATE) -> torch.Tensor:
    """Tones one after the other, each so many seconds: (1, 1, T)."""
    parts = [hertz] if isinstance(hertz, int | float) else hertz
    each = torch.arange(round(seconds * rate)) / rate
    return torch.cat([0.3 * torch.sin(2 * torch.pi * f * each) for f in parts])[None, None]


def notes(items: int = 4, seconds: float = 2.0) -> Batch:
    """Notes that change several times a second."""
    count, note = round(seconds * RATE), RATE // 8
    pitches = 110 * 2 ** (torch.randint(48, (items, math.ceil(count / note))) / 12)
    phase = 2 * torch.pi * (pitches.repeat_interleave(note, 1)[:, :count] / RATE).cumsum(1)
    return Batch((0.3 * phase.sin())[None, :, None], torch.arange(items))


def endless(seed: int = 0) -> Iterator[Batch]:
    for number in itertools.count():
        torch.manual_seed(seed + number)
        yield notes()


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def prepared(method: HuBERT, seed: int = 0) -> HuBERT:
    batches = endless()
    first = next(batches)
    torch.manual_seed(seed)
    method.prepare(itertools.chain([first], batches))
    return method


def test_the_published_number_of_parameters():
    with torch.device("meta"):
        method = HuBERT(Transformer(seconds=15.625))
    assert parameters(method.encoder) == 94_371_712
    assert parameters(method) == 94_371_712 + 768 * 256 + 256 + 100 * 256


@pytest.mark.parametrize("clusters", [100, 500])
def test_the_loss_begins_at_chance(clusters):
    torch.manual_seed(0)
    values = prepared(HuBERT(small(), clusters=clusters, fit_frames=3000))(notes(8))
    # the vectors of clusters, all positive, scatter around one direction
    assert values["cross_entropy"].item() == pytest.approx(math.log(clusters), abs=0.2)
    expected = values["cross_entropy"] + 10 * values["penalty"]
    assert values["loss"].item() == pytest.approx(expected.item())


def test_cosines_bound_the_loss():
    torch.manual_seed(0)
    method = HuBERT(small(), clusters=50)
    with torch.no_grad():
        method.names.copy_(torch.eye(50, 256)[None])
        method.names.mul_(torch.rand(50, 1) + 0.1)
    frames = torch.randn(7, 32)
    scores = method.scores(frames)
    assert scores.abs().max() <= 10.0 + 1e-5
    loss = torch.nn.functional.cross_entropy(scores[:, 0], scores[:, 0].argmax(1))
    assert loss >= math.log(1 + 49 * math.exp(-20))


def test_labels_of_what_can_be_seen_do_not_matter(monkeypatch):
    method = prepared(HuBERT(small(), clusters=10, fit_frames=1000)).eval()
    batch = notes()
    labels = method.labels(batch.sound[0], 126)
    from antiphon.methods import hubert

    mask = hubert.span_mask(4, 126, 0.8, 10)
    monkeypatch.setattr(hubert, "span_mask", lambda *_: mask)

    def loss(**settings):
        for name, value in settings.items():
            setattr(method, name, value)
        return method(batch)["loss"].item()

    first = loss()
    changed = torch.where(mask[..., None], labels, (labels + 1) % 10)
    monkeypatch.setattr(HuBERT, "labels", lambda *_: changed)
    assert loss() == first
    with_visible = loss(visible=1.0)
    assert with_visible > first
    monkeypatch.setattr(HuBERT, "labels", lambda *_: labels)
    assert loss() != with_visible
    monkeypatch.setattr(
        HuBERT, "labels", lambda *_: torch.where(mask[..., None], changed + 1, labels) % 10
    )
    assert loss(visible=0.0) != first


def test_a_clip_can_be_learned_by_heart():
    torch.manual_seed(0)
    method = prepared(HuBERT(small(), clusters=12, fit_frames=1000, out=64, penalty=0.0))
    batch = notes(1)
    optimiser = torch.optim.Adam(method.parameters(), 5e-3)
    accuracy = []
    for _ in range(100):
        values = method(batch)
        values["loss"].backward()
        optimiser.step()
        optimiser.zero_grad()
        accuracy.append(values["accuracy"].item())
    assert np.mean(accuracy[-10:]) > 0.8
    assert np.mean(accuracy[:5]) < 0.5


@pytest.mark.parametrize("targets", ["mfcc", "log-mel+chroma"])
def test_preparing_is_repeatable_and_kept(targets):
    first, again = (prepared(HuBERT(small(), targets, clusters=8, fit_frames=900)) for _ in "ab")
    assert first.clusters.centroids.equal(again.clusters.centroids)
    assert first.clusters.centroids.std() > 0
    fresh = HuBERT(small(), targets, clusters=8)
    fresh.load_state_dict(first.state_dict())
    sound = notes().sound[0]
    assert fresh.labels(sound, 126).equal(first.labels(sound, 126))
    assert first.labels(sound, 126).unique().numel() > 3
    other = prepared(HuBERT(small(), targets, clusters=8, fit_frames=900), seed=5)
    assert not first.clusters.centroids.equal(other.clusters.centroids)


def test_targets_are_of_the_clean_sound():
    method = prepared(HuBERT(small(), clusters=8, fit_frames=900))
    batch = notes()
    heard = []
    method.labels = lambda sound, frames: heard.append(sound) or torch.zeros(4, frames, 1).long()
    method(batch.augmented(torch.randn_like(batch.views)))
    assert heard[0].equal(batch.views[0])


@pytest.mark.parametrize(
    "settings",
    [
        {"front_end": "waveform", "size": "tiny", "channels": 16},
        {"patch": 2},
        {"patch": 1},
        {"sample_rate": 22050, "patch": 2},
    ],
    ids=["waveform", "patch 2", "patch 1", "22050 Hz"],
)
@pytest.mark.parametrize("targets", ["mfcc", "log-mel+chroma", "teacher"])
def test_labels_change_when_the_sound_does(settings, targets):
    torch.manual_seed(0)
    encoder = small(seconds=8.0, **settings)
    rate = encoder.sample_rate
    settings = {"clusters": 6, "fit_frames": 2000}
    if targets == "teacher":
        method = HuBERT(encoder, layer=0, **settings)
        method.teach(Moments39(rate, 400))
    else:
        method = HuBERT(encoder, targets, **settings)
    torch.manual_seed(0)  # the same noise and k-means, whatever the encoder has drawn
    sound = tone([300, 2000], 4.0, rate)
    sound = sound + 1e-3 * torch.randn_like(sound)
    frames = encoder.features(sound).shape[1]
    method.prepare(itertools.repeat(Batch(sound[None], torch.arange(1))))
    labels = method.labels(sound, frames)[0, :, 0]
    seconds = (torch.arange(frames) + 0.5) * encoder.hop / rate
    before = set(labels[(seconds > 0.2) & (seconds < 3.9)].tolist())
    after = set(labels[(seconds > 4.1) & (seconds < 7.8)].tolist())
    assert not before & after
    is_before = torch.tensor([label in before for label in labels.tolist()])
    is_after = torch.tensor([label in after for label in labels.tolist()])
    last = seconds[is_before & (seconds < 7.8)].max().item()
    first = seconds[is_after & (seconds > 0.2)].min().item()
    assert last == pytest.approx(4.0, abs=0.1)
    assert first == pytest.approx(4.0, abs=0.1)
    assert (last + first) / 2 == pytest.approx(4.0, abs=encoder.hop / rate + 0.005)


class Moments39(Encoder):
    """A 'teacher' that has no weights but knows the spectrum of each moment."""

    def __init__(self, sample_rate: int = RATE, hop: int = 400) -> None:
        super().__init__()
        self.sample_rate, self.hop, self.dim, self.window = sample_rate, hop, 39, sample_rate
        self.moments = Moments("mfcc", sample_rate, hop)
        self.scale = nn.Parameter(torch.ones(()))

    def layers(self, x):
        return [self.scale * self.moments(x)]


def test_a_teacher_is_no_part_of_the_weights():
    torch.manual_seed(0)
    teacher = small(depth=3)
    method = HuBERT(small(), clusters=6, fit_frames=900, layer=2)
    before = set(method.state_dict())
    method.teach(teacher)
    prepared(method)
    assert set(method.state_dict()) == before
    assert method.clusters.centroids.shape == (1, 6, 32)
    kept = {name: value.clone() for name, value in teacher.state_dict().items()}
    optimiser = torch.optim.Adam(method.parameters(), 1e-2)
    method.train()
    method(notes())["loss"].backward()
    optimiser.step()
    assert not teacher.training
    assert not any(p.requires_grad for p in teacher.parameters())
    assert all(value.equal(kept[name]) for name, value in teacher.state_dict().items())
    again = build(describe(HuBERT(small(), teacher="runs/one", clusters=6, layer=2)))
    with pytest.raises(RuntimeError, match="not given to teach"):
        again(notes())
    again.teach(teacher)
    again.load_state_dict(method.state_dict())
    sound = notes().sound[0]
    assert again.labels(sound, 126).equal(method.labels(sound, 126))


@pytest.mark.parametrize(
    ("teacher", "layer", "why"),
    [
        ({"sample_rate": 22050}, 1, "hears 22050 Hz and the encoder 16000"),
        ({"seconds": 3.0}, 1, "seconds 3 or more"),
        ({}, 6, "layers 0 to 2"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(teacher, layer, why):
    with pytest.raises(ValueError, match=why):
        HuBERT(small(), layer=layer).teach(small(**teacher))


def test_a_teacher_listens_in_full_precision():
    """The clusters were found so, and bfloat16 moves some frames over a border."""
    torch.manual_seed(0)
    method = HuBERT(small(), clusters=50, fit_frames=900, layer=2)
    method.teach(small(depth=3))
    prepared(method)
    sound = notes().sound[0]
    labels = method.labels(sound, 126)
    with torch.autocast("cpu", torch.bfloat16):
        assert method.labels(sound, 126).equal(labels)
        assert not method._teacher[0].layers(sound)[2].equal(method._described(sound))


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"length": 126}, "spans of 126 frames leave nothing to see of excerpts of 126"),
        ({"length": 0}, r"--method.length must be at least 1"),
        ({"p": -0.1}, r"--method.p must be over 0"),
        ({"levels": 0}, r"--method.levels must be at least 1"),
        ({"out": 0}, r"--method.out must be at least 1"),
        ({"visible": -1.0}, r"--method.visible must be at least 0"),
        ({"cqt": -1.0}, r"--method.cqt must be at least 0"),
        ({"targets": "mfccs"}, r"--method.targets is one of mfcc, log-mel\+chroma, not 'mfccs'"),
        ({"clusters": 1}, "needs 2 clusters"),
        ({"clusters": 100, "fit_frames": 99}, "needs 2 clusters"),
        ({"kappa": 0.0}, "must be positive"),
    ],
)
def test_what_can_not_be_is_refused(settings, why):
    with pytest.raises(ValueError, match=why):
        HuBERT(small(), **settings)


def test_it_needs_an_encoder_that_can_be_masked():
    with pytest.raises(ValueError, match="needs a contextual encoder"):
        HuBERT(MelCNN())


def test_a_step_reaches_every_weight_also_of_the_spectrum():
    torch.manual_seed(0)
    method = HuBERT(small(), cqt=1.0, visible=0.5)
    values = method(notes())
    values["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())
    parts = values["cross_entropy"] + 0.5 * values["visible"] + 10 * values["penalty"]
    assert values["loss"].item() == pytest.approx((parts + values["cqt"]).item(), rel=1e-5)


def test_clusters_are_scaled_and_the_nearest():
    torch.manual_seed(0)
    x = torch.randn(500, 3) * torch.tensor([1.0, 100.0, 0.01]) + 5
    clusters = Clusters(7, 3)
    clusters.fit(x)
    scaled = (x - x.mean(0)) / x.std(0)
    assert clusters(x)[:, 0].equal(torch.cdist(scaled, clusters.centroids[0]).argmin(1))
    assert clusters(x).unique().numel() == 7
    assert clusters(x[:6].view(2, 3, 3)).equal(clusters(x[:6]).view(2, 3, 1))


def test_levels_cluster_what_is_left_over():
    torch.manual_seed(0)
    x = torch.randn(2000, 4)
    clusters = Clusters(16, 4, levels=3)
    clusters.fit(x)
    numbers = clusters(x)
    assert numbers.shape == (2000, 3)
    left, errors = (x - clusters.mean) / clusters.deviation, []
    for level, centroids in enumerate(clusters.centroids):
        left = left - centroids[numbers[:, level]]
        errors.append(left.square().mean().item())
    assert errors[0] < 0.6
    assert errors[1] < 0.6 * errors[0]
    assert errors[2] < 0.6 * errors[1]


def test_eight_levels_begin_where_merts_codes_do():
    torch.manual_seed(0)
    method = HuBERT(small(), clusters=1024, levels=8, fit_frames=2000)
    assert method.names.shape == (8, 1024, 256)
    value = method(notes())["cross_entropy"].item()
    assert value == pytest.approx(8 * math.log(1024), rel=0.03)  # 55.45


def test_groups_weigh_the_same():
    torch.manual_seed(0)
    clusters = Clusters(2, 5, [4, 1])
    x = torch.randn(400, 5)
    clusters.fit(x)
    spread = ((x - clusters.mean) / clusters.deviation).square().mean(0)
    assert spread[:4].sum().item() == pytest.approx(spread[4].item(), rel=1e-3)


def test_slopes_are_those_of_a_line():
    line = 3.0 * torch.arange(20)[None, :, None] + torch.tensor([0.0, 7.0])
    assert slopes(line)[:, 2:-2].allclose(torch.full((1, 16, 2), 3.0))
    assert slopes(torch.ones(2, 5, 3)).abs().max() == 0


@pytest.mark.parametrize("rate", [16000, 22050, 24000])
def test_a_tone_stands_in_its_bin(rate):
    for hertz in (55.0, 110.0, 261.63, 440.0, 1000.0, 3000.0):
        magnitudes = CQT(rate, 320)(tone(hertz, 3.0, rate))[0]
        middle = magnitudes[len(magnitudes) // 2]
        assert middle.argmax() == round(48 * math.log2(hertz / 32.7))
    assert round(48 * math.log2(440 / 32.7)) == 180


@pytest.mark.parametrize("hop", [320, 441, 512])
def test_the_spectrum_is_the_definitions(hop):
    """Each bin of some frames, by a sum over samples."""
    draw = np.random.default_rng(0)
    samples = draw.standard_normal(40_000)
    cqt = CQT(RATE, hop)
    found = cqt(torch.from_numpy(samples).float()[None, None])[0].numpy()
    assert found.shape == (1 + 40_000 // hop, 336)
    q = 1 / (2 ** (1 / 48) - 1)
    for k in (0, 47, 48, 180, 300, 335):
        f = 32.7 * 2 ** (k / 48)
        length = q * RATE / f
        for frame in (0, 30, len(found) - 1):
            t = np.arange(40_000) - frame * hop
            window = np.where(np.abs(t) < length / 2, 0.5 + 0.5 * np.cos(2 * np.pi * t / length), 0)
            turning = np.exp(-2j * np.pi * f * t / RATE)
            expected = abs((samples * window * turning).sum()) / (length / 2) * math.sqrt(length)
            assert found[frame, k] == pytest.approx(expected, abs=0.02)


def test_a_tone_in_its_bin_has_the_scale_of_librosa():
    f = 32.7 * 2 ** (200 / 48)
    length = RATE / f / (2 ** (1 / 48) - 1)
    magnitude = CQT(RATE, 320)(tone(f, 2.0))[0, 50, 200]
    assert magnitude.item() == pytest.approx(0.3 / 2 * math.sqrt(length), rel=1e-3)


def test_an_impulse_is_heard_when_it_comes():
    x = torch.zeros(2, 1, 32_000)
    x[0, 0, 16_000], x[1, 0, 8_000] = 1.0, 1.0
    magnitudes = CQT(RATE, 320)(x)
    assert magnitudes[0, :, 100:].argmax(0).eq(50).all()
    assert magnitudes[1, :, 100:].argmax(0).eq(25).all()


def test_spectra_of_silence_are_nought():
    for feature in (CQT(RATE, 320), Chroma(RATE, 320)):
        assert feature(torch.zeros(1, 1, RATE)).eq(0).all()


def test_what_a_rate_can_not_hold_is_refused():
    with pytest.raises(ValueError, match="higher sample_rate, or fewer bins"):
        CQT(8000, 256)
    assert CQT(8000, 256, bins=300)(torch.zeros(1, 1, 8000)).shape == (1, 32, 300)


def test_chroma_knows_notes_in_any_octave_and_at_any_level():
    chroma = Chroma(RATE, 512)
    for number in range(12):
        for octave in (1, 2, 4):
            hertz = 130.8128 * octave * 2 ** (number / 12)
            for level in (1.0, 0.01):
                frame = chroma(level * tone(hertz, 2.0))[0, 31]
                assert frame.argmax() == number
                assert frame[number] > 0.95
    scale = chroma(tone([261.63, 329.63, 392.0], 1.0))[0, [15, 46, 78]].argmax(1)
    assert scale.tolist() == [0, 4, 7]


@pytest.mark.parametrize("hop", [320, 256, 441])
def test_moments_keep_time(hop):
    x = torch.randn(2, 1, 5 * RATE)
    for kind, dim in (("mfcc", 39), ("log-mel+chroma", 108)):
        moments = Moments(kind, RATE, hop)
        assert moments.dim == dim
        shape = moments(x).shape
        assert shape[0] == 2
        assert shape[2] == dim
        assert abs(shape[1] - 5 * RATE / hop) <= 1
