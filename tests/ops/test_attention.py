"""Attention, plain and tiled: scale, masks, causality, heads, and what does not leak."""

import math

import numpy as np
import pytest
from attention_inputs import PAIRS, K, Q, V, both_attentions

import minigrad
from agreement import assert_all_close, assert_close, leaf, pulled
from score_maps import INF, NAN

pytestmark = [pytest.mark.filterwarnings("error"), pytest.mark.usefixtures("kernel_and_page")]


def test_attention_scales_its_scores_by_1_over_sqrt_d_head():
    scores = Q @ K.mT / math.sqrt(4)
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    assert_close(minigrad.attention_weights(Q, K).data, weights, 1e-13)
    assert_close(minigrad.attention(Q, K, V).data, weights @ V, 1e-13)


@both_attentions
@pytest.mark.parametrize("mask", [None, PAIRS, PAIRS[0], PAIRS[:, :1], np.stack([PAIRS, PAIRS[::-1]])])
def test_attention_is_its_weights_times_the_values(attention, mask):
    def in_steps(q, k, v):
        return minigrad.attention_weights(q, k, mask=mask) @ v

    fused = pulled(lambda q, k, v: attention(q, k, v, mask=mask), Q, K, V)
    assert_all_close(fused, pulled(in_steps, Q, K, V), 1e-13)


@both_attentions
def test_a_masked_key_equals_a_deleted_key(attention):
    kept = np.array([True, False, True, True, False])
    y, grad_q, grad_k, grad_v = pulled(lambda q, k, v: attention(q, k, v, mask=kept), Q, K, V)
    y_del, grad_q_del, grad_k_del, grad_v_del = pulled(attention, Q, K[:, kept], V[:, kept])
    assert_close(y, y_del, 1e-13)
    assert_close(grad_q, grad_q_del, 1e-13)
    assert_close(grad_k[:, kept], grad_k_del, 1e-13)
    assert_close(grad_v[:, kept], grad_v_del, 1e-13)
    np.testing.assert_array_equal(grad_k[:, ~kept], 0)
    np.testing.assert_array_equal(grad_v[:, ~kept], 0)


@both_attentions
def test_the_order_of_keys_does_not_matter_nor_the_other_queries(attention):
    order = np.array([4, 2, 0, 1, 3])
    assert_close(attention(Q, K[:, order], V[:, order]).data, attention(Q, K, V).data, 1e-13)
    assert_close(attention(Q[:, 1:2], K, V).data, attention(Q, K, V).data[:, 1:2], 1e-13)


@both_attentions
@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_keys_and_values_no_query_may_attend_do_not_leak(attention, bad):
    mask = PAIRS  # the last key is masked for all queries
    clean = pulled(lambda q, k, v: attention(q, k, v, mask=mask), Q, K, V)
    k, v = K.copy(), V.copy()
    k[:, 4], v[:, 4] = bad, bad
    for a, b in zip(pulled(lambda q, k, v: attention(q, k, v, mask=mask), Q, k, v), clean, strict=True):
        np.testing.assert_array_equal(a, b)
    with np.errstate(invalid="ignore"):  # the plain product of all queries with all keys comes first
        weights = minigrad.attention_weights(Q, k, mask=mask).data
    np.testing.assert_array_equal(weights, minigrad.attention_weights(Q, K, mask=mask).data)


@both_attentions
def test_a_key_masked_in_one_batch_entry_alone_does_not_leak_there(attention):
    mask = np.stack([PAIRS, np.full((3, 5), True)])
    k, v = K.copy(), V.copy()
    k[0, 4], v[0, 4] = NAN, NAN
    clean = pulled(lambda q, k, v: attention(q, k, v, mask=mask), Q, K, V)
    for a, b in zip(pulled(lambda q, k, v: attention(q, k, v, mask=mask), Q, k, v), clean, strict=True):
        np.testing.assert_array_equal(a, b)


@both_attentions
@pytest.mark.parametrize("bad", [NAN, INF])
def test_a_query_that_may_attend_to_nothing_gets_0_and_does_not_leak(attention, bad):
    mask = PAIRS.copy()
    mask[1] = False
    clean = pulled(lambda q, k, v: attention(q, k, v, mask=mask), Q, K, V)
    q = Q.copy()
    q[:, 1] = bad
    y, grad_q, grad_k, grad_v = pulled(lambda q, k, v: attention(q, k, v, mask=mask), q, K, V)
    np.testing.assert_array_equal(y[:, 1], 0)
    np.testing.assert_array_equal(grad_q[:, 1], 0)
    for a, b in zip((y, grad_q, grad_k, grad_v), clean, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(minigrad.attention_weights(Q, K, mask=mask).data[:, 1], 0)


@both_attentions
def test_with_causal_too_nan_does_not_leak_from_keys_masked_for_all(attention):
    square = [a[:, :3] for a in (Q, K, V)]
    kept = np.array([True, False, True])
    clean = pulled(lambda q, k, v: attention(q, k, v, mask=kept, causal=True), *square)
    q, k, v = [a.copy() for a in square]
    k[:, 1], v[:, 1] = NAN, NAN
    dirty = pulled(lambda q, k, v: attention(q, k, v, mask=kept, causal=True), q, k, v)
    for a, b in zip(dirty, clean, strict=True):
        np.testing.assert_array_equal(a, b)


@both_attentions
def test_causal_is_the_causal_mask(attention):
    q, k, v = (a[:, :3] for a in (Q, K, V))
    both = [minigrad.causal_mask(3), minigrad.causal_mask(3) & PAIRS[:, :3]]
    for mask, expected in zip([None, PAIRS[:, :3]], both, strict=True):
        causal = pulled(lambda q, k, v, m=mask: attention(q, k, v, mask=m, causal=True), q, k, v)
        masked = pulled(lambda q, k, v, m=expected: attention(q, k, v, mask=m), q, k, v)
        for a, b in zip(causal, masked, strict=True):
            assert_close(a, b, 1e-13)
        weights = minigrad.attention_weights(q, k, mask=mask, causal=True).data
        assert_close(weights, minigrad.attention_weights(q, k, mask=expected).data, 1e-13)


@both_attentions
def test_causal_attention_cannot_see_the_future(attention):
    q, k, v = (leaf(a[:, :3]) for a in (Q, K, V))
    y = attention(q, k, v, causal=True)
    upstream = np.zeros(y.shape)
    upstream[:, 1] = 1
    y.backward(upstream)
    for t in (k, v):
        np.testing.assert_array_equal(t.grad[:, 2], 0)
        assert (t.grad[:, 0] != 0).any()
    np.testing.assert_array_equal(y.data[:, 0], V[:, 0])  # the first position has only itself


def test_large_batches_are_worked_through_in_parts_with_the_same_result():
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(7, 3, 40, 8)).astype(np.float32) for _ in "qkv")
    lengths = minigrad.length_mask(rng.integers(0, 41, size=(7, 1)), 40)
    upstream = rng.normal(size=q.shape)
    together = pulled(lambda q, k, v: minigrad.attention(q, k, v, mask=lengths), q, k, v, cotangent=upstream)
    for i in range(7):
        alone = pulled(
            lambda q, k, v, i=i: minigrad.attention(q, k, v, mask=lengths[i]), q[i], k[i], v[i], cotangent=upstream[i]
        )
        for a, b in zip(together, alone, strict=True):
            assert_close(a[i], b, 5e-6)


# --- heads and blocks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "batch", [2, 3]
)  # 2 is the number of heads, too: the mask's first axis must not be taken for it
def test_a_mask_without_an_axis_for_heads_is_for_all_heads(batch):
    q = np.random.default_rng(3).normal(size=(batch, 5, 8))
    mask = minigrad.length_mask([5, 2, 3][:batch], 5)  # (batch, 1, 5)
    y = minigrad.attention(q, q, q, n_heads=2, mask=mask).data
    np.testing.assert_array_equal(y, minigrad.attention(q, q, q, n_heads=2, mask=mask[:, None]).data)
    weights = minigrad.attention_weights(q, q, n_heads=2, mask=mask).data  # (batch, 2, 5, 5)
    np.testing.assert_array_equal(weights[1, :, :, 2:], 0)
    assert (weights[1, :, :, :2] > 0).all() and (weights[0] > 0).all()


def test_heads_attend_each_with_its_own_features():
    q, k, v = (np.random.default_rng(i).normal(size=(2, 5, 6)) for i in range(3))
    together = minigrad.attention(q, k, v, n_heads=2, causal=True).data
    for head in (np.s_[..., :3], np.s_[..., 3:]):
        assert_close(together[head], minigrad.attention(q[head], k[head], v[head], causal=True).data, 1e-13)


@pytest.mark.parametrize("length", [63, 64, 65, 130])
def test_causal_blocks_of_queries_are_the_whole(length):
    q, k, v = (np.random.default_rng(i).normal(size=(2, length, 4)) for i in range(3))
    masked = minigrad.attention(q, k, v, mask=minigrad.causal_mask(length)).data
    assert_close(minigrad.attention(q, k, v, causal=True).data, masked, 1e-13)


def test_the_example_on_its_page():
    q, k, v = np.ones((3, 1)), np.log([[1.0], [3.0], [2.0]]), np.array([[0.0], [4.0], [6.0]])
    weights = minigrad.attention_weights(q, k, causal=True).data
    assert_close(weights, np.array([[1, 0, 0], [1 / 4, 3 / 4, 0], [1 / 6, 1 / 2, 1 / 3]]), 1e-13)
    y, _, grad_k, grad_v = pulled(
        lambda q, k, v: minigrad.attention(q, k, v, causal=True), q, k, v, cotangent=np.array([[0.0], [0.0], [1.0]])
    )
    assert_close(y[:, 0], np.array([0.0, 3.0, 4.0]), 1e-13)
    assert_close(grad_v[:, 0], np.array([1 / 6, 1 / 2, 1 / 3]), 1e-13)
    assert_close(grad_k[:, 0], np.array([-2 / 3, 0.0, 2 / 3]), 1e-13)


@pytest.mark.parametrize("masked", [{"causal": True}, {"mask": np.tri(2, dtype=bool)}])
@pytest.mark.parametrize("bad", [NAN, 3e38])  # q·k is nan, or overflows to inf
def test_a_bad_score_behind_a_mask_changes_nothing(masked, bad):
    q, v = np.full((2, 1), 4.0, np.float32), np.ones((2, 1), np.float32)
    k = np.array([[1.0], [bad]], np.float32)
    with np.errstate(all="ignore"):
        assert minigrad.attention(q, k, v, **masked).data[0] == 1
