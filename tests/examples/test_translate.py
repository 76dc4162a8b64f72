"""examples/translate.py and its grammar: the language, the held-out clauses, and what the record says."""

import json
from pathlib import Path

import numpy as np
import pytest

import grammar
import translate

TRAIN, TEST, ENGLISH, SPANISH = grammar.language()
RECORD = json.loads((Path(translate.__file__).parent / "results/translate.json").read_text(encoding="utf-8"))


def spanish(sentence):
    return " ".join(word for word, _ in sentence[1])


@pytest.mark.parametrize(
    ("english", "expected"),
    [
        ("my grandmother bakes incredible cheeses", "mi abuela hornea quesos increíbles"),
        ("the lazy kings will hide our cake", "los reyes perezosos esconderán nuestro pastel"),
        ("the famous queen hides our eggs", "la reina famosa esconde nuestros huevos"),
        ("the aunt shares the small cake", "la tía comparte el pastel pequeño"),
        ("our old sisters cut my delicious pepper", "nuestras hermanas viejas cortan mi pimiento delicioso"),
        ("the sisters cut my red pear", "las hermanas cortan mi pera roja"),
    ],
)
def test_the_grammar_knows_gender_number_and_order(english, expected):
    found = {spanish(c) for c in TRAIN + TEST if " ".join(c[0]) == english}
    assert found == {expected}


def test_every_target_word_comes_from_a_word_of_its_sentence_and_every_source_word_is_used():
    rng = np.random.default_rng(0)
    for _ in range(300):
        english, words = grammar.sentence(3, TRAIN, rng)
        assert sorted(i for _, origin in words for i in origin) == list(range(len(english)))


def test_the_adjective_crosses_its_noun():
    clause = next(c for c in TRAIN + TEST if " ".join(c[0]) == "my grandmother bakes incredible cheeses")
    assert [origin for _, origin in clause[1]] == [(0,), (1,), (2,), (4,), (3,)]


def test_no_clause_is_in_both_parts_and_the_example_is_not_learned_from():
    train, test = ({" ".join(c[0]) for c in part} for part in (TRAIN, TEST))
    assert not train & test and grammar.EXAMPLE not in train and grammar.held_out(grammar.EXAMPLE.split())
    assert 0.08 < len(test) / len(train | test) < 0.12
    assert set(grammar.EXAMPLE.split()) <= set(ENGLISH) and "increíbles" in SPANISH


def test_the_decoder_is_given_what_it_should_have_written_before():
    source, given, target = grammar.arrays([TRAIN[0], grammar.sentence(2, TRAIN, np.random.default_rng(0))])
    assert source.shape[0] == 2 and given.shape == target.shape
    np.testing.assert_array_equal(given[:, 1:], target[:, :-1])
    assert (given[:, 0] == grammar.START).all()
    assert target[0, len(TRAIN[0][1])] == grammar.END and (target[0, len(TRAIN[0][1]) + 1 :] == grammar.PAD).all()


@pytest.mark.parametrize("attention", [True, False])
def test_padding_changes_no_translation(attention):
    """A sentence beside a longer one gets the logits that it gets alone."""
    model = translate.Translator(translate.Settings(attention=attention, d=16), np.random.default_rng(0))
    long = grammar.sentence(3, TRAIN, np.random.default_rng(1))
    source, given, _ = grammar.arrays([TRAIN[0], long])
    alone_source, alone_given, _ = grammar.arrays([TRAIN[0]])
    together = model(source, given).data[:1, : alone_given.shape[1]]
    np.testing.assert_allclose(together, model(alone_source, alone_given).data, rtol=1e-4, atol=1e-5)


def test_written_word_by_word_is_what_the_decoder_says_of_its_own_words():
    model = translate.Translator(translate.Settings(d=16), np.random.default_rng(0))
    source, _, _ = grammar.arrays(TRAIN[:3])
    written = model.translate(source, 6)
    given = np.concatenate([np.full((3, 1), grammar.START), written[:, :-1]], axis=1)
    np.testing.assert_array_equal(model(source, given).data.argmax(-1), written)


def test_without_attention_there_is_no_way_to_the_words_but_the_vector():
    model = translate.Translator(translate.Settings(attention=False, d=16), np.random.default_rng(0))
    source, given, _ = grammar.arrays(TRAIN[:3])
    vector, memory = model.encode(source)
    assert vector.shape == (3, 16) and memory is None
    swapped = model.decode(given, vector[::-1], vector[::-1], None)[0].data
    np.testing.assert_allclose(swapped, model(source[::-1], given).data, rtol=1e-4, atol=1e-5)
    assert not np.allclose(swapped, model(source, given).data, atol=1e-3)


def test_one_vector_has_no_fewer_parameters():
    sizes = {
        attention: sum(p.size for p in translate.Translator(s, np.random.default_rng(0)).parameters())
        for attention, s in {True: translate.Settings(), False: translate.Settings(attention=False, d=74)}.items()
    }
    assert 1 <= sizes[False] / sizes[True] < 1.05


def test_alignment_is_counted_by_word():
    sentence = (["a", "b", "c"], [("x", (0,)), ("y", (1, 2))])
    assert grammar.aligned(np.array([[0, 2]]), [sentence]) == 100
    assert grammar.aligned(np.array([[0, 0]]), [sentence]) == 50


@pytest.fixture(scope="module")
def short_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    arguments = ["--quick", "--steps", "20", "--seeds", "1", "--processes", "1", "--out", str(out)]
    translate.main([*arguments, "--json", str(out / "figures.json")])
    return json.loads((out / "figures.json").read_text()), out


def test_its_words_follow_the_numbers(short_run):
    written, _ = short_run
    assert written["in_words"] == translate.in_words(written)
    written["rows"]["attention"][0]["right"] = [42.0] * 3
    assert "42.0 % with attention, " in translate.in_words(written)[0]


def recorded(name, key):
    """The median over seeds for each number of clauses."""
    return np.median([run[key] for run in RECORD["rows"][name]], axis=0)


def test_in_the_record_attention_translates_long_sentences_and_one_vector_only_short_ones():
    attention = recorded("attention", "right")
    for name in ("one vector", "one vector, twice the training"):
        assert recorded(name, "right")[0] > 95  # one clause fits into a vector
        assert (attention[1:] > recorded(name, "right")[1:] + 40).all()
        assert recorded(name, "right")[2:].max() < 5
    assert (attention[: RECORD["settings"]["n_clauses"]] > 85).all()


def test_in_the_record_the_largest_weight_finds_the_source_word_in_every_seed():
    trained = slice(RECORD["settings"]["n_clauses"])
    assert min(min(run["aligned"][trained]) for run in RECORD["rows"]["attention"]) > 98
    assert recorded("attention", "same position")[trained].max() < 65


def test_in_the_record_every_seed_translates_the_grandmother():
    for run in RECORD["rows"]["attention"]:
        assert " ".join(run["example"]["spanish"]) == "mi abuela hornea galletas increíbles"


def test_its_picture_is_drawn(short_run):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    assert (short_run[1] / "translate_quick.png").read_bytes().startswith(b"\x89PNG")
