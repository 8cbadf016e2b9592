"""Runs the shell and Python blocks of a page as a reader would, in a folder of the test's own.

What a block says is run as it stands, with these differences: the server's address is that of the test's, a
`headfirst serve` answers one request and ends, and a `headfirst train` makes a small model in a few steps.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.support.server_process import clean_environment

ROOT = Path(__file__).parents[2]

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ADDRESS = re.compile(r"\b(?:localhost|127\.0\.0\.1):8080\b")

SMALL = """--steps 5 --vocabulary-size 40 --shortlist 10 --clusters 4 --bands 8:26,4 --hidden-size 16
    --units 24 --projection 16 --rows 4 --window 8 --warmup 1 --cooldown 1 --holdout-every 10"""

_FUNCTIONS = f"""
set -euo pipefail
python() {{ {sys.executable} "$@"; }}
headfirst() {{
  case $1 in
    serve) shift; python -m tests.docs.served_once "$@" ;;
    train) python -m service.cli "$@" {" ".join(SMALL.split())} ;;
    *) python -m service.cli "$@" ;;
  esac
}}
"""


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of each fenced block."""
    return _BLOCK.findall(page.read_text("utf-8"))


def run(language: str, code: str, place: Path, address: str = "") -> str:
    """Runs a block in `place` and returns what it writes; a status other than 0 fails the test."""
    code = _ADDRESS.sub(address, code) if address else code
    command = [sys.executable, "-c", code] if language == "python" else ["bash", "-c", _FUNCTIONS + code]
    environment = clean_environment(PYTHONPATH=str(ROOT), PYTHONWARNINGS="error")
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
    return done.stdout
