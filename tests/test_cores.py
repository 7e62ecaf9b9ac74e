"""A thread a part computes what one thread would."""

from __future__ import annotations

import threading

import pytest
import torch

from antiphon.chain import Chain
from antiphon.cores import on_all_cores


@pytest.fixture(params=[1, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_parts_come_back_in_order_from_single_threads_without_gradients(threads):
    weight = torch.ones(1, requires_grad=True)
    seen = set()

    def call(x: torch.Tensor, factor: int) -> torch.Tensor:
        assert torch.get_num_threads() == 1
        seen.add(threading.get_ident())
        return x * weight * factor

    parts = [(torch.full((2,), float(n)), n) for n in range(20)]
    found = on_all_cores(call, parts)
    assert [y.tolist() for y in found] == [[n * n] * 2 for n in range(20)]
    assert not any(y.requires_grad for y in found)
    assert torch.get_num_threads() == threads
    assert (seen == {threading.get_ident()}) == (threads == 1)


def test_an_error_is_raised_and_the_threads_are_given_back(threads):
    def call(x: int) -> torch.Tensor:
        raise ValueError(f"part {x}")

    with pytest.raises(ValueError, match="part 0"):
        on_all_cores(call, [(0,), (1,)])
    assert torch.get_num_threads() == threads


def test_a_chain_does_not_depend_on_the_number_of_threads():
    before = torch.get_num_threads()
    x = 0.1 * torch.randn(11, 1, 8000)
    found = []
    for threads in (1, 4):
        torch.set_num_threads(threads)
        generators = [torch.Generator().manual_seed(n) for n in range(11)]
        found.append(Chain("thesis")(x, 16000, generators))
    torch.set_num_threads(before)
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-6)
