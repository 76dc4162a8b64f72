"""What estimator_bias.py measures: against arithmetic done here, and that its words follow its numbers."""

import json
import statistics
from pathlib import Path

import numpy as np
import pytest

import estimator_bias as example
import minigrad as mg


@pytest.fixture(scope="module")
def short_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    arguments = ["--quick", "--steps", "2000", "--seeds", "2", "--processes", "1"]
    return example.main([*arguments, "--out", str(out), "--json", str(out / "figures.json")]), out


@pytest.fixture(scope="module")
def problem():
    """Of N = 8 and seed 0, worked out anew: p, the losses ℓ, the slopes of the loss at each choice, the gradient g."""
    rng = np.random.default_rng([0, 0])
    scores, values = rng.standard_normal(8), rng.standard_normal((8, 16))
    out = rng.normal(0, 3 / 4, (16, 8))
    p = np.exp(scores) / np.exp(scores).sum()
    logits = values @ out
    predicted = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    losses = -np.log(predicted[:, 0])
    slopes = (predicted - np.eye(8)[0]) @ out.T @ values.T
    return p, losses, slopes, p * (losses - p @ losses)


def figures_of(estimates, p, g):
    mean = p @ estimates
    size = np.linalg.norm(g)
    return np.linalg.norm(mean - g) / size, np.sqrt(p @ ((estimates - mean) ** 2).sum(1)) / size


@pytest.mark.parametrize("baseline", [0, 1])
def test_reinforce_is_unbiased_and_a_baseline_shrinks_its_deviation(short_run, problem, baseline):
    p, losses, _, g = problem
    estimates = (losses - baseline * p @ losses)[:, None] * (np.eye(8) - p)
    _, deviation = figures_of(estimates, p, g)
    run = short_run[0]["problems"]["8"][0]
    found = run[example.BASELINE if baseline else example.PLAIN]
    assert found["bias"] < 1e-12 and found["deviation"] == pytest.approx(deviation, rel=0.01)
    assert run[example.BASELINE]["deviation"] < run[example.PLAIN]["deviation"]


def test_straight_through_is_biased_and_without_variance(short_run, problem):
    p, _, slopes, g = problem
    jacobian = np.diag(p) - np.outer(p, p)
    drawn, argmax = slopes @ jacobian, (slopes @ jacobian)[[p.argmax()]]
    run = short_run[0]["problems"]["8"][0]
    for name, (bias, deviation) in {
        example.DRAWN: figures_of(drawn, p, g),
        example.ARGMAX: figures_of(argmax, np.ones(1), g),
    }.items():
        assert run[name]["bias"] == pytest.approx(bias, rel=0.01) and bias > 0.1
        assert run[name]["deviation"] == pytest.approx(deviation, rel=0.01, abs=1e-12)
    assert all(r[example.ARGMAX]["deviation"] == 0 for runs in short_run[0]["problems"].values() for r in runs)


def test_reinmaxs_mean_is_the_trapezoid_rules_from_one_draw(short_run, problem):
    p, _, slopes, g = problem
    estimates = []
    for drawn in range(8):
        d = np.eye(8)[drawn]
        pi = (d + p) / 2
        jacobian = 2 * (np.diag(pi) - np.outer(pi, pi)) - (np.diag(p) - np.outer(p, p)) / 2
        estimates.append(slopes[drawn] @ jacobian)
    bias, deviation = figures_of(np.array(estimates), p, g)
    run = short_run[0]["problems"]["8"][0]
    assert run[example.REINMAX]["bias"] == pytest.approx(bias, rel=0.01)
    assert run[example.REINMAX]["deviation"] == pytest.approx(deviation, rel=0.01) and deviation > 0.1
    for runs in short_run[0]["problems"].values():
        for run in runs:
            assert run[example.REINMAX]["bias"] == pytest.approx(run[example.LIMIT]["bias"], rel=0.01)


def test_with_a_linear_loss_straight_through_is_exact(short_run):
    for runs in short_run[0]["problems"].values():
        for run in runs:
            assert run[example.LINEAR]["bias"] < 1e-12 and run[example.LINEAR]["cosine"] == 1


def test_cold_gumbel_straight_through_tends_to_the_trapezoid_rule_and_relaxed_to_the_truth():
    rng, p = np.random.default_rng(5), mg.softmax(np.array([0.5, -0.5, 0.0])).data
    losses = mg.Tensor(np.array([[1.0, 2.0, -1.0], [0.0, 1.0, 3.0], [2.0, -2.0, 0.5]]))

    def loss(w):  # a quadratic form: not linear in w, and unlike between each two choices
        return ((w @ losses) ** 2 * w).sum(axis=-1)

    corner = mg.Tensor(np.eye(3), requires_grad=True)
    each = loss(corner)
    each.sum().backward()
    slopes = corner.grad - np.diagonal(corner.grad)[:, None]
    trapezoid = p * (p @ (slopes - slopes.T) / 2)
    exact = p * (each.data - p @ each.data)
    assert np.linalg.norm(trapezoid - exact) > 0.2 * np.linalg.norm(exact)
    for hard, limit, other in ((True, trapezoid, exact), (False, exact, trapezoid)):
        scores = mg.Tensor(np.tile(np.log(p), (400_000, 1)), requires_grad=True)
        loss(mg.gumbel_softmax(scores, rng=rng, tau=0.03, hard=hard)).sum().backward()
        mean, noise = scores.grad.mean(0), np.linalg.norm(scores.grad.std(0)) / 400_000**0.5
        assert np.linalg.norm(mean - limit) < 4 * noise + 0.1 * np.linalg.norm(exact - trapezoid)
        assert np.linalg.norm(mean - other) > np.linalg.norm(mean - limit) * 2


def test_the_noise_of_a_sample_is_not_taken_for_bias():
    rng, exact = np.random.default_rng(0), np.array([3.0, 4.0])
    parts = [exact + np.array([1.0, 0.0]) + 10 * rng.standard_normal((1000, 2)) for _ in range(20)]
    found = example.judge(exact, parts)
    assert found["deviation"] == pytest.approx(10 * 2**0.5 / 5, rel=0.03)
    assert found["noise"] == pytest.approx(found["deviation"] / 20_000**0.5, rel=0.01)
    assert found["bias"] == pytest.approx(1 / 5, abs=3 * found["noise"])
    assert example.judge(exact, [exact + np.array([[1.0, 0.0], [-1.0, 0.0]])], np.array([0.5, 0.5]))["bias"] == 0


def test_heat_trades_variance_for_bias(short_run):
    for run in short_run[0]["problems"]["32"]:
        for name in (example.HARD, example.RELAXED):
            cold, hot = run[f"{name}, τ = 0.1"], run[f"{name}, τ = 5"]
            assert cold["deviation"] > 10 * hot["deviation"] and hot["bias"] > 0.5


def test_figures_and_picture_are_written(short_run):
    results, out = short_run
    assert json.loads((out / "figures.json").read_text()) == json.loads(json.dumps(results))
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    assert (out / "estimator_bias_quick.png").read_bytes().startswith(b"\x89PNG")


def test_the_words_follow_the_numbers(short_run):
    results = json.loads(json.dumps(short_run[0]))
    words = example.in_words(results)
    assert words == short_run[0]["in_words"] and len(words[0]) <= 80
    assert ": REINFORCE 0, straight-through " in words[0]
    for run in results["problems"]["32"]:
        run[example.BASELINE]["bias"] = 0.33
    assert ": REINFORCE 0.33, straight-through " in example.in_words(results)[0]


# --- the recorded run ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded():
    return json.loads((Path(example.__file__).parent / "results" / "estimator_bias.json").read_text(encoding="utf-8"))


def median(recorded, name, key, n=32):
    return statistics.median(example.figures(recorded, n, name, key))


def test_recorded_reinforce_has_no_bias_and_neither_has_straight_through_on_a_linear_loss(recorded):
    for n in example.SIZES:
        for name in (example.PLAIN, example.BASELINE, example.LINEAR):
            assert not any(example.figures(recorded, n, name, "bias"))


def test_recorded_cooling_removes_the_bias_of_relaxed_gumbel_and_not_of_gumbel_straight_through(recorded):
    hot, cold = f"τ = {example.TAUS[-1]:g}", f"τ = {example.TAUS[0]:g}"
    relaxed, straight = f"{example.RELAXED}, {cold}", f"{example.HARD}, {cold}"
    assert median(recorded, f"{example.RELAXED}, {hot}", "bias") > 0.5
    assert median(recorded, relaxed, "bias") < median(recorded, relaxed, "noise")
    assert median(recorded, relaxed, "deviation") > 100 * median(recorded, f"{example.RELAXED}, {hot}", "deviation")
    assert median(recorded, straight, "bias") > 2 * median(recorded, straight, "noise")
    assert median(recorded, straight, "bias") == pytest.approx(median(recorded, example.LIMIT, "bias"), rel=0.1)


def test_recorded_reinforce_with_a_baseline_comes_as_near_as_straight_through_after_a_few_draws(recorded):
    deviations = example.figures(recorded, 32, example.BASELINE, "deviation")
    biases = example.figures(recorded, 32, example.ARGMAX, "bias")
    assert 5 < statistics.median((d / b) ** 2 for d, b in zip(deviations, biases, strict=True)) < 50


def test_recorded_reinforces_deviation_grows_with_the_choices_and_straight_throughs_bias_does_not(recorded):
    assert median(recorded, example.BASELINE, "deviation", 128) > 3 * median(recorded, example.BASELINE, "deviation", 4)
    assert median(recorded, example.ARGMAX, "bias", 128) < 1.3 * median(recorded, example.ARGMAX, "bias", 4)
