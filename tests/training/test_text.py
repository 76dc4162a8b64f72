"""Characters to ids and back, split, batches, the text that ships with Python, and its entropies."""

from __future__ import annotations

import doctest
import math
from itertools import islice

import numpy as np
import pytest

import minigrad as mg
from minigrad import text
from minigrad.training.text import Vocabulary, batches, bigram_entropy, load, split, unigram_entropy


def test_the_examples_in_the_docstrings_run():
    result = doctest.testmod(text)
    assert result.attempted >= 5
    assert result.failed == 0


# --- vocabulary ------------------------------------------------------------------------------------------------------


def test_decode_undoes_encode():
    line = "Straße — naïve\n\t☃"
    vocabulary = Vocabulary.from_text(line)
    ids = vocabulary.encode(line)
    assert ids.dtype == np.int64
    assert vocabulary.decode(ids) == line
    assert sorted(set(ids)) == list(range(len(vocabulary)))
    assert vocabulary.decode(vocabulary.encode("")) == ""
    assert vocabulary.encode("").dtype == np.int64


def test_a_vocabulary_is_its_characters():
    vocabulary = Vocabulary.from_text("banana")
    assert vocabulary.characters == "abn"
    assert vocabulary == Vocabulary("abn")
    assert vocabulary != Vocabulary("nab")
    with pytest.raises(ValueError, match="'a' comes more often"):
        Vocabulary("aba")


def test_an_unknown_character_is_named():
    vocabulary = Vocabulary.from_text("hello")
    with pytest.raises(ValueError, match="of 4 characters lacks '!', which this text has at position 2"):
        vocabulary.encode("ho!")


@pytest.mark.parametrize("bad", [4, -1])
def test_an_unknown_id_is_named(bad):
    with pytest.raises(IndexError, match=f"no character has id {bad}: .* 0 to 3"):
        Vocabulary.from_text("hello").decode([0, bad])


def test_ids_come_from_anything_that_holds_integers():
    vocabulary = Vocabulary.from_text("hello")
    for ids in ([1, 0, 3], (1, 0, 3), iter([1, 0, 3]), np.array([1, 0, 3], np.uint8), mg.Tensor(np.array([1, 0, 3]))):
        assert vocabulary.decode(ids) == "heo"
    assert vocabulary.decode([]) == ""


@pytest.mark.parametrize("bad", [[0.7], [1, 2.0], [True], ["h"], np.array([1.0])])
def test_what_is_not_an_integer_is_no_id(bad):
    with pytest.raises(TypeError, match="decode takes integers, not "):
        Vocabulary.from_text("hello").decode(bad)
    with pytest.raises(TypeError, match="split takes integers, not "):
        split(bad)


def test_text_in_the_place_of_ids_is_told_how_to_become_ids():
    rng = np.random.default_rng(0)
    with pytest.raises(TypeError, match=r"batches takes ids, not text: give it vocabulary\.encode\(text\)"):
        batches("hello world", 4, 2, rng)
    with pytest.raises(TypeError, match="split takes ids, not text"):
        split("hello world")
    with pytest.raises(TypeError, match="decode takes ids, not text"):
        Vocabulary.from_text("hello").decode("hello")
    with pytest.raises(ValueError, match=r"batches takes one row of ids, not an array of shape \(2, 9\)"):
        batches(np.zeros((2, 9), int), 4, 2, rng)


# --- split and batches -----------------------------------------------------------------------------------------------


def test_a_split_loses_nothing():
    ids = np.arange(101)
    train, validation = split(ids)
    assert len(train) == 91
    np.testing.assert_array_equal(np.concatenate([train, validation]), ids)
    for fraction in (0.0, 1.0, 0.001):
        with pytest.raises(ValueError, match="leaves one side of 101 ids empty"):
            split(ids, fraction)


def test_y_is_x_one_further():
    ids = np.random.default_rng(0).integers(0, 50, 40)
    for x, y in islice(batches(ids, 4, 3, np.random.default_rng(1)), 20):
        assert x.shape == y.shape == (3, 4)
        np.testing.assert_array_equal(x[:, 1:], y[:, :-1])
        for piece in np.concatenate([x, y[:, -1:]], axis=1):
            assert piece.tolist() in [ids[i : i + 5].tolist() for i in range(36)]


def test_every_piece_is_drawn_and_the_last_id_is_asked_for():
    x, _ = next(batches(np.arange(10), 4, 2000, np.random.default_rng(0)))
    starts, counts = np.unique(x[:, 0], return_counts=True)
    np.testing.assert_array_equal(starts, np.arange(6))
    assert counts.min() > 250  # 333 expected


def test_batches_repeat_with_the_state_of_the_generator():
    rng = np.random.default_rng(0)
    stream = batches(np.arange(100), 4, 3, rng)
    next(stream)
    state = rng.bit_generator.state
    expected = [next(stream) for _ in range(3)]
    rng.bit_generator.state = state
    for (x, y), (x2, y2) in zip(expected, batches(np.arange(100), 4, 3, rng), strict=False):
        np.testing.assert_array_equal(x, x2)
        np.testing.assert_array_equal(y, y2)


def test_a_text_shorter_than_a_block_is_refused_at_once():
    rng = np.random.default_rng(0)
    with pytest.raises(
        ValueError, match=r"text of 8 characters is shorter than a block: block_size = 8 needs at least 9"
    ):
        batches(np.arange(8), 8, 2, rng)
    x, y = next(batches(np.arange(9), 8, 2, rng))
    assert x[0, 0] == 0
    assert y[0, -1] == 8
    with pytest.raises(ValueError, match="at least 1, not 0 and 2"):
        batches(np.arange(9), 0, 2, rng)


# --- loading ---------------------------------------------------------------------------------------------------------


def test_python_ships_with_text():
    help_text = load()
    assert 300_000 < len(help_text) < 1_000_000  # 465,126 on Python 3.11; it differs by version
    assert help_text == load()
    assert "lambda" in help_text


def test_a_file_is_read_as_utf8(tmp_path):
    path = tmp_path / "poem.txt"
    path.write_bytes("\ufeffnaïve\r\n☃\n".encode())
    assert load(path) == load(str(path)) == "naïve\n☃\n"


def test_files_that_are_no_text_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*missing\.txt"):
        load(tmp_path / "missing.txt")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        load(tmp_path)
    for name, content, says in (
        ("empty.txt", b"", "is empty"),
        ("blank.txt", b" \n\n", "is empty"),
        (
            "latin.txt",
            "naïve".encode("latin-1"),
            r"latin\.txt is not UTF-8 text: .* position 2: .*encoding=.latin",
        ),
        ("zeros.bin", b"ab\0\0", r"zeros\.bin is not text: character 2 is a zero byte"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=says):
            load(tmp_path / name)


def test_another_encoding_is_read_by_its_name(tmp_path):
    path = tmp_path / "poem.txt"
    for encoding in ("latin-1", "utf-16", "utf-8"):
        path.write_bytes("naïve\r\n".encode(encoding))
        assert load(path, encoding=encoding) == "naïve\n"
    path.write_bytes(b"a\xff")
    with pytest.raises(ValueError, match=r"poem\.txt is not UTF-16 text: "):
        load(path, encoding="utf-16")
    with pytest.raises(LookupError, match="unknown encoding: latin-99"):
        load(path, encoding="latin-99")


# --- entropy ---------------------------------------------------------------------------------------------------------


def test_entropies_of_texts_one_can_count():
    assert unigram_entropy("abab") == 1
    assert bigram_entropy("abab") == 0  # b always follows a, and a b
    assert unigram_entropy("abcdefgh") == pytest.approx(3)
    # pairs aa, ab, bb, ba, once each: the last character tells nothing
    assert bigram_entropy("aabba") == pytest.approx(1)
    # a is followed by a, b: 1 bit, two times of three; b by c: 0 bits
    assert bigram_entropy("aabc") == pytest.approx(2 / 3)
    assert unigram_entropy([0, 1, 1, 1]) == pytest.approx(0.75 * math.log2(4 / 3) + 0.5)
    with pytest.raises(ValueError, match="of 1 characters says nothing"):
        bigram_entropy("a")


def test_knowing_the_last_character_helps():
    help_text = load()
    ids = Vocabulary.from_text(help_text).encode(help_text)
    assert unigram_entropy(ids) == pytest.approx(unigram_entropy(help_text))
    assert bigram_entropy(help_text) < unigram_entropy(help_text) - 0.9 < math.log2(ids.max() + 1) - 0.9
