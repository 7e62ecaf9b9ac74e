"""Encoders: the published tables to the number, and one contract for all of them."""

from __future__ import annotations

import pytest
import torch
from small import small_encoder
from torch import nn

from antiphon.configured import build, describe
from antiphon.encoders import ContextEncoder, Encoder, names, pool, random_init
from antiphon.encoders.convgru import ConvGRU
from antiphon.encoders.dieleman import Dieleman
from antiphon.encoders.melcnn import MelCNN
from antiphon.encoders.melpatch import MelPatch
from antiphon.encoders.pons import Pons, front_frames
from antiphon.encoders.recurrent import Recurrent
from antiphon.encoders.samplecnn import SampleCNN
from antiphon.encoders.statistics import LogMelStatistics, MFCCStatistics
from antiphon.encoders.transformer import Transformer

ALL = sorted(names().values(), key=lambda c: c.__name__)


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("rate", "window", "count"),
    [
        (22050, 59049, 2_368_512),
        (16000, 43740, 2_302_976),
        (12000, 31104, 2_237_440),
        (8000, 20736, 2_171_904),
    ],
)
@pytest.mark.parametrize("padding", ["same", "reference"])
def test_samplecnn_sizes(rate, window, count, padding):
    encoder = SampleCNN(rate, padding).eval()
    assert (encoder.window, encoder.hop, encoder.dim) == (window, window, 512)
    assert parameters(encoder) == count
    assert parameters(encoder) + parameters(nn.Linear(512, 50)) == count + 25_650
    assert encoder(torch.zeros(1, 1, window)).shape == (1, 1, 512)


def test_samplecnn_with_lees_last_kernel():
    assert parameters(SampleCNN(last_kernel=1)) == 1_844_224
    without_norm = sum(
        p.numel()
        for m in SampleCNN(last_kernel=1).modules()
        if isinstance(m, nn.Conv1d)
        for p in m.parameters()
    )
    assert without_norm + 25_650 == 1_863_986


def test_samplecnn_layer_table():
    blocks = SampleCNN().blocks
    counts = [768, 49_536, 49_536, 99_072] + [197_376] * 5 + [394_752, 787_968]
    assert [parameters(block) for block in blocks] == counts
    affine = sum(parameters(m) for m in SampleCNN().modules() if isinstance(m, nn.BatchNorm1d))
    assert affine == 5_888
    frames = SampleCNN().eval().layers(torch.zeros(1, 1, 59049))
    lengths = [19683, 6561, 2187, 729, 243, 81, 27, 9, 3, 1, 1]
    widths = [128, 128, 128] + [256] * 6 + [512, 512]
    assert [tuple(f.shape[1:]) for f in frames] == list(zip(lengths, widths, strict=True))


@pytest.mark.parametrize(
    ("rate", "lengths"),
    [
        (16000, [14580, 4860, 1620, 540, 180, 60, 20, 3, 2, 1, 1]),
        (12000, [10368, 3456, 1152, 384, 128, 64, 15, 3, 2, 1, 1]),
        (8000, [6912, 2304, 768, 256, 128, 64, 15, 3, 2, 1, 1]),
    ],
)
def test_samplecnn_reference_padding_as_in_the_reference(rate, lengths):
    encoder = SampleCNN(rate, "reference").eval()
    frames = encoder.layers(torch.zeros(1, 1, encoder.window))
    assert [f.shape[1] for f in frames] == lengths
    exact = SampleCNN(rate, "same").eval().layers(torch.zeros(1, 1, encoder.window))
    assert exact[0].shape[1] == encoder.window // 3
    for before, after, block in zip(exact, exact[1:], encoder.blocks[1:], strict=False):
        size = block[-1].kernel_size if isinstance(block[-1], nn.MaxPool1d) else 1
        assert before.shape[1] == after.shape[1] * size


@pytest.mark.parametrize(
    ("rate", "shortest", "longest"),
    [(22050, 59049, 118097), (16000, 15309, 59048), (12000, 9963, 41066), (8000, 6561, 27296)],
)
def test_samplecnn_windows_that_give_one_frame(rate, shortest, longest):
    encoder = SampleCNN(rate, "reference").eval()
    assert encoder(torch.zeros(1, 1, shortest)).shape[1] == 1
    assert encoder(torch.zeros(1, 1, longest)).shape[1] == 1
    assert encoder(torch.zeros(1, 1, longest + 1)).shape[1] == 2


def test_kernel_three_on_one_frame_is_kernel_one():
    three, one = SampleCNN(8000).eval(), SampleCNN(8000, last_kernel=1).eval()
    state = three.state_dict()
    state["blocks.10.0.weight"] = state["blocks.10.0.weight"][:, :, 1:2]
    one.load_state_dict(state)
    x = torch.randn(2, 1, 20736)
    torch.testing.assert_close(three(x), one(x), rtol=1e-4, atol=1e-5)


def test_samplecnn_weights_start_as_kaiming_says():
    weight = SampleCNN().blocks[4][0].weight
    bound = (2.0**0.5) * (3.0 / (weight.shape[1] * weight.shape[2])) ** 0.5
    assert weight.abs().max().item() == pytest.approx(bound, rel=0.01)
    assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)


def test_samplecnn_has_no_table_for_other_rates():
    with pytest.raises(ValueError, match=r"\[8000, 12000, 16000, 22050\] Hz, not 44100"):
        SampleCNN(44100)


def test_pons_is_the_published_waveform_model():
    encoder = Pons().eval()
    assert parameters(encoder.front) == 248_448
    assert parameters(encoder.back) == 4_592_128
    assert parameters(encoder) == 248_448 + 4_592_128
    layers = encoder.layers(torch.zeros(1, 1, 48000))
    assert [f.shape[2] for f in layers] == [64, 64, 64, 128, 128, 128, 256, 512, 512, 512]
    assert [f.shape[1] for f in layers[6:]] == [20, 14, 14, 7]
    assert encoder.embedding_dim == 1024


def test_pons_front_end_does_not_pad():
    encoder = Pons(22050, 59049 / 22050).eval()
    lengths = [f.shape[1] for f in encoder.layers(torch.zeros(1, 1, 59049))]
    assert lengths[:7] == [19683, 6560, 2186, 728, 242, 80, 26]
    assert [front_frames(n) for n in (59049, 48000, 240000)] == [26, 20, 108]
    for length, frames in ((59049, 26), (48000, 20), (240000, 108)):
        assert encoder.layers(torch.zeros(1, 1, length))[6].shape[1] == frames


def test_pons_refuses_a_window_without_a_frame():
    assert Pons(16000, 19680 / 16000).eval()(torch.zeros(1, 1, 19680)).shape[1] == 1
    with pytest.raises(ValueError, match=r"which needs 19680: --encoder.seconds 1.230"):
        Pons(16000, 19679 / 16000)


def test_dieleman_sizes():
    encoder = Dieleman().eval()
    assert parameters(encoder) + parameters(nn.Linear(100, 50)) == 107_870
    lengths, x = [], torch.zeros(1, 1, 48000)
    for block in encoder.blocks[:3]:
        for part in block:
            x = part(x)
            if not isinstance(part, nn.ReLU):
                lengths.append(x.shape[2])
    assert lengths == [187, 180, 45, 38, 9]


def test_dielemans_last_layer_is_dense_over_the_window():
    encoder = Dieleman(filters=4).eval()
    x = 0.1 * torch.randn(2, 1, 48000)
    *_, before, after = encoder.layers(x)
    conv = encoder.blocks[3][0]
    dense = before.transpose(1, 2).flatten(1) @ conv.weight.flatten(1).T + conv.bias
    torch.testing.assert_close(after[:, 0], dense.relu(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("length", "stride"), [(512, 256), (512, 512), (1024, 512)])
def test_dielemans_first_filters_are_arguments(length, stride):
    encoder = Dieleman(filters=8, length=length, stride=stride).eval()
    assert encoder.blocks[0][0].weight.shape == (8, 1, length)
    assert encoder.hop == 16 * stride
    assert encoder(torch.zeros(1, 1, 48000)).shape == (1, 1, 100)


@pytest.mark.parametrize(
    "settings", [{"stride": 1024}, {"seconds": 0.01}, {"filters": 0}, {"stride": 0}]
)
def test_dieleman_refuses_what_leaves_no_frame(settings):
    with pytest.raises(ValueError, match=r"leaves no frame|at least 1"):
        Dieleman(**settings)


def test_small_encoders_are_small():
    assert 500_000 < parameters(MelCNN()) < 2_000_000
    assert 500_000 < parameters(MelPatch()) < 2_000_000
    assert parameters(LogMelStatistics()) == parameters(MFCCStatistics()) == 0


def test_a_gain_changes_nothing_for_the_mel_encoders():
    x = 0.1 * torch.randn(1, 1, 48000)
    for encoder in (MelCNN().eval(), MelPatch().eval()):
        for gain in (0.25, 0.01):
            torch.testing.assert_close(encoder.embed(x), encoder.embed(gain * x), rtol=0, atol=0.02)


def test_pooling():
    frames = torch.tensor([[[1.0, 5.0], [3.0, 5.0]]])
    assert pool(frames, "mean").tolist() == [[2.0, 5.0]]
    torch.testing.assert_close(
        pool(frames, "mean+std"), torch.tensor([[2.0, 5.0, 1.0, 0.0]]), atol=2e-3, rtol=0
    )
    assert pool(frames, "mean+max").tolist() == [[2.0, 5.0, 3.0, 5.0]]


TINY = {"size": "tiny", "channels": 8}


@pytest.mark.parametrize("more", [0, 1, 79, 80, 300])
@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (ConvGRU, {"channels": 8}),
        (ConvGRU, {"channels": 8, "layout": "original", "padded": False}),
        (Recurrent, {}),
        (Recurrent, {"frame_seconds": 0.05}),
        (Transformer, TINY),
        (Transformer, {**TINY, "front_end": "log-mel"}),
        (Transformer, {**TINY, "front_end": "log-mel", "patch": 3}),
    ],
)
def test_local_frames_of_a_window_are_known_without_making_them(kind, arguments, more):
    encoder = kind(16000, **arguments, seconds=0.5)
    encoder.window += more
    made = encoder.features(torch.zeros(1, 1, encoder.window)).shape[1]
    assert encoder.local_frames == made
    assert ContextEncoder.local_frames.fget(encoder) == made


@pytest.mark.parametrize("kind", ALL)
class TestContract:
    """What every encoder promises; a new file is held to it by its existence."""

    @pytest.fixture
    def encoder(self, kind) -> Encoder:
        torch.manual_seed(0)
        return small_encoder(kind).eval()

    def test_frames(self, encoder):
        x = 0.1 * torch.randn(3, 1, encoder.window)
        frames = encoder(x)
        assert frames.ndim == 3
        assert frames.shape[0] == 3
        assert frames.shape[2] == encoder.dim
        assert frames.isfinite().all()

    def test_longer_inputs_give_a_frame_a_hop(self, encoder):
        one = encoder(torch.zeros(1, 1, encoder.window)).shape[1]
        more = encoder(torch.zeros(1, 1, encoder.window + 3 * encoder.hop)).shape[1]
        assert more == one + 3

    def test_layers_end_in_the_output(self, encoder):
        x = 0.1 * torch.randn(2, 1, encoder.window)
        layers = encoder.layers(x)
        assert all(layer.ndim == 3 and len(layer) == 2 for layer in layers)
        torch.testing.assert_close(layers[-1], encoder(x))

    def test_embedding(self, encoder):
        x = 0.1 * torch.randn(2, 1, encoder.window)
        assert encoder.embed(x).shape == (2, encoder.embedding_dim)

    def test_an_item_does_not_depend_on_its_batch(self, encoder):
        x = 0.1 * torch.randn(4, 1, encoder.window)
        torch.testing.assert_close(
            encoder.embed(x)[1:2], encoder.embed(x[1:2]), rtol=1e-3, atol=1e-4
        )

    def test_silence_is_finite(self, encoder):
        assert encoder.embed(torch.zeros(1, 1, encoder.window)).isfinite().all()

    def test_it_can_be_described_and_built(self, encoder):
        again = build(describe(encoder))
        assert type(again) is type(encoder)
        again.load_state_dict(encoder.state_dict())
        x = 0.1 * torch.randn(1, 1, encoder.window)
        torch.testing.assert_close(again.eval().embed(x), encoder.embed(x))

    def test_random_init_is_seeded_and_leaves_the_generator_alone(self, encoder):
        torch.manual_seed(5)
        before = torch.random.get_rng_state()
        one, other, third = (random_init(encoder, seed).state_dict() for seed in (1, 1, 2))
        assert torch.random.get_rng_state().equal(before)
        assert all(one[key].equal(other[key]) for key in one)
        if any(p.ndim > 1 for p in encoder.parameters()):
            assert any(not one[key].equal(third[key]) for key in one)

    def test_random_init_hears_through_the_same_scale_and_knows_nothing_else(self, encoder):
        for buffer in encoder.buffers():  # as if it had been trained
            if buffer.is_floating_point():
                buffer.add_(1.0)
        fresh, untrained = random_init(encoder), build(describe(encoder))
        for name, buffer in fresh.named_buffers():
            wanted = encoder if name in encoder.calibrated else untrained
            assert buffer.equal(wanted.get_buffer(name)), name
            assert buffer.data_ptr() != encoder.get_buffer(name).data_ptr()

    def test_it_states_itself(self, encoder):
        assert encoder.sample_rate > 0
        assert encoder.hop > 0
        assert 0 < encoder.seconds < 60
        assert type(encoder).__doc__
