"""What goes wrong by mistake, and what the error says: the op, the shapes, and the way out."""

import re

import numpy as np
import pytest

import minigrad
from agreement import assert_close, leaf
from minigrad import Tensor
from minigrad.tensors.modes import current_scope, in_scope


def x(*shape):
    return leaf(np.ones(shape))


SCORE_MAPS = {
    **{name: getattr(minigrad, name) for name in ("softmax", "log_softmax", "logsumexp", "hardmax", "uniform")},
    **{name: getattr(minigrad, name) for name in ("sum_normalize", "sigmoid_normalize", "sparsemax", "entmax15")},
    **{name: getattr(minigrad, name) for name in ("top_k_softmax", "straight_through")},
    "gumbel_softmax": lambda s, **static: minigrad.gumbel_softmax(s, rng=np.random.default_rng(0), **static),
}


# what, the call, the kind of error, and what its message must say
OPS_REFUSE = {
    # shapes
    "shapes that don't broadcast": (
        lambda: x(2, 3) + x(4, 5),
        ValueError,
        r"add of shapes \(2, 3\) and \(4, 5\): .*broadcast",
    ),
    "shapes that don't broadcast, raw": (lambda: x(3) * np.ones(4), ValueError, r"mul of shapes \(3,\) and \(4,\): "),
    "shapes that don't broadcast, raw first": (lambda: np.ones(4) - x(3), ValueError, r"sub of shapes \(4,\) and \(3,"),
    "where": (lambda: minigrad.where(np.array([True, False]), x(3), 0), ValueError, r"where of shapes \(2,\) and \(3,"),
    "vectors of different length": (
        lambda: x(3) @ x(4),
        ValueError,
        r"matmul of shapes \(3,\) and \(4,\): the last axis of a \(3\) must be as long as the last of b \(4\)$",
    ),
    "a vector that does not fit": (
        lambda: x(2) @ x(3, 2),
        ValueError,
        r"matmul of shapes \(2,\) and \(3, 2\): the last axis of a \(2\) .* the second-last of b \(3\)$",
    ),
    "a matmul with a number": (lambda: x(2, 3) @ 2.0, ValueError, r"matmul of shapes \(2, 3\) and float: .*a \* b$"),
    "a matmul that does not fit": (
        lambda: x(2, 3) @ x(2, 3),
        ValueError,
        r"matmul of shapes \(2, 3\) and \(2, 3\): the last axis of a \(3\).*second-last of b \(2\).*\.mT",
    ),
    "a matmul whose batches don't broadcast": (
        lambda: x(2, 3, 4) @ x(3, 4, 5),
        ValueError,
        r"matmul of shapes \(2, 3, 4\) and \(3, 4, 5\): ",
    ),
    "a linear that does not fit": (
        lambda: minigrad.linear(x(2, 3), x(4, 5)),
        ValueError,
        r"linear of shapes \(2, 3\) and \(4, 5\): needs x \(\.\.\., d_in\) and weight \(d_in, d_out\)",
    ),
    "a linear with a wrong bias": (
        lambda: minigrad.linear(x(2, 3), x(3, 5), x(3)),
        ValueError,
        r"linear of shapes .*: needs a bias of shape \(5,\)",
    ),
    "a reshape to another size": (
        lambda: x(2, 3).reshape(4, 2),
        ValueError,
        r"reshape of shape \(2, 3\): .*\(4,\s?2\)",
    ),
    "a reshape with two unknowns": (lambda: x(2, 3).reshape(-1, -1), ValueError, r"reshape of shape \(2, 3\): .*one"),
    "a broadcast that cannot be": (
        lambda: x(2, 3).broadcast_to((2, 4)),
        ValueError,
        r"broadcast_to of shape \(2, 3\): .*\(2,\s?4\)",
    ),
    "parts that don't fit": (
        lambda: minigrad.concat([x(2, 3), x(2, 4)]),
        ValueError,
        r"concat of shapes \(2, 3\) and \(2, 4\): ",
    ),
    "parts to stack of different shapes": (
        lambda: minigrad.stack([x(2, 3), x(2, 4)]),
        ValueError,
        r"stack of shapes \(2, 3\) and \(2, 4\): .*same shape",
    ),
    "nothing to concatenate": (lambda: minigrad.concat([]), ValueError, r"concat: needs at least one"),
    "nothing to stack": (lambda: minigrad.stack([]), ValueError, r"stack: needs at least one"),
    "parts without axes": (lambda: minigrad.concat([x(), x()]), ValueError, r"concat of shapes \(\) and \(\): "),
    # axes
    "sum over an axis that is not there": (
        lambda: x(2, 3).sum(axis=2),
        ValueError,
        r"sum of shape \(2, 3\): axis 2 is",
    ),
    "mean": (lambda: x(2, 3).mean(axis=-3), ValueError, r"mean of shape \(2, 3\): axis -3 is out of bounds"),
    "var": (lambda: x(2, 3).var(axis=(0, 2)), ValueError, r"var of shape \(2, 3\): axis 2 is out of bounds"),
    "max": (lambda: x(2, 3).max(axis=5), ValueError, r"max of shape \(2, 3\): axis 5 is out of bounds"),
    "min": (lambda: x(2, 3).min(axis=5), ValueError, r"min of shape \(2, 3\): axis 5 is out of bounds"),
    "an axis twice": (lambda: x(2, 3).sum(axis=(1, -1)), ValueError, r"sum of shape \(2, 3\): duplicate .*axis"),
    "an axis that is no integer": (lambda: x(2, 3).sum(axis=1.0), TypeError, r"sum of shape \(2, 3\): "),
    "swapaxes": (lambda: x(2, 3).swapaxes(0, 2), ValueError, r"swapaxes of shape \(2, 3\): .*2 is out of bounds"),
    "transpose": (lambda: x(2, 3).transpose(0, 2), ValueError, r"transpose of shape \(2, 3\): axis 2 is out of bounds"),
    "transpose with too few axes": (
        lambda: x(2, 3).transpose(1),
        ValueError,
        r"transpose of shape \(2, 3\): axes don't",
    ),
    "transpose of no axes": (
        lambda: minigrad.transpose(x(), axes=(0,)),
        ValueError,
        r"transpose of shape \(\): ",
    ),
    "mT of a vector": (lambda: x(3).mT, ValueError, r"swapaxes of shape \(3,\): .*out of bounds"),
    "concat": (
        lambda: minigrad.concat([x(2, 3), x(2, 3)], axis=2),
        ValueError,
        r"concat of shapes \(2, 3\) and \(2, 3\): axis 2 is out of bounds",
    ),
    "stack": (
        lambda: minigrad.stack([x(2, 3), x(2, 3)], axis=3),
        ValueError,
        r"stack of shapes \(2, 3\) and \(2, 3\): axis 3 is out of bounds",
    ),
    # indices
    "an index out of range": (lambda: x(2, 3)[2], IndexError, r"getitem of shape \(2, 3\): index 2 is out of bounds"),
    "an index array out of range": (
        lambda: x(2, 3)[np.array([0, 5])],
        IndexError,
        r"getitem of shape \(2, 3\): index 5 is out of bounds",
    ),
    "too many indices": (lambda: x(2, 3)[0, 0, 0], IndexError, r"getitem of shape \(2, 3\): too many indices"),
    "an index that is no integer": (lambda: x(2, 3)[1.5], IndexError, r"getitem of shape \(2, 3\): only integers"),
    "a boolean index of another shape": (
        lambda: x(2, 3)[np.array([True, False, True])],
        IndexError,
        r"getitem of shape \(2, 3\): boolean index did not match",
    ),
    "an id past the table": (
        lambda: minigrad.embedding(x(4, 2), [[0, 4]]),
        IndexError,
        r"embedding of shapes \(4, 2\) and .*: index 4 is outside a table of 4 rows: indices go from 0 to 3",
    ),
    "a negative id": (lambda: minigrad.embedding(x(4, 2), [-1]), IndexError, r"embedding of .*: index -1 is outside"),
    "ids that are floats": (
        lambda: minigrad.embedding(x(4, 2), np.array([1.0])),
        TypeError,
        r"embedding of shapes \(4, 2\) and \(1,\): indices must be integers, not float64: use \.astype\(int\)",
    ),
    # losses
    "a target out of the vocabulary": (
        lambda: minigrad.cross_entropy(x(2, 3), [0, 3]),
        IndexError,
        r"cross_entropy of shapes \(2, 3\) and .*: target 3 is outside the vocabulary: with 3 classes, 0 to 2",
    ),
    "a negative target": (
        lambda: minigrad.cross_entropy(x(2, 3), [0, -100]),
        IndexError,
        r"cross_entropy of .*: target -100 is outside",
    ),
    "an ignored index that is not this target": (
        lambda: minigrad.cross_entropy(x(2, 3), [-1, -100], ignore_index=-100),
        IndexError,
        r"cross_entropy of .*: target -1 is outside",
    ),
    "targets of the wrong shape": (
        lambda: minigrad.cross_entropy(x(2, 3), np.array([[0], [1]])),
        ValueError,
        r"cross_entropy of shapes \(2, 3\) and \(2, 1\): .*targets of shape \(2,\), not \(2, 1\)",
    ),
    "targets that are floats": (
        lambda: minigrad.cross_entropy(x(2, 3), np.array([0.0, 1.0])),
        ValueError,
        r"cross_entropy of .*: floats as targets are probabilities, of the shape \(2, 3\).* not \(2,\).*astype\(int\)",
    ),
    "an unknown reduction": (
        lambda: minigrad.cross_entropy(x(2, 3), [0, 1], reduction="avg"),
        ValueError,
        r"cross_entropy of .*: reduction is 'mean', 'sum' or 'none', not 'avg'",
    ),
    "label smoothing beyond 1": (
        lambda: minigrad.cross_entropy(x(2, 3), [0, 1], label_smoothing=1.5),
        ValueError,
        r"cross_entropy of .*: .*label_smoothing",
    ),
    "logits without classes": (
        lambda: minigrad.cross_entropy(x(2, 0), [0, 1]),
        (ValueError, IndexError),
        "cross_entro",
    ),
    # normalization
    "layer_norm of nothing": (
        lambda: minigrad.layer_norm(x(2, 0)),
        ValueError,
        r"layer_norm of shape \(2, 0\): .*last",
    ),
    "layer_norm of a number": (lambda: minigrad.layer_norm(x()), ValueError, r"layer_norm of shape \(\): .*last axis"),
    "a weight of another length": (
        lambda: minigrad.layer_norm(x(2, 3), x(2)),
        ValueError,
        r"layer_norm of shapes \(2, 3\) and \(2,\): needs a weight of shape \(3,\), not \(2,\)",
    ),
    # reductions of nothing
    "the mean of nothing": (lambda: x(0).mean(), ValueError, r"mean of shape \(0,\): there is no mean of no elements"),
    "the variance of nothing": (lambda: x(2, 0).var(axis=1), ValueError, r"var of shape \(2, 0\): there is no"),
    "the maximum of nothing": (lambda: x(2, 0).max(axis=1), ValueError, r"max of shape \(2, 0\): "),
    "the minimum of nothing": (lambda: x(0).min(), ValueError, r"min of shape \(0,\): "),
    # attention
    "queries and keys of different width": (
        lambda: minigrad.attention(x(3, 4), x(5, 2), x(5, 2)),
        ValueError,
        r"attention of shapes \(3, 4\) and \(5, 2\) and \(5, 2\): needs q \(\.\.\., Tq, d\), k \(\.\.\., Tk, d\)",
    ),
    "more values than keys": (
        lambda: minigrad.attention(x(3, 4), x(5, 4), x(6, 4)),
        ValueError,
        r"attention of shapes .*: needs q",
    ),
    "attention of vectors": (
        lambda: minigrad.attention(x(4), x(4), x(4)),
        ValueError,
        r"attention of shapes .*: needs q",
    ),
    "batches of different size": (
        lambda: minigrad.attention(x(2, 3, 4), x(3, 5, 4), x(3, 5, 4)),
        ValueError,
        r"attention of shapes \(2, 3, 4\) and \(3, 5, 4\)",
    ),
    "attention over an empty sequence": (
        lambda: minigrad.attention(x(3, 4), x(0, 4), x(0, 4)),
        ValueError,
        r"attention of shapes .*: the sequence is empty",
    ),
    "attention from an empty sequence": (
        lambda: minigrad.attention(x(0, 4), x(3, 4), x(3, 4)),
        ValueError,
        r"attention of shapes .*: the sequence is empty",
    ),
    "attention of width 0": (
        lambda: minigrad.attention(x(3, 0), x(3, 0), x(3, 4)),
        ValueError,
        r"attention of shapes .*: ",
    ),
    "an attention mask of the wrong shape": (
        lambda: minigrad.attention(x(2, 3, 4), x(2, 5, 4), x(2, 5, 4), mask=np.full((5, 3), True)),
        ValueError,
        r"attention of shapes .*: a mask of shape \(5, 3\) does not broadcast to scores of shape \(2, 3, 5\)",
    ),
    "an attention mask of numbers": (
        lambda: minigrad.attention(x(3, 4), x(3, 4), x(3, 4), mask=np.tri(3)),
        TypeError,
        r"attention of shapes .*: a mask is boolean, True where attention is allowed, not float64",
    ),
    "causal attention over another sequence": (
        lambda: minigrad.attention(x(5, 4), x(3, 4), x(3, 4), causal=True),
        ValueError,
        r"attention of shapes .*: causal=True takes the queries for the last of the positions.*: 5 and 3",
    ),
    "a window over another sequence": (
        lambda: minigrad.tiled_attention(x(5, 4), x(3, 4), x(3, 4), window=2),
        ValueError,
        r"tiled_attention of shapes .*: window takes the queries for the last of the positions.*: 5 and 3",
    ),
    "a window of nothing": (
        lambda: minigrad.tiled_attention(x(3, 4), x(3, 4), x(3, 4), window=0),
        ValueError,
        r"tiled_attention of shapes .*: window must be an integer of at least 1, not 0",
    ),
    "a mask of an empty window": (
        lambda: minigrad.window_mask(3, 0),
        ValueError,
        r"window_mask: window must be an integer of at least 1, not 0",
    ),
    "a tile of nothing": (
        lambda: minigrad.tiled_attention(x(3, 4), x(3, 4), x(3, 4), tile=0),
        ValueError,
        r"tiled_attention of shapes .*: tile must be an integer of at least 1, not 0",
    ),
    "a mask of the wrong shape for tiles": (
        lambda: minigrad.tiled_attention(x(2, 3, 4), x(2, 5, 4), x(2, 5, 4), mask=np.full((5, 3), True)),
        ValueError,
        r"tiled_attention of shapes .*: a mask of shape \(5, 3\) does not broadcast to scores of shape \(2, 3, 5\)",
    ),
    # recurrent
    "a gru whose weight has room for two gates": (
        lambda: minigrad.gru(x(2, 5, 9), x(2, 3), x(3, 6)),
        ValueError,
        r"gru of shapes \(2, 5, 9\) and \(2, 3\) and \(3, 6\).*: "
        r"needs x \(\.\.\., T, 3d\), h \(\.\.\., d\) and weight \(d, 3d\)",
    ),
    "a gru of x before its linear": (
        lambda: minigrad.gru(x(2, 5, 3), x(2, 3), x(3, 9)),
        ValueError,
        r"gru.*needs x \(",
    ),
    "a gru of a single step": (lambda: minigrad.gru(x(9), x(3), x(3, 9)), ValueError, r"gru of shapes .*: needs x \("),
    "a gru with a state of another size": (
        lambda: minigrad.gru(x(2, 5, 9), x(2, 4), x(3, 9)),
        ValueError,
        r"gru of shapes .*: needs x \(\.\.\., T, 3d\), h \(\.\.\., d\)",
    ),
    "a gru with states for another batch": (
        lambda: minigrad.gru(x(2, 5, 9), x(4, 3), x(3, 9)),
        ValueError,
        r"gru of shapes .*: for this x needs an h of shape \(2, 3\), or one that broadcasts to it",
    ),
    "a gru with the biases of all gates": (
        lambda: minigrad.gru(x(2, 5, 9), x(2, 3), x(3, 9), x(9)),
        ValueError,
        r"gru of shapes .*: needs a bias of shape \(3,\), for the candidate alone: the gates' biases belong in x",
    ),
    "a gru of nothing": (
        lambda: minigrad.gru(x(2, 0, 9), x(2, 3), x(3, 9)),
        ValueError,
        r"gru of shapes .*: the sequence is empty: there is no state to return",
    ),
    "a gru mask of the wrong shape": (
        lambda: minigrad.gru(x(2, 5, 9), x(2, 3), x(3, 9), mask=np.full((5, 2), True)),
        ValueError,
        r"gru of shapes .*: a mask of shape \(5, 2\) does not broadcast to positions of shape \(2, 5\)",
    ),
    "a gru mask of numbers": (
        lambda: minigrad.gru(x(2, 5, 9), x(2, 3), x(3, 9), mask=np.ones((2, 5))),
        TypeError,
        r"gru of shapes .*: a mask is boolean, .*not float64",
    ),
    # static arguments
    "top 0": (
        lambda: minigrad.top_k_softmax(x(3), k=0),
        ValueError,
        r"top_k_softmax of shape \(3,\): k must be an integer of at least 1, not 0",
    ),
    "dropping everything": (
        lambda: minigrad.dropout(x(3), p=1.0, rng=np.random.default_rng(0)),
        ValueError,
        r"dropout of shape \(3,\): .*0 <= p < 1, not 1\.0",
    ),
    "a temperature of 0": (
        lambda: minigrad.gumbel_softmax(x(3), rng=np.random.default_rng(0), tau=0.0),
        ValueError,
        r"gumbel_softmax of shape \(3,\): .*tau > 0, not 0\.0",
    ),
    "clip without bounds": (lambda: minigrad.clip(x(3)), ValueError, r"clip of shape \(3,\): needs low, high or both"),
    "a reward for each choice, in another shape": (  # (2,) and (2, 1) would broadcast to all pairs
        lambda: minigrad.reinforce(x(2), np.ones((2, 1))),
        ValueError,
        r"reinforce.*\(2,\).*\(2, 1\)",
    ),
    # arguments
    "too many arguments": (lambda: minigrad.exp(x(3), x(3)), TypeError, r"exp.* takes 1 array"),
    "too few arguments": (lambda: minigrad.add(x(3)), TypeError, r"add.*needs b"),
    "no arguments": (lambda: minigrad.softmax(), TypeError, r"softmax.*needs x"),
    "an unknown keyword": (lambda: minigrad.softmax(x(3), dim=0), TypeError, r"softmax of shape \(3,\): .*'dim'"),
    "an argument given twice": (
        lambda: minigrad.add(x(3), x(3), b=x(3)),
        TypeError,
        r"add of shapes .*: 'b' is given twice",
    ),
    "None": (lambda: x(3) + None, TypeError, r"add of shape \(3,\)"),
    "a string": (lambda: x(3) * "2", TypeError, r"mul of shapes? \(3,\).*: cannot compute with <U1"),
    "complex numbers": (lambda: x(3) * 1j, TypeError, r"mul of .*: cannot compute with complex128"),
}


@pytest.mark.parametrize("what", OPS_REFUSE)
def test_ops_say_what_is_wrong_where_and_with_which_shapes(what):
    call, kind, message = OPS_REFUSE[what]
    with pytest.raises(kind) as caught:
        call()
    assert re.search(message, str(caught.value)), str(caught.value)


def test_errors_of_ops_name_the_module_they_happened_in():
    for what in ("a matmul that does not fit", "an id past the table", "ids that are floats"):
        call, kind, message = OPS_REFUSE[what]
        with pytest.raises(kind, match=r"^in blocks\.0\.attn: " + message):
            in_scope("blocks.0.attn", call)
        assert current_scope() == ""


def test_an_error_leaves_graph_and_gradients_usable():
    t = x(2, 3)
    h = minigrad.exp(t)
    for what in ("shapes that don't broadcast", "an id past the table"):
        with pytest.raises(OPS_REFUSE[what][1]):
            OPS_REFUSE[what][0]()
    with pytest.raises(ValueError):
        _ = h @ h
    with pytest.raises(ValueError):
        h.backward()
    h.sum().backward()
    assert_close(t.grad, np.exp(t.data), 1e-14)


# --- scores and masks --------------------------------------------------------------------------------------------

every_map = pytest.mark.parametrize("name", SCORE_MAPS)


@every_map
def test_a_mask_of_the_wrong_shape_is_refused(name):
    for shape in [(4,), (3, 2), (2, 2, 3)]:
        with pytest.raises(ValueError) as caught:
            SCORE_MAPS[name](x(2, 3), mask=np.full(shape, True))
        expected = f"{name} of shape (2, 3): a mask of shape {shape} does not broadcast to scores of shape (2, 3)"
        assert str(caught.value) == expected


@every_map
def test_a_mask_that_is_not_boolean_is_refused(name):
    for mask in (np.ones(3), np.array([0, 1, 1]), np.array([0.0, -np.inf, 0.0]), Tensor(np.ones(3))):
        with pytest.raises(
            TypeError, match=rf"^{name} of shape \(2, 3\): a mask is boolean, True .*mask == 0 for a mask of 0 and -inf"
        ):
            SCORE_MAPS[name](x(2, 3), mask=mask)


@every_map
def test_an_axis_out_of_range_is_refused(name):
    for axis in (2, -3):
        with pytest.raises(ValueError, match=rf"^{name} of shape \(2, 3\): axis {axis} is out of bounds"):
            SCORE_MAPS[name](x(2, 3), axis=axis)


@every_map
def test_an_empty_sequence_is_refused(name):
    with pytest.raises(ValueError, match=rf"^{name} of shape \(2, 0\): there are no scores: the sequence is empty"):
        SCORE_MAPS[name](x(2, 0))


@every_map
def test_a_single_score_without_an_axis_counts_as_a_row_of_one_or_is_refused(name):
    try:
        y = SCORE_MAPS[name](x())
    except ValueError as error:
        assert str(error).startswith(f"{name} of shape (): ")
    else:
        assert y.shape == () and y.item() == SCORE_MAPS[name](x(1)).data.item()


@pytest.mark.parametrize("mask", [None, np.array([True, False, True])])
@every_map
def test_integer_scores_count_as_floats_or_are_refused_by_name(name, mask):
    for scores in (np.array([[1, 5, 2]]), Tensor(np.array([[1, 5, 2]]))):
        try:
            y = SCORE_MAPS[name](scores, mask=mask)
        except TypeError as error:
            assert str(error).startswith(f"{name} of shape (1, 3): ") and "ufunc" not in str(error)
        else:
            expected = SCORE_MAPS[name](np.array([[1.0, 5.0, 2.0]]), mask=mask)
            assert_close(y.data, expected.data, 1e-6)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_weights_refuse_what_attention_refuses(causal):
    square = x(3, 4)
    for mask in (np.ones((3, 3)), np.tri(3, dtype=int)):
        with pytest.raises(TypeError, match="a mask is boolean"):
            minigrad.attention_weights(square, square, mask=mask, causal=causal)
    with pytest.raises(ValueError, match=r"shape \(2, 2\).*does not broadcast|could not be broadcast"):
        minigrad.attention_weights(square, square, mask=np.full((2, 2), True), causal=causal)
    with pytest.raises(ValueError, match=r"of shapes"):
        minigrad.attention_weights(x(3, 4), x(3, 2), causal=causal)
    with pytest.raises(ValueError, match=r"the sequence is empty"):
        minigrad.attention_weights(x(3, 4), x(0, 4))


@pytest.mark.parametrize("lengths", [[4], [-1], [1.5], np.array([True, False])])
def test_length_mask_needs_integer_lengths_that_fit(lengths):
    with pytest.raises(ValueError, match=r"length_mask needs integer lengths from 0 to 3"):
        minigrad.length_mask(lengths, 3)
