"""What came after: rotary angles, the marginal likelihood, linear attention, and the task without a needle."""

from dataclasses import replace

import numpy as np
import pytest

import minigrad as mg
import since
import since_text
from minigrad import gradcheck
from retrieval import N_VALUES, Retrieval, Retrieve, draw_questions, perhaps


def test_rotary_scores_depend_only_on_how_far_apart_the_positions_are():
    q, k = np.random.default_rng(0).standard_normal((2, 8))
    turned_q, turned_k = (since_text.turn(mg.Tensor(np.tile(a, (12, 1)))) for a in (q, k))
    scores = (turned_q @ turned_k.mT).data
    for back in range(12):
        np.testing.assert_allclose(np.diag(scores, -back), scores[back, 0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(scores[0, 0], q @ k, rtol=1e-12)
    assert np.ptp(scores[:, 0]) > 0.1


@pytest.mark.parametrize("name", since_text.ROWS)
def test_every_attention_sees_the_past_only_and_has_right_gradients(name, monkeypatch):
    monkeypatch.setattr(since_text, "WIDTH", 8)
    monkeypatch.setattr(since_text, "HEADS", 2)
    attn = since_text.Attention(since_text.ROWS[name], np.random.default_rng(0)).astype(np.float64)
    x = np.random.default_rng(1).standard_normal((2, 4, 8))
    y, changed = attn(mg.Tensor(x)).data, x.copy()
    changed[:, 3] += 1
    np.testing.assert_allclose(attn(mg.Tensor(changed)).data[:, :3], y[:, :3], rtol=1e-12)
    assert gradcheck(attn, x).verdict == "ok"


def test_the_marginal_likelihood_is_the_loss_of_the_mixture_and_below_the_expected_loss():
    row = Retrieve("exact", n=8)
    batch = draw_questions(row, 16, np.random.default_rng(0))
    losses = []
    for weights in ("exact", "marginal"):
        model = Retrieval(replace(row, weights=weights), np.random.default_rng(1))
        losses.append(model(*batch)[0].item())
    assert losses[1] < losses[0]


def test_linear_attentions_weights_are_those_of_a_running_sum():
    row = Retrieve("sum_normalize", "φ(q)·φ(k)", n=8)
    model = Retrieval(row, np.random.default_rng(0))
    query, keys, values, _ = draw_questions(row, 5, np.random.default_rng(1))
    weights = model.to_weights(model.compare(query, keys)).data
    q, k, v = model.query.weight.data[query], model.key.weight.data[keys], model.value.weight.data[values]
    q, k = (np.where(x > 0, x + 1, np.exp(np.minimum(x, 0))) for x in (q, k))
    state, total = np.einsum("bnd,bnv->bdv", k, v), k.sum(1)  # what linear attention carries along, whatever n is
    read = np.einsum("bd,bdv->bv", q, state) / np.einsum("bd,bd->b", q, total)[:, None]
    np.testing.assert_allclose(np.einsum("bn,bnv->bv", weights, v), read, rtol=1e-4, atol=1e-5)


def test_in_half_of_the_questions_the_key_is_not_there():
    query, keys, _, answer = perhaps(8, 4000, np.random.default_rng(0))
    there = (keys == query[:, None]).any(1)
    np.testing.assert_array_equal(answer == N_VALUES, ~there)
    assert 0.46 < there.mean() < 0.54
    assert all(len(set(row)) == 8 for row in keys[:200].tolist())


def test_the_rates_of_among_32_serve_among_64():
    rows = since.chosen_rows(100, quick=False)
    assert rows["retrieval among 64", "softmax"].lr == rows["retrieval among 32", "softmax"].lr
    assert rows["retrieval among 64", "linear attention, d = 64"].d == 64
