"""Modules and what they hold: names, shared parts, state, copies, dtypes, repr."""

import copy

import numpy as np
import pytest
from tiny import TINY, tensor

from minigrad import Observer, Tensor, cross_entropy, optim, relu, watch
from minigrad.nn import GPT, MLP, Block, LayerNorm, Linear, Module, Parameter, Sequential
from minigrad.optim import SGD
from minigrad.tensors.modes import current_scope


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


# --- modules -----------------------------------------------------------------------------------------------------


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


def test_errors_name_a_parameter_with_the_modules_around_it(rng):
    model = GPT(TINY, rng)
    weight = model.blocks[1].attn.key.weight
    assert weight.path == "blocks.1.attn.key.weight"
    model.blocks[1].parameters()  # an inner module knows only a part of the name
    assert weight.path == "blocks.1.attn.key.weight"

    weight.grad = np.full((8, 8), np.nan)
    with pytest.raises(FloatingPointError, match=r"gradient of blocks\.1\.attn\.key\.weight has nan"):
        optim.clip_grad_norm(model.parameters(), 1.0)
    older = optim.Adam([weight])
    newer = optim.Adam(model.parameters())
    with pytest.raises(RuntimeError, match=r"no longer owns blocks\.1\.attn\.key\.weight of shape"):
        older.step()
    state = newer.state_dict()
    state["m"][[p is weight for p in newer.parameters].index(True)] = np.zeros(3)
    with pytest.raises(ValueError, match=r"m of shape \(3,\), float64, for blocks\.1\.attn\.key\.weight, which"):
        newer.load_state_dict(state)
    with pytest.raises(TypeError, match=r"one dtype, but w1 is float64 and token_embedding\.weight float32"):
        optim.SGD([model.token_embedding.weight, Tensor(np.ones(2), requires_grad=True, name="w1")], 0.1)


def test_a_shared_parameter_counts_once_under_its_first_name(rng):
    model = Sequential(Linear(3, 3, rng=rng), Linear(3, 3, rng=rng))
    model.layers[1].weight = model.layers[0].weight
    assert [name for name, _ in model.named_parameters()] == ["layers.0.weight", "layers.0.bias", "layers.1.bias"]
    assert list(model.state_dict()) == ["layers.0.weight", "layers.0.bias", "layers.1.bias"]
    assert repr(model).splitlines()[0].endswith(" 15")


def test_a_shared_module_counts_once(rng):
    layer = Linear(3, 3, rng=rng)
    assert len(Sequential(layer, relu, layer).parameters()) == 2


def test_a_shared_module_is_walked_once_under_its_first_name(rng):
    layer = Linear(3, 3, rng=rng)
    inner = Sequential(layer)
    model = Sequential(layer, inner, relu, inner)
    assert [name for name, _ in model.named_modules()] == ["", "layers.0", "layers.1"]
    assert model.modules() == [model, layer, inner]
    assert len(repr(model).splitlines()) == 3


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


@pytest.mark.parametrize(
    ("what", "says"),
    [
        (lambda linear: {"a.b": linear(), "a": {"b": linear()}}, r"'a\.b' cannot name a Module or a Parameter"),
        (lambda linear: [{"a.b": [linear()]}], r"'a\.b' cannot name"),
        (lambda linear: {1: linear(), "1": linear()}, "two keys .* are both called 1"),
    ],
)
def test_names_that_could_collide_are_refused_when_they_are_made(rng, what, says):
    module = Module()
    with pytest.raises(ValueError, match=says):
        module.parts = what(lambda: Linear(1, 1, rng=rng))
    with pytest.raises(ValueError, match="cannot name"):
        setattr(module, "a.b", Linear(1, 1, rng=rng))

    module = Module()
    module.parts = []
    module.parts.append(what(lambda: Linear(1, 1, rng=rng)))
    with pytest.raises(ValueError, match=says):
        module.state_dict()


def test_keys_of_what_holds_no_parameters_are_free():
    module = Module()
    module.rates = {"a.b": 0.1, 1: 2, "1": 3}
    assert module.state_dict() == {}


def test_a_frozen_parameter_in_a_list_survives_a_deep_copy():
    module = Module()
    module.parts = [Parameter([1.0, 2.0], requires_grad=False)]
    twin = copy.deepcopy(module)
    assert not twin.parts[0].requires_grad and twin.parts[0].name == "parts.0"
    twin.parts[0].requires_grad = True
    twin.parts[0].data = [3.0, 4.0]
    np.testing.assert_array_equal(module.parts[0].data, [1, 2])


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


def test_a_tensor_that_would_be_forgotten_in_training_is_refused():
    module = Module()
    with pytest.raises(TypeError, match=r"gain .* nn\.Parameter"):
        module.gain = Tensor([1.0], requires_grad=True)
    module.constant = Tensor([1.0])
    module.gain = Parameter([1.0])
    assert [name for name, _ in module.named_parameters()] == ["gain"]


# --- state -------------------------------------------------------------------------------------------------------


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
    with pytest.raises(RuntimeError, match=r"in layers\.0: linear used layers\.0\.weight"):
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


@pytest.mark.parametrize("d_model", [8, 4096])
def test_repr_fits_80_columns(rng, d_model):
    class Outer(Module):
        def __init__(self):
            name = "a_name_that_takes_nearly_all_of_the_room_that_there_is_in_a_line_of_the_terminal"
            setattr(self, name, Linear(3, 5, rng=rng))
            self.block = Block(16, 2, normalize="sigmoid_normalize", rng=rng)
            self.table = Parameter(np.zeros((d_model, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1)))

    lines = repr(Outer()).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("Outer  ") and "weight (16, 64)" in repr(Outer())


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


def test_a_state_goes_to_pytorch_and_back():
    torch = pytest.importorskip("torch", reason="pip install torch")

    class Two(Module):
        def __init__(self):
            self.square, self.out = Linear(3, 3), Linear(3, 2)

        def forward(self, x):
            return self.out(self.square(x))

    class TwoInTorch(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.square, self.out = torch.nn.Linear(3, 3), torch.nn.Linear(3, 2)

        def forward(self, x):
            return self.out(self.square(x))

    ours, theirs, x = Two(), TwoInTorch(), np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    theirs.load_state_dict({name: torch.tensor(a) for name, a in ours.state_dict(layout="torch").items()})
    np.testing.assert_allclose(ours(Tensor(x)).data, theirs(torch.tensor(x)).detach().numpy(), atol=1e-6)
    again = Two()
    again.load_state_dict({name: a.numpy() for name, a in theirs.state_dict().items()}, layout="torch")
    for name, array in ours.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name], array)
    with pytest.raises(ValueError, match="a layout is 'minigrad' or 'torch', not 'keras'"):
        ours.state_dict(layout="keras")
