import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, roc_auc_score

from antiphon import metrics
from antiphon.metrics import pr_auc, retrieval, roc_auc
from antiphon.resampling import interval, paired_interval, resample_groups

Y, S = np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])
bounded = settings(max_examples=60, deadline=None, derandomize=True)
shapes = st.tuples(st.integers(2, 9), st.integers(2, 6))


def scored(draw, shape):
    """Labels, and scores of few distinct values: ties abound."""
    y = draw(arrays.arrays(np.int64, shape, elements=st.integers(0, 1)))
    s = draw(arrays.arrays(np.int64, shape, elements=st.integers(0, 4))) / 4
    return y, s


def test_check_values():
    assert roc_auc(Y, S).value == 0.75
    assert pr_auc(Y, S).value == pytest.approx(0.8333333, abs=1e-7)


def test_constant_perfect_and_reversed_scores():
    y = np.array([0, 1, 0, 0, 1])
    assert roc_auc(y, np.full(5, 0.3)).value == 0.5
    assert pr_auc(y, np.full(5, 0.3)).value == pytest.approx(0.4)  # the prevalence
    assert roc_auc(y, y / 2).value == pr_auc(y, y / 2).value == 1
    assert roc_auc(y, -y).value == 0


def test_only_the_order_counts_tag_wise():
    rng = np.random.default_rng(0)
    y, logits = rng.integers(0, 2, (50, 4)), rng.normal(size=(50, 4))
    for metric in (roc_auc, pr_auc):
        assert metric(y, logits) == metric(y, 1 / (1 + np.exp(-logits)))


def test_mean_of_logits_is_not_mean_of_probabilities():
    logits = np.array([[3.0], [-2.0], [0.4], [0.4]])
    owners = np.array([0, 0, 1, 1])
    _, by_logits = metrics.average_windows(logits, owners, of="logits")
    _, by_probabilities = metrics.average_windows(1 / (1 + np.exp(-logits)), owners)
    assert by_logits[0] > by_logits[1]
    assert by_probabilities[0] < by_probabilities[1]


def test_random_scores_have_a_precision_near_the_prevalence():
    rng = np.random.default_rng(1)
    y = (rng.random((5000, 50)) < 0.053).astype(int)
    s = rng.random(y.shape)
    assert pr_auc(y, s).value == pytest.approx(0.053, abs=0.005)
    assert roc_auc(y, s).value == pytest.approx(0.5, abs=0.01)


@bounded
@given(st.data())
def test_multilabel_figures_are_those_of_scikit_learn_ties_included(data):
    y, s = scored(data.draw, data.draw(shapes))
    for by, truth, scores in (("tag", y.T, s.T), ("clip", y, s)):
        defined = [i for i, row in enumerate(truth) if 0 < row.sum() < len(row)]
        for ours, theirs in ((roc_auc, roc_auc_score), (pr_auc, average_precision_score)):
            score = ours(y, s, by)
            assert score.skipped == len(truth) - len(defined)
            if defined:
                expected = np.mean([theirs(truth[i], scores[i]) for i in defined])
                assert score.value == pytest.approx(expected, abs=1e-12)
            else:
                assert np.isnan(score.value)


def column(draw, n):
    """A tag that some clips have, or all, or none; or all but one, or only one."""
    kind = draw(st.sampled_from(["some", "all", "none", "all but one", "one"]))
    if kind == "some":
        return draw(arrays.arrays(np.int64, n, elements=st.integers(0, 1)))
    labels = np.full(n, int(kind.startswith("all")))
    if "one" in kind and kind != "none":
        labels[draw(st.integers(0, n - 1))] = int(kind == "one")
    return labels


def scores_of(draw, shape):
    """Few values, one value, neighbours in floating point, or anything at all."""
    kind = draw(st.sampled_from(["few", "one", "neighbours", "any"]))
    if kind == "one":
        return np.full(shape, 0.3)
    if kind == "neighbours":
        steps = draw(arrays.arrays(np.int64, shape, elements=st.integers(0, 3)))
        return 0.5 + steps * np.spacing(0.5)
    if kind == "few":
        return draw(arrays.arrays(np.int64, shape, elements=st.integers(0, 3))) / 3
    finite = st.floats(-1e6, 1e6, allow_nan=False)
    return draw(arrays.arrays(np.float64, shape, elements=finite))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.data())
def test_columns_of_one_kind_are_left_out_and_the_others_are_scikit_learns(data):
    n, c = data.draw(st.tuples(st.integers(2, 12), st.integers(1, 6)))
    y = np.stack([column(data.draw, n) for _ in range(c)], 1)
    s = scores_of(data.draw, y.shape)
    for by, truth, scores in (("tag", y.T, s.T), ("clip", y, s)):
        defined = [i for i, row in enumerate(truth) if 0 < row.sum() < len(row)]
        for ours, theirs in ((roc_auc, roc_auc_score), (pr_auc, average_precision_score)):
            found = ours(y, s, by)
            assert found.skipped == len(truth) - len(defined)
            if not defined:
                assert np.isnan(found.value)
                continue
            each = [theirs(truth[i], scores[i]) for i in defined]
            assert found.value == pytest.approx(np.mean(each), abs=1e-12)
            if len(defined) == len(truth) and by == "tag":  # then its own mean is the same
                assert found.value == pytest.approx(theirs(y, s, average="macro"), abs=1e-12)


def test_the_trap_that_the_mask_is_for():
    """An empty column's average precision is 0 for scikit-learn, and enters its mean."""
    y, s = (
        np.array([[1, 0, 1], [0, 0, 1], [1, 0, 1]]),
        np.array([[3.0, 1, 1], [1, 2, 2], [2, 3, 3]]),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert average_precision_score(y, s, average="macro") == pytest.approx(2 / 3)  # 1, 0, 1
    assert pr_auc(y, s) == metrics.Score(1.0, skipped=2)
    assert roc_auc(y, s) == metrics.Score(1.0, skipped=2)


@bounded
@given(st.data())
def test_multiclass_figures_are_those_of_scikit_learn(data):
    n, c = data.draw(shapes)
    y = data.draw(arrays.arrays(np.int64, n, elements=st.integers(0, c - 1)))
    p = data.draw(arrays.arrays(np.float64, (n, c), elements=st.floats(0, 1)))
    predictions = p.argmax(1)
    assert metrics.accuracy(y, p).value == pytest.approx(accuracy_score(y, predictions))
    f1 = metrics.macro_f1(y, p)
    assert f1.value == pytest.approx(f1_score(y, predictions, average="macro"))
    assert f1.skipped == c - len(set(y) | set(predictions))


def test_macro_mean_of_two_columns_is_the_mean_of_the_single_ones():
    rng = np.random.default_rng(2)
    y, s = rng.integers(0, 2, (40, 2)), rng.random((40, 2))
    for metric in (roc_auc, pr_auc):
        singles = [metric(y[:, j], s[:, j]).value for j in (0, 1)]
        assert metric(y, s).value == pytest.approx(np.mean(singles))


def test_single_class_columns_are_masked_and_counted_the_same_for_both():
    y = np.stack([Y, np.zeros(4, int), np.ones(4, int)], axis=1)
    s = np.stack([S, S, S], axis=1)
    assert roc_auc(y, s) == metrics.Score(0.75, skipped=2)
    assert pr_auc(y, s) == metrics.Score(pr_auc(Y, S).value, skipped=2)
    # scikit-learn would have counted 0 for the empty column and 1 for the full one.
    assert pr_auc(y, s).value != pytest.approx((pr_auc(Y, S).value + 0 + 1) / 3)


def test_untagged_clips_drop_out_of_the_clip_wise_figures():
    y = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 1]])
    s = np.array([[0.1, 0.2, 0.3], [0.9, 0.5, 0.1], [0.3, 0.2, 0.1]])
    assert roc_auc(y, s, "clip") == pr_auc(y, s, "clip") == metrics.Score(1.0, skipped=2)
    assert np.isnan(roc_auc(y[:1], s[:1], "clip").value)


def test_every_named_metric_takes_labels_and_scores():
    rng = np.random.default_rng(3)
    y, s = rng.integers(0, 2, (30, 3)), rng.random((30, 3))
    assert set(metrics.METRICS["multiclass"]) == {"accuracy", "macro-f1"}
    assert set(metrics.METRICS["multilabel"]) == {
        f"{curve}-auc-{by}" for curve in ("roc", "pr") for by in ("tag", "clip")
    }
    for metric in metrics.METRICS["multilabel"].values():
        assert 0 <= float(metric(y, s)) <= 1
    assert metrics.METRICS["multilabel"]["pr-auc-clip"](y, s) == pr_auc(y, s, "clip")
    for metric in metrics.METRICS["multiclass"].values():
        assert 0 <= float(metric(y[:, 0], s)) <= 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: roc_auc(Y, S[:3]), "both"),
        (lambda: roc_auc(2 * Y, S), "0 or 1"),
        (lambda: roc_auc(Y, S * np.nan), "NaN"),
        (lambda: roc_auc(Y, S, by="row"), "say 'tag'"),
        (lambda: metrics.accuracy(Y, S), "shape|scores"),
        (lambda: metrics.accuracy(Y + 1, np.eye(4)[:, :2]), "2 columns"),
        (lambda: metrics.accuracy(Y / 1.0, np.eye(4)), "integers"),
        (lambda: metrics.average_windows(S * 9, Y), "logits"),
        (lambda: metrics.average_windows(S, Y[:2]), "one owner"),
        (lambda: retrieval(np.eye(3), Y), "one track"),
        (lambda: retrieval(np.eye(4) * np.nan, Y), "NaN"),
        (lambda: retrieval(np.eye(4), Y, np.array([4])), "queries"),
        (lambda: resample_groups(np.eye(2)), "one group"),
    ],
)
def test_errors_name_the_thing(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_windows_are_averaged_in_order_of_first_appearance():
    scores = np.array([[0.2, 0.8], [1.0, 0.0], [0.4, 0.6], [0.0, 0.0]])
    owners, mean = metrics.average_windows(scores, np.array(["z", "a", "z", "m"]))
    assert owners.tolist() == ["z", "a", "m"]
    np.testing.assert_allclose(mean, [[0.3, 0.7], [1, 0], [0, 0]])


# --- intervals


def test_resamples_draw_whole_groups():
    groups = np.array(list("abacbd"))
    resamples = resample_groups(groups, n=50, seed=1)
    size = {g: int((groups == g).sum()) for g in "abcd"}
    for rows in resamples:
        drawn = [groups[i] for i in rows]
        copies = [drawn.count(g) / size[g] for g in "abcd"]
        assert all(c == int(c) for c in copies)
        assert sum(copies) == 4  # as many groups as there are
        for i in rows:  # the members of a group come together, equally often
            assert (rows == i).sum() == drawn.count(groups[i]) / size[groups[i]]


def test_resamples_read_like_a_list_and_repeat_by_seed():
    groups = np.arange(6) // 2
    a, b = resample_groups(groups, 20, seed=3), resample_groups(groups, 20, seed=3)
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    assert np.array_equal(a[5:7][1], a[6])
    assert a.everything.tolist() == list(range(6))
    other = resample_groups(groups, 20, seed=4)
    assert any(not np.array_equal(x, y) for x, y in zip(a, other, strict=True))


def test_interval_covers_the_truth_as_often_as_it_says():
    rng, covered = np.random.default_rng(0), 0
    for seed in range(100):
        rate = rng.beta(6, 4, size=60)  # of each group, 0.6 in the mean
        hits = (rng.random((60, 5)) < rate[:, None]).ravel()
        resamples = resample_groups(np.repeat(np.arange(60), 5), 300, seed)
        low, high = interval(lambda rows, hits=hits: hits[rows].mean(), resamples)
        covered += low <= 0.6 <= high
    assert 88 <= covered <= 99


def test_resampling_rows_of_a_group_singly_would_be_too_sure():
    hits = np.repeat(np.random.default_rng(1).random(30) < 0.5, 20)
    by_group = interval(lambda r: hits[r].mean(), resample_groups(np.arange(600) // 20))
    by_row = interval(lambda r: hits[r].mean(), resample_groups(np.arange(600)))
    assert by_group.high - by_group.low > 3 * (by_row.high - by_row.low)


def test_paired_interval_is_narrower_for_models_that_err_together():
    rng = np.random.default_rng(2)
    difficulty = rng.normal(size=200)
    a = (difficulty + 0.2 * rng.normal(size=200) < 0.6).astype(float)
    b = (difficulty + 0.2 * rng.normal(size=200) < 0.4).astype(float)
    resamples = resample_groups(np.arange(200))

    def figure(hits):
        return lambda rows: hits[rows].mean()

    paired = paired_interval(figure(a), figure(b), resamples)
    others = resample_groups(np.arange(200), seed=1)
    apart = [a[i].mean() - b[j].mean() for i, j in zip(resamples, others, strict=True)]
    low, high = np.percentile(apart, [2.5, 97.5])
    assert paired.difference == pytest.approx(a.mean() - b.mean())
    assert paired.low <= paired.difference <= paired.high
    assert paired.high - paired.low < 0.7 * (high - low)
    same = paired_interval(figure(a), figure(a), resamples)
    assert same == (0, 0, 0)


def test_one_group_gives_no_interval():
    resamples = resample_groups(np.zeros(9))
    assert len(resamples) == 0
    assert np.isnan(interval(lambda rows: 1.0, resamples)).all()
    difference = paired_interval(lambda rows: 1.0, lambda rows: 0.25, resamples)
    assert difference.difference == 0.75
    assert np.isnan(difference[1:]).all()


def test_undefined_resamples_are_dropped_unless_they_are_most():
    resamples = resample_groups(np.arange(8), 200)
    calls = iter(range(1000))
    low, high = interval(lambda rows: np.nan if next(calls) % 4 == 0 else 3.0, resamples)
    assert low == high == 3
    calls = iter(range(1000))
    assert np.isnan(interval(lambda r: 3.0 if next(calls) % 4 == 0 else np.nan, resamples)).all()


def test_a_score_serves_as_the_figure():
    rng = np.random.default_rng(5)
    y, s = rng.integers(0, 2, (40, 3)), rng.random((40, 3))
    low, high = interval(lambda rows: roc_auc(y[rows], s[rows]), resample_groups(np.arange(40)))
    assert low < roc_auc(y, s).value < high


# --- retrieval


def test_retrieval_of_clusters_is_perfect():
    rng = np.random.default_rng(0)
    tracks = np.repeat(np.arange(8), 4)
    vectors = 20 * rng.normal(size=(8, 16))[tracks] + rng.normal(size=(32, 16))
    result = retrieval(vectors, tracks)
    assert result.recall_at_1.tolist() == result.average_precision.tolist() == [1] * 32


def test_retrieval_of_noise_is_at_chance():
    rng = np.random.default_rng(1)
    tracks = np.repeat(np.arange(20), 20)
    result = retrieval(rng.normal(size=(400, 32)), tracks)
    assert result.recall_at_1.mean() == pytest.approx(19 / 399, abs=0.03)
    assert result.average_precision.mean() == pytest.approx(19 / 399, abs=0.03)


@pytest.mark.parametrize("standardise", [True, False])
def test_a_collapsed_encoder_is_at_chance(standardise):
    tracks = np.repeat(["a", "b", "c", "d"], 5)
    result = retrieval(np.full((20, 8), 0.7), tracks, standardise=standardise)
    np.testing.assert_allclose(result.recall_at_1, 4 / 19)
    np.testing.assert_allclose(result.average_precision, 4 / 19)


def test_rounding_errors_break_no_ties():
    rng = np.random.default_rng(6)
    vectors = rng.normal(size=64) * rng.uniform(1, 2, (20, 1))  # all in one direction
    result = retrieval(vectors, np.repeat(np.arange(4), 5), standardise=False)
    np.testing.assert_allclose(result.recall_at_1, 4 / 19)


def test_the_query_is_no_answer_and_lone_excerpts_do_not_ask():
    # Each is nearest to itself; the nearest other one is of the wrong track.
    vectors = np.array([[1, 0.0], [0, 1], [1, 0.1], [0.1, 1], [5, -5]])
    tracks = np.array(["a", "a", "b", "b", "alone"])
    result = retrieval(vectors, tracks, standardise=False)
    assert result.queries.tolist() == [0, 1, 2, 3]
    assert result.recall_at_1.tolist() == [0, 0, 0, 0]
    asked = retrieval(vectors, tracks, np.array([4, 2]), standardise=False)
    assert asked.queries.tolist() == [2]
    by_mask = retrieval(vectors, tracks, np.arange(5) == 2, standardise=False)
    assert by_mask.average_precision == asked.average_precision


@pytest.mark.parametrize("standardise", [True, False])
def test_retrieval_is_the_slow_double_loop(standardise):
    rng = np.random.default_rng(3)
    tracks, vectors = rng.integers(0, 9, 60), rng.normal(size=(60, 5)) * [1, 1, 1, 1, 20] + 1
    v = (vectors - vectors.mean(0)) / vectors.std(0) if standardise else vectors
    result = retrieval(vectors, tracks, standardise=standardise)
    expected = []
    for i in range(60):
        cosines = []
        for j in range(60):
            if j != i:
                cosine = v[i] @ v[j] / np.linalg.norm(v[i]) / np.linalg.norm(v[j])
                cosines.append((cosine, tracks[i] == tracks[j]))
        cosines.sort(reverse=True)
        hits, precisions = 0, []
        for rank, (_, same) in enumerate(cosines, start=1):
            if same:
                hits += 1
                precisions.append(hits / rank)
        if precisions:
            expected.append((i, cosines[0][1], np.mean(precisions)))
    np.testing.assert_allclose(np.stack(result, axis=1), np.array(expected, dtype=float))


def test_retrieval_in_blocks_is_retrieval_at_once():
    rng = np.random.default_rng(4)
    vectors, tracks = rng.normal(size=(3000, 4)), np.arange(3000) // 3
    whole = retrieval(vectors, tracks)  # more than one block
    asked = np.array([0, 1500, 2999])
    some = retrieval(vectors, tracks, asked)
    np.testing.assert_array_equal(whole.recall_at_1[asked], some.recall_at_1)
    np.testing.assert_allclose(whole.average_precision[asked], some.average_precision)
