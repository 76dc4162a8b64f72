"""The types that a checker and an editor see in the program of a user."""

import os
import pathlib
import subprocess
import sys
import textwrap

import pytest

import minigrad
from minigrad import Tensor


def test_a_user_program_is_clean_under_mypy_strict_and_gets_tensors(tmp_path):
    pytest.importorskip("mypy", reason="mypy is not installed")
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent("""
        import numpy as np
        import minigrad
        from minigrad import Tensor, no_grad

        x = Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True, name="x")
        y, z = x * 2, x.mT
        a = np.ones((2, 2))

        def loss(t: Tensor) -> Tensor:
            return (t + y @ z).mean()

        reveal_type(x + y @ z)
        reveal_type(2 * x - 1)
        reveal_type(x.sum(axis=(0, 1), keepdims=True))
        reveal_type(x.mean(axis=-1))
        reveal_type(x.reshape(4).reshape((2, 2)).swapaxes(0, 1))
        reveal_type(x[0, :1])
        reveal_type(-abs(x) ** 2)
        reveal_type(minigrad.softmax(x))
        reveal_type(minigrad.softmax(x, axis=-1, mask=x > 0))
        reveal_type(minigrad.cross_entropy(x, np.array([0, 1])))
        reveal_type(minigrad.attention(x, x, x, causal=True))
        reveal_type(minigrad.concat([x, x], axis=1))
        reveal_type(minigrad.where(x > 0, x, 0))
        reveal_type(x.detach())
        reveal_type([row for row in x][0])
        with no_grad():
            reveal_type(loss(x))
        loss(x).backward()
        number: float = loss(x).item()
        gradient = x.grad
        compared = x > 0
        assert gradient is not None and compared.any()
        """)
    )
    result = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(program)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=_environment_with_minigrad(),
    )
    # Once installed, minigrad is not the user's to check: only what mypy says about the program counts.
    lines = [line for line in result.stdout.splitlines() if line.startswith(program.name)]
    assert [line for line in lines if "error:" in line] == [], result.stderr
    revealed = [line.split("Revealed type is ")[1].strip('"') for line in lines if "Revealed type" in line]
    assert revealed == ["minigrad.engine.Tensor"] * program.read_text().count("reveal_type")


def _environment_with_minigrad():
    """mypy finds minigrad where this very test found it."""
    return {**os.environ, "MYPYPATH": str(pathlib.Path(minigrad.__file__).parent.parent)}


def test_every_operator_is_spelled_out_where_an_editor_finds_it():
    documented = {n for n in dir(Tensor) if not n.startswith("_")}
    assert documented >= {
        *["sum", "mean", "var", "max", "min", "reshape", "transpose", "swapaxes", "broadcast_to", "mT", "T", "exp"],
        *["log", "sqrt", "tanh", "sigmoid", "relu", "abs", "clip", "softmax", "shape", "ndim", "size", "dtype", "data"],
        *["grad", "backward", "detach", "item", "numpy", "requires_grad", "name"],
    }
