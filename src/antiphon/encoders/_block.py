"""A block of a Transformer, which several encoders are made of."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """Attention, then a feed-forward part for each frame by itself; each is added to its input.

    Vaswani et al., "Attention is all you need" (2017), with GELU.

    Args:
        dim: D, width of a frame.
        heads: of the attention; D is a multiple of that.
        hidden: width of the feed-forward part.
        dropout: of what each part adds, and of the attention.
        norm_first: layer-norm before each part, rather than after it.
        causal: a frame hears only itself and those before it.

    Shape:
        ``(B, F, D)`` -> the frames, and what the feed-forward part added, both ``(B, F, D)``.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int,
        dropout: float,
        norm_first: bool,
        causal: bool = False,
    ) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm_first, self.causal = norm_first, causal
        self.queries_keys_values = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.attention_norm = nn.LayerNorm(dim)
        self.widen = nn.Linear(dim, hidden)
        self.narrow = nn.Linear(hidden, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Go through; ``bias`` is added to what attention weighs, and none can be causal too."""
        if self.norm_first:
            x = x + self._attention(self.attention_norm(x), bias)
            added = self._feed_forward(self.norm(x))
            return x + added, added
        x = self.attention_norm(x + self._attention(x, bias))
        added = self._feed_forward(x)
        return self.norm(x + added), added

    def _attention(self, x: Tensor, bias: Tensor | None) -> Tensor:
        q, k, v = self.queries_keys_values(x).unflatten(2, (3, self.heads, -1)).unbind(2)
        mixed = F.scaled_dot_product_attention(
            q.transpose(1, 2),
            k.transpose(1, 2),
            v.transpose(1, 2),
            attn_mask=None if bias is None else bias.to(q.dtype),
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=self.causal,
        )
        return self._dropped(self.out(mixed.transpose(1, 2).flatten(2)))

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self._dropped(self.narrow(F.gelu(self.widen(x))))

    def _dropped(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)
