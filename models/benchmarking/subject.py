"""One shape under test: an output layer, its rows, and the kernels and baselines that are timed on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import torch
from torch import Tensor

from models.benchmarking import shapes
from models.benchmarking.baselines import (
    MOST_COMPILED_BYTES,
    CompileError,
    Full,
    Run,
    adaptive,
    compile_topk,
    in_bfloat16,
    torch_module,
)
from models.benchmarking.composite import Composite
from models.benchmarking.shapes import Expansion
from models.benchmarking.text import SAMPLE, hidden_rows
from models.bundle import DEFAULT, Bundle
from models.kernels.cpu.kernel import CpuKernel
from models.softmax.adaptive_softmax import AdaptiveSoftmax

SHAPES: Final = ("default", *shapes.SHAPES)
POOL: Final = 512
"""Rows of a synthetic shape; each turn takes other ones."""
TEXT_ROWS: Final = 4096

COMPOSITES: Final = ("composite_fp32", "composite_bf16", "composite_bf16_compiled", "composite_int8")
"""The baselines that go head first, as ours."""


class Runs(NamedTuple):
    """Timed calls by name: `searches` depend on the clusters that rows open, `others` do not."""

    searches: dict[str, Run]
    others: dict[str, Run]


class Subject:
    """A shape's weights, made once; `text` replaces the sample that ships, for the shape ``default``.

    `level` is the instruction set of ours.

    Attributes:
        skipped: baselines that are not there, and why.
    """

    def __init__(self, name: str, text: Path | None = None, level: str = "") -> None:
        self.name = name
        self.skipped: dict[str, str] = {}
        self._text: Tensor | None = None
        if name == "default":
            bundle = Bundle.load(DEFAULT, "cpu")
            self.softmax: AdaptiveSoftmax = bundle.model.softmax
            self._text, self._words = hidden_rows(bundle, text or SAMPLE, TEXT_ROWS)
        else:
            self.softmax = shapes.synthetic(shapes.SHAPES[name])
        self.exact = CpuKernel(self.softmax, level=level)
        self.fast = self.exact.in_mode("fast")
        self.module = torch_module(self.softmax)
        self.module_bf16 = in_bfloat16(self.module)
        self._full: Full | None = None
        self._full_bf16: Full | None = None
        self._composites: dict[str, Composite] = {}

    @property
    def expansions(self) -> tuple[Expansion, ...]:
        """A trained model opens what it opens; synthetic rows are made in three ways."""
        return shapes.EXPANSIONS if self._text is None else ("measured",)

    @property
    def full(self) -> Full:
        """A full softmax of as many words; made when it is first asked for, for it is large."""
        if self._full is None:
            self._full = Full(self.softmax.cutoffs[-1], self.softmax.hidden_size)
        return self._full

    @property
    def full_bf16(self) -> Full:
        """The same in bfloat16."""
        if self._full_bf16 is None:
            self._full_bf16 = Full(0, self.softmax.hidden_size)
            self._full_bf16.weight.data = self.full.weight.bfloat16()
        return self._full_bf16

    def rows(self, expansion: Expansion, k: int, batch: int) -> Tensor:
        """(N, d), N at least twice the batch: rows that open clusters so."""
        n = max(POOL, 2 * batch)
        if self._text is not None:
            return (
                self._text[:n] if len(self._text) >= n else self._text.repeat(n // len(self._text) + 1, 1)[:n]
            )
        wanted = shapes.patterns(self.name, k, expansion, self.softmax.n_clusters)
        return shapes.rows(self.softmax, wanted, n, k)

    def scored_rows(self, batch: int) -> tuple[Tensor, Tensor]:
        """(batch, d) hidden rows, and (batch,) words of which as many are rare as in a text."""
        if self._text is not None:
            at = torch.arange(batch) % len(self._text)
            return self._text[at], self._words[at]
        return self.rows("measured", 10, batch)[:batch], shapes.targets(self.name, self.softmax, batch)

    def runs(self, example: Tensor, k: int, compiles: bool) -> Runs:
        """The kernels and baselines that are timed on batches like `example` (B, d).

        Args:
            compiles: whether the compiled baselines are among them; it takes some seconds to compile each.
        """
        searches: dict[str, Run] = {"exact": self.exact.topk, "fast": self.fast.topk_bounded}
        for precision in ("fp32", "bf16", "int8"):
            name = f"composite_{precision}"
            if name not in self._composites:
                self._composites[name] = Composite(self.softmax, precision)
            searches[name] = self._composites[name].topk
        others: dict[str, Run] = {
            "adaptive_log_prob_topk_fp32": adaptive(self.module),
            "adaptive_log_prob_topk_bf16": adaptive(self.module_bf16),
            "full_softmax_topk_fp32": self.full.topk,
            "full_softmax_topk_bf16": self.full_bf16.topk,
        }
        if not compiles:
            return Runs(searches, others)
        half = example.bfloat16()
        makers: dict[str, Callable[[], Run]] = {
            "adaptive_log_prob_topk_fp32_compiled": lambda: compile_topk(self.module.log_prob, example, k),
            "adaptive_log_prob_topk_bf16_compiled": lambda: _in_bf16(
                compile_topk(self.module_bf16.log_prob, half, k)
            ),
            "full_softmax_topk_fp32_compiled": lambda: _small(self.full, example, k),
            "full_softmax_topk_bf16_compiled": lambda: _small(self.full_bf16, example, k),
        }
        for name, make in makers.items():
            self._try(name, make, others)
        self._try("composite_bf16_compiled", lambda: Composite(self.softmax, "bf16", example).topk, searches)
        return Runs(searches, others)

    def _try(self, name: str, make: Callable[[], Run], runs: dict[str, Run]) -> None:
        if name in self.skipped:
            return
        try:
            runs[name] = make()
        except CompileError as error:
            self.skipped[name] = str(error)


def _in_bf16(run: Run) -> Run:
    return lambda hidden, k: run(hidden.bfloat16(), k)


def _small(full: Full, example: Tensor, k: int) -> Run:
    if full.nbytes > MOST_COMPILED_BYTES:
        raise CompileError(f"its weights have {full.nbytes / 1e9:.1f} GB, and inductor would copy them")
    return compile_topk(full, example, k)
