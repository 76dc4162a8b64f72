"""What a BERT holds: which words lie close in its input table, where its heads look, how alike it finds sentences."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad import Tensor, nn, pretrained

SENTENCE = "My grandmother bakes incredible cookies"
ALIKE = [
    "Grandma makes wonderful biscuits",
    "My grandmother repairs incredible motorcycles",
    "Stock markets fell sharply",
]
WORDS = ["grandmother", "cookies", "king", "incredible"]
# Subject, verb, object; and without a verb, another word in its place. The head is chosen on the first four.
PHRASES = [
    ("My grandmother bakes incredible cookies", "My grandmother and incredible cookies"),
    ("My brother repairs old bicycles", "My brother with old bicycles"),
    ("The teacher reads long letters", "The teacher without long letters"),
    ("Her uncle paints wooden houses", "Her uncle near wooden houses"),
    ("The farmer sells fresh apples", "The farmer and fresh apples"),
    ("Our neighbor cleans dirty windows", "Our neighbor behind dirty windows"),
    ("The doctor writes short reports", "The doctor with short reports"),
    ("His sister collects rare stamps", "His sister without rare stamps"),
]

# --- 1. words ---------------------------------------------------------------------------------------------------------


def neighbours(model: nn.BERT, tokenizer: pretrained.Tokenizer) -> dict[str, Any]:
    """The five nearest words in the input table, by cosine after its mean is removed; and what chance gives."""
    names = tokenizer.tokens(range(len(tokenizer)))
    words = np.array([i for i, name in enumerate(names) if name.isalpha() and len(name) > 1])
    rows = model.token_embedding.weight.data[words]
    rows = rows - rows.mean(0)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    place = {names[i]: at for at, i in enumerate(words)}

    def nearest(vector: np.ndarray, without: str = "") -> list[tuple[str, float]]:
        cosines = rows @ (vector / np.linalg.norm(vector))
        best = [i for i in np.argsort(-cosines)[:7] if names[words[i]] != without]
        return [(names[words[i]], round(float(cosines[i]), 2)) for i in best[:5]]

    pairs = np.random.default_rng(0).integers(0, len(rows), (2, 20_000))
    chance = np.vecdot(rows[pairs[0]], rows[pairs[1]])
    analogy = rows[place["king"]] - rows[place["man"]] + rows[place["woman"]]
    return {
        "nearest": {word: nearest(rows[place[word]], word) for word in WORDS if word in place},
        "king - man + woman": nearest(analogy),
        "chance": [round(float(chance.mean()), 2), round(float(chance.std()), 2)],
    }


# --- 2. heads ---------------------------------------------------------------------------------------------------------


def by_word(weights: np.ndarray, tokens: list[str]) -> tuple[np.ndarray, list[str]]:
    """Pieces joined into words ('ba' + '##kes'): weights to a word are summed, those from it averaged."""
    word_of = np.cumsum([not token.startswith("##") for token in tokens]) - 1
    member = np.eye(word_of[-1] + 1)[word_of]  # (pieces, words)
    words = [
        "".join(t.removeprefix("##") for t, w in zip(tokens, word_of, strict=True) if w == i) for i in set(word_of)
    ]
    return (member / member.sum(0)).T @ weights @ member, words


def heads(model: nn.BERT, tokenizer: pretrained.Tokenizer) -> dict[str, Any]:
    """All heads on the sentence, [CLS]'s share of each layer, and the head that looks from object to verb the most."""
    ids, _ = tokenizer(SENTENCE)
    weights, words = by_word(model.attention_weights(ids), tokenizer.tokens(ids))
    looks = np.array([[object_to_verb(model, tokenizer, phrase) for phrase in pair] for pair in PHRASES])
    chosen = np.unravel_index(looks[:4, 0].mean(0).argmax(), looks.shape[2:])  # on four sentences; judged on the others
    with_verb, without = looks[4:, 0, *chosen].mean(), looks[4:, 1, *chosen].mean()
    return {
        "words": words,
        "weights": np.round(weights, 3).tolist(),
        "to [CLS], by layer": [round(100 * float(layer[:, 1:-1, 0].mean()), 1) for layer in weights],
        "previous word": best_previous(weights),
        "object to verb": {"head": [int(i) for i in chosen], "verb": float(with_verb), "other word": float(without)},
    }


def object_to_verb(model: nn.BERT, tokenizer: pretrained.Tokenizer, phrase: str) -> np.ndarray:
    """(layers, heads): the weight from the last word to the third."""
    ids, _ = tokenizer(phrase)
    weights, _ = by_word(model.attention_weights(ids), tokenizer.tokens(ids))
    return weights[:, :, -2, 3]


def best_previous(weights: np.ndarray) -> dict[str, Any]:
    """The head that looks the most at the word before."""
    shares = np.diagonal(weights, offset=-1, axis1=-2, axis2=-1)[..., 1:].mean(-1)
    layer, head = np.unravel_index(shares.argmax(), shares.shape)
    return {"head": [int(layer), int(head)], "share": round(float(shares.max()), 3)}


# --- 3. sentences -----------------------------------------------------------------------------------------------------


def embed(model: nn.BERT, ids: np.ndarray, key_mask: np.ndarray) -> Tensor:
    """One vector of length 1 for each text: the mean over its tokens. (B, d_model)"""
    hidden = model(ids, key_mask=key_mask) * key_mask[..., None]
    mean = hidden.sum(axis=1) / key_mask.sum(1, keepdims=True)
    return mean / ((mean * mean).sum(axis=-1, keepdims=True) + 1e-24).sqrt()


def alike(model: nn.BERT, tokenizer: pretrained.Tokenizer) -> dict[str, float]:
    vectors = embed(model, *tokenizer([SENTENCE, *ALIKE])).data
    return {text: round(float(vectors[0] @ other), 2) for text, other in zip(ALIKE, vectors[1:], strict=True)}
