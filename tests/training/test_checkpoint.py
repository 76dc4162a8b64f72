"""Checkpoints: what comes back, to the last bit; what is refused, and in which words; what a kill leaves behind."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import textwrap
import time
import warnings
import zipfile
from dataclasses import asdict

import numpy as np
import pytest

from minigrad import checkpoint, cross_entropy, optim, text
from minigrad.nn import GPT, GPTConfig, Linear, Sequential
from minigrad.training.checkpoint import CheckpointError, load, save

IDS = np.random.default_rng(0).integers(0, 11, 500)
CONFIG = GPTConfig(vocab_size=11, block_size=8, n_layers=2, n_heads=2, d_model=16, dropout=0.2)
OPTIMIZERS = {
    "AdamW": lambda p: optim.AdamW(p, 1e-2, betas=(0.9, 0.99), weight_decay=0.1),
    "Adam": lambda p: optim.Adam(p, 1e-2),
    "SGD": lambda p: optim.SGD(p, 0.1, momentum=0.9),
}


class Run:
    """A GPT in training, with dropout."""

    def __init__(self, optimizer="AdamW", config=CONFIG, seed=0, dtype=np.float32, bits=np.random.PCG64):
        self.generators = {
            "model": np.random.Generator(bits(seed)),
            "data": np.random.Generator(bits(seed + 1)),
        }
        self.model = GPT(config, rng=self.generators["model"]).astype(dtype)
        self.optimizer = OPTIMIZERS[optimizer](self.model.parameters())
        self.batches = text.batches(IDS, config.block_size, 4, self.generators["data"])

    def train(self, steps):
        for ids, targets in itertools.islice(self.batches, steps):
            loss = cross_entropy(self.model(ids), targets)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return self

    def save(self, path, **more):
        save(path, self.model, optimizer=self.optimizer, generators=self.generators, **more)
        return path

    def state(self):
        """Everything that training changes, as one flat dict."""
        optimizer = self.optimizer.state_dict()
        moments = {f"{name} {i}": a for name in self.optimizer.moments for i, a in enumerate(optimizer.pop(name))}
        generators = {name: str(rng.bit_generator.state) for name, rng in self.generators.items()}
        return self.model.state_dict() | moments | optimizer | generators


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.fixture
def saved(tmp_path):
    """A checkpoint of a run after three steps."""
    return (
        Run()
        .train(3)
        .save(
            tmp_path / "run.npz", step=3, config=asdict(CONFIG), vocabulary="abcdefghij\n", notes={"loss": [2.5, 2.25]}
        )
    )


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
    with pytest.raises(ValueError, match=r"the optimizer has weight of shape \(8, 16\), which is not in this Seq"):
        save(tmp_path / "model.npz", Sequential(Linear(2, 2)), optimizer=some)


def test_what_is_not_json_is_refused_before_anything_is_written(saved):
    before = saved.read_bytes()
    with pytest.raises(TypeError, match=r"keeps config and notes as JSON: .*function"):
        save(saved, Linear(2, 2), config={"normalize": lambda scores: scores})
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["run.npz"]


@pytest.mark.parametrize("what", ["NumPy", "BLAS threads", "BLAS kernels"])
def test_another_environment_warns_when_training_goes_on(what, saved, monkeypatch):
    elsewhere = checkpoint.environment() | {what: "another"}
    monkeypatch.setattr(checkpoint, "environment", lambda: elsewhere)
    run, held = Run(), load(saved)
    with pytest.warns(UserWarning, match=f"{what} {held.environment[what]} then and another now.*not bit for bit"):
        held.restore(run.model, run.optimizer, run.generators)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        held.restore(run.model)  # only used, not trained on: nobody compares bits


def test_the_number_of_blas_threads_is_noticed():
    """Asked of the library itself where it is OpenBLAS, of the environment variables elsewhere."""
    program = "from minigrad import checkpoint; print(checkpoint.environment()['BLAS threads'])"
    answers = []
    for threads in ("1", "2"):
        env = {"OPENBLAS_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
        answers.append(
            subprocess.run([sys.executable, "-c", program], env=os.environ | env, capture_output=True).stdout
        )
    assert answers[0] != answers[1]


# --- files that are no checkpoints -----------------------------------------------------------------------------------


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no checkpoint .*nothing.npz"):
        load(tmp_path / "nothing.npz")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        load(tmp_path)


def test_a_file_cut_short_anywhere_is_refused(saved, tmp_path):
    whole = saved.read_bytes()
    cut = tmp_path / "cut.npz"
    for length in [*range(60), *range(60, len(whole), 997), *range(len(whole) - 60, len(whole))]:
        cut.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"cut.npz is (cut short or damaged: its [\d,]+ bytes|no minigrad)"):
            load(cut)


def test_a_damaged_byte_is_noticed_or_did_not_matter(saved, tmp_path):
    whole, held = saved.read_bytes(), load(saved)
    damaged = tmp_path / "damaged.npz"
    refused = 0
    for place in np.random.default_rng(0).choice(len(whole), 300, replace=False):
        damaged.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            found = load(damaged)
        except CheckpointError:
            refused += 1
        else:
            assert_same(found.parameters, held.parameters)
            assert (found.step, found.generators, found.notes) == (held.step, held.generators, held.notes)
    assert refused > 250


def test_a_damaged_parameter_is_named(saved, tmp_path):
    name = "parameters/blocks.1.attn.key.weight"
    with zipfile.ZipFile(saved) as archive:
        info = archive.getinfo(f"{name}.npy")
        place = info.header_offset + 400
    whole = bytearray(saved.read_bytes())
    whole[place] ^= 1
    saved.write_bytes(whole)
    with pytest.raises(CheckpointError, match=f"run.npz is damaged: {name} is not what was written"):
        load(saved)


def _rewrite(path, change):
    with np.load(path) as archive:
        arrays = dict(archive)
    change(arrays)
    np.savez(path, **arrays)


def test_a_missing_parameter_is_named(saved):
    _rewrite(saved, lambda arrays: arrays.pop("optimizer/v/norm.bias"))
    with pytest.raises(CheckpointError, match=r"is incomplete: it lacks optimizer/v/norm\.bias"):
        load(saved)


def test_a_later_layout_is_refused(saved, monkeypatch):
    monkeypatch.setattr(checkpoint, "VERSION", 0)
    with pytest.raises(CheckpointError, match="version 1, written by a newer minigrad"):
        load(saved)


def _header(content):
    return {"minigrad.json": np.frombuffer(content, np.uint8)}


FOREIGN = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("step 3, loss 2.5"),
    "array": lambda path: np.save(open(path, "wb"), np.arange(3)),  # noqa: SIM115
    "arrays": lambda path: np.savez(path, weight=np.ones(3)),
    "pickle": lambda path: np.savez(path, **{"minigrad.json": np.array([{"step": 3}], dtype=object)}),
    "zip": lambda path: zipfile.ZipFile(path, "w").writestr("letter.txt", "hello"),
    "zip with our name": lambda path: zipfile.ZipFile(path, "w").writestr("minigrad.json", "{}"),
    "no JSON": lambda path: np.savez(path, **_header(b"hello")),
    "another JSON": lambda path: np.savez(path, **_header(b'{"version": 1}')),
    "a list": lambda path: np.savez(path, **_header(b"[1]")),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_foreign_file_is_refused(what, tmp_path):
    path = tmp_path / "foreign.npz"
    FOREIGN[what](path)
    with pytest.raises(CheckpointError, match=r"foreign.npz (is no minigrad checkpoint|is cut short or damaged)"):
        load(path)


# --- kept whole ------------------------------------------------------------------------------------------------------


def test_a_failed_save_leaves_the_last_checkpoint(saved, monkeypatch):
    before = saved.read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space left"):
        save(saved, Linear(2, 2))
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["run.npz"]


SAVE_FOREVER = """
    import itertools, sys
    import numpy as np
    from minigrad import checkpoint
    from minigrad.nn import Linear

    model = Linear(300, 300)
    for step in itertools.count(1):
        model.weight.data = np.full((300, 300), step)
        checkpoint.save(sys.argv[1], model, step=step)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no kill -9")
def test_killed_at_any_moment_the_last_complete_checkpoint_loads(tmp_path):
    path = tmp_path / "run.npz"
    rng = np.random.default_rng()
    last, interrupted = 0, 0
    for _ in range(8):
        path.unlink(missing_ok=True)
        process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(SAVE_FOREVER), str(path)])
        try:
            _wait_for(path)
            time.sleep(rng.uniform(0, 0.05))
        finally:
            process.kill()
            process.wait()
        held = load(path)
        assert held.step >= 1
        assert (held.parameters["weight"] == held.step).all()  # one step's numbers, not a mixture of two
        last = max(last, held.step)
        interrupted = len(list(tmp_path.iterdir())) - 1
    assert last > 1
    assert interrupted > 0  # at least one was caught in the middle of a write


def _wait_for(path, seconds=30):
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear within {seconds} s"
        time.sleep(0.002)
