"""The GPT: its first weights, what it sees and learns, and how it generates."""

import dataclasses
import math

import numpy as np
import pytest
from tiny import TINY, tensor

from agreement import assert_close
from minigrad import Tensor, cross_entropy, softmax
from minigrad.nn import GPT, GPTConfig
from minigrad.optim import SGD

# --- the model ---------------------------------------------------------------------------------------------------


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
    assert_close(one[:2], two[:2], 1e-12)
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


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"block_size": 0}, "block_size must be an integer of at least 1, not 0"),
        ({"n_layers": -1}, "n_layers must be an integer of at least 0, not -1"),
        ({"d_model": 8.0}, r"d_model must be an integer of at least 1, not 8\.0"),
        ({"n_heads": 3}, "d_model = 8 cannot be split evenly among n_heads = 3"),
        ({"dropout": 1.5}, r"dropout must be a number from 0 to below 1, not 1\.5"),
        ({"dropout": math.nan}, "dropout must be .*, not nan"),
        ({"dropout": "0.1"}, "dropout must be .*, not '0.1'"),
        ({"normalize": "soft"}, "no normalizer 'soft', .* there are softmax, hardmax"),
        ({"normalize": None}, "no normalizer None"),
    ],
)
def test_a_config_that_no_gpt_can_have_is_refused_at_once(setting, says):
    with pytest.raises(ValueError, match=says):
        dataclasses.replace(TINY, **setting)


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


# --- generating --------------------------------------------------------------------------------------------------


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
        ({"top_k": 0}, "a top_k of at least 1, an integer .*, not 0"),
        ({"top_k": 2.0}, "a top_k of at least 1, an integer .*, not 2.0"),
        ({"n": 1.5}, "cannot append 1.5 ids"),
        ({"n": -1}, "cannot append -1 ids"),
        ({"prompt": []}, "prompt of at least one id"),
    ],
)
def test_generate_refuses_bad_settings(rng, arguments, says):
    with pytest.raises(ValueError, match=says):
        GPT(TINY, rng).generate(**({"prompt": [1], "n": 2} | arguments))
