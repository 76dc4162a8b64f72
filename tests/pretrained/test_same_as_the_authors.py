"""A BERT and a GPT-2 give what the `transformers` package gave: outputs, weights, gradients, tokens.

`bert/` and `gpt2/` hold tiny random models and its results; `make_models.py` made them.
"""

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest

import minigrad
from agreement import assert_close
from minigrad import nn

pytest.importorskip("safetensors", reason="pip install 'minigrad[pretrained]'")
pytest.importorskip("tokenizers", reason="pip install 'minigrad[pretrained]'")
from minigrad import pretrained
from minigrad.pretrained.names import BERT, GPT2, pairs

HERE = Path(__file__).parent


def expected(name):
    with np.load(HERE / name / "expected.npz") as file:
        return dict(file)


def bert():
    return nn.BERT.from_pretrained(HERE / "bert").astype(np.float64)


def gpt2():
    return nn.GPT.from_pretrained(HERE / "gpt2").astype(np.float64)


@pytest.mark.parametrize("page", [False, True], ids=["kernel", "page"])
def test_a_bert_gives_the_same_vectors_weights_and_gradients(page):
    model, theirs = bert(), expected("bert")
    ids, key_mask = theirs["ids"], theirs["key_mask"]
    with minigrad.textbook() if page else contextlib.nullcontext():
        hidden = model(ids, key_mask=key_mask, types=theirs["types"])
        pooled = model.pooled(hidden)
        assert_close(hidden.data[key_mask], theirs["hidden"][key_mask], 1e-12)
        assert_close(pooled.data, theirs["pooled"], 1e-12)
        ((hidden * theirs["cotangent"]).sum() + (pooled * theirs["pooled_cotangent"]).sum()).backward()
    check_gradients(model, theirs, BERT, 2, tolerance=1e-11)


def test_attention_weights_of_all_layers_come_in_one_call():
    model, theirs = bert(), expected("bert")
    ids, key_mask = theirs["ids"], theirs["key_mask"]
    weights = model.attention_weights(ids, key_mask=key_mask, types=theirs["types"])
    assert weights.shape == (2, len(ids), 2, ids.shape[1], ids.shape[1])  # layers, texts, heads, queries, keys
    real = np.broadcast_to(key_mask[:, None, :, None], weights.shape[1:])
    assert_close(weights[:, real], theirs["weights"][:, real], 1e-12)
    assert model.attention_weights(ids[0]).shape == (2, 2, ids.shape[1], ids.shape[1])
    theirs_gpt = expected("gpt2")
    assert_close(gpt2().attention_weights(theirs_gpt["ids"]), theirs_gpt["weights"], 1e-12)


def test_a_gpt2_gives_the_same_logits_and_gradients():
    model, theirs = gpt2(), expected("gpt2")
    logits = model(theirs["ids"])
    assert_close(logits.data, theirs["logits"], 1e-12)
    (logits * theirs["cotangent"]).sum().backward()
    check_gradients(model, theirs, GPT2, 2, tolerance=1e-11)


def check_gradients(model, theirs, architecture, n_layers, tolerance):
    """Every gradient in the file, compared with the one of the parameter that it is called here."""
    mine = dict(model.named_parameters())
    compared = 0
    for pair in pairs(architecture, n_layers):
        grad = theirs.get(f"grad {architecture.prefix}{pair.theirs}", theirs.get(f"grad {pair.theirs}"))
        if grad is None:
            assert pair.theirs == "lm_head.weight"  # tied: its gradient is part of the table's
            continue
        ours = np.concatenate([mine[name].grad for name in pair.ours], axis=-1)
        scale = max(np.abs(p.grad).max() for p in mine.values())
        assert np.abs(ours - (grad.T if pair.transposed else grad)).max() <= tolerance * scale, pair.theirs
        compared += 1
    assert compared == sum(name.startswith("grad ") for name in theirs)


@pytest.mark.parametrize("cache", [True, False])
def test_a_gpt2_continues_a_prompt_with_the_same_ids(cache):
    theirs = expected("gpt2")
    ids = gpt2().generate(theirs["greedy"][:, :4], 20, temperature=0, cache=cache)
    np.testing.assert_array_equal(ids, theirs["greedy"])


@pytest.mark.parametrize("model", ["bert", "gpt2"])
def test_texts_become_the_same_tokens(model):
    texts = json.loads((HERE / model / "texts.json").read_text(encoding="utf-8"))
    theirs = expected(model)
    tokenizer = pretrained.Tokenizer(HERE / model)
    if model == "bert":
        ids, key_mask = tokenizer(texts)
        np.testing.assert_array_equal(ids, theirs["ids"])
        np.testing.assert_array_equal(key_mask, theirs["key_mask"])
    else:
        for i, text in enumerate(texts):
            if text:
                np.testing.assert_array_equal(tokenizer(text)[0], theirs[f"tokens {i}"])
                assert tokenizer.decode(tokenizer(text)[0]) == text


# --- what hides ----------------------------------------------------------------


@pytest.mark.parametrize("part", ["query", "key", "value", "out"])
def test_a_forgotten_transpose_of_a_square_matrix_would_show(part):
    model, theirs = bert(), expected("bert")
    weight = getattr(model.blocks[1].attn, part).weight
    weight.data = weight.data.T.copy()
    assert difference(model, theirs) > 1e-2


@pytest.mark.parametrize("mistake", ["tanh for erf", "eps 1e-5 for 1e-12", "no segments", "no key mask", "pre-norm"])
def test_a_small_mistake_would_show(mistake):
    model, theirs = bert(), expected("bert")
    if mistake == "tanh for erf":
        model.blocks[0].mlp.approximate = "tanh"
    elif mistake == "eps 1e-5 for 1e-12":
        model.norm.eps = 1e-5
    elif mistake == "pre-norm":
        model.blocks[0].norm_first = True
    elif mistake == "no segments":
        theirs["types"] = None
    else:
        theirs["key_mask"] = None
    assert difference(model, theirs) > 1e-6


def difference(model, theirs):
    real = expected("bert")["key_mask"]
    hidden = model(theirs["ids"], key_mask=theirs["key_mask"], types=theirs["types"]).data
    return np.abs(hidden - theirs["hidden"])[real].max() / np.abs(theirs["hidden"]).max()


def test_without_a_mistake_nothing_shows():
    assert difference(bert(), expected("bert")) < 1e-12


def test_the_gradients_of_a_loaded_model_agree_with_finite_differences():
    model, theirs = bert(), expected("bert")
    ids, key_mask = theirs["ids"][:2], theirs["key_mask"][:2]
    u = np.random.default_rng(5).normal(size=(2, 16))

    def loss(model):
        return (model.pooled(model(ids, key_mask=key_mask)) * u).sum()

    small = [model.blocks[0].attn.query, model.blocks[1].norm2, model.pooler]
    for module in small:
        report = minigrad.gradcheck(lambda: loss(model), parameters=module)
        assert report.ok, report
