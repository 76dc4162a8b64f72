"""Settings: each is refused with its value and the range, and what is misspelt with what there is."""

import numpy as np
import pytest

import minigrad
from agreement import leaf
from minigrad import Tensor, nn
from minigrad.engine import as_op

NAN, INF = float("nan"), float("inf")
RNG = np.random.default_rng(0)
Q = np.ones((4, 2))


def x():
    return leaf(np.ones((2, 3)))


def gpt(**changed):
    sizes = {"vocab_size": 5, "block_size": 4, "n_layers": 1, "n_heads": 1, "d_model": 4}
    return nn.GPT(nn.GPTConfig(**(sizes | changed)), rng=RNG)


# what, the call with a value, values, and what the message says before "not" and the value
COUNTS = {
    "window of a mask": (lambda n: minigrad.window_mask(4, n), [0, 1.5, NAN, True, "1"], "window .* of at least 1"),
    "size of a window mask": (lambda n: minigrad.window_mask(n, 1), [-1, 2.5], "window_mask: n .* of at least 0"),
    "size of a causal mask": (minigrad.causal_mask, [-1, 2.5, NAN], "causal_mask: n .* of at least 0"),
    "size of a length mask": (lambda n: minigrad.length_mask([1], n), [-1, 2.5], "length_mask: n .* of at least 0"),
    "window": (
        lambda n: minigrad.tiled_attention(Q, Q, Q, window=n),
        [0, 1.5],
        r"tiled_attention of .*: window .* of at least 1",
    ),
    "tile": (lambda n: minigrad.tiled_attention(Q, Q, Q, tile=n), [0, 1.5], r"tiled_attention .*tile .* of at least 1"),
    "n_heads": (lambda n: minigrad.attention(Q, Q, Q, n_heads=n), [0, -1, 1.0], r"attention of .*: n_heads .* least 1"),
    "n_heads, weights": (lambda n: minigrad.attention_weights(Q, Q, n_heads=n), [0, -1, 2.0], "n_heads .* least 1"),
    "k": (lambda n: minigrad.top_k_softmax(x(), k=n), [0, 1.5, NAN], r"top_k_softmax of .*: k .* of at least 1"),
    "n_layers": (lambda n: gpt(n_layers=n), [-1, 1.5], "n_layers .* of at least 0"),
    "block_size": (lambda n: gpt(block_size=n), [0, 4.0], "block_size .* of at least 1"),
    "vocab_size": (lambda n: gpt(vocab_size=n), [0, -5], "vocab_size .* of at least 1"),
    "d_model": (lambda n: gpt(d_model=n), [0, 4.0], "d_model .* of at least 1"),
    "heads of a GPT": (lambda n: gpt(n_heads=n), [0, 1.0], "n_heads .* of at least 1"),
    "heads of a layer": (lambda n: nn.MultiHeadAttention(4, n), [0, 1.5], "n_heads .* of at least 1"),
    "d_in": (lambda n: nn.Linear(n, 2), [0, 2.5], "Linear: d_in .* of at least 1"),
    "d_out": (lambda n: nn.Linear(2, n), [0, 2.5, True], "Linear: d_out .* of at least 1"),
    "rows": (lambda n: nn.Embedding(n, 2), [0, -1, 2.5], "Embedding: n .* of at least 1"),
    "row": (lambda n: nn.Embedding(2, n), [0, -1, 2.5], "Embedding: d .* of at least 1"),
    "features": (nn.LayerNorm, [0, 2.5], "LayerNorm: d .* of at least 1"),
    "states": (lambda n: nn.GRU(2, n), [0, 2.5], "GRU: d .* of at least 1"),
}
RANGES = {
    "tau": (lambda v: minigrad.gumbel_softmax(x(), rng=RNG, tau=v), [0, -1, NAN, INF], "a finite temperature tau > 0"),
    "p": (lambda v: minigrad.dropout(x(), p=v, rng=RNG), [-0.1, 1, NAN], "probability 0 <= p < 1"),
    "p of a layer": (nn.Dropout, [-0.1, 1, NAN], "a number from 0 to below 1"),
    "eps": (lambda v: minigrad.layer_norm(x(), eps=v), [-1, NAN, INF], "layer_norm of .*: needs a finite eps >= 0"),
    "label_smoothing": (
        lambda v: minigrad.cross_entropy(x(), [0, 1], label_smoothing=v),
        [-0.1, 1.1, NAN],
        "label_smoothing is a part of 1",
    ),
    "temperature": (lambda v: gpt().generate([1], 2, temperature=v), [-1, NAN], "a temperature of at least 0 .*"),
}


@pytest.mark.parametrize("what", COUNTS)
def test_a_count_is_an_integer_and_large_enough(what):
    call, values, says = COUNTS[what]
    for value in values:
        with pytest.raises(ValueError, match=says.replace(" .* of", " must be an integer of") + f".*, not {value!r}"):
            call(value)
    call(np.int64(2))


@pytest.mark.usefixtures("kernel_and_page")
@pytest.mark.parametrize("what", RANGES)
def test_a_number_lies_in_its_range(what):
    call, values, says = RANGES[what]
    for value in values:
        with pytest.raises(ValueError, match=f"{says}, not {value}"):
            call(value)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["a", "b"], "<U1"),
        (["1", "2"], "<U1"),
        ([1j, 2j], "complex128"),
        ([None, 1.0], "object"),
        (np.ma.masked_array([1.0, 2.0], [True, False]), "a masked array"),
    ],
)
def test_only_numbers_are_set_as_data_or_gradient(values, kind):
    p = nn.Parameter([5.0, 6.0])
    with pytest.raises(TypeError, match=f"^data must be floats, integers or booleans, not {kind}"):
        p.data = values
    with pytest.raises(TypeError, match=f"^a gradient must be floats, integers or booleans, not {kind}"):
        p.grad = values
    np.testing.assert_array_equal(p.data, [5, 6])
    assert p.grad is None


# --- generate ----------------------------------------------------------------------------------------------------


def test_generate_does_not_draw_from_nan_and_points_to_first_bad_value():
    model = gpt()
    model.head.weight.data = np.full(model.head.weight.shape, NAN)
    with pytest.raises(ValueError, match=r"logits are nan.* inside `with minigrad\.first_bad_value\(\):`"):
        model.generate([1], 2)
    with pytest.raises(FloatingPointError, match="head"), minigrad.first_bad_value():  # the way out
        model([1])


@pytest.mark.parametrize("prompt", ["he", ["h", "e"], [1.5], 3])
def test_generate_wants_ids(prompt):
    with pytest.raises(TypeError, match=r"generate needs a prompt of ids, integers \(T,\) or \(B, T\), not"):
        gpt().generate(prompt, 2)


# --- how an op is called, and written ----------------------------------------------------------------------------

MISCALLED = {
    "two parts without a list": (
        lambda: minigrad.concat(x(), x()),
        r"concat takes one list .*: concat\(\[a, b\], axis=0",
    ),
    "two parts to stack": (lambda: minigrad.stack(x(), x()), r"stack takes one list .*: stack\(\[a, b\], axis=0"),
    "an axis by position": (
        lambda: minigrad.softmax(x(), -1),
        r"softmax takes 1 array \(x\), got 2; give by name .*: axis=\.\.\., mask=",
    ),
    "a shape by position": (
        lambda: minigrad.reshape(x(), (3, 2)),
        r"reshape takes 1 array .* by name .*: shape=\.\.\.",
    ),
    "dim": (lambda: minigrad.softmax(x(), dim=-1), r"no keyword 'dim': it has axis, mask; .* dim is axis here"),
    "keepdim": (lambda: minigrad.sum(x(), keepdim=True), r"no keyword 'keepdim': .* keepdim is keepdims here"),
    "dim where there is no axis": (
        lambda: minigrad.exp(x(), dim=1),
        r"exp of shape \(2, 3\): no keyword 'dim': it has none$",
    ),
    "too many arrays": (lambda: minigrad.exp(x(), x()), r"exp takes 1 array \(x\), got 2$"),
}


@pytest.mark.parametrize("what", MISCALLED)
def test_a_call_with_the_wrong_arguments_says_how(what):
    call, says = MISCALLED[what]
    with pytest.raises(TypeError, match=says):
        call()


@pytest.mark.parametrize("default", [-1, (0, 1), "mean", True])
def test_a_static_argument_without_a_star_is_found_when_the_op_is_made(default):
    def running_sum(x, axis=default):
        return np.cumsum(x, axis), None

    with pytest.raises(TypeError, match=r"running_sum would take axis=.* for an array: .*running_sum\(x, \*, axis="):
        as_op(running_sum)


@pytest.mark.parametrize("returned", [1.0, [1.0, 1.0]])
def test_a_vjp_that_returns_no_array_is_named(returned):
    double = as_op(lambda x: (2 * x, lambda grad_y: returned), name="double")
    with pytest.raises(
        TypeError, match=r"in the backward pass of double: the VJP for input 0 returned .*1.0.*, not an"
    ):
        double(Tensor([1.0, 2.0], requires_grad=True)).sum().backward()


def test_an_attribute_error_inside_a_vjp_stays_what_it_is():
    broken = as_op(lambda x: (2 * x, lambda grad_y: (5.0).shape), name="broken")
    with pytest.raises(AttributeError, match="shape") as error:
        broken(Tensor([1.0, 2.0], requires_grad=True)).sum().backward()
    assert error.value.__notes__ == ["in the backward pass of broken"]
