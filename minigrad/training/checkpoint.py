"""Checkpoints: a training run in a file, from which it goes on to the same last bit.

    checkpoint.save("run.npz", model, optimizer=optimizer, step=500, generators={"data": rng})
    ...
    saved = checkpoint.load("run.npz")
    saved.restore(model, optimizer, {"data": rng})          # then go on with step saved.step

The file is an .npz, a zip of arrays that np.load opens, and nothing in it is ever executed (no pickle):

    parameters/<name>          the numbers of each parameter, by its dotted name
    optimizer/<mean>/<name>    the optimizer's running means (Adam's m and v), likewise
    minigrad.json              all else: step, settings, configuration, vocabulary, states of generators

It is written beside and then renamed, so that under its name there is always a whole one: a run killed at any moment
goes on from the last. (What was being written then stays behind as .<name>.<process id> and may be deleted.)
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minigrad.nn.module import Module
from minigrad.optim import Optimizer

Array = NDArray[Any]
Generators = Mapping[str, np.random.Generator]

HEADER = "minigrad.json"
VERSION = 1  # of the layout above; a file of a later one is refused


class CheckpointError(ValueError):
    """A file that is no whole checkpoint, or one that does not fit what it is to be restored into."""


# --- saving ------------------------------------------------------------------------------------------------------


def save(
    path: str | Path,
    model: Module,
    *,
    step: int = 0,
    optimizer: Optimizer | None = None,
    generators: Generators | None = None,
    config: Mapping[str, Any] | None = None,
    vocabulary: str | None = None,
    notes: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint; one that is there already is replaced, once the new one is whole and on the disk.

    Arguments:
        step: how many steps have been made.
        optimizer: over parameters of `model`.
        generators: every generator that training draws from (batches, dropout), under names of your own.
        config: what the model was built from, such as `dataclasses.asdict(gpt.config)`.
        vocabulary: its characters, in the order of their ids.
        notes: whatever else you want back: settings, the loss so far.

    Raises TypeError where config or notes hold something that JSON cannot, ValueError for an optimizer over other
    parameters, OSError where the file cannot be written: then the checkpoint that was there is untouched.
    """
    arrays = {f"parameters/{name}": parameter.data for name, parameter in model.named_parameters()}
    optimizer_state = None
    if optimizer is not None:
        names, optimizer_state = _names(model, optimizer), optimizer.state_dict()
        for mean in optimizer.means:
            per_parameter = zip(names, optimizer_state.pop(mean), strict=True)
            arrays |= {f"optimizer/{mean}/{name}": array for name, array in per_parameter}
        optimizer_state["updates"] = dict(zip(names, optimizer_state["updates"], strict=True))
    header = {
        "version": VERSION,
        "step": step,
        "config": config,
        "vocabulary": vocabulary,
        "optimizer": optimizer_state,
        "generators": {name: rng.bit_generator.state for name, rng in (generators or {}).items()},
        "notes": notes or {},
        "environment": environment(),
        "arrays": list(arrays),
    }
    try:
        text = json.dumps(header, default=_as_json)
    except TypeError as error:
        raise TypeError(f"a checkpoint keeps config and notes as JSON: {error}") from error
    _write_whole(Path(path), {HEADER: np.frombuffer(text.encode(), np.uint8), **arrays})


def _as_json(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):  # a Mersenne Twister's state is an array
        return value.tolist()
    raise TypeError(f"{value!r} is not something JSON can hold")


def _write_whole(path: Path, arrays: Mapping[str, Any]) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(beside, "wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())  # or a power cut after the renaming could leave an empty file under this name
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    if os.name == "posix":  # the renaming itself is kept in the folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _names(model: Module, optimizer: Optimizer) -> list[str]:
    """The names of the optimizer's parameters, in its order."""
    names = {parameter.leaf: name for name, parameter in model.named_parameters()}
    for p in optimizer.parameters:
        if p.leaf not in names:
            raise ValueError(
                f"the optimizer has {p.name or 'a parameter'} of shape {p.shape}, "
                f"which is not in this {type(model).__name__}"
            )
    return [names[p.leaf] for p in optimizer.parameters]


# --- loading -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds, as `save` was given it."""

    path: Path
    step: int
    config: dict[str, Any] | None
    vocabulary: str | None
    notes: dict[str, Any]
    parameters: dict[str, Array]  # a state_dict of the model
    optimizer: dict[str, Any] | None  # a state_dict of the optimizer, its lists as dicts by parameter name
    generators: dict[str, Any]  # name: the state of its bit generator
    environment: dict[str, str]

    def restore(self, model: Module, optimizer: Optimizer | None = None, generators: Generators | None = None) -> None:
        """Put everything back where it came from. To use a model without training it on, the model alone will do.

        Raises CheckpointError where names, shapes, dtypes or kinds differ; then nothing has been changed. Warns where
        NumPy, its BLAS or the processor differ and an optimizer is given: the run can go on, but the last bits of its
        numbers will not be those of a run that was never stopped.
        """
        before = model.state_dict()
        try:
            self._check_dtypes(model)
            model.load_state_dict(self.parameters)
            self._check_generators(generators or {})
            if optimizer is not None:
                optimizer.load_state_dict(self._optimizer_state(_names(model, optimizer), optimizer))
        except ValueError as error:
            model.load_state_dict(before)
            raise CheckpointError(f"{self.path}: {error}") from error
        for name, rng in (generators or {}).items():
            rng.bit_generator.state = self.generators[name]
        if optimizer is not None:
            self._warn_of_another_environment()

    def _check_dtypes(self, model: Module) -> None:
        for name, parameter in model.named_parameters():
            saved = self.parameters.get(name, parameter.data).dtype
            if saved != parameter.dtype:
                raise ValueError(
                    f"{name} is {saved} in the checkpoint and {parameter.dtype} here: "
                    f"call model.astype(np.{saved}) first, before you make the optimizer"
                )

    def _check_generators(self, generators: Generators) -> None:
        if generators and set(generators) != set(self.generators):
            raise ValueError(f"it holds generators {sorted(self.generators)}, not {sorted(generators)}")
        for name, rng in generators.items():
            saved, here = self.generators[name]["bit_generator"], rng.bit_generator.state["bit_generator"]
            if saved != here:
                raise ValueError(f"generator {name!r} is a {saved} in the checkpoint and a {here} here")

    def _optimizer_state(self, names: list[str], optimizer: Optimizer) -> dict[str, Any]:
        if self.optimizer is None:
            raise ValueError("it was saved without an optimizer")
        state = dict(self.optimizer)
        if set(names) != set(state["updates"]):
            differ = sorted(set(names) ^ set(state["updates"]))
            raise ValueError(f"its optimizer trains other parameters: they differ in {', '.join(differ[:5])}")
        for key in ("updates", *optimizer.means):
            if key in state:
                state[key] = [state[key][name] for name in names]
        return state

    def _warn_of_another_environment(self) -> None:
        here = environment()
        changed = [
            f"{what} {self.environment.get(what, 'unknown')} then and {here.get(what, 'unknown')} now"
            for what in sorted(here.keys() | self.environment.keys())
            if self.environment.get(what) != here.get(what)
        ]
        if changed:
            warnings.warn(
                f"{self.path} was saved in another environment ({'; '.join(changed)}): "
                f"training goes on, but not bit for bit as if it had never stopped",
                stacklevel=3,
            )


def load(path: str | Path) -> Checkpoint:
    """Read a checkpoint.

    Raises FileNotFoundError where there is none, CheckpointError (a ValueError) for a file that is cut short, damaged
    or something else.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: give the path of a checkpoint in it")
    arrays = _read(path)
    try:
        header = json.loads(arrays.pop(HEADER).tobytes())
        if header["version"] > VERSION:
            raise CheckpointError(f"{path} is of version {header['version']}, written by a newer minigrad than this")
        missing = [name for name in header["arrays"] if name not in arrays]
        if missing:
            raise CheckpointError(f"{path} is incomplete: it lacks {', '.join(missing[:5])}")
        optimizer = header["optimizer"]
        parameters: dict[str, Array] = {}
        for key in header["arrays"]:
            kind, name = key.split("/", 1)
            if kind == "parameters":
                parameters[name] = arrays[key]
            else:
                mean, name = name.split("/", 1)
                optimizer.setdefault(mean, {})[name] = arrays[key]
        return Checkpoint(
            path=path, step=header["step"], config=header["config"], vocabulary=header["vocabulary"],
            notes=header["notes"], parameters=parameters, optimizer=optimizer, generators=header["generators"],
            environment=header["environment"],
        )  # fmt: skip
    except CheckpointError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is no minigrad checkpoint: its {HEADER} is not one") from error


def _read(path: Path) -> dict[str, Array]:
    """All arrays in the file, each compared with its checksum."""
    with open(path, "rb") as file:
        begins_as_zip = file.read(4) == b"PK\x03\x04"
        file.seek(0)
        try:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile) or HEADER not in archive.files:
                raise CheckpointError(f"{path} is no minigrad checkpoint: it has no {HEADER} in it")
            assert archive.zip is not None
            damaged = archive.zip.testzip()
            if damaged is not None:
                raise CheckpointError(f"{path} is damaged: {damaged.removesuffix('.npy')} is not what was written")
            return {name: archive[name] for name in archive.files}
        except CheckpointError:
            raise
        except Exception as error:  # whatever NumPy and zipfile stumble over in a file that is damaged, or not theirs
            if not begins_as_zip:
                raise CheckpointError(f"{path} is no minigrad checkpoint") from error
            size = f"{path.stat().st_size:,} bytes"
            raise CheckpointError(f"{path} is cut short or damaged: its {size} are no whole file") from error


# --- what the last bits depend on --------------------------------------------------------------------------------


def environment() -> dict[str, str]:
    """What, beside the program, decides the last bits of a result: NumPy, its BLAS with threads and kernels, the CPU.

    Sums of floating numbers depend on their order, and each of these may choose another one.
    """
    config: dict[str, Any] = np.show_config(mode="dicts") or {}  # type: ignore[assignment]
    blas = config.get("Build Dependencies", {}).get("blas", {})
    simd = config.get("SIMD Extensions", {})
    return {
        "NumPy": np.__version__,
        "CPU": " ".join([platform.machine(), *simd.get("found", [])]),
        "BLAS": f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip(),
        "BLAS kernels": _openblas("get_corename") or os.environ.get("OPENBLAS_CORETYPE", "default"),
        "BLAS threads": _openblas("get_num_threads") or _threads_asked_for(),
    }


def _openblas(question: str) -> str | None:
    """Ask the OpenBLAS that NumPy has loaded; None where it uses another library, or hides this one."""
    try:
        library = ctypes.CDLL(sys.modules["numpy._core._multiarray_umath"].__file__)
        for name in (f"scipy_openblas_{question}64_", f"scipy_openblas_{question}", f"openblas_{question}"):
            function = getattr(library, name, None)
            if function is not None:
                function.restype = ctypes.c_int if "num" in question else ctypes.c_char_p
                answer = function()
                return answer.decode() if isinstance(answer, bytes) else str(answer)
    except (OSError, KeyError):
        pass
    return None


def _threads_asked_for() -> str:
    variables = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
    return " ".join(f"{name}={os.environ[name]}" for name in variables if name in os.environ) or "default"
