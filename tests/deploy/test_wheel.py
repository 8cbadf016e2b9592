"""The package is built with the C++ kernels and runs on them: lists of sources, this checkout, a real wheel.

Without them the server would still answer, several times slower and with one warning, so each check asks what
an installed `headfirst inspect` says of its kernels.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from models.kernels.cpu import library
from tests.deploy.tools import ROOT, check, run

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
SETUPTOOLS = PROJECT["tool"]["setuptools"]
(EXTENSION,) = SETUPTOOLS["ext-modules"]
ROOM = Path(*EXTENSION["name"].split(".")[:-1])
LOADED = "from models.kernels.cpu import library; print(library.__file__, library.load()._name, sep='\\n')"
INSPECT = "from service.cli import main; main()"


def in_tree(pattern: str) -> list[str]:
    return sorted(str(file.relative_to(ROOT)) for file in (ROOT / ROOM / "src").glob(pattern))


def test_every_source_is_compiled_and_every_header_is_watched() -> None:
    assert EXTENSION["sources"] == in_tree("*.cpp")
    assert EXTENSION["depends"] == sorted(in_tree("*.h") + in_tree("*.inc"))


def test_the_extension_is_looked_for_where_it_is_built() -> None:
    assert Path(library.__file__).parent.relative_to(ROOT) == ROOM
    assert EXTENSION["name"].rpartition(".")[2] == "_cpu"  # as `library.load` expects


def test_every_data_file_is_packaged() -> None:
    # What a module reads of its own package; Python itself finds the modules.
    for package, patterns in SETUPTOOLS["package-data"].items():
        packaged = {file for pattern in patterns for file in (ROOT / package).glob(pattern) if file.is_file()}
        assert packaged
        others = {
            file
            for file in (ROOT / package).rglob("*")
            if file.is_file() and not {"__pycache__", "src"} & {*file.parts}
            and file.suffix not in {".py", ".so"} and file.name != ".gitignore"
        }  # fmt: skip
        assert packaged == others


@pytest.mark.skipif(
    not (shutil.which("g++") or os.environ.get("CI")), reason="no compiler made the C++ extension here"
)
def test_this_installation_runs_on_the_kernels() -> None:
    runs_on_the_kernels(ROOT)


def runs_on_the_kernels(place: Path) -> None:
    """`headfirst inspect` of the packages in `place` names C++ kernels, and they are from there."""
    module, extension = python(place, LOADED).split()
    assert Path(module) == place / ROOM / "library.py"
    assert Path(extension).parent == place / ROOM
    kernels = kernels_of(place)
    assert kernels["body"].startswith("C++ ")
    assert kernels["softmax_fast"].startswith("C++ ")
    # Which one answers exact calls is measured; that the C++ one was there to be measured is not left to it.
    assert "rows: cpu " in kernels["softmax"]


def kernels_of(place: Path) -> dict[str, str]:
    found: dict[str, Any] = json.loads(python(place, INSPECT, "inspect", "--json", "--device", "cpu"))
    kernels: dict[str, str] = found["kernels"]
    return kernels


def python(place: Path, program: str, *arguments: str) -> str:
    """What a process says that has the packages of `place` before any others."""
    environment = os.environ | {"PYTHONPATH": str(place)}
    return check(sys.executable, "-P", "-c", program, *arguments, env=environment, cwd="/")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_wheel_brings_the_kernels_and_runs_on_them(tmp_path: Path) -> None:
    sources = tmp_path / "sources"
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        sources.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, sources)
    built = shutil.ignore_patterns("*.so", "__pycache__")
    for name in ("models", "service"):
        shutil.copytree(ROOT / name, sources / name, ignore=built)
    wheel_of = ("-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir")
    check(sys.executable, *wheel_of, tmp_path, sources)
    (wheel,) = tmp_path.glob("headfirst-*.whl")
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    (extension,) = (unpacked / ROOM).glob("_cpu*.so")
    assert "linux" in wheel.name or sys.platform != "linux"  # not "any": it is of one platform
    runs_on_the_kernels(unpacked)

    # The same questions have other answers without it: they cannot be passed by torch.
    extension.unlink()
    environment = os.environ | {"PYTHONPATH": str(unpacked)}
    assert "was not built" in run(sys.executable, "-P", "-c", LOADED, env=environment, cwd="/").stderr
    assert kernels_of(unpacked)["body"].startswith("torch ")
