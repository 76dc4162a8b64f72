"""A folder with a model, read and written."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minigrad.pretrained.names import ARCHITECTURES, BUFFERS, Architecture, config_from, pairs, settings_from

Array = NDArray[Any]
ONE_FILE, INDEX = "model.safetensors", "model.safetensors.index.json"


def load(folder: str | Path, model_type: str) -> tuple[dict[str, Any], dict[str, Array]]:
    """The settings and the parameters of the model in `folder`, in this library's names and layouts.

    Raises FileNotFoundError where the folder lacks a file; ValueError for another architecture, for settings that are
    not supported, for missing, unexpected or misshapen tensors (all are listed), and for a damaged file.
    """
    folder, architecture = Path(folder), ARCHITECTURES[model_type]
    config = read_config(folder)
    if config.get("model_type") != model_type:
        raise ValueError(
            f"{folder} holds a model of type {config.get('model_type')!r}, not {model_type!r}; "
            f"supported are nn.BERT ('bert') and nn.GPT ('gpt2')"
        )
    settings = settings_from(architecture, config)
    tensors = _Tensors(folder, architecture)
    state = _renamed(tensors, architecture, settings)
    if model_type == "bert":
        settings["pooler"] = "pooler.weight" in state
    if tensors.not_used:
        warnings.warn(f"{folder}: not used: {', '.join(sorted(tensors.not_used))}", stacklevel=3)
    return settings, state


def save(folder: str | Path, model_type: str, settings: Any, state: Mapping[str, Array]) -> None:
    """Write config.json and model.safetensors as Hugging Face's loader reads them. Each file is complete or absent."""
    safetensors_numpy = _import_safetensors().numpy
    folder, architecture = Path(folder), ARCHITECTURES[model_type]
    if getattr(settings, "normalize", "softmax") != "softmax":
        raise ValueError(
            f"Hugging Face's {architecture.head_of} knows softmax alone, not normalize={settings.normalize!r}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for pair in pairs(architecture, settings.n_layers):
        if pair.ours[0] in state:  # a tied head and a missing pooler are not
            array = np.concatenate([state[name] for name in pair.ours], axis=-1)
            # The writer takes the memory as it lies: a transposed view would be written untransposed.
            tensors[architecture.full_name(pair.theirs)] = np.ascontiguousarray(array.T if pair.transposed else array)
    with _written_beside(folder / ONE_FILE) as path:
        safetensors_numpy.save_file(tensors, path, metadata={"format": "pt"})
    with _written_beside(folder / "config.json") as path:
        path.write_text(json.dumps(config_from(architecture, settings), indent=2) + "\n", encoding="utf-8")


def read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}: give one that holds config.json and {ONE_FILE}")
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no config.json, so it is not the folder of a model")
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    return config


class NoDraws(np.random.Generator):
    """A generator for a model whose numbers are about to be read from a file: it gives 0 for every initial weight."""

    def __init__(self) -> None:
        super().__init__(np.random.PCG64())

    def normal(self, loc: Any = 0.0, scale: Any = 1.0, size: Any = None) -> Any:
        return np.zeros(size, np.float32)

    def standard_normal(self, size: Any = None, dtype: Any = np.float32, out: Any = None) -> Any:
        return np.zeros(size, np.float32)


# --- tensors by name --------------------------------------------------------------------------------------------------


def _renamed(tensors: _Tensors, architecture: Architecture, settings: dict[str, Any]) -> dict[str, Array]:
    state: dict[str, Array] = {}
    missing = []
    for pair in pairs(architecture, settings["n_layers"]):
        if pair.theirs not in tensors:
            optional = pair.theirs.startswith("pooler.") or (pair.theirs == "lm_head.weight" and settings["tied_head"])
            missing += [] if optional else [pair.theirs]
            continue
        array = tensors.take(pair.theirs)
        if pair.theirs == "lm_head.weight" and settings["tied_head"]:
            continue  # the token embedding's table, a second time
        array = array.T if pair.transposed else array
        if array.shape[-1] % len(pair.ours):
            raise ValueError(f"{pair.theirs} of shape {array.shape} cannot be split into {len(pair.ours)}")
        state.update(zip(pair.ours, np.split(array, len(pair.ours), axis=-1), strict=True))
    unexpected = [f"{name} {tensors.shape(name)}" for name in tensors.rest()]
    wrong = [f"missing: {', '.join(missing)}"] if missing else []
    wrong += [f"unexpected: {', '.join(unexpected)}"] if unexpected else []
    if wrong:
        raise ValueError(f"the tensors in {tensors.folder} are not those of its config.json; {'; '.join(wrong)}")
    return state


class _Tensors:
    """The tensors of a folder by name, each read when it is taken, as float32."""

    def __init__(self, folder: Path, architecture: Architecture) -> None:
        self.folder, self.architecture = folder, architecture
        self.files = {path: _open(path) for path in _files(folder)}
        self.where: dict[str, tuple[Path, str]] = {}  # without the prefix: the file, and the name in it
        for path, file in self.files.items():
            for name in file.keys():  # noqa: SIM118  (it is not a dict)
                self.where[name.removeprefix(architecture.prefix)] = path, name
        self.taken: set[str] = set()
        self.not_used: list[str] = []

    def __contains__(self, name: str) -> bool:
        return self._known_as(name) in self.where

    def _known_as(self, name: str) -> str:
        """Early BERTs call the weight and bias of a layer norm gamma and beta."""
        if name in self.where or ".LayerNorm." not in name:
            return name
        return name.replace(".weight", ".gamma").replace(".bias", ".beta")

    def shape(self, name: str) -> tuple[int, ...]:
        path, full_name = self.where[name]
        return tuple(self.files[path].get_slice(full_name).get_shape())

    def take(self, name: str) -> Array:
        name = self._known_as(name)
        self.taken.add(name)
        path, full_name = self.where[name]
        kind = self.files[path].get_slice(full_name).get_dtype()
        if kind == "BF16":
            return _bfloat16(path, full_name)
        if kind not in ("F16", "F32", "F64"):
            raise ValueError(f"{full_name} in {path} holds {kind}; parameters are F16, BF16, F32 or F64")
        array: Array = self.files[path].get_tensor(full_name)
        return array.astype(np.float32, copy=False)

    def rest(self) -> list[str]:
        """The names that nobody took; those that are known and not used are noted."""
        left = [name for name in self.where if name not in self.taken and not name.endswith(BUFFERS)]
        self.not_used = [name for name in left if name.startswith(self.architecture.heads)]
        return [name for name in left if name not in self.not_used]


def _files(folder: Path) -> list[Path]:
    """The files that hold the weights: one, or the shards that an index lists."""
    if (folder / ONE_FILE).is_file():
        return [folder / ONE_FILE]
    if (folder / INDEX).is_file():
        try:
            names = sorted(set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError) as error:
            raise ValueError(f"{folder / INDEX} is damaged: {error}") from error
        missing = [name for name in names if Path(name).name != name or not (folder / name).is_file()]
        if missing:
            raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}, which {INDEX} lists")
        return [folder / name for name in names]
    if any(folder.glob("*.bin")):
        raise ValueError(
            f"{folder} holds its weights as a pickle (.bin), which could run any code and is never opened. Where you "
            f"trust it, convert it with PyTorch and transformers: "
            f"AutoModel.from_pretrained(folder).save_pretrained(folder, safe_serialization=True)"
        )
    raise FileNotFoundError(f"{folder} has no {ONE_FILE}")


def _import_safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError("pretrained models need safetensors: pip install 'minigrad[pretrained]'") from error
    return safetensors


def _open(path: Path) -> Any:
    """The file, with its header checked: names, shapes and places that fit each other and the file's length."""
    safetensors = _import_safetensors()
    try:
        return safetensors.safe_open(path, framework="numpy")
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(f"{path} is cut short or damaged: {error}") from error


def _bfloat16(path: Path, name: str) -> Array:
    """A bfloat16 is the upper half of a float32."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(length))[name]
    start, _ = entry["data_offsets"]
    shape = tuple(entry["shape"])
    halves = np.memmap(path, np.dtype("<u2"), "r", offset=8 + length + start, shape=shape)
    return (halves.astype(np.uint32) << 16).view(np.float32)


@contextlib.contextmanager
def _written_beside(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder, renamed to `path` once it is complete."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        yield Path(name)
        Path(name).chmod(0o644)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)
