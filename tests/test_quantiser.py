"""The quantiser: sizes to the number, choices and their gradients, and how many are in use."""

from __future__ import annotations

import pytest
import torch

from antiphon.quantiser import GumbelQuantiser, perplexity


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_sizes_of_the_papers():
    assert parameters(GumbelQuantiser(512, 2, 320, 256)) == 410_240  # wav2vec 2.0 base
    assert parameters(GumbelQuantiser(512, 1, 128, 512)) == 512 * 128 + 128 + 128 * 512  # VQ-APC


@pytest.mark.parametrize("training", [True, False])
def test_what_goes_out_are_entries(training):
    torch.manual_seed(0)
    quantiser = GumbelQuantiser(6, 2, 5, 8).train(training)
    quantised, codes, probabilities = quantiser(torch.randn(3, 7, 6))
    assert quantised.shape == (3, 7, 8)
    assert codes.shape == (3, 7, 2)
    assert codes.dtype == torch.long
    assert probabilities.shape == (2, 5)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(2))
    for group in range(2):
        chosen = quantiser.codebook[group, codes[..., group]]
        torch.testing.assert_close(quantised[..., 4 * group : 4 * group + 4], chosen)


def test_evaluation_takes_the_likeliest():
    torch.manual_seed(0)
    quantiser = GumbelQuantiser(6, 2, 5, 8).eval()
    x = torch.randn(50, 6)
    quantised, codes, _ = quantiser(x)
    logits = quantiser.to_logits(x).view(50, 2, 5)
    assert codes.equal(logits.argmax(-1))
    assert len(quantised.unique(dim=0)) <= 25
    assert quantised.equal(quantiser(x)[0])


def test_training_draws_as_the_softmax_says():
    torch.manual_seed(0)
    quantiser = GumbelQuantiser(3, 1, 4, 2, temperature=0.5)
    x = torch.randn(1, 3)
    drawn = quantiser(x.expand(20000, 3))[1].flatten()
    share = torch.bincount(drawn, minlength=4) / len(drawn)
    torch.testing.assert_close(share, quantiser.to_logits(x)[0].softmax(0), atol=0.02, rtol=0)


def test_gradients_reach_the_logits_and_the_codebook():
    quantiser = GumbelQuantiser(6, 2, 5, 8, temperature=2.0)
    x = torch.randn(9, 6, requires_grad=True)
    quantised, _, probabilities = quantiser(x)
    quantised.square().sum().backward(retain_graph=True)
    assert all((p.grad != 0).any() for p in [x, *quantiser.parameters()])
    x.grad = None
    perplexity(probabilities).backward()
    assert (x.grad != 0).any()


def test_the_mean_probabilities_are_those_of_all_vectors():
    quantiser = GumbelQuantiser(6, 2, 5, 8)
    x = torch.randn(4, 3, 6)
    expected = quantiser.to_logits(x).view(12, 2, 5).softmax(-1).mean(0)
    torch.testing.assert_close(quantiser(x)[2], expected)


def test_perplexity_is_between_groups_and_entries():
    even, one = torch.full((2, 320), 1 / 320), torch.eye(320)[:2]
    assert perplexity(even).item() == pytest.approx(640, abs=1e-3)
    assert perplexity(one).item() == 2
    assert (640 - perplexity(one).item()) / 640 == pytest.approx(0.9969, abs=1e-4)


def test_groups_must_fit():
    with pytest.raises(ValueError, match="share"):
        GumbelQuantiser(6, 3, 5, 8)
