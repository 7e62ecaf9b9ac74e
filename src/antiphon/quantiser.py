"""Vectors to entries of a learned codebook, chosen by a softmax that gradients go through."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class GumbelQuantiser(nn.Module):
    """Each of several groups chooses one of its entries; the chosen ones stand side by side.

    In training the choice is drawn (Gumbel noise on the logits), passed on as one entry, and its
    gradient is that of the softmax ("straight-through"); in evaluation the likeliest is taken.

    Jang, Gu and Poole, "Categorical reparameterization with Gumbel-softmax" (2017). Of one group
    it is VQ-APC's layer: a linear map to logits, and a codebook that is a linear map without bias.

    Args:
        dim_in: width of what comes in.
        groups: G.
        entries: V, of each group.
        dim_out: width of what goes out; each entry is ``dim_out // groups`` wide.
        temperature: of the softmax in training; a buffer that a method may move.

    Shape:
        ``(..., dim_in) -> (..., dim_out)``, codes ``(..., G)`` and the mean probabilities
        ``(G, V)``.

    >>> quantised, codes, probabilities = GumbelQuantiser(8, 2, 5, 6)(torch.zeros(3, 4, 8))
    >>> quantised.shape, codes.shape, probabilities.shape
    (torch.Size([3, 4, 6]), torch.Size([3, 4, 2]), torch.Size([2, 5]))
    """

    temperature: Tensor

    def __init__(
        self, dim_in: int, groups: int, entries: int, dim_out: int, temperature: float = 1.0
    ) -> None:
        super().__init__()
        if dim_out % groups:
            raise ValueError(f"{groups} groups can't share a width of {dim_out} equally")
        self.groups, self.entries = groups, entries
        self.register_buffer("temperature", torch.tensor(temperature))
        self.to_logits = nn.Linear(dim_in, groups * entries)
        self.codebook = nn.Parameter(torch.randn(groups, entries, dim_out // groups))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Quantise vectors.

        Returns:
            The chosen entries ``(..., dim_out)``, their numbers ``(..., G)``, and how probable
            each entry was on average over all vectors ``(G, V)``, without noise or temperature.
        """
        logits = self.to_logits(x).unflatten(-1, (self.groups, self.entries)).float()
        probabilities = logits.softmax(-1).flatten(0, -3).mean(0)
        if self.training:
            noise = -torch.empty_like(logits).exponential_().log()
            soft = ((logits + noise) / self.temperature).softmax(-1)
            codes = soft.argmax(-1)
            chosen = functional.one_hot(codes, self.entries) + soft - soft.detach()
            entries = torch.einsum("...gv,gvd->...gd", chosen, self.codebook)
        else:
            codes = logits.argmax(-1)
            entries = self.codebook[torch.arange(self.groups, device=x.device), codes]
        return entries.flatten(-2), codes, probabilities


def perplexity(probabilities: Tensor) -> Tensor:
    """How many entries are in use: the sum over groups of exp(entropy), from G to G * V.

    Args:
        probabilities: of each group's entries, ``(G, V)``, each row adding up to one.

    >>> perplexity(torch.full((2, 320), 1 / 320)).round().item()
    640.0
    """
    return torch.special.entr(probabilities.clamp_min(1e-30)).sum(-1).exp().sum()
