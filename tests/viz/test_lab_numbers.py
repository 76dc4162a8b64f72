"""The softmax lab computes in JavaScript; in a browser, its numbers are held to minigrad's."""

import json

import browser
import numpy as np
import pytest

import minigrad as mg
from minigrad import optim, viz

OPS = {
    "softmax": mg.softmax, "entmax15": mg.entmax15, "sparsemax": mg.sparsemax, "hardmax": mg.hardmax,
    "straight_through": mg.straight_through, "top_k_softmax": lambda x: mg.top_k_softmax(x, k=2),
    "sigmoid_normalize": mg.sigmoid_normalize, "sum_normalize": mg.sum_normalize,
}  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    program = browser.find()
    if program is None:
        pytest.skip("no Chromium here: apt install chromium")
    b = browser.Browser(program)
    b.open(viz.lab(tmp_path_factory.mktemp("lab") / "lab.html"))
    yield b
    assert b.errors == []
    b.close()


def near(found, expected, tolerance=1e-12):
    """Equal to `tolerance` of the largest number."""
    expected = np.asarray(expected)
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(np.asarray(found, float), expected, rtol=0, atol=tolerance * scale)


def random_case(rng):
    n = int(rng.integers(2, 9))
    return {
        "scores": rng.normal(0, 1.5, n).tolist(),
        "temperature": float(10 ** rng.uniform(-1, 1)),
        "word": int(rng.integers(n)) if rng.random() < 0.5 else None,  # else the loss wants a value
        "values": rng.normal(0, 2, n).tolist(),
        "target": float(rng.normal(0, 2)),
    }


# The same loss, on the page and here.
LOSS = "(c => c.word !== null ? wantsWord(c.word) : wantsValue(c.values, c.target))"


def loss_of(weights, case):
    if case["word"] is not None:
        return 1 - weights[case["word"]]
    return ((weights * case["values"]).sum() - case["target"]) ** 2


def leaf(numbers):
    return mg.Tensor(np.array(numbers), requires_grad=True)


def test_the_page_offers_the_normalizers_that_are_compared_here(page):
    assert page("NORMALIZERS.map(n => n.op)") == list(OPS)


@pytest.mark.parametrize("name", OPS)
def test_weights_gradients_and_jacobians_are_minigrads(page, name):
    rng = np.random.default_rng(sum(map(ord, name)))
    cases = [random_case(rng) for _ in range(200)]
    found = page(
        f"{json.dumps(cases)}.map(c => ({{"
        f"...look(normalizer('{name}'), c.scores, {{temperature: c.temperature, loss: {LOSS}(c)}}),"
        f"jacobian: jacobian(normalizer('{name}'), c.scores, c.temperature) }}))"
    )
    for case, seen in zip(cases, found, strict=True):
        scores, n = leaf(case["scores"]), len(case["scores"])
        weights = OPS[name](scores / case["temperature"])
        loss = loss_of(weights, case)
        loss.backward()
        near(seen["weights"], weights.data)
        near(seen["loss"], loss.data)
        near(seen["gradient"], scores.grad)
        rows = leaf([case["scores"]] * n)
        OPS[name](rows / case["temperature"]).backward(np.eye(n))
        near(seen["jacobian"], rows.grad)


def test_equal_scores_are_treated_as_minigrad_treats_them(page):
    for name, op in OPS.items():
        for scores in ([1.0, 1.0, 0.5], [0.5, 1.0, 1.0, 1.0]):
            near(page(f"weigh(normalizer('{name}'), {scores}, 1)[0]"), op(np.array(scores)).data)


@pytest.mark.parametrize("name", OPS)
def test_taking_steps_is_minigrads_sgd(page, name):
    rng = np.random.default_rng(len(name))
    for case in [random_case(rng) for _ in range(6)]:
        if name == "sum_normalize":  # away from its pole
            case["scores"] = np.abs(case["scores"]).tolist()
        case |= {"temperature": 1.0, "rate": 1.0 if case["word"] is not None else 0.01}
        end = page(
            f"(c => descend(c.scores, x => look(normalizer('{name}'), x, {{temperature: 1, loss: {LOSS}(c)}})"
            f".gradient, c.rate, 50).at(-1))({json.dumps(case)})"
        )
        scores = leaf(case["scores"])
        optimizer = optim.SGD([scores], lr=case["rate"])
        for _ in range(50):
            optimizer.zero_grad()
            loss_of(OPS[name](scores), case).backward()
            optimizer.step()
        near(end, scores.data, 1e-9)
        assert name != "hardmax" or end == case["scores"]


def test_the_gradient_on_the_query_is_minigrads(page):
    rng = np.random.default_rng(3)
    for name, op in OPS.items():
        query, word = rng.normal(size=2), int(rng.integers(5))
        keys = np.array(page("keysOf(defaults())"))
        found = page(
            f"lookFromQuery(normalizer('{name}'), {query.tolist()}, keysOf(defaults()),"
            f"{{temperature: 1, loss: wantsWord({word})}}).gradQuery"
        )
        q = leaf(query)
        (1 - op((mg.Tensor(keys) * q).sum(-1) / np.sqrt(2.0))[word]).backward()
        near(found, q.grad)


def test_one_step_lowers_the_loss_where_there_is_a_slope(page):
    for name in ("softmax", "entmax15", "sparsemax", "sigmoid_normalize"):
        before, after = page(
            f"(() => {{ const n = normalizer('{name}'), task = {{temperature: 1, loss: wantsWord(1)}};"
            "const x = [0.4, 0.1, 0.2], end = descend(x, s => look(n, s, task).gradient, 0.1, 1)[1];"
            "return [look(n, x, task).loss, look(n, end, task).loss] })()"
        )
        assert after < before - 1e-4, name


def test_the_check_by_finite_differences_tells_slopes_kinks_and_estimators_apart(page):
    def verdict(name, scores):
        return page(
            f"finiteDifferences(normalizer('{name}'), {scores}, {{temperature: 1, loss: wantsWord(1)}}).verdict"
        )

    scores = [1.2, 0.4, 0.8, -0.6, 0.1]
    assert {name: verdict(name, scores) for name in OPS} == {
        name: "differs" if name == "straight_through" else "ok" for name in OPS
    }
    assert verdict("sparsemax", [0.0, 1.0, -1.0]) == "kink"  # the first is just about to enter the support
    assert verdict("hardmax", [1.0, 1.0, 0.0]) == "kink"


def test_a_wrong_gradient_would_be_noticed_by_the_check(page):
    wrong = "{f: x => { const [y, vjp] = softmax(x); return [y, g => vjp(g).map(d => 1.001 * d)] }}"
    assert page(f"finiteDifferences({wrong}, [1, 2, 3], {{temperature: 1, loss: wantsWord(1)}}).verdict") == "differs"


def test_what_the_guessing_rounds_call_right_is_right_for_every_seed(page):
    right = page(
        "Array.from({length: 200}, (_, s) => ROUNDS.map((_, r) => { const q = questionOf(s + 1, r);"
        "return q.options[q.right] })).map(a => a.join(' | '))"
    )
    assert set(right) == {"down | hardmax (argmax) | it grows | nothing | exactly 0 | 0, as at the start"}
