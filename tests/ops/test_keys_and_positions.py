"""Attention's key_mask is about keys, causal queries are the last positions, and scale takes the place of 1/√d."""

import functools

import numpy as np
import pytest
from attention_inputs import K, Q, V, both_attentions

import minigrad
from agreement import assert_close, leaf, pulled
from minigrad.nn import GPT, GPTConfig, MultiHeadAttention
from minigrad.viz import record

pytestmark = pytest.mark.usefixtures("kernel_and_page")
REAL = np.array([[True, True, True, False, False], [False, True, True, True, True]])


def same(a, b, tolerance=1e-13):
    for one, other in zip(a, b, strict=True):
        assert_close(one, other, tolerance)


@both_attentions
def test_a_key_mask_is_a_mask_with_the_same_row_for_every_query(attention):
    by_key = pulled(lambda q, k, v: attention(q, k, v, key_mask=REAL), Q, K, V)
    same(by_key, pulled(lambda q, k, v: attention(q, k, v, mask=REAL[:, None, :]), Q, K, V))
    for_all = pulled(lambda q, k, v: attention(q, k, v, key_mask=REAL[0]), Q, K, V)
    same(for_all, pulled(lambda q, k, v: attention(q, k, v, mask=REAL[0]), Q, K, V))
    weights = minigrad.attention_weights(Q, K, key_mask=REAL).data
    assert_close(weights, minigrad.attention_weights(Q, K, mask=REAL[:, None, :]).data, 1e-13)


@both_attentions
def test_a_key_mask_is_about_keys_when_there_are_as_many_entries_as_positions(attention):
    q, k, v = (np.random.default_rng(i).normal(size=(3, 3, 4)) for i in range(3))
    real = np.array([[True, True, True], [True, False, False], [True, True, False]])
    y = attention(q, k, v, key_mask=real).data
    for i in range(3):
        assert_close(y[i], attention(q[i], k[i][real[i]], v[i][real[i]]).data, 1e-13)


@both_attentions
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_padding_may_hold_anything(attention, bad):
    def by_key(q, k, v):
        return attention(q, k, v, key_mask=REAL)

    dirty = pulled(by_key, Q, *(np.where(REAL[..., None], a, bad) for a in (K, V)))
    for a, b in zip(dirty, pulled(by_key, Q, K, V), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_key_mask_is_for_all_heads_and_combines_with_mask_and_causal():
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(2, 5, 8)) for _ in range(3))
    pairs = rng.random((2, 5, 5)) < 0.7
    allowed = pairs & REAL[:, None, :] & minigrad.causal_mask(5)
    together = functools.partial(minigrad.attention, n_heads=2, mask=pairs, key_mask=REAL, causal=True)
    same(pulled(together, q, k, v), pulled(functools.partial(minigrad.attention, n_heads=2, mask=allowed), q, k, v))


@both_attentions
@pytest.mark.parametrize("n_queries", [1, 2, 4])
def test_causal_queries_are_the_last_positions(attention, n_queries):
    q, k, v = np.random.default_rng(1).normal(size=(3, 2, 5, 4))
    u = np.random.default_rng(2).normal(size=(2, 5, 4))
    u[:, : 5 - n_queries] = 0  # what the other queries get matters to nobody
    y, grad_q, grad_k, grad_v = pulled(lambda q, k, v: attention(q, k, v, causal=True), q, k, v, cotangent=u)
    last = np.s_[:, 5 - n_queries :]
    some = pulled(lambda q, k, v: attention(q, k, v, causal=True), q[last], k, v, cotangent=u[last])
    same(some, (y[last], grad_q[last], grad_k, grad_v))


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("tile", [1, 2, 7])
def test_a_window_takes_the_queries_for_the_last_positions(causal, tile):
    q, k, v = np.random.default_rng(3).normal(size=(3, 9, 4))
    near = minigrad.window_mask(9, 3)[-4:]
    tiled = functools.partial(minigrad.tiled_attention, causal=causal, window=3, tile=tile)
    same(
        pulled(tiled, q[-4:], k, v),
        pulled(functools.partial(minigrad.attention, mask=near, causal=causal), q[-4:], k, v),
    )


def test_more_causal_blocks_than_one_with_fewer_queries_than_keys():
    q, k, v = np.random.default_rng(4).normal(size=(3, 2, 200, 4))
    allowed = minigrad.causal_mask(130, 200)
    assert allowed.shape == (130, 200)
    same(
        pulled(functools.partial(minigrad.attention, causal=True), q[:, -130:], k, v),
        pulled(functools.partial(minigrad.attention, mask=allowed), q[:, -130:], k, v),
        1e-12,
    )


@both_attentions
def test_scale_takes_the_place_of_1_over_sqrt_d(attention):
    same(
        pulled(lambda q, k, v: attention(q, k, v, scale=0.1), Q, K, V),
        pulled(lambda q, k, v: attention(q * (0.1 * np.sqrt(4)), k, v), Q, K, V),
    )
    weights = minigrad.attention_weights(Q, K, scale=0.1).data
    assert_close(weights, minigrad.attention_weights(Q * 0.2, K).data, 1e-13)


@both_attentions
@pytest.mark.parametrize("scale", [np.nan, np.inf, "1", True])
def test_a_scale_that_is_no_finite_number_is_refused(attention, scale):
    with pytest.raises(ValueError, match=r"scale is a finite number that multiplies the scores"):
        attention(Q, K, V, scale=scale)


@pytest.mark.parametrize("shape", [(5,), (3, 2), (1, 2, 3), (2, 1)])
def test_a_key_mask_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"key_mask of shape .* does not fit the keys: it needs the shape \(2, 3\)"):
        minigrad.attention(Q, K[:, :3], V[:, :3], key_mask=np.ones(shape, bool))


def test_a_key_mask_of_numbers_is_refused():
    with pytest.raises(TypeError, match="a mask is boolean, True where a key counts, not float64"):
        minigrad.attention(Q, K, V, key_mask=np.ones((2, 5)))


@pytest.mark.parametrize("settings", [{}, {"normalize": "entmax15"}, {"dropout": 0.2}])
def test_a_module_hands_on_key_mask_and_scale(settings):
    x = minigrad.Tensor(np.random.default_rng(6).normal(size=(2, 5, 8)).astype(np.float32))

    def attention_with(scale):
        return MultiHeadAttention(8, 2, scale=scale, rng=np.random.default_rng(0), **settings).eval()

    attn = attention_with(scale=0.3)
    assert_close(attn(x, key_mask=REAL).data, attn(x, mask=REAL[:, None]).data, 1e-5)
    np.testing.assert_array_equal(attn.weights(x, key_mask=REAL)[0, :, :, 3:], 0)
    assert np.abs(attn(x).data - attention_with(scale=0.6)(x).data).max() > 1e-3


def test_padding_changes_nothing_for_the_real_ids_of_a_gpt():
    model = GPT(GPTConfig(vocab_size=7, block_size=5, n_layers=2, n_heads=2, d_model=8), np.random.default_rng(0))
    ids = np.random.default_rng(1).integers(0, 7, (2, 5))
    real = np.array([[True] * 3 + [False] * 2, [True] * 5])
    logits = model(ids, key_mask=real).data
    assert_close(logits[0, :3], model(ids[0, :3]).data, 1e-5)
    assert_close(logits[1], model(ids[1]).data, 1e-5)


@both_attentions
def test_a_recording_shows_the_weights_of_key_mask_scale_and_last_positions(attention):
    with record() as tape:
        y = attention(leaf(Q), K, V, key_mask=REAL, scale=0.2, causal=True)
    expected = minigrad.attention_weights(Q, K, key_mask=REAL, scale=0.2, causal=True).data
    assert_close(tape.weights(y.node), expected, 1e-13)
