"""Blind trials: statistics held to scipy, scikit-learn and published examples."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, fisher_exact
from sklearn.metrics import cohen_kappa_score

from antiphon.listen.blind import Trials, agreement, cohen, draw, fleiss, judged, summary
from antiphon.listen.collection import Missing

booleans = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40)


@given(booleans)
def test_a_result_is_what_scipy_and_sklearn_say(pairs):
    said, true = map(list, zip(*pairs, strict=True))
    found = judged(said, true)
    cells = [
        [sum(s == a and t == b for s, t in pairs) for b in (True, False)] for a in (True, False)
    ]
    assert found["p"] == pytest.approx(fisher_exact(cells, "greater").pvalue)
    right = sum(s == t for s, t in pairs)
    assert (found["right"], found["of"]) == (right, len(pairs))
    exact = binomtest(right, len(pairs)).proportion_ci(0.95, "exact")
    assert found["interval"] == pytest.approx([exact.low, exact.high])
    if len(set(said) | set(true)) == 1:
        assert found["kappa"] is None
    else:
        assert found["kappa"] == pytest.approx(cohen_kappa_score(said, true))
    assert found["kappa"] is None or found["chance"] < 1
    json.dumps(found, allow_nan=False)


def test_a_known_result():
    truth = [True] * 10 + [False] * 10
    found = judged([True] * 9 + [False] * 10 + [True], truth)
    assert (found["right"], found["of"], found["chance"]) == (18, 20, 0.5)
    assert found["p"] == pytest.approx((10 * 10 + 1) / 184_756)
    assert found["kappa"] == pytest.approx(0.8)
    assert judged([True] * 20, truth)["p"] == 1
    assert judged([not t for t in truth], truth)["kappa"] == -1


@pytest.mark.parametrize("answers", [[], [True], [True] * 3])
def test_an_answer_for_each(answers):
    with pytest.raises(ValueError, match="2 answers are needed"):
        judged(answers, [True, False])


def test_fleiss_own_example():
    """Table 1 of the Wikipedia article on Fleiss' kappa: 0.210."""
    table = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    items = [[k for k, n in enumerate(row) for _ in range(n)] for row in table]
    assert fleiss(items) == pytest.approx(0.20993, abs=1e-5)


def test_kappas_ends():
    assert cohen([1, 0, 1, 0], [1, 0, 1, 0]) == 1
    assert cohen([1, 1, 0, 0], [1, 0, 1, 0]) == 0
    assert cohen([1, 1], [1, 1]) is None
    assert fleiss([[1, 1, 1], [0, 0, 0]]) == 1
    assert fleiss([[1, 1]]) is None
    with pytest.raises(ValueError, match="two judges"):
        cohen([1], [1, 0])
    with pytest.raises(ValueError, match="two or more"):
        fleiss([[1]])


@given(st.integers(0, 1000), st.integers(2, 6), st.integers(0, 8), st.integers(0, 8))
def test_what_is_drawn(seed, half, shown, heard):
    random = np.random.default_rng(seed)
    tracks = np.repeat(np.arange(30), 4)
    column = random.standard_normal(120)
    column[random.integers(0, 120, 5)] = np.nan
    strength = np.array([np.nanmax(column[tracks == t]) for t in range(30)])
    best = np.argsort(-strength)
    known = set(best[:shown].tolist())
    before = set(random.choice(best[shown:], heard, replace=False).tolist())
    top, rest, ranks = draw(column, tracks, 2 * half, known, before)
    assert len(top) == len(rest) == half
    owners = tracks[top + rest]
    assert len(set(owners)) == 2 * half  # one of a track
    assert not set(owners) & (known | before)
    assert np.isfinite(column[top + rest]).all()
    left = [t for t in best if t not in known | before]
    np.testing.assert_array_equal(owners[:half], left[:half])
    np.testing.assert_allclose(column[top], strength[left[:half]])
    place = best.tolist().index
    assert ranks == (place(left[0]) + 1, place(left[half - 1]) + 1, 30)
    assert draw(column, tracks, 2 * half, known, before) == (top, rest, ranks)


def test_what_equals_the_strongest_is_none_of_the_others():
    column, tracks = np.r_[np.ones(7), np.zeros(3)], np.arange(10)
    _, rest, _ = draw(column, tracks, 6)
    assert not column[rest].any()
    with pytest.raises(ValueError, match="nothing to hear"):
        draw(column, tracks, 8)
    with pytest.raises(ValueError, match="nothing to hear"):
        draw(column, tracks, 4, shown=set(range(6)))


def test_sounds_are_used_up():
    """Session after session, no track comes twice, and the tab's are in none: then it is said."""
    column, tracks = np.random.default_rng(0).standard_normal(80), np.repeat(np.arange(40), 2)
    shown, heard = set(range(10)), set()
    for _ in range(3):
        top, rest, _ = draw(column, tracks, 8, shown, heard)
        owners = set(tracks[top + rest].tolist())
        assert len(owners) == 8
        assert not owners & (shown | heard)
        heard |= owners
    why = (
        r"used up: 8 tracks are needed and 6 are left; the Feature tab shows 10 of 40, .* 24 others"
    )
    with pytest.raises(ValueError, match=why):
        draw(column, tracks, 8, shown, heard)


@pytest.mark.parametrize(
    ("count", "why"),
    [(5, "even"), (2, "from 4"), (102, "to 100"), (12, "12 tracks are needed and 10 are left")],
)
def test_what_cant_be_drawn(count, why):
    with pytest.raises(ValueError, match=why):
        draw(np.arange(20.0), np.repeat(np.arange(10), 2), count)


def test_a_dead_feature_cant_be_judged():
    with pytest.raises(ValueError, match="nothing to hear"):
        draw(np.zeros(20), np.repeat(np.arange(10), 2), 4)


def heard(by, answers, session="s", when="1", start=0.0):
    items = [{"data": "d", "track": str(n), "start": start} for n in range(len(answers))]
    return {
        "session": session, "by": by, "items": items, "answers": answers, "answered": when,
        "begun": when,
    }  # fmt: skip


def test_two_judges_and_three():
    yes, no = True, False
    first, second = [yes, yes, no, no], [yes, no, no, no]
    found = agreement([heard("ann", first), heard("bob", second)])
    assert found == {"judges": 2, "items": 4, "kappa": 0.5, "kind": "Cohen"}
    found = agreement([heard("ann", first), heard("bob", second), heard("cy", [yes, yes])])
    assert (found["judges"], found["items"], found["kind"]) == (3, 4, "Fleiss")
    assert found["kappa"] == pytest.approx(fleiss([[yes] * 3, [yes, no, yes], [no] * 2, [no] * 2]))


def test_the_first_answer_counts():
    sessions = [heard("ann", [True, False], when="2"), heard("bob", [True, False], when="1")]
    again = heard("ann", [False, True], session="t", when="3")
    assert agreement([again, *sessions])["kappa"] == 1
    assert agreement(sessions[:1]) is None
    assert agreement([heard("ann", [True]), heard("bob", [True], start=5.0)]) is None


def test_who_gives_no_name_is_known_by_the_browser():
    one, two, three = (heard("", [True, False], name) for name in "stu")
    assert agreement([one, two])["judges"] == 2  # of before browsers had ids
    same = [{**one, "browser": "x"}, {**two, "browser": "x"}]
    assert agreement(same) is None
    assert agreement([*same, {**three, "browser": "y"}])["judges"] == 2


@pytest.fixture
def items():
    return [
        {"track": str(n), "start": 0.0, "seconds": 1.0, "top": n < 4, "row": {"id": n}}
        for n in range(8)
    ]


def test_a_session_is_kept(tmp_path, items):
    trials = Trials(tmp_path, "weights")
    begun = trials.begin(3, " ann ", "tones", items)
    name = begun["session"]
    assert begun["by"] == "ann"
    assert trials.all() == []
    assert [s["session"] for s in trials.all(answered=False)] == [name]
    again = Trials(tmp_path, "weights")
    answers = [item["top"] for item in again.read(name)["items"]]
    assert again.answer(name, answers)["result"]["right"] == 8
    with pytest.raises(FileExistsError, match="answered already"):
        again.answer(name, answers)
    assert summary(again.all(3)[0])["kappa"] == 1
    assert trials.all(4) == []
    assert Trials(tmp_path, "other weights").all() == []
    everything = {str(n) for n in range(8)}
    assert trials.heard(3, "tones", "ann", "x") == everything
    for other in ((4, "tones", "ann", "x"), (3, "noises", "ann", "x"), (3, "tones", "bob", "x")):
        assert trials.heard(*other) == set()


def test_what_somebody_has_heard(tmp_path, items):
    trials = Trials(tmp_path, "weights")
    trials.begin(3, "ann", "tones", items[:2], "x")
    trials.begin(3, "", "tones", items[2:4], "x")
    trials.begin(3, "", "tones", items[4:6], "y")
    heard = {
        who: "".join(sorted(trials.heard(3, "tones", *who)))
        for who in (("ann", "x"), ("ann", "y"), ("bob", "x"), ("", "x"), ("", "y"), ("", "z"))
    }
    assert heard == {
        ("ann", "x"): "0123", ("ann", "y"): "0145", ("bob", "x"): "23",
        ("", "x"): "0123", ("", "y"): "45", ("", "z"): "",
    }  # fmt: skip


def test_the_order_is_shuffled(tmp_path, items):
    trials = Trials(tmp_path, "weights")
    orders = {
        tuple(i["track"] for i in trials.begin(3, "", "tones", items)["items"]) for _ in range(20)
    }
    assert len(orders) > 15


@pytest.mark.parametrize(
    "name", ["../notes", "", "x", "a/b", "a" * 50, "nosuchsession", ".", "%2e"]
)
def test_no_such_session(tmp_path, name):
    (tmp_path / "notes.json").write_text("{}")
    with pytest.raises(Missing, match="no such session"):
        Trials(tmp_path, "weights").read(name)


@pytest.mark.parametrize("answers", [None, "yes", [1, 0], [True] * 7, {}, [None] * 8])
def test_answers_that_are_none(tmp_path, items, answers):
    trials = Trials(tmp_path, "weights")
    name = trials.begin(3, "ann", "tones", items)["session"]
    with pytest.raises(ValueError, match="answers"):
        trials.answer(name, answers)
    assert "answers" not in trials.read(name)
