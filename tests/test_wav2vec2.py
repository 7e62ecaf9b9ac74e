"""wav2vec 2.0: its numbers, its loss against a slow one, and that it learns."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from antiphon.encoders import Encoder
from antiphon.encoders.melcnn import MelCNN
from antiphon.encoders.transformer import Transformer
from antiphon.excerpts import Batch
from antiphon.methods.wav2vec2 import Wav2Vec2, others, scores
from antiphon.quantiser import perplexity

RATE = 8000


@pytest.fixture(autouse=True)
def one_thread(two_threads):
    torch.set_num_threads(1)  # models this small only wait for the second one


def small(seconds: float = 2.0) -> Encoder:
    return Transformer(
        RATE, front_end="log-mel", patch=1, bands=32, channels=16, dim=32, depth=2, heads=2,
        dropout=0.0, layer_drop=0.0, seconds=seconds,
    )  # fmt: skip


def a_batch(items: int = 4, seconds: float = 2.0) -> Batch:
    """Notes that change several times a second."""
    count, note = round(seconds * RATE), RATE // 8
    pitches = 110 * 2 ** (torch.randint(48, (items, math.ceil(count / note))) / 12)
    phase = 2 * torch.pi * (pitches.repeat_interleave(note, 1)[:, :count] / RATE).cumsum(1)
    return Batch((0.3 * phase.sin())[None, :, None], torch.arange(items))


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_the_published_number_of_parameters():
    with torch.device("meta"):
        method = Wav2Vec2(Transformer(seconds=15.625))
    assert parameters(method.quantiser) == 410_240
    assert parameters(method.project_codes) == 65_792
    assert parameters(method.project) == 196_864
    assert parameters(method) == 95_044_608


def test_the_loss_begins_at_chance():
    torch.manual_seed(0)
    method = Wav2Vec2(small(8.0))
    values = method(Batch(0.1 * torch.randn(1, 8, 1, 8 * RATE), torch.arange(8)))
    # cosines of unlearned vectors scatter, and that divided by 0.1 is dearer than chance
    assert values["contrastive"].item() == pytest.approx(math.log(101), abs=0.4)
    assert values["accuracy"] < 0.1
    expected = values["contrastive"] + 0.1 * values["diversity"] + 10 * values["penalty"]
    assert values["loss"].item() == pytest.approx(expected.item(), rel=1e-6)


def test_scores_equal_the_slow_ones():
    torch.manual_seed(0)
    c, q = torch.randn(2, 2, 6, 5, dtype=torch.float64)
    codes = torch.randint(2, (2, 6, 2))
    negatives = others(2, 6, 7)
    positive, negative = scores(c, q, codes, negatives, 0.1)
    for item in range(2):
        for t in range(6):
            cosine = functional.cosine_similarity(c[item, t], q[item, t], dim=0)
            assert positive[item, t].item() == pytest.approx(10 * cosine.item(), abs=1e-9)
            for k, other in enumerate(negatives[item, t].tolist()):
                if codes[item, t].equal(codes[item, other]):
                    assert negative[item, t, k] == -torch.inf
                else:
                    cosine = functional.cosine_similarity(c[item, t], q[item, other], dim=0)
                    assert negative[item, t, k].item() == pytest.approx(10 * cosine.item())


def test_negatives_are_all_the_others_evenly_and_never_oneself():
    torch.manual_seed(0)
    drawn = others(3, 5, 4000)
    for t in range(5):
        shares = torch.bincount(drawn[:, t].flatten(), minlength=5) / 12_000
        assert shares[t] == 0
        assert shares[torch.arange(5) != t].sub(0.25).abs().max() < 0.02
    assert others(1, 2, 3)[0].tolist() == [[1, 1, 1], [0, 0, 0]]


def test_if_all_codes_are_one_nothing_is_left_to_tell_apart():
    torch.manual_seed(0)
    method = Wav2Vec2(small())
    nn.init.zeros_(method.quantiser.to_logits.weight)
    with torch.no_grad():
        method.quantiser.to_logits.bias.view(2, 320)[:, 0] = 1000.0
    values = method(a_batch())
    assert values["contrastive"].item() == pytest.approx(0.0, abs=1e-5)
    assert values["diversity"].item() == pytest.approx(638 / 640, abs=1e-4)
    assert values["code_perplexity"].item() == pytest.approx(2.0)
    values["loss"].backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in method.parameters())


def test_diversity_is_nought_where_all_entries_are_likely():
    torch.manual_seed(0)
    method = Wav2Vec2(small())
    nn.init.zeros_(method.quantiser.to_logits.weight)
    values = method(a_batch())
    assert values["diversity"].item() == pytest.approx(0.0, abs=1e-5)
    assert 2 <= values["code_perplexity"] <= 640
    assert 2 <= perplexity(torch.rand(2, 320).softmax(1)) <= 640


def test_negatives_across_are_of_other_excerpts():
    method = Wav2Vec2(small(), negatives=5, across=400)
    numbers = method._negatives(3, 4)
    assert numbers.shape == (3, 4, 405)
    for item in range(3):
        own = set(range(4 * item, 4 * item + 4))
        for frame in range(4):
            assert set(numbers[item, frame, :5].tolist()) <= own - {4 * item + frame}
            assert set(numbers[item, frame, 5:].tolist()) == set(range(12)) - own
    with pytest.raises(ValueError, match="no other excerpts in a batch of one"):
        method._negatives(1, 4)


def test_across_the_loss_begins_with_more_choices():
    torch.manual_seed(0)
    method = Wav2Vec2(small(), across=100)
    assert method(a_batch())["contrastive"].item() == pytest.approx(math.log(201), abs=0.7)


def test_the_temperature_follows_the_paper():
    method = Wav2Vec2(small())
    assert method(a_batch())["temperature"] == 2.0
    for step in (1, 1000, 100_000, 277_000):
        assert method.temperature_at(step / 400_000) == pytest.approx(
            2.0 * 0.999995**step, rel=3e-4
        )
    method.after_step(0.693)
    assert method.quantiser.temperature == 0.5
    method.after_step(1.0)
    assert method(a_batch())["temperature"] == 0.5


def test_the_temperature_is_in_the_checkpoint():
    method, again = Wav2Vec2(small()), Wav2Vec2(small())
    method.after_step(0.3)
    again.load_state_dict(method.state_dict())
    again(a_batch())
    assert again.quantiser.temperature == method.temperature_at(0.3)


def test_a_step_reaches_every_weight():
    torch.manual_seed(0)
    method = Wav2Vec2(small())
    method(a_batch())["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())
    assert method.encoder.mask_vector.grad.abs().sum() > 0
    assert method.quantiser.to_logits.weight.grad.abs().sum() > 0


def test_features_are_normed_once():
    method, normed = Wav2Vec2(small()), []
    method.encoder.feature_norm.register_forward_hook(lambda *_: normed.append(1))
    method(a_batch())
    assert len(normed) == 1


def test_in_evaluation_nothing_but_masks_and_negatives_is_drawn():
    method = Wav2Vec2(small()).eval()
    batch = a_batch()
    values = []
    for _ in range(2):
        torch.manual_seed(1)
        values.append(method(batch))
    assert all(values[0][name] == values[1][name] for name in values[0])


def test_it_learns_notes():
    torch.manual_seed(0)
    method = Wav2Vec2(small(), negatives=20, entries=16, code_dim=32, out=32, length=4, penalty=0.0)
    optimiser = torch.optim.AdamW(method.parameters(), 4e-3)
    found = []
    for step in range(200):
        values = method(a_batch(4))
        values["loss"].backward()
        optimiser.step()
        optimiser.zero_grad()
        method.after_step((step + 1) / 200)
        found.append(values["contrastive"].item())
    assert sum(found[-10:]) / 10 < math.log(21) - 0.3
    assert values["code_perplexity"] > 4


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"length": 63}, "spans of 63 frames leave nothing to see of excerpts of 63"),
        ({"length": 0}, r"--method.length must be at least 1"),
        ({"p": 0.0}, r"--method.p must be over 0"),
        ({"p": 1.5}, r"--method.p must be over 0"),
        ({"temperature": (2.0, 0.0)}, "must be positive"),
        ({"negatives": 0}, r"--method.negatives must be at least 1"),
        ({"across": -1}, r"--method.across must be at least 0"),
        ({"groups": 0}, r"--method.groups must be at least 1"),
        ({"groups": 3}, "can't share a width of 256"),
        ({"entries": 1}, r"--method.entries must be at least 2"),
        ({"code_dim": 0}, r"--method.code_dim must be"),
        ({"out": 0}, r"--method.out must be"),
        ({"diversity": -1.0}, r"--method.diversity must be"),
        ({"cooling": -0.1}, r"--method.cooling must be"),
        ({"dropout": 1.5}, "dropout probability"),
    ],
)
def test_what_can_not_be_is_refused(settings, why):
    with pytest.raises(ValueError, match=why):
        Wav2Vec2(small(), **settings)


def test_it_needs_an_encoder_that_can_be_masked():
    with pytest.raises(ValueError, match="needs a contextual encoder"):
        Wav2Vec2(MelCNN())
