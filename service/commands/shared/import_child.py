"""The child process of `headfirst import`: reads a checkpoint within bounds of memory.

Writes JSON lines to standard output: ``{"step": ...}`` as it goes, at the end ``{"done": ...}`` or
``{"error": ...}``. Its data segment is limited (RLIMIT_DATA, Linux; elsewhere there is no such limit that
counts memory alone, and the last line says so): a forged file that asks for more gets a MemoryError.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

BASE_BYTES: Final = 1 << 30
TIMES: Final = 6
"""Copies of the source that an import may hold, beside `BASE_BYTES`: float16 files become float32, twice."""


def main() -> None:
    """Runs ``python -m service.commands.shared.import_child`` with the options as one JSON object."""
    options = json.loads(sys.argv[1])
    # Whatever libraries print goes to standard error, not between the lines.
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def say(kind: str, what: object) -> None:
        out.write(json.dumps({kind: what}) + "\n")

    try:
        say("done", run(options, say))
    except MemoryError:
        say("error", f"{options['source']}: needs more memory than {_limit_text(options)}")
    except (ValueError, OSError) as error:
        say("error", str(error))
    except Exception as error:
        # A forged file can raise any error in an importer; torch reports a failed allocation as RuntimeError.
        if "allocate memory" in str(error) or "not enough memory" in str(error):
            say("error", f"{options['source']}: needs more memory than {_limit_text(options)}")
        else:
            first = (str(error).splitlines() or [""])[0]
            say("error", f"{options['source']}: no such checkpoint: {type(error).__name__}: {first}")


def run(options: dict[str, Any], say: Any) -> dict[str, Any]:
    """Converts, writes, and checks what was written.

    Args:
        options: `format`, `source`, `out`, `dtype`, `force`, `memory_limit` (bytes or None).
        say: told the steps.

    Raises:
        CheckpointError, BundleError, OSError, MemoryError: why there is no bundle; nothing is left of it.
    """
    import torch

    from models import importers
    from models.bundle import Bundle
    from models.importers.card import model_card
    from models.importers.verification import verify

    source, out = Path(options["source"]), Path(options["out"])
    limited = limit_memory(options["memory_limit"])
    torch.set_num_threads(1)
    say("step", "reading")
    converted = importers.convert(options["format"], source)
    model = converted.model()
    say("step", f"writing {model.parameter_count():,} parameters")
    card = model_card(
        out.name, options["format"], source, converted, model.parameter_count(), options["dtype"]
    )
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        Bundle.save(partial, model, converted.vocabulary, card, getattr(torch, options["dtype"]))
        facts: dict[str, Any] = {
            "files": [str(file) for file in converted.files],
            "column_order": converted.column_order,
            "n_clusters": converted.config.n_clusters,
            "notes": list(converted.notes),
            "limited": limited,
        }
        del model, converted
        say("step", "checking")
        bundle = Bundle.load(partial, "cpu", name=out.name)
        facts |= {"parameters": bundle.model.parameter_count(), **verify(bundle)}
        del bundle
        facts["peak_bytes"] = _peak_bytes()
        _put(partial, out, options["force"])
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return facts


def limit_memory(bound: int | None) -> bool:
    """Bounds this process's data to what it has now and `bound` bytes; False where that is impossible."""
    now = _data_bytes()
    if bound is None or now is None:
        return False
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (now + bound, now + bound))
    return True


def memory_bound(source: Path) -> int:
    """Bytes that an import of `source` may take: a multiple of the files beside it, below the machine's."""
    directory = source if source.is_dir() else source.parent
    total = sum(file.stat().st_size for file in directory.iterdir() if file.is_file())
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 1 << 62
    return min(BASE_BYTES + TIMES * total, machine * 9 // 10)


def _put(partial: Path, out: Path, force: bool) -> None:
    """Moves the finished bundle into place. Raises OSError where something else is there."""
    if not out.exists():
        partial.rename(out)
        return
    if not force:
        raise FileExistsError(f"{out} is there already; --force replaces a bundle")
    old = partial.with_suffix(".old")
    out.rename(old)
    partial.rename(out)
    shutil.rmtree(old)


def check_out(out: Path, force: bool) -> None:
    """Raises ValueError, before anything is done, where the bundle could not be put in place."""
    if not out.parent.is_dir():
        raise ValueError(f"{out.parent}: no such directory")
    if not out.exists():
        return
    from models.bundle import CONFIG, WEIGHTS  # torch takes seconds, and most often nothing is there

    if not force:
        raise ValueError(f"{out} is there already; --force replaces a bundle")
    if not out.is_dir() or not ((out / CONFIG).is_file() and (out / WEIGHTS).is_file()):
        raise ValueError(f"{out} is no bundle, and is not replaced")


def _limit_text(options: dict[str, Any]) -> str:
    bound = options["memory_limit"]
    return "there is" if bound is None else f"{bound / 1e9:.1f} GB, see --memory-limit"


def _data_bytes() -> int | None:
    """The data segment now, as RLIMIT_DATA counts it; None where it is not counted."""
    if sys.platform != "linux":
        return None
    return 1024 * _status("VmData")


def _peak_bytes() -> int | None:
    return 1024 * _status("VmHWM") if sys.platform == "linux" else None


def _status(name: str) -> int:
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
    return 0


if __name__ == "__main__":
    main()
