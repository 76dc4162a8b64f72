"""Text to ids and back, with the tokenizer that the model was trained with."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Tokenizer:
    """The tokenizer in a folder: tokenizer.json, or vocab.txt (BERT), or vocab.json with merges.txt (GPT-2).

    >>> tokenizer = Tokenizer(folder)
    >>> ids, key_mask = tokenizer(["My grandmother bakes incredible cookies", "Hello"])

    gives ids (B, T) and key_mask (B, T), boolean, True = a real token, False = padding up to the longest. A single
    string gives (T,) and (T,). A text longer than the model's positions is cut at its end, with a warning that says so.
    """

    def __init__(self, folder: str | Path, *, max_length: int | None = None) -> None:
        folder = Path(folder)
        self._tokenizer = _read(folder)
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self.max_length = _positions(folder) if max_length is None else max_length
        pad = [self._tokenizer.token_to_id(token) for token in ("[PAD]", "<pad>")]
        self.pad_id = next((i for i in pad if i is not None), 0)

    def __call__(self, text: str | Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        texts = [text] if isinstance(text, str) else text
        if not isinstance(texts, (list, tuple)) or not texts or not all(isinstance(one, str) for one in texts):
            raise TypeError("a tokenizer takes a string, or a list of at least one string")
        rows = [self._ids(one) for one in texts]
        width = max(map(len, rows))
        if width == 0:
            raise ValueError("there is no token in an empty text: this tokenizer adds none at its ends")
        ids = np.full((len(rows), width), self.pad_id, np.int64)
        key_mask = np.zeros(ids.shape, bool)
        for i, row in enumerate(rows):
            ids[i, : len(row)], key_mask[i, : len(row)] = row, True
        return (ids[0], key_mask[0]) if isinstance(text, str) else (ids, key_mask)

    def _ids(self, text: str) -> list[int]:
        encoding = self._tokenizer.encode(text)
        if self.max_length is not None and len(encoding) > self.max_length:
            warnings.warn(
                f"the text beginning {text[:30].strip()!r} has {len(encoding)} tokens, the model {self.max_length} "
                f"positions: the rest is cut off",
                stacklevel=4,
            )
            encoding = self._tokenizer.encode(text, add_special_tokens=False)
            encoding.truncate(self.max_length - self._tokenizer.num_special_tokens_to_add(is_pair=False))
            encoding = self._tokenizer.post_process(encoding)  # the tokens that mark its ends
        ids: list[int] = encoding.ids
        return ids

    def tokens(self, ids: Iterable[int]) -> list[str]:
        """The pieces that these ids stand for, such as 'ba' and '##kes'."""
        return [self._tokenizer.id_to_token(int(i)) for i in ids]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of these ids, without the tokens that only mark its ends."""
        numbers = np.asarray(list(ids))
        if numbers.size and (numbers.dtype.kind not in "iu" or numbers.min() < 0 or numbers.max() >= len(self)):
            raise ValueError(f"decode takes ids, integers from 0 to {len(self) - 1}, not {numbers.tolist()}")
        text: str = self._tokenizer.decode(numbers.tolist())
        return text

    def save(self, folder: str | Path) -> None:
        """Write tokenizer.json, beside what the model's save_pretrained writes."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        self._tokenizer.save(str(Path(folder) / "tokenizer.json"))

    def __len__(self) -> int:
        size: int = self._tokenizer.get_vocab_size()
        return size


def _read(folder: Path) -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise ImportError("a tokenizer needs tokenizers: pip install 'minigrad[pretrained]'") from error
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}: give the one that holds the model")
    path = folder / "tokenizer.json"
    try:
        if path.is_file():
            return tokenizers.Tokenizer.from_file(str(path))
        if (path := folder / "vocab.txt").is_file():
            lowercase = _json(folder / "tokenizer_config.json").get("do_lower_case", True)
            return tokenizers.BertWordPieceTokenizer(str(path), lowercase=lowercase)._tokenizer
        if (path := folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
            return tokenizers.ByteLevelBPETokenizer(str(path), str(folder / "merges.txt"))._tokenizer
    except Exception as error:  # the library raises bare Exceptions
        raise ValueError(f"{path} is damaged: {error}") from error
    raise FileNotFoundError(f"{folder} has no tokenizer.json, no vocab.txt, and no vocab.json with merges.txt")


def _positions(folder: Path) -> int | None:
    config = _json(folder / "config.json")
    positions = config.get("max_position_embeddings", config.get("n_positions"))
    return None if positions is None else int(positions)


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
