"""A checkpoint of published size through `headfirst import`, then its bundle asked:
``python -m benchmarks.full_size fairseq-wiki103``.

The weights are random: what is measured is what does not depend on them. A random model opens no cluster, so
the time of a search for words says little, and the probabilities nothing. Prints one JSON object. Needs about
5 GB of disk, in --directory, which is left empty, and 4 GB of memory.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.full_size.asking import ask
from benchmarks.serving.machine import commit, machine

MAKERS = {"fairseq-wiki103": "fairseq_wiki103", "transfo-xl-wt103": "transfo_xl_wt103"}
"""Modules with `FORMAT`, `PARAMETERS` as published, and `make(directory)`."""


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("checkpoint", choices=MAKERS)
    parser.add_argument("--directory", type=Path, help="for the files; default: the temporary directory")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as place:
        print(json.dumps(measure(options.checkpoint, Path(place)), indent=2))


def measure(checkpoint: str, directory: Path) -> dict[str, Any]:
    """All figures of a checkpoint that is made in `directory`."""
    maker = import_module(f"benchmarks.full_size.{MAKERS[checkpoint]}")
    source, out = directory / "source", directory / "bundle"
    source.mkdir()
    figures: dict[str, Any] = {"checkpoint": checkpoint, "machine": machine(), "commit": commit()}
    # In processes of their own: this one's memory is not the import's.
    _elsewhere(maker.make, source)
    figures["checkpoint_bytes"] = sum(file.stat().st_size for file in source.iterdir())
    figures |= _import(maker.FORMAT, source, out, figures["checkpoint_bytes"])
    shutil.rmtree(source)
    figures["bundle_bytes"] = sum(file.stat().st_size for file in out.iterdir())
    figures |= _elsewhere(ask, out)
    figures["published_parameters"] = maker.PARAMETERS
    return figures


def _import(form: str, source: Path, out: Path, size: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "service.cli", "import", form, str(source), str(out)]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(done.stderr)
    import resource

    # The largest of the processes waited for; on Linux in KiB, pages of mapped files among them.
    peak = 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {"import_seconds": round(seconds, 1), "import_peak_bytes": peak, "peak_over_size": peak / size}


def _elsewhere(function: Callable[..., Any], *arguments: Path) -> Any:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


if __name__ == "__main__":
    main()
