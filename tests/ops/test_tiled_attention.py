"""Tiled attention is attention: the same numbers from other memory, whatever the tiles, the mask and the window."""

import gc
import tracemalloc

import numpy as np
import pytest

import minigrad as mg
from agreement import assert_all_close

pytestmark = pytest.mark.usefixtures("kernel_and_page")


def sequences(n, *, lead=(), d=8, n_keys=None, dtype=np.float64):
    """q, k and v as leaves."""
    rng = np.random.default_rng(n)
    shapes = [(*lead, n, d), (*lead, n_keys or n, d), (*lead, n_keys or n, d + 1)]
    return [mg.Tensor(rng.normal(size=shape).astype(dtype), requires_grad=True) for shape in shapes]


def value_and_gradients(f, tensors):
    for t in tensors:
        t.grad = None
    y = f(*tensors)
    y.backward(np.random.default_rng(1).normal(size=y.shape))
    return [y.data, *(t.grad.copy() for t in tensors)]


def assert_same(tiled, plain, tensors, tolerance=1e-13):
    assert_all_close(value_and_gradients(tiled, tensors), value_and_gradients(plain, tensors), tolerance)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("tile", [1, 3, 8, 20, 21, 100])
def test_any_tile_gives_the_values_and_gradients_of_attention(tile, causal):
    tensors = sequences(20, lead=(2, 3))
    assert_same(
        lambda *qkv: mg.tiled_attention(*qkv, causal=causal, tile=tile),
        lambda *qkv: mg.attention(*qkv, causal=causal),
        tensors,
    )


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [1, 2, 5, 19, 50])
@pytest.mark.parametrize("tile", [4, 7])
def test_a_window_is_the_window_mask(window, causal, tile):
    tensors = sequences(20, lead=(2,))
    assert_same(
        lambda *qkv: mg.tiled_attention(*qkv, causal=causal, window=window, tile=tile),
        lambda *qkv: mg.attention(*qkv, causal=causal, mask=mg.window_mask(20, window)),
        tensors,
    )


@pytest.mark.parametrize("shape", [(9,), (7, 9), (2, 1, 9), (2, 7, 1), (2, 7, 9)])
def test_any_mask_is_the_mask_of_attention(shape):
    mask = np.random.default_rng(1).random(shape) < 0.5
    mask[..., 2:5] = False  # a tile of which nothing is left
    tensors = sequences(7, lead=(2,), n_keys=9)
    assert_same(
        lambda *qkv: mg.tiled_attention(*qkv, mask=mask, tile=3), lambda *qkv: mg.attention(*qkv, mask=mask), tensors
    )


def test_mask_causal_and_window_hold_together():
    mask = np.random.default_rng(1).random((2, 12, 12)) < 0.6
    tensors = sequences(12, lead=(2,))
    assert_same(
        lambda *qkv: mg.tiled_attention(*qkv, mask=mask, causal=True, window=4, tile=5),
        lambda *qkv: mg.attention(*qkv, mask=mask & mg.window_mask(12, 4), causal=True),
        tensors,
    )


def test_the_maximum_may_rise_from_tile_to_tile():
    """Scores that grow along the keys make every tile correct all that was summed before it; falling ones, none."""
    q, k, v = sequences(12)
    q.data, start = np.abs(q.data), k.data.copy()
    for direction in (1, -1):
        k.data = start + direction * 40 * np.arange(12)[:, None]
        assert (direction * np.diff(q.data @ k.data.T) > 0).all()
        assert_same(lambda *qkv: mg.tiled_attention(*qkv, tile=2), mg.attention, [q, k, v])


def test_float32_agrees_to_rounding_on_a_long_sequence():
    tensors = sequences(1000, d=32, dtype=np.float32)
    assert_same(mg.tiled_attention, mg.attention, tensors, 1e-5)


def test_the_window_mask_reaches_as_far_on_both_sides():
    expected = [
        [True, True, False, False],
        [True, True, True, False],
        [False, True, True, True],
        [False, False, True, True],
    ]
    np.testing.assert_array_equal(mg.window_mask(4, 2), expected)
    np.testing.assert_array_equal(mg.window_mask(3, 1), np.eye(3, dtype=bool))
    assert mg.window_mask(4, 9).all()


def test_a_window_of_1_sees_the_position_itself_alone():
    q, k, v = sequences(5)
    for causal in (False, True):
        np.testing.assert_array_equal(mg.tiled_attention(q, k, v, window=1, causal=causal, tile=2).data, v.data)
    windowed = mg.attention(q, k, v, mask=mg.window_mask(5, 1)).data  # e v / e: a rounding away from v
    np.testing.assert_allclose(windowed, v.data, rtol=4 * np.finfo(v.dtype).eps)


def peak(f, n):
    """Bytes at the peak of forward and backward, above what was there."""
    tensors = sequences(n, d=16, dtype=np.float32)
    gc.collect()
    tracemalloc.start()
    try:
        value_and_gradients(f, tensors)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_grows_with_the_length_and_not_with_its_square():
    """Four times the length: nearly 16 times the memory of attention, which keeps weights; 4 times that of tiles."""
    assert peak(mg.attention, 2048) > 10 * peak(mg.attention, 512)
    assert peak(lambda *qkv: mg.tiled_attention(*qkv, tile=64), 2048) < 4.5 * peak(
        lambda *qkv: mg.tiled_attention(*qkv, tile=64), 512
    )


def test_a_window_leaves_out_the_scores_beyond_it(monkeypatch):
    """4 queries of a tile with a window of 4 need keys from 3 before to 3 after: 10 of 64, at the ends fewer."""
    made = []
    exp = np.exp
    monkeypatch.setattr(np, "exp", lambda x, **k: made.append(x.shape) or exp(x, **k))
    q, k, v = (t.detach() for t in sequences(64))
    mg.tiled_attention(q, k, v, window=4, tile=4)
    scores = [a * b for a, b in made if 1 not in (a, b)]  # one row or column: not scores, but their shrinking
    assert sum(scores) == 16 * 4 * 10 - 2 * 4 * 3
