"""`headfirst cutoffs CORPUS`: finds the clusters that are fastest in training or in serving."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.commands.shared.clusters import parse_bands
from service.commands.shared.options import Device, Threads
from service.commands.shared.progress import counting
from service.commands.shared.session import UserError, load_bundle, session, show, standard_output

if TYPE_CHECKING:
    import torch

    from models.bundle import Bundle
    from models.training.clusters.cutoffs import Plan, Widths
    from models.training.clusters.planning import Recommendation
    from models.training.clusters.timing import TimeModels
    from models.training.corpus import Counts


class Purpose(StrEnum):
    """What is to be fast."""

    TRAINING = "training"
    SERVING = "serving"


def cutoffs(
    corpus: Annotated[
        Path, typer.Argument(help="A text file, or a directory of .txt, .txt.xz, .txt.gz files.")
    ],
    model: Annotated[
        Path | None,
        typer.Option(help="A bundle: its sizes and widths; for serving its predictions on CORPUS, too."),
    ] = None,
    purpose: Annotated[Purpose, typer.Option("--for", help="What is to be fast.")] = Purpose.TRAINING,
    clusters: Annotated[
        int | None, typer.Option(min=0, show_default="the fastest", help="Tail clusters of the plan.")
    ] = None,
    vocabulary_size: Annotated[int, typer.Option(min=3, help="Words, without --model.")] = 102_400,
    hidden_size: Annotated[int, typer.Option(min=1, help="Without --model.")] = 256,
    factor: Annotated[
        float, typer.Option(min=1.0, help="Each cluster is narrower than the one before by so much.")
    ] = 4.0,
    bands: Annotated[
        str,
        typer.Option(help="Share projections instead: WIDTH:RANK,...,WIDTH, as `headfirst train` has it."),
    ] = "",
    head_share: Annotated[
        float,
        typer.Option(
            min=0.0, max=1.0, help="Share of the text that the short-list holds, at least: it alone is wide."
        ),
    ] = 0.8,
    shortlist: Annotated[
        int | None, typer.Option(min=1, help="Words of the short-list, at least; in place of --head-share.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Words of a training step.")] = 3072,
    k: Annotated[int, typer.Option("-k", min=1, help="Words of an answer, for serving.")] = 10,
    rows: Annotated[int, typer.Option(min=1, help="Positions of CORPUS looked at, for serving.")] = 1000,
    words: Annotated[
        bool, typer.Option("--words", help="For serving: fewest words scored, not time.")
    ] = False,
    charts: Annotated[Path | None, typer.Option(help="A directory for the curves, as SVG.")] = None,
    precision: Annotated[str, typer.Option(help="float32 or bfloat16, for training.")] = "float32",
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Measure this device, and recommend cutoffs with their predicted times."""
    with session("cutoffs"):
        import torch

        from models.bundle import BundleError, resolve_device
        from models.training.clusters.cutoffs import words_of_share
        from models.training.clusters.planning import FEW, MANY
        from models.training.corpus import CorpusError
        from models.training.memory import keep_memory

        keep_memory()  # as training does
        if precision not in ("float32", "bfloat16"):
            raise UserError(f"--precision must be float32 or bfloat16, got {precision!r}")
        if threads is not None:
            torch.set_num_threads(threads)
        try:
            target = resolve_device(device)
            bundle = None if model is None else load_bundle(model, device, threads)
            widths = _widths(bundle, vocabulary_size, hidden_size, factor, bands)
            numbers = [clusters] if clusters is not None else list(MANY if widths.bands else FEW)
            if purpose is Purpose.SERVING:
                if bundle is None:
                    raise UserError("--for serving needs --model: what opens depends on its predictions")
                least = shortlist or bundle.config.cutoffs[0]
                found = _for_serving(corpus, bundle, widths, k, rows, target, numbers, words, least)
            else:
                counts = _count(corpus, vocabulary_size if bundle is None else bundle.config.vocabulary_size)
                least = shortlist or words_of_share(counts, head_share)
                found = _for_training(counts, widths, batch, target, precision, numbers, least)
            unit = "words" if words and purpose is Purpose.SERVING else "ms"
            _report(found, widths, unit)
            if charts is not None:
                _draw(charts, found, widths, purpose, unit)
        except (CorpusError, BundleError, ValueError) as error:
            raise UserError(str(error)) from None


def _widths(
    bundle: Bundle | None, vocabulary_size: int, hidden_size: int, factor: float, bands: str
) -> Widths:
    from models.training.clusters.cutoffs import Widths

    if bands:
        size = vocabulary_size if bundle is None else bundle.config.vocabulary_size
        d = hidden_size if bundle is None else bundle.config.hidden_size
        return Widths(d, bands=parse_bands(bands, size))
    if bundle is None:
        return Widths(hidden_size, factor)
    config = bundle.config
    if not config.bands:
        return Widths(config.hidden_size, factor)
    edges = config.band_edges[1:]
    pairs = tuple((band.width, edge) for band, edge in zip(config.bands, edges, strict=True))
    return Widths(config.hidden_size, bands=pairs)


def _count(corpus: Path, vocabulary_size: int) -> Counts:
    from models.training.corpus import text_files, word_counts

    with counting("counting words", None, "characters") as heard:
        return word_counts(text_files(corpus), vocabulary_size, heard)


def _for_training(
    counts: Counts,
    widths: Widths,
    batch: int,
    target: torch.device,
    precision: str,
    numbers: list[int],
    shortlist: int,
) -> Recommendation:
    from models.training.clusters.planning import measured_widths, training_plans, training_sizes

    total = len(measured_widths(widths)) * len(training_sizes(len(counts), batch))
    with counting("measuring", total) as heard:
        return training_plans(counts, widths, batch, target, precision, numbers, shortlist, heard)


def _for_serving(
    corpus: Path,
    bundle: Bundle,
    widths: Widths,
    k: int,
    rows: int,
    target: torch.device,
    numbers: list[int],
    words: bool,
    shortlist: int,
) -> Recommendation:
    from models.training.clusters.cutoffs import candidates
    from models.training.clusters.planning import masses_of, sample_lines, serving_plans
    from models.training.corpus import text_files

    if k > bundle.config.vocabulary_size - len(bundle.vocabulary.special_ids):
        raise UserError(f"-k must not be more than the vocabulary's words, got {k}")
    ranks = [rank for _, rank in widths.bands]
    edges = candidates(bundle.config.vocabulary_size, smallest=shortlist, also=ranks)
    with counting("predicting", rows, "positions") as heard:
        found = masses_of(bundle, sample_lines(bundle, text_files(corpus), rows), rows, [k], edges, heard)
    return serving_plans(found, k, widths, target, numbers, words=words)


def _report(found: Recommendation, widths: Widths, unit: str) -> None:
    from rich.table import Table

    table = Table("clusters", "short-list", f"predicted {unit}", "to the least", "cutoffs")
    cheapest = min(plan.seconds for plan in found.plans)
    for plan in found.plans:
        mark = " *" if plan == found.best else ""
        table.add_row(
            f"{plan.clusters}{mark}",
            f"{plan.cutoffs[0]:,}",
            f"{_value(plan, unit):,.4g}",
            f"{plan.seconds / cheapest:.2f}x",
            _short(plan.cutoffs),
        )
    lines = [
        f"g(k, B) at width {width}: c {model.c * 1e6:.3g} us, lambda {model.slope * 1e9:.3g} ns,"
        f" k0 B0 {model.elbow:,.0f}, mu {model.column * 1e9:.3g} ns"
        for width, model in found.times.fitted.items()
    ]
    if lines:
        lines.append(f"median error of the fits: {found.times.error:.1%}")
    show(table, *lines)
    out = standard_output()  # in one line, to be copied
    edges = ",".join(map(str, found.best.cutoffs))
    out.write(f"headfirst train --cutoffs {edges} --bands {_bands(found.best, widths)}\n".encode())
    out.flush()


def _bands(plan: Plan, widths: Widths) -> str:
    from models.training.clusters.planning import bands_of

    edges, at, parts = plan.cutoffs[1:], 0, []
    for band in bands_of(plan.cutoffs, widths):
        at += band.clusters
        parts.append(f"{band.width}:{edges[at - 1]}" if at < len(edges) else str(band.width))
    return ",".join(parts) or "1"


def _value(plan: Plan, unit: str) -> float:
    return plan.seconds * (1e3 if unit == "ms" else 1)


def _short(edges: tuple[int, ...]) -> str:
    shown = [f"{edge}" for edge in edges]
    return " ".join(shown if len(shown) <= 9 else [*shown[:5], "...", *shown[-3:]])


def _draw(charts: Path, found: Recommendation, widths: Widths, purpose: Purpose, unit: str) -> None:
    from models.benchmarking.charts import Series, plot

    charts.mkdir(parents=True, exist_ok=True)
    curve = [(plan.clusters, _value(plan, unit)) for plan in found.plans]
    (charts / f"clusters-{purpose}.svg").write_text(
        plot(f"Predicted {unit} by number of clusters, {purpose}", "tail clusters", unit,
             [Series("cheapest cutoffs", curve), Series("", curve, marks=True)], log_x=True, color_of=[0, 0])
    )  # fmt: skip
    if found.times.fitted:
        (charts / f"g-{purpose}.svg").write_text(draw_g(found.times, f"g(k, B), {purpose}"))


def draw_g(times: TimeModels, title: str) -> str:
    """SVG: measured times over rows x columns, and the fitted g, for each width."""
    import numpy as np

    from models.benchmarking.charts import Series, plot

    series, colors = [], []
    for number, (width, model) in enumerate(times.fitted.items()):
        points = times.points[width]
        work = sorted({point.k * point.batch for point in points})
        columns = np.median([point.k for point in points])
        line = [(w, float(model(columns, w / columns)) * 1e3) for w in np.geomspace(work[0], work[-1], 60)]
        measured = [(float(point.k * point.batch), point.seconds * 1e3) for point in points]
        series += [Series(f"width {width}: measured", measured, marks=True), Series("g", line)]
        colors += [number, number]
    return plot(title, "k B (columns x rows)", "ms", series, log_x=True, log_y=True, color_of=colors)
