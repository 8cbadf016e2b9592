"""`headfirst bench topk|score|all`: the output layer's speed beside torch's own ways, on this machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from service.commands.shared.grouped import grouped
from service.commands.shared.options import Threads
from service.commands.shared.progress import measuring
from service.commands.shared.session import UserError, session, standard_output

if TYPE_CHECKING:
    from models.benchmarking.run import OnStep
    from models.benchmarking.topk_table import MeasurementPlan

MOST_ROWS: Final = 10_000
MOST_WORDS: Final = 1000

bench = typer.Typer(
    no_args_is_help=True,
    help="Measure the output layer on this machine's CPU, beside torch's own ways to do the same.",
)


class ShapeName(StrEnum):
    """Output layers that can be measured; see `models.benchmarking.subject`."""

    DEFAULT = "default"
    WT103 = "wt103"
    TXL = "txl"
    GBW = "gbw"


class InstructionSet(StrEnum):
    """Instruction sets that the kernels have."""

    AVX512 = "avx512"
    AVX2 = "avx2"
    SCALAR = "scalar"


Shape = Annotated[
    ShapeName,
    typer.Option(
        help="default: the model that ships, on real text; wt103, txl, gbw: sizes of published models of "
        "WikiText-103 (fairseq's and Transformer-XL's) and of the One Billion Word benchmark, with synthetic "
        "weights."
    ),
]
Batch = Annotated[str, typer.Option(metavar="N,N,...", help="Rows of a call.")]
Json = Annotated[
    Path | None, typer.Option("--json", show_default="standard output", help="Where to write the results.")
]
Markdown = Annotated[Path | None, typer.Option(help="Where to write them as tables, too.")]
Text = Annotated[
    Path | None,
    typer.Option(show_default="a sample that ships", help="Text for the shape default: .txt, .gz or .xz."),
]
Isa = Annotated[
    InstructionSet | None,
    typer.Option(
        show_default="the best of this processor",
        help="Instruction set of ours and, as far as its libraries obey, of torch.",
    ),
]
Seconds = Annotated[float, typer.Option(min=0, help="For each batch size and k, the candidates in turn.")]
Compiled = Annotated[
    bool, typer.Option(help="Also measure torch's ways compiled by inductor; some seconds each to compile.")
]


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What is measured for how long, and where the results go."""

    json: Json = None
    markdown: Markdown = None
    text: Text = None
    seconds: Seconds = 8.0
    compiled: Compiled = False
    isa: Isa = None
    threads: Threads = None


@bench.command("topk")
@grouped
def topk(
    shape: Shape = ShapeName.DEFAULT,
    batch: Batch = "1,16,64",
    k: Annotated[str, typer.Option("--k", "-k", metavar="K,K,...", help="How many words.")] = "10",
    *,
    options: BenchOptions,
) -> None:
    """Time the exact top-k, in both modes, beside every baseline.

    Synthetic shapes have three rows each: no cluster opened, as many as trained
    models open, every cluster opened. The machine should be quiet.
    """
    with session("bench topk"):
        _force(options.isa)
        from models.benchmarking.run import topk_report

        plan = _plan(batch, k, options)
        _run(lambda on_step: topk_report(shape.value, plan, options.text, on_step), options)


@bench.command("score")
@grouped
def score(
    shape: Shape = ShapeName.DEFAULT,
    batch: Batch = "4096",
    *,
    options: BenchOptions,
) -> None:
    """Time the log-probabilities of given words, in both modes, beside every baseline."""
    with session("bench score"):
        _force(options.isa)
        from models.benchmarking.run import score_report

        plan = _plan(batch, "1", options)
        _run(lambda on_step: score_report(shape.value, plan, options.text, on_step), options)


@bench.command("all")
def whole(
    json: Json = None,
    markdown: Markdown = None,
    threads: Threads = None,
    quick: Annotated[bool, typer.Option("--quick", help="Of each shape one batch, once.")] = False,
    compiled: Compiled = False,
    isa: Isa = None,
) -> None:
    """Print the whole table of all shapes, in less than ten minutes on two cores."""
    with session("bench all"):
        _force(isa)
        from models.benchmarking.run import whole_report

        _run(
            lambda on_step: whole_report(quick, on_step, isa or "", compiled),
            BenchOptions(json, markdown, threads=threads),
        )


def _force(isa: InstructionSet | None) -> None:
    """Before torch is imported: afterwards it does not look."""
    from models.benchmarking.instruction_sets import ForceError, force

    if isa is None:
        return
    try:
        force(isa.value)
    except ForceError as error:
        raise UserError(f"--isa {isa.value}: {error}") from None


def _plan(batch: str, k: str, options: BenchOptions) -> MeasurementPlan:
    from models.benchmarking.topk_table import MeasurementPlan

    return MeasurementPlan(
        _numbers("--batch", batch, MOST_ROWS),
        _numbers("--k", k, MOST_WORDS),
        options.seconds,
        options.compiled,
        options.isa or "",
    )


def _numbers(flag: str, text: str, most: int) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and 1 <= int(part) <= most for part in parts):
        raise UserError(f"{flag} must be whole numbers from 1 to {most:,} with commas between, not {text!r}")
    return tuple(map(int, parts))


def _run(measure: Callable[[OnStep], dict[str, Any]], options: BenchOptions) -> None:
    import torch

    from models.benchmarking import report
    from models.kernels.cpu.library import KernelError
    from models.training.corpus import CorpusError

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    for file in (options.json, options.markdown):
        if file is not None and not file.parent.is_dir():
            raise UserError(f"{file.parent}: no such directory")  # not after minutes of measuring
    try:
        with measuring() as on_step:
            found = measure(on_step)
    except KernelError as error:
        raise UserError(f"there is nothing of ours to measure: {error}") from None
    except CorpusError as error:
        raise UserError(str(error)) from None
    if options.markdown is not None:
        options.markdown.write_text(report.to_markdown(found))
    if options.json is not None:
        options.json.write_text(report.to_json(found))
    else:
        out = standard_output()
        out.write(report.to_json(found).encode())
        out.flush()
