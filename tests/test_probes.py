import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from threadpoolctl import threadpool_limits

from antiphon.folds import hold_out, repeated_group_folds
from antiphon.metrics import accuracy, average_windows
from antiphon.probes import (
    PROBES,
    LinearProbe,
    LogisticProbe,
    MLPProbe,
    NeighboursProbe,
    class_probabilities,
    make_probe,
)
from antiphon.resampling import interval, resample_groups

GTZAN = Path(__file__).parents[2] / "shared" / "data" / "gtzan"


@pytest.fixture(autouse=True)
def one_thread():
    """Threads of several test processes on few cores mostly wait for each other."""
    with threadpool_limits(1):
        yield


@parametrize_with_checks(
    [
        LinearProbe(learning_rate=0.03, max_epochs=5, minimum_steps=20),
        MLPProbe(learning_rate=0.01, max_epochs=5, minimum_steps=20, hidden=16),
        LogisticProbe(C=(0.1, 1.0)),
        NeighboursProbe(neighbours=3),
    ]
)
def test_scikit_learn_accepts_it(estimator, check):
    check(estimator)


def clusters(n=300, c=3, d=8, spread=0.3, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % c
    return 3 * np.eye(c, d)[y] + spread * rng.normal(size=(n, d)), y


def tagged(n=400, c=4, d=8, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    return X, (X @ rng.normal(size=(d, c)) > 0.5).astype(int)


def quick(name, task="auto", seed=0):
    probe = make_probe(name, task, seed)
    fast = {"learning_rate": 0.01, "max_epochs": 30}
    return probe.set_params(**fast) if name in ("linear", "mlp") else probe


@pytest.mark.parametrize("name", PROBES)
def test_separable_data_are_separated(name):
    X, y = clusters()
    probe = quick(name, "multiclass").fit(X[:200], y[:200])
    assert probe.score(X[200:], y[200:]) == 1
    p = probe.predict_proba(X[200:])
    assert p.shape == (100, 3)
    np.testing.assert_allclose(p.sum(1), 1)


@pytest.mark.parametrize("name", PROBES)
def test_shuffled_labels_are_at_chance(name):
    X, _ = clusters(600, c=4)
    y = np.random.default_rng(1).integers(0, 4, 600)
    score = quick(name).fit(X[:300], y[:300]).score(X[300:], y[300:])
    assert score == pytest.approx(0.25, abs=0.1)  # 4 standard deviations


@pytest.mark.parametrize("name", PROBES)
def test_tags(name):
    X, y = tagged()
    y[:, 3] = 0  # a tag that never occurs must not stop the others
    probe = quick(name, "multilabel").fit(X[:300], y[:300])
    assert probe.predict_proba(X).shape == probe.predict(X).shape == (400, 4)
    assert set(np.unique(probe.predict(X))) <= {0, 1}
    assert probe.score(X[300:], y[300:]) > (0.8 if name == "knn" else 0.95)
    assert (probe.predict_proba(X)[:, 3] < 0.1).all()


@pytest.mark.parametrize("name", PROBES)
def test_a_single_tag_is_a_column_if_the_task_says_so(name):
    X, y = tagged(c=1)
    assert quick(name, "multilabel").fit(X, y).predict_proba(X).shape == (400, 1)


@pytest.mark.parametrize("name", PROBES)
def test_a_class_missing_in_training_is_a_column_of_zeros(name):
    X, y = clusters(c=4)
    kept = y != 2
    probe = quick(name).fit(X[kept], y[kept])
    p = class_probabilities(probe, X, 5)
    assert p.shape == (300, 5)
    assert (p[:, [2, 4]] == 0).all()
    np.testing.assert_array_equal(p.argmax(1)[kept], y[kept])
    with pytest.raises(ValueError, match="numbers"):
        class_probabilities(quick(name).fit(X, y.astype(str)), X, 4)


@pytest.mark.parametrize("name", ["linear", "mlp", "logistic"])
@pytest.mark.parametrize("tags", [False, True])
def test_the_same_random_state_gives_the_same_probe(name, tags):
    X, y = tagged() if tags else clusters(spread=2)
    first = quick(name, seed=7).fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(first, quick(name, seed=7).fit(X, y).predict_proba(X))
    if name != "logistic":
        assert not np.array_equal(first, quick(name, seed=8).fit(X, y).predict_proba(X))


def legacy_state():
    return np.random.get_state()[1].copy()  # noqa: NPY002


def test_no_global_generator_is_touched():
    X, y = clusters(60)
    before = torch.random.get_rng_state(), legacy_state(), random.getstate()
    threads = torch.get_num_threads()
    quick("mlp").fit(X, y)
    assert torch.equal(before[0], torch.random.get_rng_state())
    np.testing.assert_array_equal(before[1], legacy_state())
    assert before[2] == random.getstate()
    assert torch.get_num_threads() == threads


def log_loss(probe, X, y):
    return -np.log(probe.predict_proba(X)[np.arange(len(y)), y]).mean()


@pytest.mark.parametrize("probe", [LinearProbe(), MLPProbe(hidden=64)])
def test_the_best_weights_are_kept(probe):
    # Few noisy rows and large steps: it overfits at once, and the last epochs are the worst.
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(80, 30)), rng.integers(0, 2, 80)
    X[:, 0] += y
    Xv, yv = rng.normal(size=(200, 30)), rng.integers(0, 2, 200)
    Xv[:, 0] += yv
    probe.set_params(learning_rate=0.02, patience=8, minimum_steps=5)
    probe.fit(X, y, validation=(Xv, yv))
    history = probe.history_
    assert history[-1] > history.min() + 0.01
    assert probe.best_epoch_ == history.argmin() == len(history) - 1 - 8
    assert probe.n_epochs_ == len(history) < 200
    assert log_loss(probe, Xv, yv) == pytest.approx(history.min(), abs=1e-5)
    assert probe.validation_rows_ is None


def test_a_metric_is_monitored_for_its_maximum():
    X, y = tagged()
    probe = LinearProbe(monitor="pr-auc-tag", learning_rate=0.01, max_epochs=20)
    probe.fit(X[:300], y[:300], validation=(X[300:], y[300:]))
    assert probe.best_epoch_ == probe.history_.argmax()
    X, y = clusters(spread=2)
    probe.set_params(monitor="accuracy").fit(X[:200], y[:200], validation=(X[200:], y[200:]))
    assert probe.score(X[200:], y[200:]) == pytest.approx(probe.history_.max())


def test_patience_survives_a_small_set():
    # 4 steps a plain epoch at the thesis's rate: an epoch of at least 50 steps still gets there.
    X, y = clusters(1000, c=5, spread=1.0)
    probe = LinearProbe().fit(X, y)
    assert probe.score(X, y) > 0.9


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.integers(4, 30), st.sampled_from([0.1, 0.25, 0.5]), st.booleans())
def test_a_hold_out_is_whole_groups(seed, count, fraction, tags):
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.repeat(np.arange(count), rng.integers(1, 8, count)))
    y = rng.integers(0, 2, (len(groups), 3)) if tags else (groups % 2)
    held = hold_out(y, groups, fraction, seed)
    assert not set(groups[held]) & set(groups[~held])
    assert 0 < held.sum() < len(groups)
    if not tags:
        assert set(y[~held]) == {0, 1}


def test_the_hold_out_of_a_probe_never_leaks_and_has_each_class():
    X, y = clusters(600, c=3)
    groups = np.arange(600) // 3 % 50 + 100 * y  # 150 groups of 4 rows, of one class each
    probe = LinearProbe(max_epochs=1, validation_fraction=0.2).fit(X, y, groups=groups)
    held = probe.validation_rows_
    rest = np.setdiff1d(np.arange(600), held)
    assert not set(groups[held]) & set(groups[rest])
    assert np.bincount(y[held]).tolist() == [40, 40, 40]


def test_a_class_of_one_group_stays_in_training():
    y = np.array([0] * 20 + [1] * 20 + [2] * 5)
    groups = np.array([*range(40), 99, 99, 99, 99, 99])
    for seed in range(20):
        assert not hold_out(y, groups, 0.3, seed)[40:].any()


def test_groups_decide_what_the_inner_folds_of_c_see():
    # Rows of a group are copies: without groups, the least penalty looks best.
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 10)
    X = rng.normal(size=(40, 30))[groups] + 0.01 * rng.normal(size=(400, 30))
    y = rng.integers(0, 2, 40)[groups]
    probe = LogisticProbe(C=(1e-4, 1e-2, 10.0))
    assert probe.fit(X, y).C_ == 10
    assert probe.fit(X, y, groups=groups).C_ == 1e-4
    assert probe.fit(X, y, validation=(X, y)).C_ == 10
    assert LogisticProbe(C=0.5).fit(X, y).C_ == 0.5


def test_logistic_and_knn_are_scikit_learns():
    X, y = clusters(spread=2)
    scaled = StandardScaler().fit_transform(X)
    ours = LogisticProbe(C=0.3).fit(X, y).predict_proba(X)
    np.testing.assert_allclose(
        ours, LogisticRegression(C=0.3).fit(scaled, y).predict_proba(scaled), atol=1e-3
    )
    theirs = KNeighborsClassifier(7, metric="cosine").fit(scaled, y)
    ours = NeighboursProbe(7).fit(X, y).predict_proba(X)
    np.testing.assert_allclose(ours, theirs.predict_proba(scaled))

    X, tags = tagged()
    scaled = StandardScaler().fit_transform(X)
    rest = OneVsRestClassifier(LogisticRegression(C=0.3)).fit(scaled, tags)
    ours = LogisticProbe(C=0.3).fit(X, tags).predict_proba(X)
    np.testing.assert_allclose(ours, rest.predict_proba(scaled), atol=1e-3)
    theirs = KNeighborsClassifier(7, metric="cosine").fit(scaled, tags)
    ours = NeighboursProbe(7).fit(X, tags).predict_proba(X)
    votes = np.stack([p[:, 1] for p in theirs.predict_proba(scaled)], axis=1)
    np.testing.assert_allclose(ours, votes, atol=1e-9)


def planted(n=300, layers=4, d=6, seed=0):
    """Only layer 1 of four holds the classes; the others are noise, the last one louder."""
    X, y = clusters(n, d=d, seed=seed)
    noise = np.random.default_rng(seed + 1).normal(size=(n, layers, d))
    noise[:, 1], noise[:, -1] = X, 10 * noise[:, -1]
    return noise.reshape(n, -1), y


@pytest.mark.parametrize("kind", [LinearProbe, MLPProbe])
def test_a_weighted_sum_leans_on_the_layer_that_knows(kind):
    X, y = planted()
    probe = kind(layers=4).fit(X[:200], y[:200])
    assert probe.layer_weights_.sum() == pytest.approx(1)
    assert probe.layer_weights_[1] > 0.5
    assert probe.score(X[200:], y[200:]) == 1


def test_a_weighted_sum_is_a_linear_probe_of_the_sum():
    X, y = planted()
    probe = LinearProbe(layers=4, learning_rate=0.01, max_epochs=5).fit(X, y)
    Z = ((X - probe.mean_) / probe.scale_).reshape(len(X), 4, -1)
    summed = np.einsum("l,nld->nd", probe.layer_weights_, Z)
    head = probe.coefs_[0][:6] / probe.layer_weights_[0]
    logits = summed @ head + probe.intercepts_[0]
    np.testing.assert_allclose(probe.decision_function(X), logits, atol=1e-8)


def test_one_layer_is_weighed_by_one():
    X, y = clusters()
    probe = quick("linear").fit(X, y)
    assert probe.layer_weights_.tolist() == [1.0]
    with pytest.raises(ValueError, match="layers=3 of one width can't have 8 columns"):
        make_probe("mlp", layers=3).fit(X, y)
    with pytest.raises(ValueError, match="'knn' learns no weighted sum"):
        make_probe("knn", layers=3)


def test_probes_work_in_scikit_learns_cross_validation():
    X, y = clusters()
    assert cross_val_score(quick("linear"), X, y, cv=3).mean() == 1


# --- folds


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.integers(2, 5), st.integers(0, 15), st.booleans())
def test_groups_never_straddle_folds(seed, folds, extra, tags):
    rng = np.random.default_rng(seed)
    count = folds + extra
    groups = rng.permutation(np.repeat(np.arange(count), rng.integers(1, 20, count)))
    y = rng.integers(0, 2, (len(groups), 3)) if tags else rng.integers(0, 4, count)[groups]
    splits = list(repeated_group_folds(y, groups.astype(str), folds, repeats=2, seed=seed))
    assert len(splits) == 2 * folds
    for repeat in (splits[:folds], splits[folds:]):
        tested = np.concatenate([test for _, test in repeat])
        assert sorted(tested) == list(range(len(groups)))  # each row once
    for train, test in splits:
        assert len(test)
        assert not set(groups[train]) & set(groups[test])
        assert len(train) + len(test) == len(groups)


def test_folds_are_stratified_dealt_anew_and_repeatable():
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 30, 90)  # unequal, where sorting by size would fix the folds
    groups = np.repeat(np.arange(90), sizes)
    y = groups % 3
    splits = list(repeated_group_folds(y, groups, folds=5, repeats=3, seed=1))
    for _, test in splits:
        share = np.bincount(y[test], minlength=3) / np.bincount(y)
        assert (abs(share - 0.2) < 0.08).all()
    assert len({tuple(test) for _, test in splits}) == 15
    again = repeated_group_folds(y, groups, folds=5, repeats=3, seed=1)
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(splits, again, strict=True))


# --- errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda X, y: repeated_group_folds(y, y, folds=5), "there are 3: say folds=3"),
        (lambda X, y: repeated_group_folds(y, 0 * y), "are 1: add tracks"),
        (lambda X, y: repeated_group_folds(y, y[:5]), "one group a row"),
        (lambda X, y: repeated_group_folds(y, y, folds=1), "at least 2 folds"),
        (lambda X, y: make_probe("forest"), "linear, mlp, logistic, knn"),
        (lambda X, y: make_probe("linear", "regression"), "multiclass"),
        (lambda X, y: LinearProbe().fit(X, y, groups=np.zeros(len(y))), "1 group"),
        (lambda X, y: LinearProbe().fit(X, y, groups=y), "single group"),
        (lambda X, y: LinearProbe().fit(X, y, groups=y[:4]), "one group a row"),
        (lambda X, y: LinearProbe(patience=0).fit(X, y), "patience=0"),
        (lambda X, y: LinearProbe(monitor="f1").fit(X, y), "accuracy"),
        (lambda X, y: LinearProbe(task="multilabel").fit(X, y), "multiclass labels"),
        (lambda X, y: LinearProbe(task="both").fit(X, y), "say 'auto'"),
        (lambda X, y: LinearProbe(validation_fraction=0.9).fit(X, y), "at most 0.5"),
        (lambda X, y: LinearProbe().fit(X, y, validation=(X, y + 1)), r"lacks: \[3\]"),
        (lambda X, y: LinearProbe().fit(X, y, validation=(X[:5], y)), "5 vectors"),
        (lambda X, y: LinearProbe(learning_rate=1e38).fit(X, y), "diverged"),
        (lambda X, y: MLPProbe(hidden=0).fit(X, y), "LinearProbe"),
        (lambda X, y: LogisticProbe().fit(X, y, groups=np.zeros(len(y))), "single C"),
        (lambda X, y: NeighboursProbe(0).fit(X, y), "at least 1"),
    ],
)
def test_errors_name_the_thing_and_the_remedy(call, message):
    with pytest.raises(ValueError, match=message):
        call(*clusters(30))


# --- the real thing


@pytest.fixture(scope="module")
def gtzan():
    if not GTZAN.is_dir():
        pytest.skip(f"the GTZAN taggram features aren't at {GTZAN}")
    parts = []
    for name in ("training", "evaluation"):
        file = GTZAN / f"{name}_data_GTZAN_MSDmusicnn_taggram.npz"
        with np.load(file, allow_pickle=False) as data:
            parts.append((data["X"], data["Y"], data["IDS"]))
    return parts


def on_gtzan(probe, test):
    X, y, tracks = test
    p = class_probabilities(probe, X, 10)
    names, mean = average_windows(p, tracks)
    label = dict(zip(tracks, y, strict=True))
    truth = np.array([label[track] for track in names])
    assert len(truth) == 290
    resamples = resample_groups(names, 300)
    return accuracy(y, p).value, interval(lambda r: accuracy(truth[r], mean[r]), resamples)


def test_gtzan_taggrams_give_what_is_known_of_them(gtzan):
    """Plain logistic regression gets about 69 % of the frames and 75 % of the tracks right."""
    (X, y, _), test = gtzan
    frames, (low, high) = on_gtzan(LogisticProbe(C=1.0).fit(X, y), test)
    assert frames == pytest.approx(0.69, abs=0.01)
    assert low < 0.75 < high


def test_early_stopping_is_no_worse_on_gtzan(gtzan):
    (X, y, tracks), test = gtzan
    frames, (low, high) = on_gtzan(LinearProbe().fit(X, y, groups=tracks), test)
    assert 0.70 < frames < 0.77
    assert low < 0.79 < high
