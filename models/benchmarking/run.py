"""One run: a report of some shapes, top-k or scoring, as a dictionary that `report` writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from models.benchmarking.instruction_sets import forced
from models.benchmarking.machine import Ceilings, machine
from models.benchmarking.score_table import score_rows
from models.benchmarking.subject import Subject
from models.benchmarking.topk_table import MeasurementPlan, topk_rows

OnStep = Callable[[str, float], None]
Rows = Callable[[Subject, MeasurementPlan, Ceilings, OnStep], Iterator[dict[str, Any]]]
"""Is told the present step, and the share of the whole that is done."""

ALL_SECONDS: Final = 2.0
ALL_TOPK: Final[Mapping[str, Mapping[int, tuple[int, ...]]]] = {
    "default": {1: (1, 10, 100), 4: (10,), 16: (1, 10, 100), 64: (1, 10, 100), 256: (10,)},
    "wt103": {1: (1, 10, 100), 4: (10,), 16: (1, 10, 100), 64: (1, 10, 100), 256: (10,)},
    "txl": {1: (1, 10, 100), 16: (10,), 64: (1, 10, 100)},
    "gbw": {1: (1, 10, 100), 16: (10,), 64: (10,)},
}
"""Shape -> batch -> k: what one command measures in less than ten minutes on two cores."""
ALL_COMPILED: Final = frozenset({("wt103", 1, 10), ("wt103", 64, 10)})
"""(shape, batch, k) at which compiled baselines are measured too: they take some seconds each to compile."""
SCORED: Final[Mapping[str, int]] = {"default": 4096, "wt103": 4096, "txl": 1024, "gbw": 1024}
"""Rows that are scored of each shape."""
BUDGET_SECONDS: Final = 520.0
"""A run that is behind this schedule takes the fewest turns allowed, and compiles nothing."""


def topk_report(shape: str, plan: MeasurementPlan, text: Path | None, on_step: OnStep) -> dict[str, Any]:
    """`headfirst bench topk`."""
    return _report("Exact top-k", topk_rows, shape, plan, text, on_step)


def score_report(shape: str, plan: MeasurementPlan, text: Path | None, on_step: OnStep) -> dict[str, Any]:
    """`headfirst bench score`; of the plan, `ks` does not count."""
    return _report("Scoring given words", score_rows, shape, plan, text, on_step)


def _report(
    title: str, rows: Rows, shape: str, plan: MeasurementPlan, text: Path | None, on_step: OnStep
) -> dict[str, Any]:
    report, ceilings = _begin(title, on_step)
    subject = Subject(shape, text, plan.level)
    report["machine"]["instructions"] = forced(subject.exact.level)
    report["rows"] = list(rows(subject, plan, ceilings, on_step))
    return _end(report, subject)


def whole_report(quick: bool, on_step: OnStep, level: str = "", compiles: bool = False) -> dict[str, Any]:
    """`headfirst bench all`: every shape, top-k and scoring. `quick`: of each the smallest part, to try."""
    report, ceilings = _begin("Exact top-k and scoring on the CPU", on_step)
    report["rows"] = []
    started = perf_counter()
    for index, (shape, batches) in enumerate(ALL_TOPK.items()):

        def tell(what: str, done: int, index: int = index, of: int = sum(map(len, batches.values()))) -> None:
            on_step(what, (index + done / (of + 1)) / len(ALL_TOPK))

        tell(f"{shape}: weights", 0)
        subject = Subject(shape, level=level)
        report["machine"]["instructions"] = forced(subject.exact.level)
        wanted = [(1, 10)] if quick else [(batch, k) for batch, ks in batches.items() for k in ks]
        for done, (batch, k) in enumerate(wanted):
            share = (index + done / (len(wanted) + 1)) / len(ALL_TOPK)
            hurry = quick or perf_counter() - started > BUDGET_SECONDS * (share + 0.1)
            plan = MeasurementPlan(
                (batch,),
                (k,),
                0.0 if hurry else ALL_SECONDS,
                compiles=compiles and (shape, batch, k) in ALL_COMPILED and not hurry,
            )
            report["rows"] += topk_rows(subject, plan, ceilings, partial(_told, tell, done))
        plan = MeasurementPlan((256 if quick else SCORED[shape],), (), 0.0, compiles=False)
        report["rows"] += score_rows(subject, plan, ceilings, partial(_told, tell, len(wanted)))
        report["skipped"] |= {shape: subject.skipped} if subject.skipped else {}
    return report


def _told(tell: Callable[[str, int], None], done: int, what: str, share: float) -> None:
    """Passes on what a part of the whole does, and not its own share: `done` parts are done."""
    tell(what, done)


def _begin(title: str, on_step: OnStep) -> tuple[dict[str, Any], Ceilings]:
    """A report without rows, and the machine's ceilings, which it has as numbers."""
    facts = machine()
    on_step("the machine's ceilings", 0.0)
    ceilings = Ceilings.measure()
    return {"title": title, "machine": facts, "ceilings": ceilings.as_dict(), "skipped": {}}, ceilings


def _end(report: dict[str, Any], subject: Subject) -> dict[str, Any]:
    if subject.skipped:
        report["skipped"] = {subject.name: subject.skipped}
    return report
