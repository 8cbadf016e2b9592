"""A virtual environment for each peer, outside the repository; the project's own gets nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

MODEL_PACKAGES = "torch", "numpy", "tokenizers", "safetensors", "pydantic"
"""What models/ needs. They lie in the environment that runs this command, and the peers share them."""


def cache_folder() -> Path:
    """Where the environments are, unless an option says otherwise."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "headfirst-benchmarks"


def python_of(folder: Path, name: str, packages: Sequence[str]) -> Path:
    """The interpreter of the peer's environment, which is made if it is not there.

    The peer's own packages come first; what `models` needs and the peer does not bring comes from the
    environment that runs this command, torch above all.

    Raises:
        subprocess.CalledProcessError: an installation failed.
    """
    home = folder / name
    python = home / "bin" / "python"
    link = home / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages" / "zz_shared.pth"
    if not link.exists():
        folder.mkdir(parents=True, exist_ok=True)
        print(f"installing {', '.join(packages)} into {home}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        link.write_text(sysconfig.get_path("purelib") + "\n")
    code = f"import {', '.join(MODEL_PACKAGES)}"
    subprocess.run([python, "-c", code], check=True)
    return python


def version_of(python: Path, package: str) -> str:
    """The installed version of `package`."""
    code = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"
    done = subprocess.run([python, "-c", code, package], check=True, capture_output=True, text=True)
    return done.stdout.strip()
