"""The inputs on which each op is checked: by `python -m minigrad`, and by the tests.

    "mean": [case(X), case(X, axis=0, keepdims=True)]      means      mean(X) and mean(X, axis=0, keepdims=True)

An op is always called op(*arrays, **static), so a case is data: whoever has one can call the op with it, a damaged
version of the op, or PyTorch's. Small shapes, since gradcheck moves every element; away from kinks and ties, where
there is no derivative to check (what ops do there is a convention, and tested as one).
"""

from typing import Any

import numpy as np

from minigrad.finite_differences.case import Case as Case
from minigrad.finite_differences.case import case as case

# What an estimator's gradient is the gradient of: this op, with the same arrays and keywords, changed as said here.
STANDS_FOR: dict[str, tuple[str, dict[str, Any]]] = {
    "straight_through": ("softmax", {}),
    "gumbel_softmax": ("gumbel_softmax", {"hard": False}),
}


# --- numbers to use ----------------------------------------------------------------------------------------------

_rng = np.random.default_rng(0)


def _normal(*shape: int) -> Any:
    return _rng.normal(size=shape)


def _positive(*shape: int) -> Any:
    return _rng.uniform(0.5, 2, shape)


def _apart(*shape: int) -> Any:
    """Both signs, no two closer than 0.1, none closer to 0 than 0.03: no ties, and no kink of relu or abs nearby."""
    n = int(np.prod(shape))
    return ((_rng.permutation(n) - n // 2) * 0.1 + 0.03 + _rng.uniform(0, 0.01, n)).reshape(shape)


X = _normal(3, 4)
CUBE = _normal(2, 3, 4)
POSITIVE = _positive(3, 4)
APART = _apart(3, 4)
APART_CUBE = _apart(2, 3, 4)
LARGE = _normal(2, 4) + np.array([[300.0], [-300.0]])  # exp of these would overflow and underflow in float32

FAR = np.array([-30.0, -11.0, 9.0, 39.0])

PARTLY = np.array([[True, False, True, True], [False, True, True, False], [True, True, True, True]])
A_ROW_MASKED = np.array([[True, False, True, True], [False, False, False, False], [False, False, True, False]])
KEYS_MASKED = np.array([True, True, False, True])  # the same for every row


ZEROS = np.array([[0.5, 0.0, -1.5, 2.0], [0.0, 1.0, 0.0, 3.0], [1.0, 2.0, 0.5, -1.0]])  # in a row: one, two, none
SHARES = _positive(2, 3, 4)
SHARES /= SHARES.sum(-1, keepdims=True)


def _binary(a: Any, b: Any) -> list[Case]:
    """Both arguments of one shape, then broadcast in every way: a row, a column, a number, left and right, both."""
    return [
        case(a, b),
        case(a, b[0]),
        case(a[0], b),
        case(a, b[:, :1]),
        case(a[:, :1], b[0]),
        case(a[None], b[:, None]),
        case(a, b[0, 0]),
        case(2.5, b),
    ]


def _scores(x: Any, cube: Any) -> list[Case]:
    """For the normalizers, which turn scores into weights, and their relatives."""
    return [
        case(x),
        case(x, axis=0),
        case(x[0]),
        case(cube, axis=1),
        case(cube, axis=-3),
        case(x, mask=PARTLY),
        case(x, mask=A_ROW_MASKED),
        case(x, mask=KEYS_MASKED),
        case(x, mask=A_ROW_MASKED, axis=0),
        case(cube, mask=PARTLY),
        case(cube, mask=np.array([[[True]], [[False]]])),
        case(x[:, :1]),
    ]


def _reductions(x: Any, cube: Any) -> list[Case]:
    """Each kind of axis, with and without keepdims."""
    return [
        case(x),
        case(x, axis=0),
        case(x, axis=-1),
        case(x, axis=1, keepdims=True),
        case(x, keepdims=True),
        case(cube, axis=(0, 2)),
        case(cube, axis=(-1, 0), keepdims=True),
        case(cube, axis=(0, 1, 2)),
        case(cube, axis=-2),
        case(x[0]),
        case(x[:1], axis=0),
        case(x, axis=None),
    ]


def _indexed(*indices: Any) -> list[Case]:
    return [case(X, index=index) for index in indices]


Q, K, V = _normal(2, 3, 4), _normal(2, 5, 4), _normal(2, 5, 2)  # two entries, 3 queries, 5 keys
HEADS = [_normal(2, 2, 3, 4) for _ in "qkv"]  # batch, heads, positions, d_head
SOME_PAIRS = np.array(
    [[True, False, True, True, False], [False, True, True, True, False], [True, True, True, True, True]]
)
NO_LAST_KEY = np.array([True, True, True, True, False])
A_QUERY_MASKED = np.array([[[True], [False], [True]], [[True], [True], [False]]]) & NO_LAST_KEY
REAL_KEYS = np.array([[True, True, True, True, False], [False, True, True, False, True]])
LENGTHS = np.arange(5) < np.array([5, 2])[:, None, None]  # length_mask([5, 2], 5)

TARGETS = np.array([2, 0, 3])
PICKED = np.array([[0, 2], [2, 2], [1, 0]])  # row 2 three times, row 3 never


def _losses(logits: Any, targets: Any) -> list[Case]:
    return [
        case(logits, targets),
        case(logits, targets, reduction="none"),
        case(logits, targets, reduction="sum"),
        case(logits, targets, label_smoothing=0.1),
        case(logits, targets, ignore_index=2),
        case(logits, targets, ignore_index=2, reduction="sum", label_smoothing=0.1),
        case(logits, targets, ignore_index=0, label_smoothing=0.2, reduction="none"),
    ]


def _reduced(*arrays: Any, **static: Any) -> list[Case]:
    """With each way to make one loss of many."""
    return [case(*arrays, **static, reduction=reduction) for reduction in ("mean", "sum", "none")]


# --- the cases ---------------------------------------------------------------------------------------------------

CASES: dict[str, list[Case]] = {
    # elementwise
    "exp": [case(X), case(CUBE), case(X[0, 0])],
    "add": _binary(X, _normal(3, 4)),
    "sub": _binary(X, _normal(3, 4)),
    "mul": _binary(X, _normal(3, 4)),
    "div": _binary(X, POSITIVE) + _binary(X, -POSITIVE),
    "neg": [case(X), case(X[0, 0])],
    "pow": [
        *_binary(POSITIVE, _normal(3, 4)),
        case(X, np.array(2)),  # an integer exponent is a constant here, and the base may be negative
        case(X, np.array([3, 2, 1, 0])),
        case(POSITIVE, np.array([-1, -2, 1, 0])),
    ],
    "log": [case(POSITIVE), case(np.array([1e-5, 3e-5, 2e-5])), case(np.array([1e-5, 1.0, 1e3]), typical_size=1e-5)],
    "sqrt": [case(POSITIVE), case(np.array([1e-5, 1.0, 1e3]), typical_size=1e-5)],
    "tanh": [case(X), case(3 * CUBE)],
    "sigmoid": [case(X), case(10 * X), case(X[0, 0])],
    "relu": [case(APART), case(APART_CUBE)],
    "gelu": [
        *[case(x, approximate=how) for x in (X, 3 * CUBE, FAR) for how in ("tanh", "none")],
        case(X[0, 0]),
    ],
    "sin": [case(X), case(3 * CUBE)],
    "cos": [case(X), case(3 * CUBE), case(X[0, 0])],
    "erf": [case(X), case(CUBE), case(X[0, 0]), case(1e-3 * X)],
    "softplus": [case(X), case(10 * X), case(X[0, 0]), case(FAR)],
    "abs": [case(APART), case(APART_CUBE)],
    "maximum": _binary(APART, _apart(3, 4) + 0.04),
    "minimum": _binary(APART, _apart(3, 4) + 0.04),
    "where": [
        case(PARTLY, X, _normal(3, 4)),
        case(PARTLY, X, _normal(4)),
        case(PARTLY, _normal(3, 1), X),
        case(KEYS_MASKED, X, 0.5),
        case(PARTLY, 1.5, _normal(2, 3, 4)),
        case(np.array([[True], [False], [True]]), _normal(4), X),
    ],
    "clip": [
        case(APART, low=-0.2, high=0.3),
        case(APART, low=0.0),
        case(APART, high=0.0),
        case(APART_CUBE, low=-5, high=5),
    ],
    "dropout": [case(X, p=0.5, rng=0), case(CUBE, p=0.1, rng=1), case(X, p=0.0, rng=2)],
    # reduce
    "sum": [*_reductions(X, CUBE), case(X[0, 0])],
    "mean": [*_reductions(X, CUBE), case(X[0, 0])],
    "var": [*_reductions(X, CUBE), case(X[0, 0]), case(X + 100, axis=-1)],
    "prod": [*_reductions(APART, APART_CUBE), case(X[0, 0]), *[case(ZEROS, axis=axis) for axis in (None, 0, 1, ())]],
    "cumsum": [case(X), case(X, axis=0), case(CUBE, axis=-2), case(X[0]), case(X[0, 0]), case(X[:, :1], axis=1)],
    "max": [*_reductions(APART, APART_CUBE), case(APART[0, 0])],
    "min": [*_reductions(APART, APART_CUBE), case(APART[0, 0])],
    "logsumexp": [
        *_scores(X, CUBE),
        *[case(*c.arrays, **c.static, keepdims=True) for c in _scores(X, CUBE)],
        *_reductions(X, CUBE),
        case(LARGE),
    ],
    # shape
    "reshape": [case(X, shape=(2, 6)), case(X, shape=(-1,)), case(CUBE, shape=(6, 4)), case(X[0, :1], shape=())],
    "transpose": [
        case(X),
        case(CUBE),
        case(CUBE, axes=(1, 2, 0)),
        case(CUBE, axes=(-1, 0, 1)),
        case(_normal(2, 1, 3, 2), axes=(2, 0, 3, 1)),
    ],
    "swapaxes": [case(X, axis1=0, axis2=1), case(CUBE, axis1=-1, axis2=-2), case(CUBE, axis1=0, axis2=2)],
    "broadcast_to": [
        case(X[0], shape=(3, 4)),
        case(X[:, :1], shape=(3, 4)),
        case(X[:, None], shape=(2, 3, 5, 4)),
        case(X[0, 0], shape=(2, 2)),
        case(X, shape=(3, 4)),
    ],
    "astype": [case(X, dtype="float64"), case(X[0, 0], dtype="float64")],  # float32 is too coarse for differences
    "getitem": [
        *_indexed(0, -1, slice(1, 3), slice(None, None, -2), ..., None, (1, 2), (slice(None), 1)),
        *_indexed((..., 0), (slice(None), None, slice(0, 2)), (0, ..., None), ()),
        *_indexed([0, 0, 2], np.array([2, 0, 2, 2]), np.array([[1, 1], [0, -1]])),
        *_indexed((np.array([0, 0, 2]), np.array([1, 1, 3])), (np.array([[0], [2]]), np.array([0, 3, 3]))),
        *_indexed((slice(None), np.array([3, 3, 0])), (np.array([1, 1]), slice(1, 3)), (np.array([1, 1]), 2)),
        *_indexed(
            PARTLY, np.array([True, False, True]), (slice(None), KEYS_MASKED), (np.array([True, False, True]), 1)
        ),
        case(CUBE, index=(np.array([0, 1, 1]), slice(None), np.array([2, 0, 0]))),
        case(CUBE, index=(slice(None), PARTLY)),
    ],
    "concat": [
        case(X, _normal(2, 4)),
        case(X, _normal(3, 1), _normal(3, 2), axis=1),
        case(CUBE, _normal(2, 3, 1), axis=-1),
        case(CUBE, _normal(2, 1, 4), axis=-2),
        case(X),
        case(X, np.zeros((0, 4)), _normal(1, 4)),
    ],
    "stack": [case(X, _normal(3, 4)), case(X, _normal(3, 4), X, axis=1), case(X[0], _normal(4), axis=-1), case(X)],
    "embedding": [
        case(X, PICKED),
        case(X, np.array(1)),
        case(X, np.array([2, 2, 2])),
        case(_normal(1030, 1)[:, [0, 0]] + [0, 1], np.array([[1029, 5], [0, 5]])),  # large: summed row by row
        case(CUBE, np.array([1, 0, 1])),
    ],
    # linear
    "matmul": [
        case(X, _normal(4, 2)),
        case(_normal(3, 3), _normal(3, 3)),  # square: a missing transpose fits, and is wrong
        case(CUBE, _normal(2, 4, 3)),
        case(CUBE, _normal(4, 3)),
        case(X, _normal(2, 4, 3)),
        case(_normal(2, 1, 3, 2), _normal(3, 2, 2)),
        case(_normal(1, 4), _normal(4, 1)),
        case(X, X[0]),
        case(X[:, 0], X),
        case(X[0], X[1]),
        case(CUBE, X[0]),  # one vector for a batch of matrices
        case(X[:, 0], CUBE),
        case(_normal(3, 3), _normal(3)),
    ],
    "einsum": [
        case(X, _normal(4, 2), subscripts="ij,jk->ik"),
        case(X, _normal(4, 2), subscripts="ij,jk"),
        case(_normal(3, 3), _normal(3, 3), subscripts="ij,kj->ki"),  # square: any order of letters fits
        case(_normal(3, 3), _normal(3, 3), subscripts="ba,cb"),
        case(X[0], X[:, 0], subscripts="i,j->ij"),
        case(X, X + 1, subscripts="ij,ij->"),
        case(CUBE, X[0], subscripts="bij,k->ki"),  # b and j are the first's alone
        case(CUBE, _normal(2, 3, 5), subscripts="bij,bik->bjk"),
        case(2.0, X, subscripts=",ij->ji"),
        case(CUBE, subscripts="bij->jb"),
        case(X, subscripts="ij->"),
        case(X, X[0], X[:, 0], subscripts="ij,j,i->i"),
    ],
    "linear": [
        case(X, _normal(4, 2), _normal(2)),
        case(CUBE, _normal(4, 2), _normal(2)),
        case(_normal(4), _normal(4, 2), _normal(2)),
        case(_normal(2, 1, 3, 4), _normal(4, 4), _normal(4)),
        case(X, _normal(4, 2), None),
        case(CUBE, _normal(4, 4)),
    ],
    # softmax
    "softmax": [*_scores(X, CUBE), case(LARGE)],
    "log_softmax": [*_scores(X, CUBE), case(LARGE)],
    "cross_entropy": [
        *_losses(X, TARGETS),
        *_losses(CUBE, PICKED.T),
        *_losses(X[0], np.array(1)),
        case(X, np.array([-100, 1, -100]), ignore_index=-100),
        case(X, np.array([-1, -1, -1]), ignore_index=-1),  # nothing left to learn from: 0
        case(LARGE, np.array([1, 3])),
        *_reduced(X, None, SHARES[0]),
        *_reduced(CUBE, None, SHARES, label_smoothing=0.1),
        case(X[0], None, SHARES[0, 0]),
        case(X, None, 1.0005 * SHARES[0]),  # given probabilities round
        case(X, None, np.eye(4)[TARGETS]),
    ],
    "entropy": [case(SHARES), case(SHARES, axis=0), case(SHARES[0, 0]), case(POSITIVE, axis=-2)],
    # losses
    "binary_cross_entropy": [
        *_reduced(X, SHARES[0]),
        *_reduced(30 * X, SHARES[1]),
        case(X, PARTLY),
        case(X[0, 0], SHARES[0, 0, 0]),
    ],
    # layer_norm
    "layer_norm": [
        case(X, _normal(4), _normal(4)),
        case(CUBE, _normal(4), _normal(4)),
        case(X[0], _normal(4), _normal(4)),
        case(X),
        case(X, _normal(4)),
        case(X, None, _normal(4)),
        case(0.01 * X, _normal(4), _normal(4), eps=1e-3),
        case(X + 100, _normal(4), _normal(4)),
        case(np.array([[0.0, 1.0, 2.0], [-1.0, 0.0, 3.0]])),
    ],
    # normalizers
    "hardmax": _scores(APART, APART_CUBE),
    "uniform": _scores(X, CUBE),
    "sum_normalize": [*_scores(POSITIVE, _positive(2, 3, 4)), case(X), case(X, mask=PARTLY)],
    "sigmoid_normalize": [*_scores(X, CUBE), case(LARGE)],
    "top_k_softmax": [
        *[case(*c.arrays, **c.static, k=2) for c in _scores(APART, APART_CUBE)],
        *[case(APART, k=k) for k in (1, 3, 4, 9)],
        case(_apart(2, 6)),
        case(APART, k=2, axis=0),
    ],
    "sparsemax": _scores(X, CUBE) + _scores(0.3 * X, 0.3 * CUBE) + [case(5 * X), case(LARGE)],
    "softmax1": [*_scores(X, CUBE), case(5 * X), case(LARGE)],
    "entmax15": _scores(X, CUBE) + _scores(0.3 * X, 0.3 * CUBE) + [case(5 * X), case(LARGE)],
    # attention
    "attention": [
        case(Q, K, V),
        case(Q[0], K[0], V[0]),
        case(*HEADS),
        case(*HEADS, causal=True),
        case(_normal(3, 2), _normal(3, 2), _normal(3, 4), causal=True),
        case(Q, K, V, mask=SOME_PAIRS),
        case(Q, K, V, mask=NO_LAST_KEY),
        case(Q, K, V, mask=LENGTHS),
        case(Q, K, V, mask=A_QUERY_MASKED),
        case(Q, K, V, mask=np.full((3, 5), False)),
        case(*HEADS, mask=np.array([True, False, True]), causal=True),
        case(*HEADS, mask=np.array([False, True, True]), causal=True),  # the first query is left with nothing
        case(Q[:, None], K[None], V[None]),
        case(Q, K[0], V[0]),
        case(Q[0], K, V[0]),
        case(_normal(2, 1, 3, 4), _normal(2, 5, 4), _normal(5, 2), mask=SOME_PAIRS),
        case(Q, K[:, :1], V[:, :1]),  # one key: all the weight, whatever the score
        case(30 * Q, K, V),
        case(_normal(2, 3, 4), _normal(2, 5, 4), _normal(2, 5, 6), n_heads=2),
        case(_normal(3, 4), _normal(3, 4), _normal(3, 4), n_heads=2, causal=True),
        case(_normal(2, 3, 4), _normal(2, 5, 4), _normal(2, 5, 6), n_heads=2, mask=SOME_PAIRS),
        case(Q, K, V, causal=True),
        case(Q, K, V, key_mask=REAL_KEYS, scale=0.3),
        case(_normal(2, 3, 4), _normal(2, 5, 4), _normal(2, 5, 6), n_heads=2, key_mask=REAL_KEYS, causal=True),
    ],
    "tiled_attention": [
        case(Q, K, V),
        case(Q[0], K[0], V[0], tile=2),
        case(*HEADS, causal=True, tile=2),
        case(_normal(5, 2), _normal(5, 2), _normal(5, 4), causal=True, tile=2),
        case(_normal(5, 2), _normal(5, 2), _normal(5, 4), window=2, tile=2),
        case(_normal(5, 2), _normal(5, 2), _normal(5, 4), causal=True, window=3, tile=2),
        case(Q, K, V, mask=SOME_PAIRS, tile=2),
        case(Q, K, V, mask=LENGTHS, tile=3),
        case(Q, K, V, mask=A_QUERY_MASKED, tile=2),
        case(Q, K, V, mask=np.full((3, 5), False)),
        case(*HEADS, mask=np.array([False, True, True]), causal=True, tile=1),
        case(Q[:, None], K[None], V[None], tile=2),
        case(_normal(2, 1, 3, 4), _normal(2, 5, 4), _normal(5, 2), mask=SOME_PAIRS),
        case(30 * Q, K, V, tile=2),
        case(Q, K, V, causal=True, key_mask=REAL_KEYS, scale=0.3, tile=2),
        case(Q, K, V, window=3, tile=2),
    ],
    # recurrent
    "gru": [
        case(_normal(2, 3, 6), _normal(2, 2), _normal(2, 6), _normal(2)),
        case(_normal(4, 6), _normal(2), _normal(2, 6), _normal(2)),
        case(_normal(2, 1, 3, 6), _normal(1, 2), _normal(2, 6), _normal(2)),  # one h for the whole batch
        case(_normal(2, 3, 6), _normal(2, 2), _normal(2, 6)),
        case(_normal(3, 3), _normal(1), _normal(1, 3), None),
        case(_normal(2, 1, 6), _normal(2, 2), _normal(2, 6), _normal(2)),  # one step
        case(3 * _normal(2, 3, 6), _normal(2, 2), 3 * _normal(2, 6), _normal(2)),
        case(_normal(3, 4, 6), _normal(3, 2), _normal(2, 6), _normal(2), mask=A_ROW_MASKED),
        case(_normal(3, 4, 6), _normal(3, 2), _normal(2, 6), mask=PARTLY),
        case(_normal(2, 4, 6), _normal(2), _normal(2, 6), _normal(2), mask=KEYS_MASKED),
    ],
    # estimators
    "straight_through": [
        case(APART, differs=True),
        case(APART_CUBE, axis=1, differs=True),
        case(X, mask=PARTLY, differs=True),
    ],
    "gumbel_softmax": [
        case(X, rng=0, differs=True),
        case(CUBE, rng=1, tau=0.5, axis=1, differs=True),
        case(X, rng=2, mask=A_ROW_MASKED, differs=True),
        case(X, rng=3, hard=False),
        case(CUBE, rng=4, hard=False, tau=2.0, axis=-2),
        case(X, rng=5, hard=False, tau=0.7, mask=A_ROW_MASKED),
    ],
}
