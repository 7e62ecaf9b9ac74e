"""The Transformer's parts to the number, and what it knows of frames hidden or left out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from antiphon.encoders.transformer import Transformer
from antiphon.masking import block_mask, numbers_of

F, C, D = 40, 16, 32


@pytest.fixture(autouse=True)
def one_thread():
    """Two would wait for each other longer than these small products take."""
    torch.set_num_threads(1)


def transformer(**arguments) -> Transformer:
    torch.manual_seed(0)
    small = {"size": "tiny", "channels": C, "dim": D, "depth": 3, "heads": 4, "seconds": 1.0}
    made = Transformer(16000, **{**small, **arguments}).double().eval()
    with torch.no_grad():  # biases and scales that show, too
        for name, p in made.named_parameters():
            if p.ndim < 2 and "scale" not in name:
                p.add_(0.3 * torch.randn_like(p))
    return made


def frames(items: int = 2, seed: int = 1) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(items, F, C, dtype=torch.float64, generator=draw)


def some(items: int = 2, count: int = 25, seed: int = 2) -> Tensor:
    """Numbers of frames that are kept, others in each row."""
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(items, F, generator=draw).topk(count).indices.sort(1).values


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


KINDS = [
    {}, {"positions": 5}, {"alibi": True}, {"positions": 5, "alibi": True}, {"norm_first": True},
    {"positions": 5, "alibi": True, "norm_first": True},
]  # fmt: skip
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda k: "-".join(k) or "plain")


class TestSizes:
    def test_base_is_the_papers(self):
        with torch.device("meta"):
            base = Transformer()
        assert parameters(base) == 94_371_712
        assert parameters(base.extractor) == 4_200_448
        assert (len(base.blocks), base.dim, base.hop, base.feature_dim) == (12, 768, 320, 512)

    @pytest.mark.parametrize(
        ("samples", "count"),
        [
            (400, 1), (16000, 49), (59049, 184), (80000, 249), (120000, 374), (122880, 383),
            (160000, 499),
        ],
    )  # fmt: skip
    def test_frames_of_a_waveform(self, samples, count):
        for norm in ("group", "layer"):
            made = transformer(extractor_norm=norm).float()
            assert made.features(torch.randn(1, 1, samples)).shape == (1, count, C)

    @pytest.mark.parametrize("patch", [1, 2, 4])
    def test_frames_of_a_spectrogram(self, patch):
        made = transformer(front_end="log-mel", patch=patch).float()
        assert made.hop == 256 * patch
        assert made.features(torch.randn(1, 1, 16000)).shape == (1, (1 + 16000 // 256) // patch, C)

    @every_kind
    def test_layers(self, kind):
        made = transformer(**kind)
        layers, added = made.context(frames()), made.feed_forward(frames())
        assert [tuple(layer.shape) for layer in layers] == [(2, F, D)] * 4
        assert [tuple(a.shape) for a in added] == [(2, F, D)] * 3
        sound = torch.randn(1, 1, 16000, dtype=torch.float64)
        assert made(sound).equal(made.layers(sound)[-1])


class TestFeedForward:
    def test_is_what_a_block_adds(self):
        made = transformer(norm_first=True, depth=1)
        x, y = made.context(frames())[0], made.feed_forward(frames())[0]
        block = made.blocks[0]
        after_attention = x + block._attention(block.attention_norm(x), None)
        torch.testing.assert_close(made.context(frames())[1], made.norm(after_attention + y))

    def test_before_the_residual_and_the_norm(self):
        made = transformer()
        layers, added = made.context(frames()), made.feed_forward(frames())
        for x, y, after, block in zip(layers, added, layers[1:], made.blocks, strict=False):
            z = block.attention_norm(x + block._attention(x, None))
            torch.testing.assert_close(block.norm(z + y), after)


@every_kind
class TestKeep:
    def test_of_all_frames_is_no_keep(self, kind):
        made = transformer(**kind)
        kept = torch.arange(F).expand(2, -1)
        for one, other in zip(
            made.context(frames()), made.context(frames(), keep=kept), strict=True
        ):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)

    def test_shapes(self, kind):
        layers = transformer(**kind).context(frames(), keep=some())
        assert [tuple(layer.shape) for layer in layers] == [(2, 25, D)] * 4

    def test_nothing_of_the_others_is_seen(self, kind):
        made, x, kept = transformer(**kind), frames(), some()
        left_out = torch.ones(2, F, dtype=torch.bool).scatter(1, kept, False)
        other = x.clone()
        other[left_out] = 100 * torch.randn_like(other[left_out])
        for one, two in zip(
            made.context(x, keep=kept), made.context(other, keep=kept), strict=True
        ):
            assert one.equal(two)
        x.requires_grad_()
        made.context(x, keep=kept)[-1].square().sum().backward()
        assert ((x.grad.abs().sum(2) > 0) == ~left_out).all()

    def test_each_stays_in_its_place(self, kind):
        """Moved frames sound different, though they and their order are the same."""
        made = transformer(**kind)
        x = frames(1)
        kept, spread = torch.arange(10)[None], 3 * torch.arange(10)[None]
        moved = torch.zeros_like(x).scatter(1, spread[..., None].expand(-1, -1, C), x[:, :10])
        one, two = made.context(x, keep=kept)[-1], made.context(moved, keep=spread)[-1]
        assert (one - two).abs().max() > 1e-3

    def test_rows_do_not_meet(self, kind):
        made, x, kept = transformer(**kind), frames(3), some(3)
        together = made.context(x, keep=kept)[-1]
        for row in range(3):
            alone = made.context(x[row : row + 1], keep=kept[row : row + 1])[-1]
            torch.testing.assert_close(together[row : row + 1], alone)

    def test_all_kept_numbers_of_a_mask(self, kind):
        kept = numbers_of(~block_mask(2, F, 0.5, 5))
        assert transformer(**kind).context(frames(), keep=kept)[-1].shape == (2, 20, D)


class TestAlibi:
    def test_distances_are_those_of_the_original_places(self):
        made = transformer(alibi=True)
        places = some()
        bias = made.alibi(places)
        assert bias.shape == (2, 4, 25, 25)
        for row in range(2):
            for head in range(4):
                slope = 2.0 ** (-8 * (head + 1) / 4)
                for i in range(0, 25, 6):
                    for j in range(0, 25, 5):
                        distance = abs(int(places[row, i]) - int(places[row, j]))
                        found = bias[row, head, i, j].item()
                        assert found == pytest.approx(-slope * distance, abs=1e-6)

    def test_kept_frames_have_the_rows_and_columns_of_all(self):
        made, kept = transformer(alibi=True), some(1)
        whole = made.alibi(torch.arange(F)[None])[0]
        assert made.alibi(kept)[0].equal(whole[:, kept[0]][:, :, kept[0]])

    def test_a_scale_of_nought_or_less_is_no_bias(self):
        plain, made = transformer(), transformer(alibi=True)
        made.load_state_dict(plain.state_dict(), strict=False)
        assert (plain.context(frames())[-1] - made.context(frames())[-1]).abs().max() > 1e-4
        for scale in (0.0, -1.0):
            nn.init.constant_(made.alibi.scale, scale)
            torch.testing.assert_close(plain.context(frames())[-1], made.context(frames())[-1])

    def test_the_scale_learns(self):
        made = transformer(alibi=True)
        made.context(frames(), keep=some())[-1].square().sum().backward()
        assert (made.alibi.scale.grad != 0).all()


@every_kind
class TestMask:
    def test_the_vector_stands_in_the_frames_place(self, kind):
        made, x = transformer(**kind), frames()
        mask = block_mask(2, F, 0.5, 5)
        other = x.clone()
        other[mask] = 100 * torch.randn_like(other[mask])
        assert made.context(x, mask=mask)[-1].equal(made.context(other, mask=mask)[-1])
        before = made.context(x, mask=mask)[-1]
        nn.init.uniform_(made.mask_vector, 2, 3)
        assert (made.context(x, mask=mask)[-1] - before).abs().max() > 1e-3

    def test_no_frame_masked_is_no_mask(self, kind):
        made = transformer(**kind)
        none = torch.zeros(2, F, dtype=torch.bool)
        assert made.context(frames(), mask=none)[-1].equal(made.context(frames())[-1])

    def test_hidden_frames_learn_by_the_vector_alone(self, kind):
        made, x = transformer(**kind), frames().requires_grad_()
        mask = block_mask(2, F, 0.5, 5)
        made.context(x, mask=mask)[-1].square().sum().backward()
        assert ((x.grad.abs().sum(2) > 0) == ~mask).all()
        assert made.mask_vector.grad.abs().min() > 0


class TestChance:
    def test_eval_is_deterministic(self):
        made = transformer(dropout=0.5, layer_drop=0.5)
        sound = torch.randn(2, 1, 16000, dtype=torch.float64)
        assert made(sound).equal(made(sound))

    def test_training_draws_from_torchs_generator(self):
        made = transformer(dropout=0.3, layer_drop=0.3).train()
        results = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            results.append(made.context(frames(), keep=some())[-1])
        assert results[0].equal(results[1])
        assert not results[0].equal(results[2])

    def test_a_block_left_out_hands_on_what_it_was_given(self):
        made = transformer(dropout=0.0, layer_drop=1.0).train()
        layers = made.context(frames())
        assert all(layer.equal(layers[0]) for layer in layers)

    def test_gradient_of_the_local_features_is_scaled(self):
        sound, gradients = torch.randn(1, 1, 16000, dtype=torch.float64), []
        for scale in (1.0, 0.1):
            made = transformer(feature_gradient=scale)
            made(sound).square().sum().backward()
            gradients.append([p.grad for p in made.extractor.parameters()])
        for whole, tenth in zip(*gradients, strict=True):
            torch.testing.assert_close(0.1 * whole, tenth)
