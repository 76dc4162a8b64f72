"""Multi-head attention with every map, and the block."""

import functools

import numpy as np
import pytest
from tiny import TINY, tensor

from agreement import assert_all_close, assert_close
from minigrad import Tensor, causal_mask, gumbel_softmax, length_mask, softmax, straight_through
from minigrad.nn import GPT, MAPS, Block, MultiHeadAttention


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
    assert_close(y.data, expected.detach().numpy(), 1e-13)
    assert_close(ours.weights(x, context, mask=mask), weights.detach().numpy(), 1e-13)

    u = rng.standard_normal(y.shape)
    y.backward(u)
    expected.backward(torch.tensor(u))
    assert_close(x.grad, xt.grad.numpy(), 1e-13)
    if kind == "cross":
        assert_close(context.grad, ct.grad.numpy(), 1e-13)
    assert_close(ours.query.weight.grad, theirs.in_proj_weight.grad.numpy()[:8].T, 1e-13)


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
    assert_all_close(fused, composed, 1e-13)  # the gradient of the key bias is 0


@pytest.mark.parametrize("name", MAPS)
def test_masking_equals_deleting(rng, name):
    attn = attention_with(name)
    x, context = tensor(rng, 2, 5, 8), tensor(rng, 2, 6, 8)
    keep = np.array([True, False, True, True, False, True])
    masked = values_and_gradients(attn, x, context, mask=keep)
    attn.zero_grad()
    deleted = values_and_gradients(attn, x, Tensor(context.data[:, keep]))
    assert_all_close(masked, deleted, 1e-13)


@pytest.mark.parametrize("name", MAPS)
def test_later_positions_do_not_matter_when_causal(rng, name):
    attn = attention_with(name, causal=True)
    x = rng.standard_normal((2, 5, 8))
    changed = x.copy()
    changed[:, 3:] += 1
    one, two = attn(Tensor(x)).data, attn(Tensor(changed)).data
    assert_close(one[:, :3], two[:, :3], 1e-13)
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
    if name != "softmax1":  # whose weights may sum to less
        np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-10)
    assert not weights[..., ~causal_mask(5)].any()
    v = attn.value(x).data.reshape(2, 5, 2, 4).swapaxes(1, 2)
    heads = (weights @ v).swapaxes(1, 2).reshape(2, 5, 8)
    assert_close(attn(x).data, heads @ attn.out.weight.data + attn.out.bias.data, 1e-13)


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
    assert_close(attn(x[1, 2]).data, y[1, 2], 1e-13)


def test_one_sequence_may_attend_to_a_batch_of_contexts(rng):
    attn, x, context = attention_with(), tensor(rng, 4, 8), tensor(rng, 3, 5, 8)
    mask = length_mask(np.array([5, 2, 3]), 5)
    y = attn(x, context, mask=mask).data
    for b in range(3):
        assert_close(y[b], attn(x, context[b], mask=mask[b]).data, 1e-13)


def test_weights_are_dropped_only_in_training(rng):
    x = tensor(rng, 2, 5, 8)
    plain, dropping = attention_with(), attention_with(dropout=0.5)
    assert not np.allclose(dropping(x).data, plain(x).data)
    np.testing.assert_array_equal(dropping.eval()(x).data, plain(x).data)
    np.testing.assert_allclose(dropping.train().weights(x).sum(-1), 1, rtol=1e-10)


def test_bad_attention_is_refused_in_words(rng):
    with pytest.raises(ValueError, match="d_model = 8 cannot be split evenly among n_heads = 3"):
        MultiHeadAttention(8, 3)
    with pytest.raises(ValueError, match=r"no normalizer 'softmin'.*softmax, hardmax, uniform, sum_normalize"):
        MultiHeadAttention(8, 2, normalize="softmin")
    attn, x = attention_with(), tensor(rng, 2, 5, 8)
    with pytest.raises(ValueError, match="the sequence is empty"):
        attn(tensor(rng, 2, 0, 8))
    with pytest.raises(ValueError, match=r"\(2, 0, 8\): the sequence is empty"):
        attn(x, tensor(rng, 2, 0, 8))
    with pytest.raises(ValueError, match=r"of shapes \(8,\).*needs q \(\.\.\., Tq, d\)"):
        attn(tensor(rng, 8))
    with pytest.raises(ValueError, match=r"mask of shape \(4, 5\) does not broadcast .* \(2, 2, 5, 5\)"):
        attn(x, mask=np.ones((4, 5), bool))
    with pytest.raises(TypeError, match=r"a mask is boolean.*float64"):
        attn(x, mask=np.ones((5, 5)))
    with pytest.raises(ValueError, match="more queries than keys, as here: 5 and 4"):
        attention_with(causal=True)(x, tensor(rng, 2, 4, 8))
    with pytest.raises(ValueError, match=r"key_mask of shape \(5, 2\) .* the shape \(2, 5\)"):
        attn(x, key_mask=np.ones((5, 2), bool))
    with pytest.raises(ValueError, match=r"in blocks\.0\.attn: attention .* a mask of shape \(4, 5\)"):
        GPT(TINY, rng).blocks[0](x, mask=np.ones((4, 5), bool))


@pytest.mark.parametrize("normalize", ["softmax", "hardmax"])  # in one node, and in plain ops
def test_bad_masks_are_refused_alike_by_every_normalizer(rng, normalize):
    attn, x = attention_with(normalize=normalize), tensor(rng, 2, 5, 8)
    with pytest.raises(ValueError, match=r"mask of shape \(4, 5\) does not broadcast .* \(2, 2, 5, 5\)"):
        attn(x, mask=np.ones((4, 5), bool))
    with pytest.raises(TypeError, match=r"a mask is boolean.*float64"):
        attn(x, mask=np.ones((5, 5)))


@pytest.mark.parametrize("normalize", ["softmax", "sparsemax", "sigmoid_normalize"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_nan_that_no_query_may_attend_to_stays_there(rng, normalize, dropout):
    attn = attention_with(normalize=normalize, dropout=dropout)
    x = tensor(rng, 1, 4, 8)
    context = np.concatenate([rng.normal(size=(1, 3, 8)), np.full((1, 1, 8), np.nan)], axis=1)
    y = attn(x, Tensor(context), mask=np.array([True, True, True, False]))
    assert np.isfinite(y.data).all()


def test_a_block_adds_attention_then_mlp(rng):
    block = Block(8, 2, causal=True, rng=rng).astype(np.float64)
    x = tensor(rng, 2, 5, 8)
    middle = x + block.attn(block.norm1(x))
    expected = middle + block.mlp(block.norm2(middle))
    np.testing.assert_array_equal(block(x).data, expected.data)
