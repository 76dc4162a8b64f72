"""The layers: what each computes, and how its weights begin."""

import numpy as np
import pytest
from tiny import TINY, tensor

from agreement import assert_close
from minigrad import Tensor, gelu, layer_norm, linear, relu
from minigrad.nn import GPT, MLP, Dropout, Embedding, LayerNorm, Linear, Sequential


def test_the_same_rng_gives_the_same_model():
    one, two = (GPT(TINY, np.random.default_rng(3)).state_dict() for _ in range(2))
    for name in one:
        np.testing.assert_array_equal(one[name], two[name])


def test_linear_is_x_times_weight_plus_bias(rng):
    layer = Linear(3, 2, rng=rng)
    x = rng.standard_normal((4, 5, 3)).astype(np.float32)
    layer.bias.data = [1.0, 2.0]
    assert_close(layer(Tensor(x)).data, x @ layer.weight.data + layer.bias.data, 1e-6)
    assert Linear(3, 2, bias=False, rng=rng).bias is None


def test_linear_keeps_the_scale_of_its_input(rng):
    y = Linear(500, 400, rng=rng)(tensor(rng, 100, 500))
    assert y.data.std() == pytest.approx(1, abs=0.03)
    with pytest.raises(ValueError, match=r"Linear: d_(in|out) must be an integer of at least 1, not"):
        Linear(0, 3)


def test_embedding_picks_rows_and_names_the_bad_index(rng):
    model = Sequential(Embedding(5, 3, rng=rng))
    table = model.layers[0].weight.data
    np.testing.assert_array_equal(model([[4, 0]]).data, table[[[4, 0]]])
    for bad in (5, -1):
        with pytest.raises(IndexError, match=rf"in layers\.0: embedding .*index {bad} is outside a table of 5 rows"):
            model([0, bad])


def test_layer_norm_is_the_op_with_its_parameters(rng):
    layer = LayerNorm(6, eps=1e-3)
    layer.weight.data, layer.bias.data = rng.standard_normal(6), rng.standard_normal(6)
    x = Tensor(rng.standard_normal((2, 6)), dtype=np.float32)
    expected = layer_norm(x, layer.weight, layer.bias, eps=1e-3)
    np.testing.assert_array_equal(layer(x).data, expected.data)


def test_mlp_is_linear_gelu_linear(rng):
    mlp = MLP(4, rng=rng)
    x = tensor(rng, 3, 4)
    assert mlp.up.weight.shape == (4, 16)
    expected = linear(gelu(linear(x, mlp.up.weight, mlp.up.bias)), mlp.down.weight, mlp.down.bias)
    np.testing.assert_array_equal(mlp(x).data, expected.data)


def test_sequential_takes_modules_and_functions(rng):
    model = Sequential(Linear(2, 3, rng=rng), relu, lambda x: x * 2)
    x = tensor(rng, 4, 2)
    np.testing.assert_array_equal(model(x).data, 2 * np.maximum(model.layers[0](x).data, 0))


def test_dropout_works_only_in_training(rng):
    model = Sequential(Dropout(0.25, rng))
    ones = Tensor(np.ones(10_000))
    dropped = model(ones).data
    assert set(np.unique(dropped)) == {0, 1 / 0.75}
    assert dropped.mean() == pytest.approx(1, abs=0.03)
    assert model.eval()(ones) is ones
    assert not model.layers[0].training
    assert model.train()(ones) is not ones
    with pytest.raises(ValueError, match=r"Dropout: p must be a number from 0 to below 1, not 1\.0"):
        Dropout(1.0)


def test_restoring_the_generator_repeats_the_dropout(rng):
    layer = Dropout(0.5, rng)
    state = rng.bit_generator.state
    first = layer(Tensor(np.ones(50))).data
    rng.bit_generator.state = state
    np.testing.assert_array_equal(layer(Tensor(np.ones(50))).data, first)
