"""What is installed is what the repository holds, and a script anywhere finds it.

The build runs on a copy, without the network: it needs what `pip install -e '.[test]'` brings.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

import minigrad

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
BUILDS_HERE = ["--no-deps", "--no-build-isolation"]

builds = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("pip", "hatchling", "editables")), reason="needs pip, hatchling, editables"
)


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A copy of what a build reads, in a folder named minigrad, as `git clone` names it."""
    clone = tmp_path_factory.mktemp("parent") / "minigrad"
    shutil.copytree(ROOT / "minigrad", clone / "minigrad", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", ".gitignore"):
        shutil.copy(ROOT / name, clone)
    return clone


@pytest.fixture(scope="module")
def wheel(clone):
    folder = clone.parent / "wheels"
    subprocess.run([*PIP, "wheel", *BUILDS_HERE, "--wheel-dir", folder, clone], check=True)
    (path,) = folder.iterdir()
    with zipfile.ZipFile(path) as wheel:
        yield wheel


@builds
def test_the_wheel_holds_every_file_of_the_package_and_no_other(wheel, clone):
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert packed == {path.relative_to(clone).as_posix() for path in clone.glob("minigrad/**/*") if path.is_file()}
    assert {"minigrad/py.typed", "minigrad/LICENSE"} <= packed
    assert {Path(name).suffix for name in packed if name.startswith("minigrad/viz/")} >= {".html", ".css", ".js"}


@builds
def test_the_wheel_states_version_and_licence(wheel):
    (metadata,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    lines = wheel.read(metadata).decode().splitlines()
    assert f"Version: {minigrad.__version__}" in lines
    assert "License-Expression: MIT" in lines
    assert metadata.replace("METADATA", "licenses/minigrad/LICENSE") in wheel.namelist()


@builds
def test_a_script_beside_the_clone_finds_the_package_and_not_the_clones_folder(clone):
    """The script's folder comes first on the path, and in it minigrad/ is the clone, which has no __init__.py."""
    environment = clone.parent / "environment"
    venv.create(environment, symlinks=os.name != "nt")
    subprocess.run(
        [*PIP, "install", "--ignore-installed", *BUILDS_HERE, "--prefix", environment, "--editable", clone],
        check=True,
    )
    paths = {"base": str(environment), "platbase": str(environment)}
    last = Path(sysconfig.get_path("purelib", "venv", paths)) / "zzz_numpy.pth"  # paths are added in order of names
    last.write_text(str(Path(next(iter(find_spec("numpy").submodule_search_locations))).parent), encoding="utf-8")
    script = clone.parent / "script.py"
    script.write_text("import minigrad\nprint(minigrad.Tensor([1.0]).shape, minigrad.__file__)\n", encoding="utf-8")

    python = Path(sysconfig.get_path("scripts", "venv", paths)) / "python"
    outside = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run = subprocess.run([python, script], cwd=clone.parent, env=outside, capture_output=True, text=True)
    assert run.stdout.strip() == f"(1,) {clone / 'minigrad' / '__init__.py'}", run.stderr


def test_every_folder_of_code_is_a_package():
    folders = {path.parent for path in (ROOT / "minigrad").glob("**/*.py")}
    assert not [str(folder) for folder in folders if not (folder / "__init__.py").exists()]


def test_the_bare_leg_runs_with_the_oldest_numpy_promised():
    (promised,) = PROJECT["project"]["dependencies"]
    oldest = promised.removeprefix("numpy>=")
    assert re.fullmatch(r"\d+\.\d+", oldest)
    assert f"numpy=={oldest}.*" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_ci_finds_one_test_command_in_the_readme():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if "python -m pytest" in line]) == 1


def test_every_file_that_the_guide_to_contributing_names_exists():
    guide = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"(?:tests|minigrad)/[\w/]+\.py", guide)
    assert named
    assert not [path for path in named if not (ROOT / path).is_file()]
