"""The benchmark runs, compares equal models, and prints what it says it prints. No test here is about speed."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent / "benchmarks"))

import step_compare
import step_cost
import step_machine
import step_models
import step_process
import step_tables
import train_step


def setting(name, library, *step_ms, ranks=1, **measured):
    rounds = [{"step_ms": ms, "parameters": 3, "losses": [4.0, 3.0], **measured} for ms in step_ms]
    return step_compare.Setting(name, library, ranks=ranks, rounds=rounds)


def test_without_pytorch_it_says_so_and_measures_minigrad(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(step_compare.importlib.util, "find_spec", lambda name: None)
    arguments = ["--rows", "1", "--rounds", "1", "--seconds", "0.02", "--json", str(tmp_path / "figures.json")]
    train_step.main(arguments)
    printed = capsys.readouterr().out
    assert "PyTorch is not installed (pip install torch)" in printed
    assert "mpi4py or mpiexec is missing (pip install mpi4py mpich)" in printed
    assert "Row 1: batch 4 x 8 tokens, d_model 16, 2 heads, 1 layer; 5,520 parameters" in printed
    for column in ("step ms", "fastest", "products ms", "step / products", "peak MB"):
        assert column in printed
    assert "minigrad, 1 thread" in printed

    row = json.loads((tmp_path / "figures.json").read_text())["rows"][0]
    for found in row["settings"]:
        (figures,) = found["rounds"]
        assert 0 < figures["fastest_step_ms"] <= figures["step_ms"]
        assert figures["products_ms"] > 0 and figures["memory_mb"] > 0


@pytest.mark.parametrize("library", ["torch", "torch fused", "autograd", "jax"])
def test_the_others_train_the_same_model(library):
    pytest.importorskip(library.split()[0])
    size = step_models.ROWS[0]
    losses, counts = [], []
    for name in ("minigrad", library):
        run = step_models.training(name, size)
        losses.append([float(run.step(*run.pairs[i % len(run.pairs)])) for i in range(10)])
        counts.append(run.parameters)
    assert counts[0] == counts[1]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert abs(losses[0][0] - losses[0][-1]) > 0.01  # ten steps changed something


def test_two_processes_train_the_same_model_as_one():
    """So do PyTorch's, which the benchmark itself checks; here they would take too long."""
    pytest.importorskip("mpi4py", reason="two processes need mpi4py: pip install 'minigrad[mpi]'")
    if step_process.mpiexec() is None:
        pytest.skip("two processes need mpiexec: pip install 'minigrad[mpi]'")
    size = step_models.ROWS[0]
    two = step_process.in_process("measure", "minigrad", asdict(size), 0.01, env=step_compare.ONE_THREAD, ranks=2)
    run = step_models.training("minigrad", size)
    losses = [float(run.step(*run.pairs[i])) for i in range(len(two["losses"]))]
    assert two["parameters"] == run.parameters
    assert losses == pytest.approx(two["losses"], rel=1e-5)


def test_different_models_stop_it():
    mine = setting("minigrad", "minigrad", 1.0)
    with pytest.raises(RuntimeError, match="minigrad has 3 parameters, PyTorch 4"):
        step_compare.check_same_model([mine, setting("PyTorch", "torch", 1.0, parameters=4)])
    with pytest.raises(RuntimeError, match="different models"):
        step_compare.check_same_model([mine, setting("PyTorch", "torch", 1.0, losses=[4.0, 3.01])])
    step_compare.check_same_model([mine, setting("PyTorch", "torch", 1.0, losses=[4.0, 3.00001])])


# --- figures ---------------------------------------------------------------------------------------------------------


def row(**more):
    """The settings of a row, two rounds each; in the second everything takes twice as long."""
    measured = {"products_ms": 1.0, "memory_mb": 10.0}
    return [
        setting("minigrad, default", "minigrad", 4.0, 8.0, **measured),
        setting("minigrad, 1 thread", "minigrad", 5.0, 7.0, **measured | {"memory_mb": 8.0}),
        setting("minigrad, 2 processes", "minigrad", 2.0, 4.0, ranks=2, **measured),
        setting("torch, 1", "torch", 8.0, 14.0, **measured | {"memory_mb": 20.0}),
        setting("torch, all", "torch", 6.0, 16.0, **measured | {"memory_mb": 30.0}),
        setting("torch fused", "torch fused", 5.0, 10.0, **measured | {"memory_mb": 24.0}),
        setting("ddp", "torch ddp", 3.0, 12.0, ranks=2, **measured),
    ]


def test_each_library_is_taken_at_its_best_in_each_round():
    figures = step_compare.figures(row())
    assert figures["ms"] == np.median([4, 7])
    assert figures["PyTorch / minigrad"] == np.median([6 / 4, 14 / 7])
    assert figures["PyTorch fused / minigrad"] == np.median([5 / 4, 10 / 7])
    assert figures["best of PyTorch / two processes"] == np.median([3 / 2, 10 / 4])
    assert figures["step / products"] == np.median([4, 7])
    assert figures["PyTorch's memory / minigrad's"] == 20 / 8


def test_what_was_not_measured_is_a_dash():
    figures = step_compare.figures(row()[:2])
    assert figures["two processes, ms"] is None and figures["PyTorch / minigrad"] is None
    assert step_tables.cell(None) == "–"
    assert [step_tables.cell(x) for x in (0.98765, 12.345, 345.6)] == ["0.988", "12.3", "346"]


RECORD = {
    "machine": {
        "date": "2026-11-25", "cores": 2, "cpu": "an EPYC", "NumPy": "2.4.6", "BLAS": "OpenBLAS 0.3.31",
        "BLAS kernels": "Haswell", "torch": "2.13.0",
    },
    "rows": [{"row": 4, "size": asdict(step_models.ROWS[3]), "settings": [asdict(s) for s in row()]}],
}  # fmt: skip


def test_the_readmes_table_is_made_from_the_record():
    before = f"# A\n{step_tables.BEGIN}\nof yesterday\n{step_tables.END}\nB\n"
    after = step_tables.with_table(before, RECORD)
    assert after.startswith("# A\n") and after.endswith("\nB\n") and "yesterday" not in after
    assert "| 12 × 64, 128, 4, 4 (nanoGPT's CPU setting) | **1.8** | **1.3** | **2** | 5.5, 3 | 10, 7.5, 7.5 |" in after
    assert "median of 2 rounds, on 2 cores of an EPYC" in after
    assert step_tables.with_table(after, RECORD) == after
    with_peers = {**RECORD, "rows": [{**RECORD["rows"][0], "settings": [asdict(setting("JAX jit", "jax", 3.0, 5.0))]}]}
    assert step_tables.peers(with_peers) == ["JAX jit, from the first row to the last: 4 ms."]
    with pytest.raises(ValueError, match="the README needs the lines"):
        step_tables.with_table("# A\n", RECORD)


def test_the_readmes_table_is_that_of_the_recorded_run():
    if not train_step.RECORD.exists():
        pytest.skip(f"no run is recorded yet: python tests/benchmarks/train_step.py --json {train_step.RECORD.name}")
    readme = train_step.README.read_text("utf-8")
    assert step_tables.with_table(readme, json.loads(train_step.RECORD.read_text("utf-8"))) == readme


def test_the_products_counted_are_those_of_the_model():
    size = step_models.ROWS[3]
    matrices = [w for name, w in step_models.initial_weights(size).items() if w.ndim == 2 and "embedding" not in name]
    tokens = size.batch * size.seq_len
    in_linear = 6 * tokens * sum(w.size for w in matrices)  # 2 forward and 4 backward for each weight and token
    in_attention = size.n_layers * 12 * tokens * size.seq_len * size.d_model  # 6 products of 2 · T · d for each token
    assert step_models.gflop(size) == pytest.approx((in_linear + in_attention) / 1e9)


def test_kernels_are_only_forced_where_better_ones_are_known(monkeypatch):
    monkeypatch.setattr(step_machine, "has_avx512", lambda: True)
    assert list(step_machine.kernels_to_measure("SkylakeX", None).values()) == [{}]
    assert {"OPENBLAS_CORETYPE": "SKYLAKEX"} in step_machine.kernels_to_measure("Haswell", None).values()
    monkeypatch.setattr(step_machine, "has_avx512", lambda: False)
    assert list(step_machine.kernels_to_measure("Haswell", None).values()) == [{}]


def test_what_the_shell_says_about_threads_does_not_reach_the_measurement(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    monkeypatch.setenv("OPENBLAS_CORETYPE", "HASWELL")
    chosen = {}

    def run(command, env, **options):
        chosen.update(env)
        return type("Done", (), {"returncode": 0, "stdout": "0\n"})

    monkeypatch.setattr(step_process.subprocess, "run", run)
    step_process.in_process("environment", env={"OMP_NUM_THREADS": "1"})
    assert "OPENBLAS_NUM_THREADS" not in chosen and "OPENBLAS_CORETYPE" not in chosen
    assert chosen["OMP_NUM_THREADS"] == "1"


def test_a_failure_in_a_process_is_shown():
    with pytest.raises(RuntimeError, match="no_such_library"):
        step_process.in_process("measure", "no_such_library", {}, 1.0)


def test_bad_arguments_are_refused_before_anything_runs(capsys):
    for arguments, complaint in [
        (["--rounds", "0"], "--rounds must be at least 1, not 0"),
        (["--rows", "6"], "invalid choice"),
        (["--json", "no/such/folder/x.json"], "there is no folder"),
    ]:
        with pytest.raises(SystemExit):
            train_step.main(arguments)
        assert complaint in capsys.readouterr().err


# --- the guard that counts instead of timing -------------------------------------------------------------------------


def test_python_calls_of_a_step_are_the_same_each_time():
    calls = step_cost.python_calls()
    assert calls == step_cost.python_calls()
    assert 100 < calls < 10_000


def test_the_guard_says_how_far_a_count_is_from_the_recorded_one(capsys):
    assert step_cost.compare("Python calls", 1030, 1000)
    assert not step_cost.compare("Python calls", 1060, 1000)
    assert step_cost.compare("Python calls", 500, None)
    printed = capsys.readouterr().out
    assert (
        "1,030, recorded 1,000: +3.0 %" in printed
        and "+6.0 %, more than" in printed
        and "500, none recorded" in printed
    )
