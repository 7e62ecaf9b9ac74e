"""Masks: how much they hide, in which shapes, and that every row hides as much."""

from __future__ import annotations

import pytest
import torch

from antiphon.masking import block_mask, numbers_of, span_mask


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def runs(row: torch.Tensor) -> list[int]:
    """The lengths of the stretches of true."""
    edges = torch.diff(row.int(), prepend=torch.zeros(1).int(), append=torch.zeros(1).int())
    return (edges.eq(-1).nonzero() - edges.eq(1).nonzero()).flatten().tolist()


@pytest.mark.parametrize(("p", "length", "share"), [(0.65, 10, 0.49), (0.8, 10, 0.57)])
def test_spans_hide_the_papers_share(p, length, share):
    one_by_one = [span_mask(1, 780, p, length).float().mean() for _ in range(300)]
    assert torch.stack(one_by_one).mean() == pytest.approx(1 - (1 - p / length) ** length, abs=0.01)
    assert torch.stack(one_by_one).mean() == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("frames", [12, 62, 184, 499])
def test_every_row_hides_as_much_and_something_stays(frames):
    for _ in range(20):
        mask = span_mask(8, frames, 0.65, 10)
        assert mask.shape == (8, frames)
        assert mask.dtype == torch.bool
        assert mask.sum(1).unique().numel() == 1
        assert 0 < mask[0].sum() < frames


def test_untrimmed_spans_are_whole():
    for _ in range(50):
        assert min(runs(span_mask(1, 200, 0.65, 10)[0])) >= 10


def test_only_what_is_trimmed_is_shorter():
    mask = span_mask(64, 400, 0.65, 10)
    lengths = [runs(row) for row in mask]
    assert min(min(row) for row in lengths) >= 1
    whole = [min(row) >= 10 for row in lengths]
    assert any(whole)  # the row that hid the fewest was left as it was


def test_starts_are_drawn_without_replacement_and_evenly():
    counts = torch.zeros(50)
    for _ in range(4000):
        counts += span_mask(1, 50, 0.2, 5, least=1)[0]
    inner = counts[4:-4] / 4000
    assert inner.std() < 0.02
    assert inner.mean() == pytest.approx(2 * 5 / 46, abs=0.02)


def test_at_least_so_many_spans():
    assert max(span_mask(1, 100, 0.01, 10)[0].sum() for _ in range(20)) > 10


def test_a_span_needs_room():
    with pytest.raises(ValueError, match="leave nothing to see"):
        span_mask(2, 10, 0.65, 10)


@pytest.mark.parametrize("inverse", [True, False])
@pytest.mark.parametrize(("frames", "p", "length"), [(500, 0.5, 5), (184, 0.65, 10), (99, 0.3, 3)])
def test_blocks_hide_an_exact_number(frames, p, length, inverse):
    mask = block_mask(64, frames, p, length, 0.05, inverse)
    expected = frames - round(frames * (1 - p)) if inverse else round(frames * p)
    assert mask.sum(1).tolist() == [expected] * 64
    assert numbers_of(~mask).shape == (64, frames - expected)


def test_inverse_blocks_are_what_stays():
    kept = ~block_mask(200, 400, 0.75, 10, 0.0, inverse=True)
    hidden = block_mask(200, 400, 0.25, 10, 0.0, inverse=False)

    def whole(marked):
        return sum(sum(n for n in runs(row) if n >= 10) for row in marked) / int(marked.sum())

    assert whole(kept) == pytest.approx(whole(hidden), abs=0.05)
    assert whole(kept) > 0.75


def test_blocks_refuse_all_or_none():
    for p, inverse in ((0.001, False), (1.0, False), (1.0, True)):
        with pytest.raises(ValueError, match="hide all or none"):
            block_mask(2, 50, p, 5, inverse=inverse)


def test_numbers_are_ascending_and_the_true_ones():
    mask = span_mask(5, 80, 0.65, 10)
    numbers = numbers_of(mask)
    assert (numbers.diff(dim=1) > 0).all()
    assert torch.zeros(5, 80, dtype=torch.bool).scatter(1, numbers, True).equal(mask)


def test_the_seed_decides():
    torch.manual_seed(3)
    first = span_mask(4, 100, 0.65, 10), block_mask(4, 100, 0.5, 5)
    torch.manual_seed(3)
    assert first[0].equal(span_mask(4, 100, 0.65, 10))
    assert first[1].equal(block_mask(4, 100, 0.5, 5))
