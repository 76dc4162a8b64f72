"""The file of a checkpoint: what is refused, and in which words; what is always complete, and what a kill leaves."""

from __future__ import annotations

import copy
import io
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest
from runs import assert_same

from minigrad import checkpoint
from minigrad.nn import Linear
from minigrad.training.checkpoint import CheckpointError, load, save

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
        with pytest.raises(CheckpointError, match=r"cut.npz is (cut short or damaged: its [\d,]+ byte|not a minigrad)"):
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
    with pytest.raises(CheckpointError, match=r"foreign.npz (is not a minigrad checkpoint|is cut short or damaged)"):
        load(path)


def _header_changed(path, **changes):
    def change(arrays):
        header = json.loads(arrays["minigrad.json"].tobytes())
        arrays.update(_header(json.dumps(header | changes).encode()))

    _rewrite(path, change)


@pytest.mark.parametrize(
    "field", ["version", "step", "config", "vocabulary", "optimizer", "generators", "notes", "environment", "arrays"]
)
def test_a_field_of_another_kind_is_refused(field, saved):
    _header_changed(saved, **{field: 1.5})
    with pytest.raises(CheckpointError, match=r"run\.npz is not a minigrad checkpoint"):
        load(saved)


def test_json_too_deep_to_read_is_refused(saved):
    _rewrite(saved, lambda arrays: arrays.update(_header(b"[" * 200_000 + b"]" * 200_000)))
    with pytest.raises(CheckpointError, match=r"run\.npz is not a minigrad checkpoint"):
        load(saved)


def _zip(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_members_that_stand_under_each_others_name_are_refused(saved):
    """Of one shape, and with the zip's checksums put right: only the header's know it."""
    members = _members(saved)
    a, b = (f"parameters/blocks.{i}.attn.key.weight.npy" for i in (0, 1))
    members[a], members[b] = members[b], members[a]
    _zip(saved, members)
    with pytest.raises(CheckpointError, match=r"damaged: parameters/blocks\.0\.attn\.key\.weight is not what was"):
        load(saved)


def test_a_file_from_before_there_were_checksums_still_loads(saved):
    held = load(saved)

    def without(arrays):
        header = json.loads(arrays["minigrad.json"].tobytes())
        del header["checksums"]
        arrays.update(_header(json.dumps(header).encode()))

    _rewrite(saved, without)
    assert_same(load(saved).parameters, held.parameters)
    _header_changed(saved, checksums=[1])
    with pytest.raises(CheckpointError, match=r"lists \d+ arrays and other checksums"):
        load(saved)


# --- files that claim to hold more than they do ----------------------------------------------------------------------


def test_a_compressed_file_is_refused(saved):
    """A few megabytes of deflated zeros would become gigabytes."""
    with np.load(saved) as archive:
        arrays = dict(archive)
    np.savez_compressed(saved, **arrays)
    with pytest.raises(CheckpointError, match=r"run.npz is not a minigrad checkpoint: its \S+ is compressed"):
        load(saved)


def test_an_array_that_the_header_does_not_list_is_refused(saved):
    _rewrite(saved, lambda arrays: arrays.update(surprise=np.ones(3)))
    with pytest.raises(CheckpointError, match=r"run\.npz holds surprise, which its minigrad\.json does not list"):
        load(saved)


def _members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize("shape", [(10**9,), (10**5, 10**5), (2,), (0,), (-1, -5)])
def test_a_shape_that_its_bytes_do_not_fill_is_refused(shape, saved):
    members, header = _members(saved), io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    members["parameters/norm.bias.npy"] = header.getvalue() + b"four"
    _zip(saved, members)
    tracemalloc.start()
    with pytest.raises(CheckpointError, match=r"run\.npz is cut short or damaged"):
        load(saved)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50_000_000  # bytes; the first shape asks for four billion


def test_members_that_lie_over_each_other_are_refused(saved):
    """Many entries of the directory may point to the same bytes: a small file that unpacks to any size."""
    with zipfile.ZipFile(saved, "a") as archive:
        original = archive.getinfo("parameters/token_embedding.weight.npy")
        for i in range(500):
            twin = copy.copy(original)
            twin.filename = f"twin{i}.npy"
            archive.filelist.append(twin)
        archive._didModify = True
    with pytest.raises(CheckpointError, match=r"run\.npz is damaged: it claims to hold"):
        load(saved)


def test_a_directory_that_gives_two_sizes_is_refused(saved):
    """zipfile makes room for as many bytes as the directory says that a member has in the file."""
    with zipfile.ZipFile(saved, "a") as archive:
        archive.getinfo("parameters/norm.bias.npy").compress_size = 2**32 - 2
        archive._didModify = True
    tracemalloc.start()
    with pytest.raises(
        CheckpointError, match=r"run\.npz is damaged: its directory gives two sizes for parameters/norm"
    ):
        load(saved)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50_000_000


def test_a_name_that_comes_twice_is_refused(saved):
    with zipfile.ZipFile(saved, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's own
        archive.writestr("parameters/norm.bias.npy", b"")
    with pytest.raises(CheckpointError, match=r"run\.npz is damaged: it has two members of one name"):
        load(saved)


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


def test_two_writers_never_spoil_a_checkpoint(tmp_path):
    """Threads of one process have one process id; what is read in between is always one of the complete files."""
    path, done = tmp_path / "run.npz", []
    models = [Linear(40, 40) for _ in range(3)]
    for i, model in enumerate(models):
        model.weight.data = np.full((40, 40), i)
    save(path, models[0], step=0)

    def write(i):
        for _ in range(40):
            save(path, models[i], step=i)
        done.append(i)

    threads = [threading.Thread(target=write, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        held = load(path)
        assert (held.parameters["weight"] == held.step).all()
    for thread in threads:
        thread.join()
    assert sorted(done) == [0, 1, 2]
    assert [p.name for p in tmp_path.iterdir()] == ["run.npz"]


def test_a_missing_folder_is_named_as_the_user_named_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"^there is no folder runs/today: make it before you save a\.npz in"):
        save("runs/today/a.npz", Linear(2, 2))
    assert list(tmp_path.iterdir()) == []


def test_what_goes_wrong_while_writing_names_the_file_and_not_a_temporary_one(saved, monkeypatch):
    def refused(*_, **__):
        raise PermissionError(13, "Permission denied", "a temporary name")

    monkeypatch.setattr(np, "savez", refused)
    with pytest.raises(PermissionError) as caught:
        save(saved, Linear(2, 2))
    assert caught.value.filename == str(saved)


@pytest.mark.skipif(os.name != "posix", reason="permissions, links and pipes are those of POSIX")
class TestWhatIsReplaced:
    def test_a_new_file_has_the_permissions_of_any_new_file(self, tmp_path):
        save(tmp_path / "run.npz", Linear(2, 2))
        (tmp_path / "other").touch()
        assert (tmp_path / "run.npz").stat().st_mode == (tmp_path / "other").stat().st_mode

    @pytest.mark.parametrize("mode", [0o600, 0o640, 0o666])
    def test_permissions_are_kept(self, mode, saved):
        saved.chmod(mode)
        save(saved, Linear(2, 2), step=8)
        assert saved.stat().st_mode & 0o777 == mode
        assert load(saved).step == 8

    @pytest.mark.parametrize("there", [True, False])
    def test_a_symbolic_link_is_followed(self, there, tmp_path):
        target, link = tmp_path / "elsewhere" / "run.npz", tmp_path / "latest.npz"
        target.parent.mkdir()
        if there:
            save(target, Linear(2, 2), step=1)
        link.symlink_to(target)
        save(link, Linear(2, 2), step=2)
        assert link.is_symlink()
        assert load(target).step == load(link).step == 2
        assert [path.name for path in target.parent.iterdir()] == ["run.npz"]

    def test_only_a_regular_file_is_replaced(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(OSError, match="pipe is not a regular file: a checkpoint cannot replace it"):
            save(tmp_path / "pipe", Linear(2, 2))
        with pytest.raises(IsADirectoryError, match="is a folder"):
            save(tmp_path, Linear(2, 2))
        with pytest.raises(CheckpointError, match="pipe is not a minigrad checkpoint: it is not a regular file"):
            load(tmp_path / "pipe")  # without waiting for somebody to write into it
        assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


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
