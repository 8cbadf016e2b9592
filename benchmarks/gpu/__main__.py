# mypy: disable-error-code="import-not-found"
"""Everything that a GPU can tell about the Triton kernels, in one command of under ten minutes.

    python -m benchmarks.gpu --out DIRECTORY [--seconds 510]

Runs the tests that need a card, then times top-k and scoring beside torch's ways to the same answers, sweeps
the block sizes, and times each kernel alone. Writes ``gpu.json``, ``gpu.md`` and ``gpu_tests.log``, both
tables after each section, so that a run that is cut short leaves what it had. ``--dry`` does all of it at
sizes for Triton's interpreter, on a machine without a GPU: it tests this program and measures nothing.

Times: ``cold``, the median with the second-level cache emptied before each call; ``hot``, the mean of calls
one after another, Python's time included; ``graph``, the same of the captured kernels alone. Baselines are
cold, in a CUDA graph where one can hold them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # before triton is imported

try:
    from benchmarks.gpu import sections, tuning
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "triton":
        raise
    sys.exit("benchmarks.gpu needs Triton, which comes with torch's CUDA wheels; pip install triton")
from benchmarks.gpu.report import Report

SLOW_TO_COMPILE = ("default", "wt103", "txl", "gbw", "score", "tune-head", "tune-score")
TESTS = "tests/models/kernels/triton"


def start_tests(out: Path, dry: bool) -> subprocess.Popen[bytes]:
    """The kernels' tests, in a process of their own."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", "not slow", "--timeout", "240"]
    # The card's machine has other versions of Python and torch: their warnings are not what is tested.
    command += ["-W", "default", "-q", "--durations=10", TESTS]
    if dry:
        command += ["-k", "what_cannot_be_asked or trained"]
    with (out / "gpu_tests.log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)


def start_compiling(dry: bool) -> dict[str, subprocess.Popen[bytes]]:
    """Fills Triton's cache with what the sections will need, side by side: a process for each of them."""
    command = [sys.executable, "-m", "benchmarks.gpu", *(["--dry"] if dry else []), "--compile"]
    names = ("score",) if dry else SLOW_TO_COMPILE
    return {name: subprocess.Popen([*command, name], stdout=subprocess.DEVNULL) for name in names}


def end(process: subprocess.Popen[bytes], seconds: float) -> int | str:
    """The exit status, or that it was stopped after so many seconds."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return f"stopped after {seconds:.0f} s more"


def main() -> None:
    """Run what there is time for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--seconds", type=float, default=510, help="begin no section after so many")
    parser.add_argument("--compile", metavar="SECTION", help=argparse.SUPPRESS)
    parser.add_argument("--dry", action="store_true", help="tiny sizes; to test this program")
    args = parser.parse_args()
    if not args.dry and not torch.cuda.is_available():
        parser.error("there is no CUDA device; --dry tests this program without one")
    every: dict[str, Callable[[sections.Context], None]] = {
        "ceilings": sections.ceilings,
        "default": sections.topk_of_shipped_model,
        "wt103": lambda context: sections.topk_of_shape(context, "wt103", ks=(10, 1, 100)),
        "score": sections.scoring,
        "kernels": tuning.kernels_alone,
        "tune-head": tuning.tune_head,
        "tune-score": tuning.tune_scorer,
        "txl": lambda context: sections.topk_of_shape(context, "txl"),
        "gbw": lambda context: sections.topk_of_shape(context, "gbw"),
        "body": sections.body,
        "compiled": sections.compiled_baseline,
    }
    if args.compile:
        context = sections.Context(Report(None), args.dry, only_compile=True)
        every[args.compile](context)
        return
    args.out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    report = Report(args.out)
    context = sections.Context(report, args.dry)
    running = {"tests": start_tests(args.out, args.dry)} | start_compiling(args.dry)
    for name, process in running.items():
        left = max(1.0, args.seconds * 0.45 - (time.monotonic() - started))
        report.add("preparation", [{"what": name, "exit_status": end(process, left)}])
    report.note(f"tests and compilation: {time.monotonic() - started:.0f} s; see gpu_tests.log")
    for name, section in every.items():
        if name in {"txl", "gbw"} and args.dry:
            continue
        if time.monotonic() - started > args.seconds:
            report.note(f"{name}: not run, out of time")
            continue
        begun = time.monotonic()
        try:
            section(context)
        except Exception as error:
            # One section's fault must not cost the others' results: the machine is lent for minutes.
            if args.dry:
                raise
            report.note(f"{name}: failed, {type(error).__name__}: {error}")
        report.note(f"{name}: {time.monotonic() - begun:.0f} s")
        torch.cuda.empty_cache()
        report.write()
    print(report.markdown())


if __name__ == "__main__":
    main()
