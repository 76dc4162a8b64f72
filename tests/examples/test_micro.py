"""micro.py, the whole idea on one page: it is short, it stands alone, and its numbers are minigrad's."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import micro
import minigrad as mg
from agreement import assert_close

ROOT = Path(__file__).parents[2]
SOURCE = (ROOT / "examples" / "micro.py").read_text(encoding="utf-8")
rng = np.random.default_rng(0)
Q, K, V = rng.normal(size=(3, 6, 4))


def test_it_is_a_page_of_at_most_120_lines():
    assert len(SOURCE.splitlines()) <= 120


def test_it_needs_nothing_but_numpy():
    imported = {
        alias.name for node in ast.walk(ast.parse(SOURCE)) if isinstance(node, ast.Import) for alias in node.names
    }
    assert imported == {"itertools", "math", "numpy"}
    assert not any(isinstance(node, ast.ImportFrom) for node in ast.walk(ast.parse(SOURCE)))


def test_each_part_says_where_it_is_found_again_and_there_it_is():
    named = set(re.findall(r"[\w/]+\.py", SOURCE)) - {"examples/micro.py"}
    assert len(named) >= 8
    assert not [path for path in named if not any((ROOT / room / path).is_file() for room in (".", "minigrad"))]
    functions = [node for node in ast.parse(SOURCE).body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    lines = SOURCE.splitlines()
    for f in functions:
        assert ".py" in lines[f.lineno - 1] + lines[f.lineno - 2], f.name


@pytest.mark.parametrize(
    ("own", "minigrads", "arrays"),
    [
        (micro.matmul, mg.matmul, (Q, K.T)),
        (micro.softmax, mg.softmax, (Q,)),
        (micro.hardmax, mg.hardmax, (Q,)),
        (micro.scores, lambda q, k: q @ k.mT / np.sqrt(4), (Q, K)),
        (micro.attention, mg.attention, (Q, K, V)),
        (lambda x: micro.cross_entropy(x, [0, 1, 2, 3, 0, 1]), lambda x: mg.cross_entropy(x, [0, 1, 2, 3, 0, 1]), (Q,)),
    ],
    ids=["matmul", "softmax", "hardmax", "scores", "attention", "cross_entropy"],
)
def test_values_and_gradients_are_minigrads(own, minigrads, arrays):
    mine, theirs = [micro.Value(a) for a in arrays], [mg.Tensor(a, requires_grad=True) for a in arrays]
    y, due = own(*mine), minigrads(*theirs)
    assert_close(y.data, due.data, 1e-12)
    u = rng.normal(size=y.data.shape)
    micro.backward(y, u)
    due.backward(u)
    for value, tensor in zip(mine, theirs, strict=True):
        assert_close(value.grad, tensor.grad, 1e-12)


def test_a_value_that_is_used_several_times_gets_the_sum():
    x = micro.Value(Q[:4])
    y = micro.matmul(micro.softmax(x), x)
    micro.backward(y)
    t = mg.Tensor(Q[:4], requires_grad=True)
    (mg.softmax(t) @ t).sum().backward()
    assert_close(x.grad, t.grad, 1e-12)


def minigrads_training(normalize, seed, steps, n=8, d=16):
    """micro.train in minigrad's words."""
    rng = np.random.default_rng(seed)
    queries, keys = (mg.Tensor(rng.normal(size=(n, d)), requires_grad=True) for _ in "qk")
    start, losses = queries.numpy().copy(), []
    optimizer = mg.optim.SGD([queries, keys], lr=1.0)
    for _ in range(steps):
        answers = rng.permutation(n)
        found = mg.attention_weights(queries, keys, normalize=normalize) @ (5 * np.eye(n)[answers])
        loss = mg.cross_entropy(found, answers)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, np.abs(queries.numpy() - start).max()


@pytest.mark.parametrize("name", ["softmax", "hardmax"])
def test_training_goes_as_in_minigrad(name):
    losses, moved = micro.train(getattr(micro, name), seed=3, steps=60)
    due, due_moved = minigrads_training(mg.OPS[name], seed=3, steps=60)
    np.testing.assert_allclose(losses, due, rtol=1e-6)
    np.testing.assert_allclose(moved, due_moved, rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_soft_attention_learns_and_hard_attention_stands_still(seed):
    losses, moved = micro.train(micro.softmax, seed)
    assert losses[-1] < 0.1 < 1 < losses[0] and moved > 0.5
    losses, moved = micro.train(micro.hardmax, seed)
    assert moved == 0 and np.ptp(losses) < 1e-9


def test_its_gradcheck_passes_what_is_right_and_notices_what_is_wrong():
    assert micro.gradcheck(micro.softmax, Q) < 1e-7
    assert micro.gradcheck(micro.attention, Q, K, V) < 1e-7

    def without_the_row_sum(x):
        y = micro.softmax(x).data
        return micro.Value(y, (x,), (lambda g: g * y,))

    assert micro.gradcheck(without_the_row_sum, Q) > 0.1


def test_it_runs_and_says_that_hard_attention_has_not_moved():
    command = [sys.executable, str(ROOT / "examples" / "micro.py")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.count("moved by 0\n") == 3 and said.startswith("gradcheck: softmax is off by ")
    said.encode("cp1252")


def test_the_benchmark_of_microgpts_size_prints_one_line(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "benchmarks"))
    import microgpt

    texts = microgpt.documents()
    assert len(texts) > 1000 and max(map(len, texts)) == 17  # 16 positions, and what comes after the last
    assert all(text[0] == text[-1] == microgpt.END for text in texts)
    monkeypatch.setattr(microgpt, "STEPS", 10)
    monkeypatch.setattr(microgpt, "RUNS", 1)
    microgpt.main()
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and said.startswith("10 steps of a GPT of microgpt's size")
