"""What temperature.py shows: its gradients, the temperature it learns, its rules for long inputs, its formulas."""

import json
import math
import statistics
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
import temperature as example
import temperature_long_inputs as long_inputs


@pytest.fixture(scope="module")
def short_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    arguments = ["--quick", "--steps", "5", "--seeds", "1", "--processes", "1"]
    return example.main([*arguments, "--out", str(out), "--json", str(out / "figures.json")]), out


def test_the_median_gradient_vanishes_at_both_ends_and_the_mean_only_at_the_hot_one(short_run):
    by_tau = short_run[0]["gradients"]["by τ"]
    median, mean, low, high = (np.array([row[name] for row in by_tau]) for name in ("median", "mean", "low", "high"))
    assert max(median[10], median[50]) < 0.01 * median.max()
    assert mean[10] > 0.5 * mean.max() and mean[50] < 0.01 * mean.max()
    assert (low <= median).all() and (median <= high).all()
    np.testing.assert_allclose(median[50] / median[60], 10, rtol=0.02)  # 1/τ where it is hot


def test_the_gradient_at_the_scores_is_the_docstrings_formula(short_run):
    rng = np.random.default_rng(0)
    scores, u = rng.standard_normal((2, example.ROWS, 16))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    for i in (20, 30, 40):  # τ = 0.1, 1, 10
        y = np.exp(scores / example.TAUS[i])
        y /= y.sum(1, keepdims=True)
        gradients = (y * u - y * (y * u).sum(1, keepdims=True)) / example.TAUS[i]
        expected = np.median(np.linalg.norm(gradients, axis=1))
        assert short_run[0]["gradients"]["by τ"][i]["median"] == pytest.approx(expected, rel=0.006)


def test_through_hardmax_the_gradient_is_exactly_0():
    scores = mg.Tensor(np.random.default_rng(0).standard_normal((500, 16)), requires_grad=True)
    mg.hardmax(scores).backward(np.random.default_rng(1).standard_normal((500, 16)))
    assert (scores.grad == 0).all()


def test_without_the_square_root_q_sees_the_gradient_of_a_colder_softmax(short_run):
    g = short_run[0]["gradients"]
    with_root, without = (np.array([row["median"] for row in g[name]]) for name in ("with", "without"))
    assert with_root.max() < 1.5 * with_root.min()
    assert without[-1] < 0.01 * with_root[-1]


@pytest.mark.parametrize("d", [16, 64, 256])
def test_scores_of_d_features_without_the_square_root_are_as_cold_as_one_over_its_size(d):
    """The docstring's "much as τ = 1/√d"; on 4,000 rows the medians' ratio was 0.86 to 1.18 for four generators."""
    rng, rows = np.random.default_rng(2), 4000
    scores, u = rng.standard_normal((2, rows, 16))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    x = mg.Tensor(scores, requires_grad=True)
    mg.softmax(x * math.sqrt(d)).backward(u)
    q = mg.Tensor(rng.standard_normal((rows, 1, d)), requires_grad=True)
    mg.softmax(q @ rng.standard_normal((rows, 16, d)).swapaxes(1, 2)).backward(u[:, None])
    at_q, at_scores = (np.median(np.linalg.norm(t.grad.reshape(rows, -1), axis=1)) for t in (q, x))
    assert 0.75 < at_q / at_scores < 1.35


@pytest.mark.parametrize("target", [0.01, 1.0, 50.0])
def test_bisection_solves_a_known_equation(target):
    found = long_inputs.solve(lambda beta: 1 / beta, np.array([target]))
    np.testing.assert_allclose(found, 1 / target, rtol=1e-9)


def test_every_start_learns_the_likeliest_temperature():
    run = example.learn_temperature(400, seed=0)
    np.testing.assert_allclose(run["final"], run["likeliest"], rtol=0.01)
    assert run["likeliest"] == pytest.approx(example.TRUE_TAU, rel=0.08)
    assert run["first"][0] > 100 * run["first"][-1]


def test_the_likeliest_temperature_has_the_lowest_loss():
    run, rng = example.learn_temperature(1, seed=3), np.random.default_rng([3, 1])
    z = rng.normal(0, 3, (1, 2000, 10))
    labels = (z / example.TRUE_TAU + rng.gumbel(size=z.shape)).argmax(-1)
    losses = [mg.cross_entropy(z / (run["likeliest"] * factor), labels).item() for factor in (0.99, 1, 1.01)]
    assert losses[1] < min(losses[0], losses[2])


def test_the_answer_is_the_kind_of_the_largest_number_and_each_kind_is_as_frequent():
    numbers, kinds, answer = long_inputs.items(16, 4000, np.random.default_rng(0))
    assert numbers.shape == kinds.shape == (4000, 16)
    for i in range(50):
        assert answer[i] == kinds[i, list(numbers[i]).index(max(numbers[i]))]
    shares = np.bincount(answer, minlength=long_inputs.N_KINDS) / 4000
    assert shares == pytest.approx(1 / long_inputs.N_KINDS, abs=0.025)


def test_entropy_matching_only_ever_sharpens_and_only_down_to_the_typical_entropy():
    scores = np.random.default_rng(0).normal(0, 1, (50, 256)) * np.logspace(-1, 1.5, 50)[:, None]
    before = long_inputs.entropy(scores)
    weights = long_inputs.weigh(long_inputs.MATCHED, scores, typical=0.5).data
    after = -(weights * np.log(np.maximum(weights, 1e-300))).sum(-1)
    np.testing.assert_allclose(after[before > 0.5], 0.5, atol=1e-6)
    np.testing.assert_allclose(weights[before <= 0.5], mg.softmax(scores).data[before <= 0.5])
    assert 5 < (before > 0.5).sum() < 45


def test_the_published_polynomial_sharpens_by_the_entropy_and_leaves_sharp_rows_alone():
    scores = np.array([[2.0, 1.0, 0.0, -1.0], [9.0, 0.0, 0.0, 0.0]])
    h = long_inputs.entropy(scores)
    assert h[0] > 0.5 > h[1]
    beta = -0.037 * h[0] ** 4 + 0.481 * h[0] ** 3 - 2.3 * h[0] ** 2 + 4.917 * h[0] - 1.791
    weights = long_inputs.weigh(long_inputs.POLYNOMIAL, scores, typical=0.0).data
    np.testing.assert_allclose(weights[0], mg.softmax(beta * scores[0]).data)
    np.testing.assert_allclose(weights[1], mg.softmax(scores[1]).data)
    assert beta > 1


def test_scaling_by_ln_n_holds_the_leader_from_a_gap_of_one_on_and_not_below(short_run):
    weights = short_run[0]["dispersion"]
    below, at, above = (weights[f"s·gap = {gap}"] for gap in ("0.5", "1", "1.5"))
    assert below[-1] < 0.01 < below[0] and at[-1] == pytest.approx(0.5, abs=1e-5) and above[-1] > 0.99
    assert weights["no scaling"][-3] / weights["no scaling"][-1] == pytest.approx(10, rel=0.01)  # like 1/n


def test_the_leaders_weight_is_the_docstrings_formula(short_run):
    n, weights = np.array(long_inputs.MANY, float), short_run[0]["dispersion"]
    np.testing.assert_allclose(weights["no scaling"], 1 / (1 + (n - 1) * math.exp(-long_inputs.GAP)), rtol=1e-12)
    for power in (0.5, 1, 1.5):
        np.testing.assert_allclose(weights[f"s·gap = {power:g}"], 1 / (1 + (n - 1) * n**-power), rtol=1e-12)


def test_trained_on_sixteen_softmax_disperses_and_matching_is_as_right_as_hardmax():
    found = long_inputs.pick_largest(long_inputs.Pick(steps=300, test_sets=64), seed=0)
    assert found[long_inputs.PLAIN]["16"][0] > 60
    assert found[long_inputs.PLAIN]["4096"][1] < 0.2 * found[long_inputs.PLAIN]["16"][1]
    assert found[long_inputs.MATCHED]["4096"][1] > 0.5 * found[long_inputs.MATCHED]["16"][1]
    assert all(row[1] == 1 for row in found[long_inputs.HARD].values())
    assert found[long_inputs.PLAIN]["1024"][0] < found[long_inputs.PLAIN]["16"][0] - 20


def test_scalable_softmax_learns_its_scale():
    row = long_inputs.Pick(scalable=True)
    model = long_inputs.Picker(row, np.random.default_rng(0))
    numbers, kinds, answer = long_inputs.items(12, 32, np.random.default_rng(1))
    scores, values = model(numbers, kinds)
    mg.cross_entropy(model.answer(mg.softmax(scores), values), answer).backward()
    assert np.abs(model.s.grad).item() > 0
    plain, _ = long_inputs.Picker(long_inputs.Pick(), np.random.default_rng(0))(numbers, kinds)
    np.testing.assert_allclose(scores.data, plain.data * math.log(12) / math.log(16), rtol=1e-5)


def test_figures_and_picture_are_written(short_run):
    results, out = short_run
    assert json.loads((out / "figures.json").read_text()) == json.loads(json.dumps(results))
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    assert (out / "temperature_quick.png").read_bytes().startswith(b"\x89PNG")


def test_the_words_follow_the_numbers(short_run):
    results = json.loads(json.dumps(short_run[0]))
    words = example.in_words(results)
    assert words == short_run[0]["in_words"] and len(words[0]) <= 80
    results["gradients"]["by τ"][50]["median"] = 0.2
    results["lengths"][long_inputs.SCALABLE][0]["256"][0] = 12.0
    details = example.in_words(results)[1]
    assert "and 2e-01 at 100" in details and "Scalable softmax names it in 12 %" in details


# --- the recorded run ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded():
    return json.loads((Path(example.__file__).parent / "results" / "temperature.json").read_text(encoding="utf-8"))


def at(recorded, rule, n, figure):
    """The median over seeds of the accuracy (figure 0) or of the largest weight (figure 1)."""
    return statistics.median(run[str(n)][figure] for run in recorded["lengths"][rule])


def test_recorded_the_median_gradient_vanishes_at_both_ends_and_is_rare_rather_than_small_where_cold(recorded):
    by_tau = recorded["gradients"]["by τ"]
    cold, hot, peak = by_tau[10], by_tau[50], max(row["median"] for row in by_tau)
    assert max(cold["median"], hot["median"]) < 0.01 * peak
    assert cold["mean"] > 0.1 and hot["mean"] < 1.1 * hot["median"]


def test_recorded_every_start_finds_the_likeliest_temperature_which_is_near_the_truth(recorded):
    for run in recorded["learned"]:
        np.testing.assert_allclose(run["final"], run["likeliest"], rtol=0.01)
        assert run["likeliest"] == pytest.approx(example.TRUE_TAU, rel=0.05)
        assert run["first"][0] > 1000 * run["first"][-1]  # cross-entropy pulls hard where softmax is sure and wrong


def test_recorded_every_rule_beats_plain_softmax_on_longer_inputs(recorded):
    for rule in (long_inputs.POLYNOMIAL, long_inputs.MATCHED, long_inputs.SCALABLE):
        assert all(at(recorded, rule, n, 0) > at(recorded, long_inputs.PLAIN, n, 0) for n in (256, 1024, 4096))


def test_recorded_softmax_disperses_and_a_matched_weight_is_as_good_as_the_ranking_of_the_scores_no_better(recorded):
    assert at(recorded, long_inputs.PLAIN, 4096, 1) < 0.05 < 0.95 < at(recorded, long_inputs.PLAIN, 16, 1)
    assert at(recorded, long_inputs.MATCHED, 4096, 1) > 0.95
    assert -3 < at(recorded, long_inputs.MATCHED, 4096, 0) - at(recorded, long_inputs.HARD, 4096, 0) <= 0.5
