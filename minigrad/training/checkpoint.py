"""Checkpoints: a training run in a file, from which it continues to the same last bit.

    checkpoint.save("run.npz", model, optimizer=optimizer, step=500, generators={"data": rng})
    ...
    saved = checkpoint.load("run.npz")
    saved.restore(model, optimizer, {"data": rng})          # then continue with step saved.step

The file is an .npz, a zip of arrays that np.load opens, and nothing in it is ever executed (no pickle):

    parameters/<name>            the numbers of each parameter, by its dotted name
    optimizer/<moment>/<name>    the optimizer's moments (Adam's m and v), likewise
    minigrad.json                everything else: step, settings, configuration, vocabulary, states of generators

The file is written under a temporary name and then renamed, so a checkpoint is always complete: a run killed at any
moment continues from the last one. (A kill can leave a temporary file, .<name>.<random digits>, which may be deleted.)
"""

from __future__ import annotations

import platform
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minigrad.nn.module import Module
from minigrad.optim import Optimizer
from minigrad.training import archive
from minigrad.training.archive import CheckpointError as CheckpointError

try:
    from threadpoolctl import threadpool_info  # type: ignore[import-untyped, import-not-found, unused-ignore]
except ImportError:
    threadpool_info = list  # no libraries: `environment` then knows versions only

Array = NDArray[Any]
Generators = Mapping[str, np.random.Generator]

VERSION = 1  # of the layout above; a file of a later one is refused


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
    """Write a checkpoint. One that is there already is replaced, once the new one is complete and on the disk.

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
        for moment in optimizer.moments:
            per_parameter = zip(names, optimizer_state.pop(moment), strict=True)
            arrays |= {f"optimizer/{moment}/{name}": array for name, array in per_parameter}
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
    }
    archive.write(Path(path), header, arrays)


def _names(model: Module, optimizer: Optimizer) -> list[str]:
    """The names of the optimizer's parameters, in its order."""
    names = {parameter.leaf: name for name, parameter in model.named_parameters()}
    for p in optimizer.parameters:
        if p.leaf not in names:
            raise ValueError(
                f"the optimizer has {p.path or 'a parameter'} of shape {p.shape}, "
                f"which is not in this {type(model).__name__}"
            )
    return [names[p.leaf] for p in optimizer.parameters]


# --- loading -----------------------------------------------------------------------------------------------------

# What minigrad.json holds beside its list of arrays, and the types each may have.
FIELDS: dict[str, type | tuple[type, ...]] = {
    "version": int,
    "step": int,
    "config": (dict, type(None)),
    "vocabulary": (str, type(None)),
    "optimizer": (dict, type(None)),
    "generators": dict,
    "notes": dict,
    "environment": dict,
}


def load(path: str | Path) -> Checkpoint:
    """Read a checkpoint.

    Raises FileNotFoundError where there is none, CheckpointError (a ValueError) for a file that is cut short, damaged
    or something else.
    """
    path = Path(path)
    header, arrays = archive.read(path)
    version = header.get("version")
    if isinstance(version, int) and version > VERSION:
        raise CheckpointError(f"{path} is of version {version}, written by a newer minigrad than this")
    for name, kind in FIELDS.items():
        if not isinstance(header.get(name, ...), kind):
            raise CheckpointError(f"{path} is not a minigrad checkpoint: its header has no proper {name!r}")
    parameters: dict[str, Array] = {}
    moments: dict[str, dict[str, Array]] = {}
    for key, array in arrays.items():
        match key.split("/", 2):
            case ["parameters", *rest]:
                parameters["/".join(rest)] = array
            case ["optimizer", moment, name]:
                moments.setdefault(moment, {})[name] = array
            case _:
                raise CheckpointError(f"{path} is not a minigrad checkpoint: it has an array {key!r}")
    fields = {name: header[name] for name in FIELDS if name != "version"}
    if fields["optimizer"] is not None:
        fields["optimizer"] = moments | fields["optimizer"]
    return Checkpoint(path=path, parameters=parameters, **fields)


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

        Raises CheckpointError where names, shapes, dtypes or kinds differ, or where a value cannot be; then nothing has
        been changed. Warns where NumPy, its BLAS or the processor differ and an optimizer is given: the run can
        continue, but the last bits of its numbers will not be those of a run that was never stopped.
        """
        generators = generators or {}
        model_before = model.state_dict()
        optimizer_before = None if optimizer is None else optimizer.state_dict()
        generators_before = {name: rng.bit_generator.state for name, rng in generators.items()}
        try:
            self._check_dtypes(model)
            self._check_generators(generators)
            model.load_state_dict(self.parameters)
            if optimizer is not None:
                optimizer.load_state_dict(self._optimizer_state(_names(model, optimizer), optimizer))
            for name, rng in generators.items():
                rng.bit_generator.state = self.generators[name]
        except Exception as error:  # whatever a damaged value makes NumPy say
            model.load_state_dict(model_before)
            if optimizer is not None and optimizer_before is not None:
                optimizer.load_state_dict(optimizer_before)
            for name, rng in generators.items():
                rng.bit_generator.state = generators_before[name]
            reason = error if isinstance(error, ValueError) else f"it holds a value that cannot be restored ({error!r})"
            raise CheckpointError(f"{self.path}: {reason}") from error
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
            saved, here = self.generators[name], rng.bit_generator.state
            kind = saved.get("bit_generator") if isinstance(saved, dict) else None
            if kind != here["bit_generator"]:
                raise ValueError(f"generator {name!r} is a {kind} in the checkpoint and a {here['bit_generator']} here")
            # NumPy believes these two, and would read past the end of the generator's buffer.
            if not (0 <= saved.get("buffer_pos", 0) <= 4 and 0 <= saved["state"].get("pos", 0) <= 624):
                raise ValueError(f"generator {name!r} has a state that no {kind} can have")

    def _optimizer_state(self, names: list[str], optimizer: Optimizer) -> dict[str, Any]:
        """The optimizer's state_dict: its lists in the optimizer's own order of parameters."""
        if self.optimizer is None:
            raise ValueError("it was saved without an optimizer")
        state = dict(self.optimizer)
        if set(names) != set(state["updates"]):
            differ = sorted(set(names) ^ set(state["updates"]))
            raise ValueError(f"its optimizer trains other parameters: they differ in {', '.join(differ[:5])}")
        for key in ("updates", *optimizer.moments):
            if key in state:
                state[key] = [state[key][name] for name in names]
        return state

    def _warn_of_another_environment(self) -> None:
        here = environment()
        changed = [
            f"{what} {then} then and {here[what]} now"
            for what, then in sorted(self.environment.items())
            if what in here and then != here[what] and "unknown" not in (then, here[what])
        ]
        if changed:
            warnings.warn(
                f"{self.path} was saved in another environment ({'; '.join(changed)}): "
                f"training continues, but not bit for bit as if it had never stopped",
                stacklevel=3,
            )


# --- what the last bits depend on --------------------------------------------------------------------------------


def environment() -> dict[str, str]:
    """What, beside the program, decides the last bits of a result: NumPy, its BLAS with threads and kernels, the CPU.

    A floating sum depends on its order, and each of these may choose another order. Threads and kernels are "unknown"
    where the package threadpoolctl is not installed.
    """
    config: dict[str, Any] = np.show_config(mode="dicts") or {}  # type: ignore[assignment]
    blas = config.get("Build Dependencies", {}).get("blas", {})
    simd = config.get("SIMD Extensions", {})
    libraries = [library for library in threadpool_info() if library["user_api"] == "blas"]
    libraries.sort(key=lambda library: "numpy" not in library["filepath"])  # SciPy may have loaded one of its own
    loaded = libraries[0] if libraries else {}
    return {
        "NumPy": np.__version__,
        "CPU": " ".join([platform.machine(), *simd.get("found", [])]),
        "BLAS": f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip(),
        "BLAS kernels": str(loaded.get("architecture", "unknown")),
        "BLAS threads": str(loaded.get("num_threads", "unknown")),
    }
