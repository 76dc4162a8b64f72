"""Characters as numbers: a vocabulary, a split into training and validation, batches; and some text to begin with.

`load()` without a path returns a text that comes with every Python, its help on the language. It has about half a
million characters (the number depends on the version), so every example runs without a download.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

Ids = NDArray[np.int64]


def load(path: str | Path | None = None, *, encoding: str = "utf-8") -> str:
    """Read a text file, or, without a path, the help topics of this Python (`pydoc_data.topics`).

    Raises FileNotFoundError for a missing file, IsADirectoryError for a folder, ValueError for a file that is empty,
    is not text, or has another encoding.
    """
    if path is None:
        return "\n\n".join(topics[name] for name in sorted(topics))
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: give the path of a text file")
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}: give the path of a text file")
    try:
        text = path.read_text(encoding=encoding).removeprefix("\ufeff")  # a mark that some editors put first
    except UnicodeError as error:
        raise ValueError(
            f"{path} is not {encoding.upper()} text: {error}. "
            f'If it has another encoding, name it: text.load(path, encoding="latin-1")'
        ) from error
    if "\0" in text:
        raise ValueError(f"{path} is not text: character {text.index(chr(0))} is a zero byte")
    if not text.strip():
        raise ValueError(f"{path} is empty: there is nothing to learn from")
    return text


@dataclass(frozen=True)
class Vocabulary:
    """The characters that a model knows. The id of a character is its place among them.

    >>> vocabulary = Vocabulary.from_text("hello")
    >>> vocabulary.characters
    'ehlo'
    >>> vocabulary.encode("hole")
    array([1, 3, 2, 0])
    >>> vocabulary.decode([1, 0, 2, 2, 3])
    'hello'
    """

    characters: str

    def __post_init__(self) -> None:
        twice = [character for character, count in Counter(self.characters).items() if count > 1]
        if twice:
            raise ValueError(f"a vocabulary holds each character once, but {twice[0]!r} comes more often")
        object.__setattr__(self, "_ids", {character: i for i, character in enumerate(self.characters)})

    @classmethod
    def from_text(cls, text: str) -> Vocabulary:
        """All characters of `text`, sorted."""
        return cls("".join(sorted(set(text))))

    def __len__(self) -> int:
        return len(self.characters)

    def encode(self, text: str) -> Ids:
        """The id of each character, an integer array. Raises ValueError for one that the vocabulary lacks."""
        ids: dict[str, int] = self._ids  # type: ignore[attr-defined]
        try:
            return np.array([ids[character] for character in text], dtype=np.int64)
        except KeyError as error:
            lacking = error.args[0]
            raise ValueError(
                f"the vocabulary of {len(self)} characters lacks {lacking!r}, "
                f"which this text has at position {text.index(lacking)}"
            ) from None

    def decode(self, ids: Iterable[int] | NDArray[Any]) -> str:
        """The text whose characters have these ids.

        Raises TypeError for an id that is not an integer, IndexError for an id that no character has.
        """
        numbers = _integers(ids, "decode").tolist()
        for i in numbers:
            if not 0 <= i < len(self):
                raise IndexError(f"no character has id {i}: the vocabulary's {len(self)} have ids 0 to {len(self) - 1}")
        return "".join(self.characters[i] for i in numbers)


def split(ids: ArrayLike, fraction: float = 0.9) -> tuple[Ids, Ids]:
    """Take the first `fraction` of the ids for training and the rest, which the model will never see, for validation.

    >>> split([1, 2, 3, 4, 5], 0.6)
    (array([1, 2, 3]), array([4, 5]))
    """
    ids = _integers(ids, "split")
    n = round(fraction * len(ids))
    if not 0 < n < len(ids):
        raise ValueError(f"a split at {fraction} leaves one side of {len(ids)} ids empty")
    return ids[:n], ids[n:]


def batches(ids: ArrayLike, block_size: int, batch_size: int, rng: np.random.Generator) -> Iterator[tuple[Ids, Ids]]:
    """Yield pairs (x, y) of shape (batch_size, block_size) without end.

    Each row of x is a piece of the text, and the same row of y holds for each of its ids the one that follows. From
    "hello world" with block_size 4, the piece that begins at 2 is

        x = "llo "
        y = "lo w"        after "l" comes "l", after "ll" comes "o", after "llo" comes " ", after "llo " comes "w"

    so each piece asks block_size questions. `rng` draws the batch_size places where the pieces of a pair begin, at the
    moment the pair is asked for.

    Raises ValueError for a text that is too short to hold one piece and the id that follows it.
    """
    ids = _integers(ids, "batches")
    if block_size < 1 or batch_size < 1:
        raise ValueError(f"batches need block_size and batch_size of at least 1, not {block_size} and {batch_size}")
    if len(ids) <= block_size:
        raise ValueError(
            f"this text of {len(ids)} characters is shorter than a block: block_size = {block_size} needs "
            f"at least {block_size + 1}. Take a longer text or a smaller block_size"
        )
    pieces = sliding_window_view(ids, block_size + 1)  # (len(ids) - block_size, block_size + 1), no copy

    def pairs() -> Iterator[tuple[Ids, Ids]]:
        while True:
            piece = pieces[rng.integers(len(pieces), size=batch_size)]
            yield piece[:, :-1], piece[:, 1:]

    return pairs()  # a function of its own, so that the checks above run at the call and not at the first pair


def _integers(ids: Any, whose: str) -> Ids:
    """The ids as one row of integers."""
    if isinstance(ids, str):
        raise TypeError(f"{whose} takes ids, not text: give it vocabulary.encode(text)")
    array = np.asarray(ids if hasattr(ids, "__array__") else list(ids))
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"{whose} takes integers, not {array.dtype} such as {array.flat[0].item()!r}")
    if array.ndim != 1:
        raise ValueError(f"{whose} takes one row of ids, not an array of shape {array.shape}")
    return array.astype(np.int64, copy=False)


def unigram_entropy(text: str | ArrayLike) -> float:
    """H(X) = −Σ p(x) log₂ p(x), in bits per character: the loss of the best guess that looks at no other character.

    p(x) is the share of the character x in the text (Shannon 1951, Prediction and entropy of printed English).
    """
    counts = Counter(_symbols(text))
    return _entropy(counts)


def bigram_entropy(text: str | ArrayLike) -> float:
    """H(X₂ | X₁) = H(X₁X₂) − H(X₁), in bits per character: the loss of the best guess from the last character alone."""
    symbols = _symbols(text)
    return _entropy(Counter(pairwise(symbols))) - _entropy(Counter(symbols[:-1]))


def _symbols(text: str | ArrayLike) -> str | list[int]:
    symbols = text if isinstance(text, str) else np.asarray(text).tolist()
    if len(symbols) < 2:
        raise ValueError(f"the entropy of a text of {len(symbols)} characters says nothing")
    return symbols


def _entropy(counts: Counter[Any]) -> float:
    total = counts.total()
    return -sum(count / total * math.log2(count / total) for count in counts.values())
