"""The language that translate.py learns: a small grammar makes English, its Spanish, and which word comes from which.

my grandmother bakes incredible cookies         English
mi abuela      hornea galletas increíbles       Spanish: the adjective follows its noun and agrees with it
0  1           2      4        3                the position of the English word that each comes from
"""

from __future__ import annotations

import functools
import itertools
import zlib
from typing import Any

import numpy as np

Word = tuple[str, tuple[int, ...]]  # a Spanish word, and the positions of the English words it comes from
Sentence = tuple[list[str], list[Word]]


def pairs(text: str) -> list[list[str]]:
    return [pair.split() for pair in text.split(", ")]


DETERMINERS = pairs("my mi, our nuestro, the lo")
PEOPLE = pairs("grandmother abuela, uncle tío, sister hermana, king rey, aunt tía, baker panadero, queen reina")
FOOD = pairs("cookie galleta, cake pastel, apple manzana, cheese queso, egg huevo, pear pera, pepper pimiento")
VERBS = pairs("bake hornear, buy comprar, prepare preparar, share compartir, hide esconder, sell vender, cut cortar")
OF_PEOPLE = pairs("old viejo, famous famoso, clever inteligente, kind amable, lazy perezoso")
OF_FOOD = pairs("incredible increíble, delicious delicioso, small pequeño, red rojo, sweet dulce")
CONJUNCTIONS = pairs("and y, but pero, while mientras, because porque")
EXAMPLE = "my grandmother bakes incredible cookies"


def agree(word: str, feminine: bool, plural: bool) -> str:
    """nuestro -> nuestra, nuestros, nuestras; the article: el, la, los, las."""
    if feminine and word.endswith("o"):
        word = word[:-1] + "a"
    if plural:
        return word + ("s" if word[-1] in "aeio" else "es")
    return "el" if word == "lo" else word


def pick(choices: Any, rng: np.random.Generator) -> Any:
    return choices[rng.integers(len(choices))]


def noun_phrase(
    nouns: Any, adjectives: Any, bare: float, rng: np.random.Generator
) -> tuple[list[str], list[Word], bool]:
    """English, Spanish, and whether it is plural; `bare` is the share of plurals without an article."""
    noun, nombre = pick(nouns, rng)
    plural, feminine = bool(rng.random() < 0.5), nombre.endswith("a")
    front = [] if plural and rng.random() < bare else [pick(DETERMINERS, rng)]
    middle = [pick(adjectives, rng)] if rng.random() < 0.5 else []
    words = [*front, *middle, [noun + "s" * plural, nombre]]
    first, last = len(front), len(words) - 1
    order = [*range(first), last, *range(first, last)]  # in Spanish the adjective comes after the noun
    return [english for english, _ in words], [(agree(words[i][1], feminine, plural), (i,)) for i in order], plural


def shifted(words: list[Word], by: int) -> list[Word]:
    return [(word, tuple(i + by for i in sources)) for word, sources in words]


def clause(rng: np.random.Generator) -> Sentence:
    """Somebody does something to some food: "the uncles will buy sweet pears"."""
    who, quien, plural = noun_phrase(PEOPLE, OF_PEOPLE, 0.0, rng)
    what, que, _ = noun_phrase(FOOD, OF_FOOD, 0.5, rng)
    verb, infinitive = pick(VERBS, rng)
    if rng.random() < 0.3:  # two English words become one Spanish word
        does, hace = ["will", verb], [(infinitive + ("án" if plural else "á"), (0, 1))]
    else:
        stem = infinitive[:-2] + ("a" if infinitive.endswith("ar") else "e")
        does, hace = [verb + "s" * (not plural)], [(stem + "n" * plural, (0,))]
    return who + does + what, quien + shifted(hace, len(who)) + shifted(que, len(who + does))


def held_out(english: list[str]) -> bool:
    """Whether a clause is kept for the test: the example is, and one clause in ten, the same ones in every run."""
    text = " ".join(english)
    return text == EXAMPLE or zlib.crc32(text.encode()) % 10 == 0


def sentence(n_clauses: int, clauses: list[Sentence], rng: np.random.Generator) -> Sentence:
    """Some of the clauses, joined by conjunctions."""
    english, spanish = pick(clauses, rng)
    for _ in range(n_clauses - 1):
        (conjunction, nexo), (more, mas) = pick(CONJUNCTIONS, rng), pick(clauses, rng)
        spanish = [*spanish, (nexo, (len(english),)), *shifted(mas, len(english) + 1)]
        english = [*english, conjunction, *more]
    return english, spanish


def aligned(looks_at: np.ndarray, sentences: list[Sentence]) -> float:
    """The share of Spanish words, in percent, that look at an English word they come from; looks_at (B, T)."""
    hits = [looks_at[i, t] in origin for i, (_, words) in enumerate(sentences) for t, (_, origin) in enumerate(words)]
    return 100 * float(np.mean(hits))


# --- as numbers ------------------------------------------------------------------------------------------------------

PAD, START, END = 0, 1, 2


@functools.cache
def language() -> tuple[list[Sentence], list[Sentence], dict[str, int], dict[str, int]]:
    """Clauses to learn from, clauses to test on, and the number of every English and every Spanish word."""
    rng = np.random.default_rng(0)
    drawn = [clause(rng) for _ in range(20_000)]
    train, test = [c for c in drawn if not held_out(c[0])], [c for c in drawn if held_out(c[0])]
    english = sorted({word for c in train for word in c[0]} | {word for word, _ in CONJUNCTIONS})
    spanish = sorted({word for c in train for word, _ in c[1]} | {word for _, word in CONJUNCTIONS})
    numbers = [
        {word: i for i, word in enumerate(["<pad>", "<start>", "<end>", *words])} for words in (english, spanish)
    ]
    return train, test, *numbers


def padded(rows: list[list[int]]) -> np.ndarray:
    return np.array([*itertools.zip_longest(*rows, fillvalue=PAD)]).T


def arrays(sentences: list[Sentence]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Word numbers (B, T): the source, what the decoder is given at each step, and what it should write there."""
    *_, english, spanish = language()
    source = padded([[*(english[word] for word in e), END] for e, _ in sentences])
    target = padded([[*(spanish[word] for word, _ in s), END] for _, s in sentences])
    return source, np.concatenate([np.full((len(target), 1), START), target[:, :-1]], axis=1), target
