"""Modules and what they hold, the layers, attention with every map, and the GPT."""

from __future__ import annotations

import copy
import functools
import math

import numpy as np
import pytest

from minigrad import (
    Observer,
    Tensor,
    causal_mask,
    cross_entropy,
    gelu,
    gumbel_softmax,
    layer_norm,
    length_mask,
    linear,
    relu,
    softmax,
    straight_through,
    watch,
)
from minigrad.nn import (
    GPT,
    MAPS,
    MLP,
    Block,
    Dropout,
    Embedding,
    GPTConfig,
    LayerNorm,
    Linear,
    Module,
    MultiHeadAttention,
    Parameter,
    Sequential,
)
from minigrad.optim import SGD
from minigrad.tensors.modes import current_scope

TINY = GPTConfig(vocab_size=11, block_size=6, n_layers=2, n_heads=2, d_model=8)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def tensor(rng, *shape, requires_grad=False):
    return Tensor(rng.standard_normal(shape), requires_grad=requires_grad)


class Pair(Module):
    """A module with one of everything that can hold a parameter."""

    def __init__(self, rng):
        self.scale = Parameter([1.0, 2.0])
        self.first = Linear(2, 3, rng=rng)
        self.rest = [Linear(3, 3, rng=rng), Linear(3, 1, bias=False, rng=rng)]
        self.heads = {"left": Linear(1, 1, rng=rng)}
        self.number = 3

    def forward(self, x):
        return self.rest[1](self.rest[0](self.first(x * self.scale)))


# --- modules ---------------------------------------------------------------------------------------------------------


def test_names_follow_the_attributes(rng):
    assert [name for name, _ in Pair(rng).named_parameters()] == [
        "scale",
        "first.weight",
        "first.bias",
        "rest.0.weight",
        "rest.0.bias",
        "rest.1.weight",
        "heads.left.weight",
        "heads.left.bias",
    ]
    assert [name for name, _ in Pair(rng).named_modules()] == ["", "first", "rest.0", "rest.1", "heads.left"]


def test_a_parameter_knows_its_leaf_name(rng):
    model = Pair(rng)
    assert model.scale.name == "scale"
    assert model.first.weight.name == "weight"


def test_a_shared_parameter_counts_once_under_its_first_name(rng):
    model = Sequential(Linear(3, 3, rng=rng), Linear(3, 3, rng=rng))
    model.layers[1].weight = model.layers[0].weight
    assert [name for name, _ in model.named_parameters()] == ["layers.0.weight", "layers.0.bias", "layers.1.bias"]
    assert list(model.state_dict()) == ["layers.0.weight", "layers.0.bias", "layers.1.bias"]
    assert repr(model).splitlines()[0].endswith(" 15")


def test_a_shared_module_counts_once(rng):
    layer = Linear(3, 3, rng=rng)
    assert len(Sequential(layer, relu, layer).parameters()) == 2


def test_equal_values_are_not_the_same_parameter():
    model = Sequential(LayerNorm(4), LayerNorm(4))
    assert len(model.parameters()) == 4


def test_what_is_appended_to_a_list_is_found_and_gets_its_name(rng):
    model = Module()
    model.layers = []
    model.layers.append(Linear(2, 2, rng=rng))
    assert [name for name, _ in model.named_parameters()] == ["layers.0.weight", "layers.0.bias"]
    with pytest.raises(ValueError, match=r"^in layers\.0: linear"):
        model.layers[0](Tensor(np.ones((1, 3))))


def test_ops_run_in_the_scope_of_their_module(rng):
    class Scopes(Observer):
        def __init__(self):
            self.seen = []

        def op_starts(self, name, args, static):
            self.seen.append((current_scope(), name))

    with watch(Scopes()) as scopes:
        GPT(TINY, rng)([1, 2, 3])
    assert ("token_embedding", "embedding") in scopes.seen
    assert ("blocks.0.attn.query", "linear") in scopes.seen
    assert ("blocks.1.attn", "attention") in scopes.seen
    assert ("blocks.1.mlp", "gelu") in scopes.seen
    assert current_scope() == ""


def test_an_error_names_the_module_it_happened_in(rng):
    model = GPT(TINY, rng)
    model.blocks[1].mlp.down = Linear(5, 8, rng=rng)
    with pytest.raises(ValueError, match=r"in blocks\.1\.mlp\.down: linear of shapes"):
        model([1, 2, 3])
    assert current_scope() == ""


def test_a_module_without_forward_says_so():
    with pytest.raises(NotImplementedError, match="Module has no forward"):
        Module()(1)


def test_every_parameter_gets_a_gradient(rng):
    model = Pair(rng)
    model(tensor(rng, 4, 2)).sum().backward()
    reached = [name for name, p in model.named_parameters() if p.grad is not None]
    assert reached == ["scale", "first.weight", "first.bias", "rest.0.weight", "rest.0.bias", "rest.1.weight"]
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())


def test_a_frozen_parameter_gets_none(rng):
    model = Linear(2, 2, rng=rng)
    model.weight.requires_grad = False
    model(tensor(rng, 1, 2)).sum().backward()
    assert model.weight.grad is None
    assert model.bias.grad is not None
    assert len(model.parameters()) == 2


def test_integers_cannot_be_parameters():
    with pytest.raises(TypeError, match="only floating"):
        Parameter(np.arange(3))


# --- state -----------------------------------------------------------------------------------------------------------


def test_a_state_dict_restores_every_number(rng):
    model, other = Pair(rng), Pair(rng)
    state = model.state_dict()
    assert not np.array_equal(model.first.weight.data, other.first.weight.data)
    other.load_state_dict(state)
    for name, p in other.named_parameters():
        np.testing.assert_array_equal(p.data, state[name])


def test_a_state_dict_is_a_copy(rng):
    model = Linear(2, 2, rng=rng)
    state = model.state_dict()
    before = model.weight.data.copy()
    state["weight"][:] = 7
    np.testing.assert_array_equal(model.weight.data, before)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s.pop("first.bias"), r"first\.bias is missing"),
        (lambda s: s.update(other=np.ones(2)), "other is not a parameter here"),
        (
            lambda s: s.update({"rest.0.weight": np.ones((2, 5))}),
            r"rest\.0\.weight has shape \(3, 3\) here, \(2, 5\) in",
        ),
        (lambda s: s.update({"rest.0.bias": np.array(["a", "b", "c"])}), r"rest\.0\.bias holds <U1, not numbers"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(rng, change, says):
    model = Pair(rng)
    before = model.state_dict()
    state = {name: array + 1 for name, array in before.items()}
    change(state)
    with pytest.raises(ValueError, match=says):
        model.load_state_dict(state)
    for name, p in model.named_parameters():
        np.testing.assert_array_equal(p.data, before[name])


def test_loading_keeps_the_dtype_and_the_place_in_memory(rng):
    model = Linear(2, 2, rng=rng)
    array = model.weight.data
    model.load_state_dict({"weight": np.eye(2), "bias": [1.0, 2.0]})
    assert model.weight.data is array
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, np.eye(2))


def test_loading_between_forward_and_backward_is_caught(rng):
    model = Sequential(Linear(2, 2, rng=rng))
    loss = model(tensor(rng, 1, 2)).sum()
    model.load_state_dict(model.state_dict())
    with pytest.raises(RuntimeError, match=r"in layers\.0: linear used weight"):
        loss.backward()


def test_a_deep_copy_shares_nothing_with_the_model_or_its_optimizer(rng):
    model = GPT(TINY, rng)
    optimizer = SGD(model.parameters(), lr=0.1)
    twin = copy.deepcopy(model)
    before = twin.state_dict()
    cross_entropy(model([1, 2, 3]), [2, 3, 4]).backward()
    optimizer.step()
    for name, p in twin.named_parameters():
        np.testing.assert_array_equal(p.data, before[name])
        assert p.grad is None
    SGD(twin.parameters(), lr=0.1)  # its parameters are free for an optimizer of their own
    assert [name for name, _ in twin.named_parameters()] == list(before)
    assert twin.blocks[0].attn.query.weight.name == "weight"


def test_a_deep_copy_keeps_shared_parameters_shared(rng):
    model = Sequential(Linear(3, 3, rng=rng), Linear(3, 3, rng=rng))
    model.layers[1].weight = model.layers[0].weight
    twin = copy.deepcopy(model)
    assert twin.layers[1].weight is twin.layers[0].weight
    assert twin.layers[0].weight is not model.layers[0].weight


def test_astype_converts_all_of_it(rng):
    model = GPT(TINY, rng)
    loss = cross_entropy(model([1, 2, 3]), [2, 3, 4])
    assert loss.dtype == np.float32
    assert model.astype(np.float64) is model
    wide = cross_entropy(model([1, 2, 3]), [2, 3, 4])
    assert wide.dtype == np.float64
    assert wide.item() == pytest.approx(loss.item(), rel=1e-5)
    wide.backward()
    assert {p.grad.dtype for p in model.parameters()} == {np.dtype(np.float64)}
    with pytest.raises(RuntimeError, match="changed after the forward pass"):
        loss.backward()  # its graph is of the float32 days


def test_astype_after_the_optimizer_raises_and_changes_nothing(rng):
    model = Sequential(Linear(2, 2, rng=rng), Linear(2, 2, rng=rng))
    optimizer = SGD([model.layers[1].weight], lr=0.1)
    with pytest.raises(RuntimeError, match=r"owns the memory of layers\.1\.weight"):
        model.astype(np.float64)
    assert {p.dtype for p in model.parameters()} == {np.dtype(np.float32)}
    del optimizer
    assert model.astype(np.float64).layers[1].weight.dtype == np.float64
    with pytest.raises(TypeError, match="floating"):
        model.astype(int)


def test_repr_shows_shapes_and_counts(rng):
    assert repr(MLP(3, 5, rng=rng)) == (
        "MLP                                       38\n"
        "  up: Linear    weight (3, 5), bias (5,)  20\n"
        "  down: Linear  weight (5, 3), bias (3,)  18"
    )


def test_repr_of_a_gpt_adds_up(rng):
    def count(line):
        return int(line.split()[-1].replace(",", ""))

    model = GPT(TINY, rng)
    first, *rest = repr(model).splitlines()
    assert first.startswith("GPT(n_layers=2, block_size=6)")
    assert count(first) == sum(p.size for p in model.parameters())
    direct = [line for line in rest if line.startswith("  ") and line[2] != " "]
    assert sum(map(count, direct)) == count(first)
    assert any("attn: MultiHeadAttention(n_heads=2, causal=True, normalize=softmax)" in line for line in rest)
    assert any(line.startswith("      query: Linear ") for line in rest)


# --- layers ----------------------------------------------------------------------------------------------------------


def test_the_same_rng_gives_the_same_model():
    one, two = (GPT(TINY, np.random.default_rng(3)).state_dict() for _ in range(2))
    for name in one:
        np.testing.assert_array_equal(one[name], two[name])


def test_linear_is_x_times_weight_plus_bias(rng):
    layer = Linear(3, 2, rng=rng)
    x = rng.standard_normal((4, 5, 3)).astype(np.float32)
    layer.bias.data = [1.0, 2.0]
    np.testing.assert_allclose(layer(Tensor(x)).data, x @ layer.weight.data + layer.bias.data, rtol=1e-5, atol=1e-6)
    assert Linear(3, 2, bias=False, rng=rng).bias is None


def test_linear_keeps_the_scale_of_its_input(rng):
    y = Linear(500, 400, rng=rng)(tensor(rng, 100, 500))
    assert y.data.std() == pytest.approx(1, abs=0.03)
    with pytest.raises(ValueError, match="Linear needs d_in and d_out of at least 1"):
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
    with pytest.raises(ValueError, match="0 <= p < 1"):
        Dropout(1.0)


def test_restoring_the_generator_repeats_the_dropout(rng):
    layer = Dropout(0.5, rng)
    state = rng.bit_generator.state
    first = layer(Tensor(np.ones(50))).data
    rng.bit_generator.state = state
    np.testing.assert_array_equal(layer(Tensor(np.ones(50))).data, first)


# --- attention -------------------------------------------------------------------------------------------------------


def attention_with(normalize="softmax", *, d_model=8, n_heads=2, causal=False, dropout=0.0, seed=0):
    rng = np.random.default_rng(seed)
    return MultiHeadAttention(d_model, n_heads, causal=causal, normalize=normalize, dropout=dropout, rng=rng).astype(
        np.float64
    )


@pytest.mark.parametrize("kind", ["self", "causal", "cross"])
def test_parity_with_pytorch(kind, rng):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: no parity test")
    ours = attention_with(causal=kind == "causal")
    for p in ours.parameters():
        p.data = rng.standard_normal(p.shape)
    theirs = torch.nn.MultiheadAttention(8, 2, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        projections = (ours.query, ours.key, ours.value)
        theirs.in_proj_weight.copy_(torch.tensor(np.concatenate([p.weight.data.T for p in projections])))
        theirs.in_proj_bias.copy_(torch.tensor(np.concatenate([p.bias.data for p in projections])))
        theirs.out_proj.weight.copy_(torch.tensor(ours.out.weight.data.T.copy()))
        theirs.out_proj.bias.copy_(torch.tensor(ours.out.bias.data.copy()))
    x = tensor(rng, 3, 5, 8, requires_grad=True)
    context = tensor(rng, 3, 7, 8, requires_grad=True) if kind == "cross" else x
    mask = rng.random((5, 7)) < 0.7 if kind == "cross" else None
    blocked = {"self": None, "causal": ~causal_mask(5), "cross": mask if mask is None else ~mask}[kind]

    xt = torch.tensor(x.data.copy(), requires_grad=True)
    ct = torch.tensor(context.data.copy(), requires_grad=True) if kind == "cross" else xt
    expected, weights = theirs(
        xt, ct, ct, attn_mask=None if blocked is None else torch.tensor(blocked), average_attn_weights=False
    )
    y = ours(x, context, mask=mask)
    np.testing.assert_allclose(y.data, expected.detach().numpy(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(ours.weights(x, context, mask=mask), weights.detach().numpy(), rtol=1e-10, atol=1e-12)

    u = rng.standard_normal(y.shape)
    y.backward(u)
    expected.backward(torch.tensor(u))
    np.testing.assert_allclose(x.grad, xt.grad.numpy(), rtol=1e-9, atol=1e-11)
    if kind == "cross":
        np.testing.assert_allclose(context.grad, ct.grad.numpy(), rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(ours.query.weight.grad, theirs.in_proj_weight.grad.numpy()[:8].T, rtol=1e-9, atol=1e-11)


def values_and_gradients(model, *args, **kwargs):
    y = model(*args, **kwargs)
    y.backward(np.random.default_rng(9).standard_normal(y.shape))
    return [y.data, *(p.grad for p in model.parameters())]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_the_fused_op_equals_the_composed_ones(rng, causal, masked):
    x = tensor(rng, 2, 5, 8)
    mask = rng.random((2, 5, 5)) < 0.6 if masked else None
    fused = values_and_gradients(attention_with("softmax", causal=causal), x, mask=mask)
    composed = values_and_gradients(attention_with(softmax, causal=causal), x, mask=mask)
    for a, b in zip(fused, composed, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", MAPS)
def test_masking_equals_deleting(rng, name):
    attn = attention_with(name)
    x, context = tensor(rng, 2, 5, 8), tensor(rng, 2, 6, 8)
    keep = np.array([True, False, True, True, False, True])
    masked = values_and_gradients(attn, x, context, mask=keep)
    attn.zero_grad()
    deleted = values_and_gradients(attn, x, Tensor(context.data[:, keep]))
    for a, b in zip(masked, deleted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", MAPS)
def test_later_positions_do_not_matter_when_causal(rng, name):
    attn = attention_with(name, causal=True)
    x = rng.standard_normal((2, 5, 8))
    changed = x.copy()
    changed[:, 3:] += 1
    one, two = attn(Tensor(x)).data, attn(Tensor(changed)).data
    np.testing.assert_allclose(one[:, :3], two[:, :3], rtol=1e-10, atol=1e-12)
    assert np.abs(one[:, 3:] - two[:, 3:]).max() > 0.01


@pytest.mark.parametrize("name", MAPS)
def test_hardmax_and_uniform_alone_give_query_and_key_no_gradient(rng, name):
    attn = attention_with(name)
    attn(tensor(rng, 2, 5, 8)).backward(rng.standard_normal((2, 5, 8)))
    assert np.abs(attn.value.weight.grad).max() > 0.01
    for layer in (attn.query, attn.key):
        if name in ("hardmax", "uniform"):
            assert not layer.weight.grad.any()
        else:
            assert np.abs(layer.weight.grad).max() > 1e-3


@pytest.mark.parametrize("name", MAPS)
def test_the_weights_are_those_that_forward_uses(rng, name):
    attn = attention_with(name, causal=True)
    x = tensor(rng, 2, 5, 8)
    weights = attn.weights(x)
    assert weights.shape == (2, 2, 5, 5)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-10)
    assert not weights[..., ~causal_mask(5)].any()
    v = attn.value(x).data.reshape(2, 5, 2, 4).swapaxes(1, 2)
    heads = (weights @ v).swapaxes(1, 2).reshape(2, 5, 8)
    np.testing.assert_allclose(attn(x).data, heads @ attn.out.weight.data + attn.out.bias.data, rtol=1e-9, atol=1e-12)


def test_estimators_plug_in(rng):
    x = tensor(rng, 2, 5, 8)
    for normalize in (straight_through, functools.partial(gumbel_softmax, rng=rng)):
        attn = attention_with(normalize, causal=True)
        weights = attn.weights(x)
        assert set(np.unique(weights)) == {0, 1}
        attn(x).backward(rng.standard_normal((2, 5, 8)))
        assert np.abs(attn.query.weight.grad).max() > 1e-3  # unlike hardmax
    assert "normalize=gumbel_softmax" in repr(attn)


def test_a_mask_may_differ_by_sequence_or_by_head(rng):
    attn = attention_with()
    x = tensor(rng, 3, 4, 8)
    for_all_heads = rng.random((3, 4, 4)) < 0.5
    by_head = np.repeat(for_all_heads[:, None], 2, axis=1)
    np.testing.assert_array_equal(attn(x, mask=for_all_heads).data, attn(x, mask=by_head).data)
    lengths = np.array([4, 1, 2])
    weights = attn.weights(x, mask=length_mask(lengths, 4))
    for b, n in enumerate(lengths):
        assert (weights[b, ..., :n] > 0).all()
        assert not weights[b, ..., n:].any()


def test_any_leading_axes_or_none(rng):
    attn = attention_with(causal=True)
    x = tensor(rng, 2, 3, 5, 8)
    y = attn(x).data
    assert y.shape == (2, 3, 5, 8)
    np.testing.assert_allclose(attn(x[1, 2]).data, y[1, 2], rtol=1e-10, atol=1e-12)


def test_one_sequence_may_attend_to_a_batch_of_contexts(rng):
    attn, x, context = attention_with(), tensor(rng, 4, 8), tensor(rng, 3, 5, 8)
    mask = length_mask(np.array([5, 2, 3]), 5)
    y = attn(x, context, mask=mask).data
    for b in range(3):
        np.testing.assert_allclose(y[b], attn(x, context[b], mask=mask[b]).data, rtol=1e-10, atol=1e-12)


def test_weights_are_dropped_only_in_training(rng):
    x = tensor(rng, 2, 5, 8)
    plain, dropping = attention_with(), attention_with(dropout=0.5)
    assert not np.allclose(dropping(x).data, plain(x).data)
    np.testing.assert_array_equal(dropping.eval()(x).data, plain(x).data)
    np.testing.assert_allclose(dropping.train().weights(x).sum(-1), 1, rtol=1e-10)


def test_bad_attention_is_refused_in_words(rng):
    with pytest.raises(ValueError, match="d_model = 8 cannot be split evenly among n_heads = 3"):
        MultiHeadAttention(8, 3)
    with pytest.raises(ValueError, match=r"no map 'softmin'.*softmax, hardmax, uniform, sum_normalize"):
        MultiHeadAttention(8, 2, normalize="softmin")
    attn, x = attention_with(), tensor(rng, 2, 5, 8)
    with pytest.raises(ValueError, match="empty sequence"):
        attn(tensor(rng, 2, 0, 8))
    with pytest.raises(ValueError, match=r"context .*empty sequence"):
        attn(x, tensor(rng, 2, 0, 8))
    with pytest.raises(ValueError, match=r"needs x of shape \(\.\.\., T, d_model\), not \(8,\)"):
        attn(tensor(rng, 8))
    with pytest.raises(ValueError, match=r"mask of shape \(4, 5\) does not broadcast .* \(2, 2, 5, 5\)"):
        attn(x, mask=np.ones((4, 5), bool))
    with pytest.raises(TypeError, match=r"a mask is boolean.*float64"):
        attn(x, mask=np.ones((5, 5)))
    with pytest.raises(ValueError, match="as many queries as keys, not 5 and 6"):
        attention_with(causal=True)(x, tensor(rng, 2, 6, 8))
    with pytest.raises(ValueError, match=r"in blocks\.0\.attn: a mask of shape"):
        GPT(TINY, rng).blocks[0](x, mask=np.ones((4, 5), bool))


# --- block and GPT ---------------------------------------------------------------------------------------------------


def test_a_block_adds_attention_then_mlp(rng):
    block = Block(8, 2, causal=True, rng=rng).astype(np.float64)
    x = tensor(rng, 2, 5, 8)
    middle = x + block.attn(block.norm1(x))
    expected = middle + block.mlp(block.norm2(middle))
    np.testing.assert_array_equal(block(x).data, expected.data)


def test_gpt2_initialization(rng):
    model = GPT(GPTConfig(50, 40, n_layers=8, n_heads=4, d_model=64), rng)
    for name, p in model.named_parameters():
        if name.endswith("bias"):
            assert not p.data.any(), name
        elif p.ndim == 1:
            assert (p.data == 1).all(), name
        else:
            std = 0.02 / 4 if name.endswith(("attn.out.weight", "mlp.down.weight")) else 0.02  # √(2 · 8) = 4
            assert p.data.std() == pytest.approx(std, rel=0.06), name
    assert model.head.bias is None
    assert model.head.weight.shape == (64, 50)


def test_an_untrained_gpt_knows_nothing(rng):
    model = GPT(TINY, rng)
    ids = rng.integers(0, 11, (4, 7))
    logits = model(ids[:, :-1])
    assert logits.shape == (4, 6, 11)
    assert cross_entropy(logits, ids[:, 1:]).item() == pytest.approx(math.log(11), abs=0.05)


def test_a_gpt_never_looks_ahead(rng):
    model = GPT(TINY, rng).astype(np.float64)
    one, two = model([1, 2, 3, 4]).data, model([1, 2, 9, 9]).data
    np.testing.assert_allclose(one[:2], two[:2], rtol=1e-10, atol=1e-14)
    assert np.abs(one[2:] - two[2:]).max() > 1e-3


def test_a_gpt_learns_a_sentence_by_heart(rng):
    model = GPT(TINY, rng)
    optimizer = SGD(model.parameters(), lr=0.3, momentum=0.9)
    ids = np.array([3, 1, 4, 1, 5, 9])
    for _ in range(150):
        optimizer.zero_grad()
        loss = cross_entropy(model(ids[:-1]), ids[1:])
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05  # the second 1 needs its position or what came before: 4, then 5
    np.testing.assert_array_equal(model.generate(ids[:1], 5, top_k=1), ids)


def test_every_normalize_reaches_the_blocks(rng):
    config = GPTConfig(11, 6, n_layers=1, n_heads=2, d_model=8, normalize="hardmax")
    model = GPT(config, rng)
    assert set(np.unique(model.blocks[0].attn.weights(tensor(rng, 1, 6, 8)))) == {0, 1}
    cross_entropy(model([1, 2, 3]), [2, 3, 4]).backward()
    assert not model.blocks[0].attn.query.weight.grad.any()


def test_gpt_refuses_what_it_cannot_read(rng):
    model = GPT(TINY, rng)
    with pytest.raises(ValueError, match=r"at most block_size = 6 ids at once, not 7: .* ids\[\.\.\., -6:\]"):
        model(np.zeros((2, 7), int))
    with pytest.raises(IndexError, match=r"in token_embedding: .*index 11 is outside a table of 11"):
        model([3, 11])
    with pytest.raises(ValueError, match=r"at least one id in a sequence; these have shape \(2, 0\)"):
        model(np.zeros((2, 0), int))
    with pytest.raises(TypeError, match="integers"):
        model([0.5, 1.0])


# --- generating ------------------------------------------------------------------------------------------------------


def test_generate_continues_the_prompt_beyond_the_block(rng):
    model = GPT(TINY, rng)
    ids = model.generate([1, 2, 3], 10, rng=np.random.default_rng(5))
    assert ids.shape == (13,)
    assert ids.dtype.kind == "i"
    np.testing.assert_array_equal(ids[:3], [1, 2, 3])
    assert (ids >= 0).all()
    assert (ids < 11).all()
    np.testing.assert_array_equal(ids, model.generate([1, 2, 3], 10, rng=np.random.default_rng(5)))
    assert model.generate([[1, 2], [3, 4]], 4, rng=rng).shape == (2, 6)
    np.testing.assert_array_equal(model.generate([1, 2], 0), [1, 2])


def test_generate_draws_from_the_softmax(rng):
    model = GPT(TINY, rng)
    model.head.weight.data = 20 * model.head.weight.data  # far from uniform
    n, temperature = 5000, 0.5
    drawn = model.generate(np.tile([1, 2, 3], (n, 1)), 1, temperature=temperature, rng=rng)[:, -1]
    expected = softmax(Tensor(model([1, 2, 3]).data[-1] / temperature)).data
    counts = np.bincount(drawn, minlength=11)
    assert expected.max() > 3 * expected.min()
    assert (np.abs(counts - n * expected) < 5 * np.sqrt(n * expected * (1 - expected)) + 1).all()
    likeliest = np.argsort(-expected)[:3]
    top = model.generate(np.tile([1, 2, 3], (300, 1)), 1, top_k=3, rng=rng)[:, -1]
    assert set(top) == set(likeliest)


def test_generate_leaves_the_model_as_it_was(rng):
    config = GPTConfig(11, 6, n_layers=1, n_heads=2, d_model=8, dropout=0.5)
    model = GPT(config, rng)
    model.blocks[0].eval()
    modes = [module.training for module in model.modules()]
    state = rng.bit_generator.state
    one, two = (model.generate([1, 2], 5, rng=np.random.default_rng(1)) for _ in range(2))
    np.testing.assert_array_equal(one, two)  # nothing was dropped ...
    assert rng.bit_generator.state == state  # ... and the model's own generator not asked
    assert [module.training for module in model.modules()] == modes
    with pytest.raises(IndexError):
        model.generate([99], 5)
    assert [module.training for module in model.modules()] == modes
    assert model([1]).requires_grad  # no_grad has ended


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"temperature": 0.0}, "temperature above 0, not 0"),
        ({"temperature": math.nan}, "temperature above 0, not nan"),
        ({"top_k": 0}, "top_k of at least 1"),
        ({"n": -1}, "cannot append -1 ids"),
        ({"prompt": []}, "prompt of at least one id"),
    ],
)
def test_generate_refuses_bad_settings(rng, arguments, says):
    with pytest.raises(ValueError, match=says):
        GPT(TINY, rng).generate(**({"prompt": [1], "n": 2} | arguments))


def test_a_tensor_that_would_be_forgotten_in_training_is_refused():
    module = Module()
    with pytest.raises(TypeError, match=r"gain .* nn\.Parameter"):
        module.gain = Tensor([1.0], requires_grad=True)
    module.constant = Tensor([1.0])
    module.gain = Parameter([1.0])
    assert [name for name, _ in module.named_parameters()] == ["gain"]
