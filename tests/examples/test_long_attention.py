"""examples/long_attention.py: its questions, its figures, and that a window forgets what is beyond it."""

import json
import statistics
from pathlib import Path

import numpy as np
import pytest

import long_attention

RECORD = json.loads((Path(long_attention.__file__).parent / "results/long_attention.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def short_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    arguments = ["--quick", "--steps", "60", "--seeds", "1", "--processes", "1", "--out", str(out)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(long_attention, "LENGTHS", [256, 512, 1024])
        results = long_attention.main([*arguments, "--json", str(out / "figures.json")])
    return results, out


def test_the_answer_stands_as_many_positions_back_as_told():
    asked, keys, values, answers, back = long_attention.questions(16, 50, np.random.default_rng(0))
    for b in range(50):
        assert len(set(keys[b])) == 16
        for t in range(16):
            at = t - back[b, t]
            assert 0 <= at <= t
            assert keys[b, at] == asked[b, t] and values[b, at] == answers[b, t]
    assert back[:, 15].max() > 12  # the last position asks for the first ones, too


def test_values_are_guessed_right_one_time_in_eight():
    answers = long_attention.questions(64, 500, np.random.default_rng(1))[3]
    np.testing.assert_allclose(np.bincount(answers.ravel(), minlength=8) / answers.size, 1 / 8, atol=0.01)


def test_tiles_change_memory_and_not_the_numbers(short_run):
    cost = short_run[0]["cost"]
    for runs in cost.values():
        assert runs[0]["attention"]["off"] == 0 and runs[0]["tiled"]["off"] < 1e-5
    assert cost["1024"][0]["window"]["off"] > 0.1  # a window is another function
    assert cost["1024"][0]["tiled"]["mib"] < 0.7 * cost["1024"][0]["attention"]["mib"]


def test_a_window_finds_what_is_in_it_and_guesses_what_is_not(short_run):
    retrieval = short_run[0]["retrieval"]
    assert retrieval["none"][0]["inside"] > 50
    for window in ("32", "8"):
        assert retrieval[window][0]["inside"] > 50
        assert 9 < retrieval[window][0]["beyond"] < 16


def test_its_words_follow_the_numbers(short_run):
    written = json.loads((short_run[1] / "figures.json").read_text())
    assert written["in_words"] == long_attention.in_words(written)
    written["cost"]["1024"][0]["tiled"]["mib"] = 4321.0
    assert "tiled attention 4321." in long_attention.in_words(written)[0]


def test_in_the_record_memory_doubles_with_the_length_where_attentions_quadruples():
    def mib(way, n):
        return statistics.median(run[way]["mib"] for run in RECORD["cost"][str(n)])

    for way in ("tiled", "window"):
        assert mib(way, 8192) / mib(way, 4096) < 2.2
        assert mib(way, 8192) < mib("attention", 8192) / 10
    assert mib("attention", 8192) / mib("attention", 4096) > 3.5


def test_in_the_record_tiles_change_no_number_and_a_window_is_faster():
    for runs in RECORD["cost"].values():
        assert max(run["tiled"]["off"] for run in runs) < 1e-5
    ms = {way: statistics.median(run[way]["ms"] for run in RECORD["cost"]["8192"]) for way in long_attention.WAYS}
    assert ms["tiled"] < 1.5 * ms["attention"] and ms["window"] < 0.3 * ms["attention"]


def test_in_the_record_a_window_finds_all_within_it_and_guesses_beyond_it():
    for window, runs in RECORD["retrieval"].items():
        for run in runs:
            assert run["inside"] > 99
            assert window == "none" or abs(run["beyond"] - 100 / long_attention.N_VALUES) < 1


def test_its_picture_is_drawn(short_run):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    assert (short_run[1] / "long_attention_quick.png").read_bytes().startswith(b"\x89PNG")
