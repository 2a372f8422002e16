"""Scores equal independent oracles: scikit-learn, scipy, brute force."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from scipy.stats import entropy
from sklearn.metrics import r2_score
from sklearn.neighbors import NearestNeighbors

from linear_shortcuts.scores.measures import (
    Spread,
    bootstrap_interval,
    explained_pairs,
    in_top,
    kl_divergence,
    nearest,
    overlap,
    r2,
    r2_pairs,
)


@settings(max_examples=50, deadline=None)
@given(n=st.integers(2, 40), d=st.integers(1, 10), seed=st.integers(0, 10**6), scale=st.floats(1e-3, 1e3))
def test_r2_equals_scikit_learns(n, d, seed, scale):
    rng = np.random.default_rng(seed)
    y = scale * rng.normal(size=(n, d))
    guess = y + rng.normal(size=(n, d)) * rng.choice([0.0, 0.1, 2.0], size=d)
    ours = r2(torch.from_numpy(y), torch.from_numpy(guess))
    assert ours == pytest.approx(r2_score(y, guess), rel=1e-9, abs=1e-9)


def test_the_mean_scores_zero_the_truth_one_and_constants_all_or_nothing():
    y = torch.randn(50, 4, dtype=torch.float64)
    assert r2(y, y) == 1
    assert r2(y, y.mean(0).expand(50, 4)) == pytest.approx(0, abs=1e-12)
    constant = torch.ones(50, 4)
    assert r2(constant, constant) == 1
    assert r2(constant, constant + 1) == 0
    assert r2(y, -y) < 0


def test_a_coordinate_that_float32_cannot_tell_from_a_constant_does_not_vary():
    y = torch.randn(50, 4) * torch.tensor([1.0, 1, 1, 1e-30])
    assert r2(y, y) == 1
    wrong = y + torch.tensor([0, 0, 0, 1.0])
    assert r2(y, wrong) == pytest.approx(0.75)  # and not some minus 1e60
    small = torch.randn(50, 4) * torch.tensor([1.0, 1, 1, 1e-5])  # as in states with massive activations
    assert r2(small, wrong) < -100


def test_r2_pairs_scores_each_jump():
    states = torch.randn(3, 40, 5)
    jump = lambda h, i, j: h * (i + 1) / j  # noqa: E731
    scores = r2_pairs(states.split(17, dim=1), {"jump": jump}, [(0, 1), (1, 2)])["jump"]
    assert scores == {
        (0, 1): pytest.approx(r2_score(states[1], states[0])),
        (1, 2): pytest.approx(r2_score(states[2], states[1])),
    }


def test_total_is_the_share_of_all_coordinates_together():
    states = torch.randn(2, 40, 5) * torch.tensor([100.0, 1, 1, 1, 1])
    wrong = torch.tensor([0.0, 1, 1, 1, 1])  # all but the large coordinate lost
    found = explained_pairs([states], {"jump": lambda h, i, j: states[j] * (1 - wrong)}, [(0, 1)])
    assert found["score_jump"][0, 1] == pytest.approx(r2_score(states[1], states[1] * (1 - wrong)))
    assert found["score_jump"][0, 1] < 0.3
    expected = r2_score(states[1], states[1] * (1 - wrong), multioutput="variance_weighted")
    assert found["total_jump"][0, 1] == pytest.approx(expected)
    assert found["total_jump"][0, 1] > 0.99


def test_precision_at_k_equals_a_loop_and_grows_with_k():
    top = torch.stack([torch.randperm(30)[:10] for _ in range(200)])
    guess = torch.randint(0, 30, (200,))
    values = {k: in_top(top, guess, k) for k in (1, 5, 10)}
    for k, value in values.items():
        assert value.tolist() == [float(int(guess[s]) in top[s, :k].tolist()) for s in range(200)]
    assert values[1].mean() < values[5].mean() < values[10].mean()


def test_kl_equals_scipys_and_is_zero_only_for_the_same_distribution():
    log_p, log_q = (torch.randn(20, 13, dtype=torch.float64).log_softmax(-1) for _ in range(2))
    np.testing.assert_allclose(
        kl_divergence(log_p.exp(), log_p, log_q), entropy(log_p.exp(), log_q.exp(), axis=-1), rtol=1e-9
    )
    assert kl_divergence(log_p.exp(), log_p, log_p).abs().max() == 0
    assert (kl_divergence(log_p.exp(), log_p, log_q) > 0).all()


def test_the_bootstrap_interval_is_that_of_normal_theory_for_many_samples():
    values = torch.from_numpy(np.random.default_rng(0).normal(3, 2, size=(2, 2000)))
    low, high = bootstrap_interval(values, 4000, 0.95, seed=1)
    error = values.std(-1) / 2000**0.5
    np.testing.assert_allclose(low, values.mean(-1) - 1.96 * error, atol=0.01)
    np.testing.assert_allclose(high, values.mean(-1) + 1.96 * error, atol=0.01)
    again = bootstrap_interval(values, 4000, 0.95, seed=1)
    assert torch.equal(low, again[0])
    other = bootstrap_interval(values, 4000, 0.95, seed=2)
    assert not torch.equal(low, other[0])


@settings(max_examples=50, deadline=None)
@given(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=6), seed=st.integers(0, 10**6), far=st.floats(0, 1e6))
def test_the_spread_of_parts_is_that_of_the_whole(sizes, seed, far):
    rows = far + np.random.default_rng(seed).normal(size=(sum(sizes), 3))
    spread = Spread()
    for part in torch.from_numpy(rows).split(sizes):
        spread.update(part)
    np.testing.assert_allclose(spread.total, rows.var(axis=0) * len(rows), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(spread.mean, rows.mean(axis=0), rtol=1e-12)


@settings(max_examples=20, deadline=None)
@given(n=st.integers(3, 40), k=st.integers(1, 12), seed=st.integers(0, 1000))
def test_the_nearest_are_scikit_learns_whatever_the_number_compared_at_once(n, k, seed):
    embeddings = F.normalize(torch.from_numpy(np.random.default_rng(seed).normal(size=(n, 5))), dim=1)
    k = min(k, n - 1)
    _, theirs = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(embeddings).kneighbors()
    for rows in (1, 7, 1000):
        ours = nearest(embeddings, k, rows)
        assert torch.equal(ours, torch.from_numpy(theirs))


def test_overlap_counts_shared_ids():
    found, wanted = torch.tensor([[1, 2, 3], [4, 5, 6]]), torch.tensor([[3, 1, 9], [7, 8, 9]])
    assert overlap(found, wanted).tolist() == pytest.approx([2 / 3, 0])
