"""nn.GRU: its first weights, reading backwards, reading in pieces."""

import numpy as np
import pytest

import minigrad as mg
from agreement import assert_close
from minigrad import nn
from minigrad.engine import Tensor

D = 3


@pytest.mark.parametrize("lead", [(), (2,), (2, 4)])
def test_a_layer_gives_the_state_after_each_position(lead):
    layer = nn.GRU(5, D, rng=np.random.default_rng(0))
    x = np.random.default_rng(1).normal(size=(*lead, 6, 5)).astype(np.float32)
    y = layer(Tensor(x))
    assert y.shape == (*lead, 6, D) and y.dtype == np.float32
    expected = mg.gru(layer.input(Tensor(x)), np.zeros(D, np.float32), layer.weight, layer.bias)
    np.testing.assert_array_equal(y.data, expected.data)
    y.sum().backward()
    names = {name for name, p in layer.named_parameters() if np.abs(p.grad).max() > 0}
    assert names == {"input.weight", "input.bias", "weight", "bias"}


def test_each_gates_part_of_the_first_weight_is_orthogonal():
    layer = nn.GRU(5, 16, rng=np.random.default_rng(0))
    thirds = np.split(layer.weight.data, 3, axis=1)
    for third in thirds:
        assert_close(third.T @ third, np.eye(16), 1e-6)
    assert np.abs(thirds[0] - thirds[1]).max() > 0.1 and np.abs(thirds[1] - thirds[2]).max() > 0.1
    np.testing.assert_array_equal(layer.bias.data, 0)


def test_one_seed_makes_one_layer():
    a, b = (nn.GRU(5, D, rng=np.random.default_rng(7)) for _ in "ab")
    for (name, p), (_, q) in zip(a.named_parameters(), b.named_parameters(), strict=True):
        np.testing.assert_array_equal(p.data, q.data, err_msg=name)


def test_reverse_reads_the_reversed_sequence():
    layer, x = nn.GRU(5, D, rng=np.random.default_rng(0)), np.random.default_rng(1).normal(size=(2, 6, 5))
    backwards = layer(Tensor(x[:, ::-1])).data[:, ::-1]
    assert_close(layer(Tensor(x), reverse=True).data, backwards, 1e-13)


def test_reverse_skips_padding_at_the_end():
    layer, x = nn.GRU(5, D, rng=np.random.default_rng(0)), np.random.default_rng(1).normal(size=(2, 6, 5))
    h = np.random.default_rng(2).normal(size=(2, D))
    x[0, 4:] = np.nan  # 4 positions and 2 of padding
    y = layer(Tensor(x), Tensor(h), mask=mg.length_mask([4, 6], 6)[:, 0], reverse=True).data
    alone = layer(Tensor(x[:1, :4]), Tensor(h[:1]), reverse=True).data
    assert_close(y[:1, :4], alone, 1e-13)
    np.testing.assert_array_equal(y[0, 4:], [h[0], h[0]])  # nothing read yet


def test_a_sequence_may_be_read_in_two_pieces():
    layer, x = nn.GRU(5, D, rng=np.random.default_rng(0)), np.random.default_rng(1).normal(size=(2, 6, 5))
    whole, first = layer(Tensor(x)).data, layer(Tensor(x[:, :4]))
    second = layer(Tensor(x[:, 4:]), first[:, -1])
    assert_close(np.concatenate([first.data, second.data], axis=1), whole, 1e-13)
