"""`headfirst import FORMAT SOURCE OUT`: a published checkpoint -> a bundle that `headfirst serve` serves."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from service.commands.shared.session import UserError, session, show

if TYPE_CHECKING:
    from rich.table import Table


class CheckpointFormat(StrEnum):
    """The formats of `models.importers.FORMATS`, whose import takes seconds."""

    FAIRSEQ = "fairseq"
    TRANSFO_XL_HF = "transfo-xl-hf"
    TRANSFO_XL_PYTORCH = "transfo-xl-pytorch"
    TRANSFO_XL_NVIDIA = "transfo-xl-nvidia"
    TORCH_ADAPTIVE = "torch-adaptive"
    AWD_LSTM = "awd-lstm"
    WORD_LANGUAGE_MODEL = "word-language-model"


class Dtype(StrEnum):
    """How weights are stored."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"


def import_(
    form: Annotated[
        CheckpointFormat, typer.Argument(metavar="FORMAT", help=f"One of {', '.join(CheckpointFormat)}.")
    ],
    source: Annotated[Path, typer.Argument(help="The directory or file as published.")],
    out: Annotated[Path, typer.Argument(help="The directory of the bundle to write.")],
    dtype: Annotated[
        Dtype, typer.Option(help="float32 answers as the original does; float16 is half as large.")
    ] = Dtype.FLOAT32,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle that is there.")] = False,
    memory_limit: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            show_default="1 and six times the files beside SOURCE",
            help="Gigabytes that the conversion may take.",
        ),
    ] = None,
) -> None:
    """Make a bundle of a checkpoint that was published elsewhere; see docs/importing.md.

    Nothing in the checkpoint is run: it is read as data, in a process of its own with bounded memory.
    The bundle is loaded and asked before it is put in place.
    """
    with session("import"):
        from service.commands.shared.import_child import check_out, memory_bound

        try:
            check_out(out, force)
        except ValueError as error:
            raise UserError(str(error)) from None
        if not source.exists():
            raise UserError(f"{source}: no such file or directory")
        bound = memory_bound(source) if memory_limit is None else int(memory_limit * 1e9)
        facts = _convert(
            {
                "format": form.value,
                "source": str(source),
                "out": str(out),
                "dtype": dtype.value,
                "force": force,
                "memory_limit": bound,
            }
        )
        show(_table(out, facts))


def _convert(options: dict[str, Any]) -> dict[str, Any]:
    """Runs the child. Raises UserError for its error, or for its end without one."""
    console = Console(stderr=True)
    # -P: a directory that holds a checkpoint may hold modules named like ours.
    command = [sys.executable, "-P", "-m", "service.commands.shared.import_child", json.dumps(options)]
    answer: dict[str, Any] = {}
    with (
        tempfile.TemporaryFile("w+") as noise,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=noise, text=True) as child,  # noqa: S603
        console.status("starting") as status,
    ):
        for line in child.stdout or ():
            answer = json.loads(line)
            if "step" in answer:
                status.update(answer["step"])
        code = child.wait()
        noise.seek(0)
        last = (noise.read().strip().splitlines() or [""])[-1]
    if "error" in answer:
        raise UserError(answer["error"])
    if code or "done" not in answer:
        why = f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"
        raise UserError(f"the conversion {why}{': ' + last if last else ''}")
    facts: dict[str, Any] = answer["done"]
    return facts


def _table(out: Path, facts: dict[str, Any]) -> Table:
    from rich.table import Table
    from rich.text import Text

    peak = facts["peak_bytes"]
    memory = f"{peak / 1e6:,.0f} MB at most" if peak else "not measured"
    table = Table(title=Text(str(out)), title_justify="left", show_header=False)
    for key, value in (
        ("read", ", ".join(Path(file).name for file in facts["files"])),
        ("parameters", f"{facts['parameters']:,}"),
        ("cluster columns", f"{facts['column_order']} in the source" if facts["n_clusters"] else "none"),
        *(("note", note) for note in facts["notes"]),
        ("probabilities sum to", f"1 within {facts['mass']:.1g}"),
        ("kernel and reference", f"agree within {facts['kernel']:.1g} nats"),
        ("memory", memory if facts["limited"] else f"{memory}; not limited on this platform"),
        ("next", f"headfirst serve --model {out}"),
    ):
        table.add_row(key, Text(value))
    return table
