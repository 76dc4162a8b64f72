"""A file of named arrays and one JSON header: written whole or not at all, and read with suspicion.

The file is an .npz, which is a zip of .npy members that are not compressed. `read` accepts just that, and only members
that the header lists. So reading never needs much more memory than the file is long, and never executes anything (no
pickle). The zip's own checksums show a damaged member; the header's show one that stands under another's name.
"""

from __future__ import annotations

import io
import json
import math
import os
import secrets
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

HEADER = "minigrad.json"


class CheckpointError(ValueError):
    """A file that is not a complete checkpoint, or one that does not fit what it is to be restored into."""


# --- writing -----------------------------------------------------------------------------------------------------


def write(path: Path, header: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Write a temporary file and rename it, so that under `path` there is always a complete file.

    A symbolic link is followed, and a file that is replaced passes on its permissions. Raises TypeError where the
    header holds something that JSON cannot, OSError where the file cannot be written.
    """
    try:
        checksums = [_checksum(name, array) for name, array in arrays.items()]
        text = json.dumps({**header, "arrays": list(arrays), "checksums": checksums}, default=_as_json).encode()
    except (TypeError, ValueError, RecursionError) as error:  # ValueError: something that contains itself
        raise TypeError(f"a checkpoint keeps config and notes as JSON: {error}") from error
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(f"{path} is a folder: give the path of a file in it")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent}: make it before you save {path.name} in it")
    if target.exists() and not target.is_file():
        raise OSError(f"{path} is not a regular file: a checkpoint cannot replace it")
    # A random name, which "x" refuses to open a second time: two writers never share a temporary file.
    temporary = target.with_name(f".{target.name[:200]}.{secrets.token_hex(8)}")
    try:
        with open(temporary, "xb") as file:
            if target.exists():
                os.chmod(temporary, target.stat().st_mode & 0o777)
            np.savez(file, **{HEADER: np.frombuffer(text, np.uint8), **arrays})  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())  # without it, a power cut after the renaming could leave an empty file
        os.replace(temporary, target)
    except OSError as error:
        error.filename = str(path)  # the name the caller knows
        raise
    finally:
        temporary.unlink(missing_ok=True)
    if os.name == "posix":  # the new name itself is stored in the folder
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _checksum(name: str, array: Array) -> int:
    """Of the numbers with their name, dtype and shape."""
    return zlib.crc32(array.tobytes(), zlib.crc32(f"{name} {array.dtype.str} {array.shape}".encode()))


def _as_json(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):  # a Mersenne Twister's state is an array
        return value.tolist()
    raise TypeError(f"{value!r} is not something JSON can hold")


# --- reading -----------------------------------------------------------------------------------------------------


def read(path: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    """The header and the arrays it lists, each compared with its checksum.

    Raises FileNotFoundError where there is no file, IsADirectoryError for a folder, CheckpointError for a file that is
    cut short, damaged, or something else.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: give the path of a checkpoint in it")
    if not path.is_file():
        raise CheckpointError(f"{path} is not a minigrad checkpoint: it is not a regular file")
    with open(path, "rb") as file:
        begins_as_zip = file.read(4) == b"PK\x03\x04"
        try:
            with zipfile.ZipFile(file) as archive:
                members = _members(path, archive)
                arrays = {name: _array(path, archive, member) for name, member in members.items()}
        except CheckpointError:
            raise
        except Exception as error:  # whatever zipfile and NumPy stumble over in a file that is damaged, or not theirs
            if not begins_as_zip:
                raise CheckpointError(f"{path} is not a minigrad checkpoint") from error
            size = f"{path.stat().st_size:,} bytes"
            raise CheckpointError(f"{path} is cut short or damaged: its {size} are not a complete file") from error
    header = _header(path, arrays.pop(HEADER))
    missing = [name for name in header["arrays"] if name not in arrays]
    if missing:
        raise CheckpointError(f"{path} is incomplete: it lacks {', '.join(missing[:5])}")
    unlisted = sorted(arrays.keys() - set(header["arrays"]))
    if unlisted:
        raise CheckpointError(f"{path} holds {', '.join(unlisted[:5])}, which its {HEADER} does not list")
    for name, checksum in zip(header["arrays"], header.get("checksums", ()), strict=False):  # older files have none
        if checksum != _checksum(name, arrays[name]):
            raise CheckpointError(f"{path} is damaged: {name} is not what was written")
    return header, arrays


def _members(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The members by the names of their arrays. All are stored as they are, and together fit into the file."""
    members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
    if HEADER not in members:
        raise CheckpointError(f"{path} is not a minigrad checkpoint: it has no {HEADER} in it")
    if len(members) < len(archive.infolist()):
        raise CheckpointError(f"{path} is damaged: it has two members of one name")
    for name, member in members.items():
        if member.compress_type != zipfile.ZIP_STORED:
            raise CheckpointError(f"{path} is not a minigrad checkpoint: its {name} is compressed")
        if member.compress_size != member.file_size:  # zipfile would make room for the larger
            raise CheckpointError(f"{path} is damaged: its directory gives two sizes for {name}")
    total = sum(member.file_size for member in members.values())
    if total > path.stat().st_size:
        raise CheckpointError(f"{path} is damaged: it claims to hold {total:,} bytes, more than it is long")
    return members


def _array(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    try:
        npy = archive.read(member)
    except zipfile.BadZipFile as error:
        name = member.filename.removesuffix(".npy")
        raise CheckpointError(f"{path} is damaged: {name} is not what was written") from error
    file = io.BytesIO(npy)
    np.lib.format.read_magic(file)
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    if math.prod(shape) * dtype.itemsize != len(npy) - file.tell():  # or NumPy would allocate what the shape asks for
        raise ValueError(f"{len(npy)} bytes do not hold an array of shape {shape} and {dtype}")
    file.seek(0)
    array: Array = np.lib.format.read_array(file, allow_pickle=False)
    return array


def _header(path: Path, text: Array) -> dict[str, Any]:
    try:
        header = json.loads(text.tobytes())
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not a minigrad checkpoint: its {HEADER} is not JSON") from error
    names = header.get("arrays") if isinstance(header, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise CheckpointError(f"{path} is not a minigrad checkpoint: its {HEADER} lists no arrays")
    checksums = header.get("checksums", names)
    if not isinstance(checksums, list) or len(checksums) != len(names):
        raise CheckpointError(f"{path} is damaged: its {HEADER} lists {len(names)} arrays and other checksums")
    return header  # type: ignore[no-any-return]
