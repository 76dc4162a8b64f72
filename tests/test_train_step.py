"""The benchmark runs, compares equal models, and prints what it says it prints. No test here is about speed."""

import json
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent / "benchmarks"


@pytest.fixture
def train_step(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import train_step

    return train_step


def setting(train_step, name, library, *step_ms, **measured):
    rounds = [{"step_ms": ms, "parameters": 3, "losses": [4.0, 3.0], **measured} for ms in step_ms]
    return train_step.Setting(name, library, rounds=rounds)


def test_without_pytorch_it_says_so_and_measures_minigrad(train_step, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(train_step.importlib.util, "find_spec", lambda name: None)
    arguments = ["--rows", "1", "--rounds", "1", "--seconds", "0.02", "--json", str(tmp_path / "figures.json")]
    train_step.main(arguments)
    printed = capsys.readouterr().out
    assert "PyTorch is not installed (pip install torch)" in printed
    assert "Row 1: batch 4 x 8 tokens, d_model 16, 2 heads, 1 layer; 5,520 parameters" in printed
    for column in ("step ms", "fastest", "products ms", "step / products", "peak MB"):
        assert column in printed
    assert "minigrad, 1 thread" in printed

    row = json.loads((tmp_path / "figures.json").read_text())["rows"][0]
    for found in row["settings"]:
        (figures,) = found["rounds"]
        assert 0 < figures["fastest_step_ms"] <= figures["step_ms"]
        assert figures["products_ms"] > 0 and figures["memory_mb"] > 0


@pytest.mark.parametrize("library", ["torch", "autograd", "jax"])
def test_the_others_train_the_same_model(train_step, library):
    pytest.importorskip(library)
    size = train_step.ROWS[0]
    losses, counts = [], []
    for name in ("minigrad", library):
        step, n_parameters, pairs = train_step.step_of(name, size)
        losses.append([float(step(*pairs[i % len(pairs)])) for i in range(10)])
        counts.append(n_parameters)
    assert counts[0] == counts[1]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert abs(losses[0][0] - losses[0][-1]) > 0.01  # ten steps changed something


def test_different_models_stop_it(train_step):
    mine = setting(train_step, "minigrad", "minigrad", 1.0)
    with pytest.raises(RuntimeError, match="minigrad has 3 parameters, PyTorch 4"):
        train_step.check_same_model([mine, setting(train_step, "PyTorch", "torch", 1.0, parameters=4)])
    with pytest.raises(RuntimeError, match="different models"):
        train_step.check_same_model([mine, setting(train_step, "PyTorch", "torch", 1.0, losses=[4.0, 3.01])])
    train_step.check_same_model([mine, setting(train_step, "PyTorch", "torch", 1.0, losses=[4.0, 3.00001])])


def test_ratios_are_taken_in_each_round_against_the_faster_number_of_threads(train_step):
    mine = setting(train_step, "minigrad", "minigrad", 1.0, 2.0)
    found = [mine, setting(train_step, "1", "torch", 2.0, 4.0), setting(train_step, "all", "torch", 3.0, 1.0)]
    assert train_step.ratios(mine, found) == [2.0, 0.5]


def test_the_products_counted_are_those_of_the_model(train_step):
    size = train_step.ROWS[3]
    matrices = [w for name, w in train_step.initial_weights(size).items() if w.ndim == 2 and "embedding" not in name]
    tokens = size.batch * size.seq_len
    in_linear = 6 * tokens * sum(w.size for w in matrices)  # 2 forward and 4 backward for each weight and token
    in_attention = size.n_layers * 12 * tokens * size.seq_len * size.d_model  # 6 products of 2 · T · d for each token
    assert train_step.gflop(size) == pytest.approx((in_linear + in_attention) / 1e9)


def test_kernels_are_only_forced_where_better_ones_are_known(train_step, monkeypatch):
    monkeypatch.setattr(train_step, "has_avx512", lambda: True)
    assert list(train_step.kernels_to_measure("SkylakeX", None).values()) == [{}]
    assert {"OPENBLAS_CORETYPE": "SKYLAKEX"} in train_step.kernels_to_measure("Haswell", None).values()
    monkeypatch.setattr(train_step, "has_avx512", lambda: False)
    assert list(train_step.kernels_to_measure("Haswell", None).values()) == [{}]


def test_what_the_shell_says_about_threads_does_not_reach_the_measurement(train_step, monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    monkeypatch.setenv("OPENBLAS_CORETYPE", "HASWELL")
    chosen = {}

    def run(command, env, **options):
        chosen.update(env)
        return type("Done", (), {"returncode": 0, "stdout": "0\n"})

    monkeypatch.setattr(train_step.subprocess, "run", run)
    train_step.in_process("environment", env={"OMP_NUM_THREADS": "1"})
    assert "OPENBLAS_NUM_THREADS" not in chosen and "OPENBLAS_CORETYPE" not in chosen
    assert chosen["OMP_NUM_THREADS"] == "1"


def test_a_failure_in_a_process_is_shown(train_step):
    with pytest.raises(RuntimeError, match="no_such_library"):
        train_step.in_process("measure", "no_such_library", {}, 1.0)


def test_bad_arguments_are_refused_before_anything_runs(train_step, capsys):
    for arguments, complaint in [
        (["--rounds", "0"], "--rounds must be at least 1, not 0"),
        (["--rows", "6"], "invalid choice"),
        (["--json", "no/such/folder/x.json"], "there is no folder"),
    ]:
        with pytest.raises(SystemExit):
            train_step.main(arguments)
        assert complaint in capsys.readouterr().err
