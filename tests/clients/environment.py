"""A virtual environment for clients that are no dependency of the project, kept between runs."""

import os
import subprocess
import sys
from pathlib import Path


def python_with(name: str, *packages: str) -> Path:
    """The interpreter of an environment that has these packages, made if it is not there."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = base / "headfirst-tests" / name
    python, done = home / "bin" / "python", home / "installed"
    if not done.exists() or done.read_text() != "\n".join(packages):
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        done.write_text("\n".join(packages))
    return python


def run(python: Path, *arguments: str | Path, **environment: str) -> str:
    """What a program prints; without our settings and proxies, and not asking any hub."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADFIRST_")}
    kept |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", **environment}
    done = subprocess.run([python, *arguments], env=kept, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
