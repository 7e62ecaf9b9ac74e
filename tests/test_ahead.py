"""Making things ahead changes nothing but when they are made."""

from __future__ import annotations

import threading
import time

import pytest

from antiphon.ahead import Ahead, batched, side_by_side


def test_the_same_items_in_the_same_order():
    assert list(Ahead(range(100), depth=3)) == list(range(100))
    sources = [[n] * n for n in range(20)]
    for workers in (1, 3, 50):
        made = list(side_by_side(iter(sources), workers, depth=2))
        assert made == [n for n in range(20) for _ in range(n)]


def test_it_is_never_further_ahead_than_it_may_be():
    made = []

    def items():
        for n in range(50):
            made.append(n)
            yield n

    for item in Ahead(items(), depth=2):
        time.sleep(0.001)
        assert len(made) <= item + 1 + 2 + 1  # in use, waiting, and in the thread's hand


def test_what_goes_wrong_comes_in_its_turn():
    def failing():
        yield 1
        raise KeyError("here")

    made = side_by_side([[0], failing(), [2]], 3, depth=1)
    assert [next(made), next(made)] == [0, 1]
    with pytest.raises(KeyError, match="here"):
        next(made)


def test_no_thread_is_left_when_some_items_are_not_used():
    before = threading.active_count()
    items = side_by_side(([n] * 10 for n in range(10)), 4, depth=1)
    assert next(items) == 0
    items.close()
    assert threading.active_count() == before


def test_batches():
    assert list(batched(iter(range(5)), 2)) == [[0, 1], [2, 3], [4]]
    assert list(batched([], 2)) == []
