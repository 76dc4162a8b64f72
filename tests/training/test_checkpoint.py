"""Checkpoints: what comes back, to the last bit; what does not fit, and is refused with nothing changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
import zipfile

import numpy as np
import pytest
from runs import CONFIG, IDS, OPTIMIZERS, Run, assert_same

from minigrad import checkpoint, optim
from minigrad.nn import GPT, GPTConfig, Linear, Sequential
from minigrad.training.checkpoint import CheckpointError, load, save

# --- what comes back -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_resumed_run_is_bit_identical_to_one_that_never_stopped(optimizer, bits, tmp_path):
    unbroken = Run(optimizer, bits=bits).train(7)

    first = Run(optimizer, bits=bits).train(3)
    path = first.save(tmp_path / "run.npz", step=3)
    second = Run(optimizer, bits=bits, seed=99)  # other weights, other generators: all must come from the file
    assert not np.array_equal(second.model.head.weight.data, first.model.head.weight.data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(path).restore(second.model, second.optimizer, second.generators)
    assert_same(second.state(), first.state())
    second.train(4)

    assert_same(second.state(), unbroken.state())
    assert not np.array_equal(second.model.head.weight.data, first.model.head.weight.data)


def test_saving_and_evaluating_change_nothing_in_the_run(tmp_path):
    undisturbed = Run().train(6)
    disturbed = Run()
    for _ in range(6):
        disturbed.train(1)
        disturbed.save(tmp_path / "run.npz")
        disturbed.model.eval()
        disturbed.model(IDS[:8])
        disturbed.model.train()
        disturbed.model.generate(IDS[:2], 3, rng=np.random.default_rng(0))
    assert_same(disturbed.state(), undisturbed.state())


def test_a_checkpoint_holds_what_it_was_given(saved):
    held = load(saved)
    assert held.step == 3
    assert GPTConfig(**held.config) == CONFIG
    assert held.vocabulary == "abcdefghij\n"
    assert held.notes == {"loss": [2.5, 2.25]}
    assert held.environment == checkpoint.environment()
    model = GPT(GPTConfig(**held.config))
    held.restore(model)
    assert_same(model.state_dict(), Run().train(3).model.state_dict())


def test_a_model_alone_can_be_saved_and_restored(tmp_path):
    model = Linear(3, 2)
    save(tmp_path / "linear.npz", model)
    other = Linear(3, 2)
    held = load(tmp_path / "linear.npz")
    held.restore(other)
    assert_same(other.state_dict(), model.state_dict())
    assert (held.step, held.config, held.vocabulary, held.notes, held.optimizer) == (0, None, None, {}, None)


def test_moments_and_step_counts_are_kept_by_name(tmp_path):
    """A second run that names its parameters alike, but gives them to the optimizer in another order."""
    run = Run().train(2)
    run.model.head.weight.requires_grad = False  # not reached from here on: its count stays behind
    run.train(3)
    path = run.save(tmp_path / "run.npz")
    assert load(path).optimizer["updates"]["head.weight"] == 2
    assert load(path).optimizer["updates"]["norm.weight"] == 5

    other = Run()
    other.optimizer = None
    other.optimizer = OPTIMIZERS["AdamW"](reversed(other.model.parameters()))
    load(path).restore(other.model, other.optimizer)
    ours, theirs = (r.optimizer.state_dict() for r in (run, other))
    for mine, reverse in ((ours[key], theirs[key][::-1]) for key in ("m", "v", "updates")):
        for a, b in zip(mine, reverse, strict=True):
            np.testing.assert_array_equal(a, b)


def test_files_keep_the_layout_that_older_ones_have(tmp_path):
    """By these names a checkpoint of today can be read tomorrow."""
    for make, moments in ((optim.Adam, "mv"), (optim.AdamW, "mv"), (lambda p: optim.SGD(p, 0.1), "u")):
        model = Linear(3, 2)
        save(tmp_path / "run.npz", model, optimizer=make(model.parameters()))
        with np.load(tmp_path / "run.npz") as archive:
            expected = {f"{kind}/{name}" for kind in ["parameters", *(f"optimizer/{m}" for m in moments)]
                        for name in ("weight", "bias")}  # fmt: skip
            assert set(archive.files) == expected | {"minigrad.json"}
            header = json.loads(archive["minigrad.json"].tobytes())
        assert header.keys() == {"version", "step", "config", "vocabulary", "optimizer", "generators", "notes",
                                 "environment", "arrays", "checksums"}  # fmt: skip
        assert header["version"] == 1
        assert header["optimizer"]["updates"] == {"weight": 0, "bias": 0}


def test_nothing_in_the_file_is_pickled(saved):
    with zipfile.ZipFile(saved) as archive:
        for name in archive.namelist():
            with archive.open(name) as file:
                np.lib.format.read_array(file, allow_pickle=False)


def test_float64_comes_back_as_float64(tmp_path):
    run = Run(dtype=np.float64).train(1)
    run.save(tmp_path / "run.npz")
    other = Run(dtype=np.float64, seed=5)
    load(tmp_path / "run.npz").restore(other.model, other.optimizer, other.generators)
    assert_same(other.state(), run.state())
    assert other.model.head.weight.dtype == np.float64


# --- what does not fit -----------------------------------------------------------------------------------------------

OTHER_WIDTH = GPTConfig(vocab_size=11, block_size=8, n_layers=2, n_heads=2, d_model=32)
FEWER_LAYERS = GPTConfig(vocab_size=11, block_size=8, n_layers=1, n_heads=2, d_model=16)
MISFITS = {
    "width": (
        lambda: Run(config=OTHER_WIDTH),
        r"token_embedding.weight has shape \(11, 32\) here, \(11, 16\) in the state",
    ),
    "layers": (lambda: Run(config=FEWER_LAYERS), "blocks.1.attn.query.weight is not a parameter here"),
    "dtype": (
        lambda: Run(dtype=np.float64),
        r"token_embedding.weight is float32 in the checkpoint and float64 here: call model.astype\(np.float32\)",
    ),
    "optimizer": (lambda: Run("SGD"), "this is the state of AdamW, not of SGD"),
    "bit generator": (lambda: Run(bits=np.random.Philox), "generator 'model' is a PCG64 in the checkpoint and a Phil"),
}


@pytest.mark.parametrize("what", MISFITS)
def test_a_checkpoint_that_does_not_fit_says_so_and_changes_nothing(what, saved):
    make, says = MISFITS[what]
    run = make().train(1)
    before = run.state()
    with pytest.raises(CheckpointError, match=f"run.npz: .*{says}"):
        load(saved).restore(run.model, run.optimizer, run.generators)
    assert_same(run.state(), before)


def test_other_generators_or_parameters_are_named(saved, tmp_path):
    run = Run()
    with pytest.raises(CheckpointError, match=r"it holds generators \['data', 'model'\], not \['data'\]"):
        load(saved).restore(run.model, run.optimizer, {"data": run.generators["data"]})
    run.optimizer = None
    some = optim.AdamW(run.model.parameters()[1:])
    with pytest.raises(CheckpointError, match=r"trains other parameters: they differ in token_embedding.weight"):
        load(saved).restore(run.model, some)
    save(tmp_path / "model.npz", run.model)
    with pytest.raises(CheckpointError, match="it was saved without an optimizer"):
        load(tmp_path / "model.npz").restore(run.model, some)
    with pytest.raises(
        ValueError, match=r"the optimizer has position_embedding.weight of shape .*, which is not in this Seq"
    ):
        save(tmp_path / "model.npz", Sequential(Linear(2, 2)), optimizer=some)


DAMAGES = {
    "a generator's number": lambda held: held.generators["data"]["state"].update(state="many"),
    "a generator's number, negative": lambda held: held.generators["data"]["state"].update(state=-5),
    "a generator": lambda held: held.generators.update(data=[1, 2]),
    "a generator's state": lambda held: held.generators["data"].update(state=3),
    "a generator's flag": lambda held: held.generators["data"].update(has_uint32="q"),
    "lr": lambda held: held.optimizer.update(lr="abc"),
    "betas": lambda held: held.optimizer.update(betas=3),
    "updates": lambda held: held.optimizer.update(updates=5),
    "one count": lambda held: held.optimizer["updates"].update({"norm.weight": 0.5}),
    "a moment": lambda held: held.optimizer["v"].update({"norm.weight": np.ones(3)}),
    "no moments": lambda held: held.optimizer.pop("m"),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_value_restores_nothing_at_all(what, saved):
    held = load(saved)
    DAMAGES[what](held)
    run = Run(seed=7).train(1)
    before = run.state()
    with pytest.raises(CheckpointError, match=r"run\.npz: "):
        held.restore(run.model, run.optimizer, run.generators)
    assert_same(run.state(), before)


@pytest.mark.parametrize(
    ("bits", "damage"),
    [
        (np.random.MT19937, lambda state: state["state"].update(pos=10**6)),
        (np.random.MT19937, lambda state: state["state"].update(pos=-1)),
        (np.random.Philox, lambda state: state.update(buffer_pos=99)),
    ],
)
def test_a_generator_that_would_read_beyond_its_buffer_is_refused(bits, damage, tmp_path):
    run = Run(bits=bits)
    held = load(run.save(tmp_path / "run.npz"))
    damage(held.generators["model"])
    before = run.state()
    with pytest.raises(CheckpointError, match=f"generator 'model' has a state that no {bits.__name__} can have"):
        held.restore(run.model, run.optimizer, run.generators)
    assert_same(run.state(), before)


@pytest.mark.parametrize("what", ["a function", "itself", "too deep"])
def test_what_is_not_json_is_refused_before_anything_is_written(what, saved):
    itself, deep = [], []
    itself.append(itself)
    for _ in range(100_000):
        deep = [deep]
    value = {"a function": len, "itself": itself, "too deep": deep}[what]
    before = saved.read_bytes()
    with pytest.raises(TypeError, match="keeps config and notes as JSON: "):
        save(saved, Linear(2, 2), config={"normalize": value})
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["run.npz"]


# --- what the last bits depend on ------------------------------------------------------------------------------------

HERE = {"NumPy": "2", "CPU": "x86_64", "BLAS": "openblas", "BLAS kernels": "Haswell", "BLAS threads": "2"}


@pytest.mark.parametrize("what", HERE)
def test_another_environment_warns_when_training_goes_on(what, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "environment", lambda: HERE)
    run = Run()
    held = load(run.save(tmp_path / "run.npz"))
    monkeypatch.setattr(checkpoint, "environment", lambda: HERE | {what: "another"})
    with pytest.warns(UserWarning, match=f"{what} {HERE[what]} then and another now.*not bit for bit"):
        held.restore(run.model, run.optimizer, run.generators)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        held.restore(run.model)  # only used, not trained on: nobody compares bits


def test_what_one_side_does_not_know_is_no_difference(tmp_path, monkeypatch):
    unknown = HERE | {"BLAS kernels": "unknown", "BLAS threads": "unknown"}  # as without threadpoolctl
    for then, now in ((HERE, unknown), (unknown, HERE), (HERE | {"of old": "1"}, HERE)):
        monkeypatch.setattr(checkpoint, "environment", lambda then=then: then)
        run = Run()
        held = load(run.save(tmp_path / "run.npz"))
        monkeypatch.setattr(checkpoint, "environment", lambda now=now: now)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            held.restore(run.model, run.optimizer, run.generators)


def test_kernels_and_threads_are_those_of_the_blas_that_numpy_uses(monkeypatch):
    libraries = [
        {"user_api": "openmp", "filepath": "libgomp.so", "num_threads": 9},
        {"user_api": "blas", "filepath": "scipy.libs/b.so", "num_threads": 8, "architecture": "Zen"},
        {"user_api": "blas", "filepath": "numpy.libs/a.so", "num_threads": 2, "architecture": "Haswell"},
    ]
    monkeypatch.setattr(checkpoint, "threadpool_info", lambda: libraries)
    found = checkpoint.environment()
    assert (found["BLAS kernels"], found["BLAS threads"]) == ("Haswell", "2")
    assert found["NumPy"] == np.__version__
    monkeypatch.setattr(checkpoint, "threadpool_info", list)  # as without threadpoolctl
    assert checkpoint.environment() == found | {"BLAS kernels": "unknown", "BLAS threads": "unknown"}


def test_a_limit_on_the_threads_of_openblas_is_noticed():
    threadpoolctl = pytest.importorskip("threadpoolctl", reason="threadpoolctl is not installed")
    if "openblas" not in {library["internal_api"] for library in threadpoolctl.threadpool_info()}:
        pytest.skip("NumPy uses another BLAS here")
    program = "from minigrad import checkpoint; print(checkpoint.environment()['BLAS threads'])"
    one = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    answer = subprocess.run([sys.executable, "-c", program], env=one, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "1"
