"""Ratios against differences, and what the normalizers without an exponential do: small facts, and short trainings."""

from dataclasses import replace

import numpy as np
import pytest

import amplification
import amplification_tasks as tasks
import minigrad as mg
from amplification import RULES, SCORES, properties
from retrieval import train_retrieval, votes


def test_softmax_flattens_small_scores_and_simple_normalization_does_not_see_their_size(capsys):
    found = amplification.numbers()
    large, small = found["c = 1"], found["c = 0.1"]
    assert small["softmax"][0] < small["simple normalization"][0] < large["softmax"][0]
    np.testing.assert_allclose(small["simple normalization"], large["simple normalization"], rtol=1e-12)
    np.testing.assert_allclose(found["sigmoid below 0"], large["softmax"], atol=5e-4)
    amplification.report_numbers(found)
    assert "0.84 0.11 0.04" in capsys.readouterr().out


@pytest.mark.parametrize("name", tasks.POSITIVE)
def test_made_positive_weights_are_weights(name):
    x = np.random.default_rng(0).normal(0, 3, (50, 8))
    y = tasks.POSITIVE[name](mg.Tensor(x)).data
    assert (y > 0).all()
    np.testing.assert_allclose(y.sum(-1), 1, rtol=1e-12)


def test_softplus_is_the_logarithm_of_one_plus_exp():
    x = np.array([-3.0, 0.0, 2.0])
    plain = np.log1p(np.exp(x))
    np.testing.assert_allclose(tasks.softplus(mg.Tensor(x)).data, plain / plain.sum(), rtol=1e-12)
    assert np.isfinite(tasks.softplus(mg.Tensor([1000.0, -1000.0])).data).all()


def test_of_all_rules_only_softmax_has_every_property():
    def has_all(row):
        return (
            row["weights from any scores, %"] == row["larger score, larger weight, %"] == 100
            and row["all + 10: largest change"] < 1e-9
            and row["largest weight at τ = 0.05"] > 0.9 > 0.2 > row["largest weight at τ = 20"]
            and abs(row["gradient"] - row["gradient, all + 10"]) < 1e-9 < row["gradient"]
        )

    assert [name for name, row in properties(300).items() if has_all(row)] == ["softmax"]
    assert set(RULES) == set(properties(10))


def test_softmaxs_weights_are_how_often_each_score_wins():
    assert amplification.drawn_by_argmax(50_000) < 4 * np.sqrt(0.25 / 50_000)


def test_at_least_two_of_three_values_agree_and_reading_one_is_right_as_often_as_computed():
    query, keys, values, answer = votes(8, 40_000, np.random.default_rng(0))
    found = keys == query[:, None]
    assert (found.sum(1) == 3).all()
    right = (values == answer[:, None]) & found
    assert right.sum(1).min() == 2
    assert 100 * right.sum() / found.sum() == pytest.approx(tasks.ONE_OF_THREE, abs=0.6)  # 4 standard errors


def test_a_short_training_needs_positive_weights_not_an_exponential():
    rows = {name: replace(tasks.NORMALIZED[name], steps=250) for name in ("simple normalization", "x² + 0.001")}
    raw, square = (train_retrieval(row, 1000)["accuracy"] for row in rows.values())
    assert raw < 50 < 90 < square


def test_timing_takes_both_ways_at_every_length(monkeypatch):
    monkeypatch.setattr(amplification, "LENGTHS", [16, 64])
    found = amplification.timed(3)
    assert [len(times) for times in found.values()] == [2, 2] and min(found["hard"]) > 0
    assert len(SCORES) == 3
