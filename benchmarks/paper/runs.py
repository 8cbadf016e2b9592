"""Trains and measures one method; finished methods stay finished, and a stopped run goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measures import perplexities, rows_of, scored, top_seconds
from benchmarks.paper.methods import Method, Setting, config
from models.training.clusters.cutoffs import Widths, words_of_share
from models.training.clusters.planning import (
    measured_widths,
    product_points,
    training_plans,
    training_sizes,
)
from models.training.clusters.timing import fit
from models.training.corpus import Corpus, Tokens
from models.training.evaluation import split_lines
from models.training.trainer import Trainer

HEAD_SHARE = 0.87
"""Of the text, what the short-list holds at least; the share that the paper gives as an example."""

SHARE_OF_ROWS = 16
"""The paper's g is fitted from a step's rows divided by this up: the paper's are hundreds, and with a few a
CPU does nothing but read the matrix, for which g has no term."""


def name_of(method: Method, seed: int) -> str:
    """Of a run's directory."""
    return method.key if seed == 1 else f"{method.key}-seed-{seed}"


class Runs:
    """The runs of one report under `work`.

    Args:
        setting: sizes.
        corpus: the text.
        work: checkpoints and results.
        device: where.
        on_step: is told of each step the method's title, the steps done and their number.
    """

    def __init__(
        self,
        setting: Setting,
        corpus: Corpus,
        work: Path,
        device: torch.device,
        on_step: Callable[[str, int, int], None],
    ) -> None:
        self.setting, self.corpus, self.work, self.device = setting, corpus, work, device
        self.on_step = on_step
        self.identity = json.loads(json.dumps(asdict(setting)))
        self.batch = setting.options.rows * setting.options.window
        self.end_id = corpus.vocabulary.end_id
        self.heldout: list[Tokens] = []
        total = 0
        held = split_lines(corpus.heldout, self.end_id)  # file after file: to be sampled, not cut off
        for at in np.random.default_rng(1).permutation(len(held)).tolist():
            line = held[at]
            if total >= setting.heldout_words:
                break
            self.heldout.append(line)
            total += len(line)

    def once(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The result called `name`: read, or made and kept. Another setting's is made again."""
        file = self.work / name / "result.json"
        if file.exists():
            kept = json.loads(file.read_text())
            if kept["setting"] == self.identity:
                return dict(kept["result"])
        file.parent.mkdir(parents=True, exist_ok=True)
        result = make()
        unfinished = file.with_suffix(".tmp")
        unfinished.write_text(json.dumps({"setting": self.identity, "result": result}))
        unfinished.replace(file)
        return result

    def times(self) -> dict[str, Any]:
        """g of the bare product, its fits' errors, and plans for 1..12 clusters of their own width."""

        def make() -> dict[str, Any]:
            setting = self.setting
            widths = Widths(setting.hidden_size)
            sizes = len(training_sizes(setting.vocabulary_size, self.batch))
            total = sizes * (1 + len(measured_widths(widths)))
            done = 0

            def heard(n: int) -> None:
                nonlocal done
                done += n
                self.on_step("measuring g", done, total)

            d = setting.hidden_size
            every = product_points(setting.vocabulary_size, self.batch, d, self.device, heard)
            least = self.batch // SHARE_OF_ROWS
            many = [point for point in every if point.batch >= least]
            paper, over_all, ours = fit(many), fit(every), fit(every, columns=True)
            plans = training_plans(
                self.corpus.counts,
                widths,
                self.batch,
                self.device,
                setting.options.precision,
                range(1, 13),
                words_of_share(self.corpus.counts, HEAD_SHARE),
                heard,
            )
            return {
                "points": [list(point) for point in every],
                "g": asdict(paper),
                "g_least_rows": least,
                "g_error": float(np.median(paper.errors(many))),
                "g_error_all": float(np.median(over_all.errors(every))),
                "g_with_mu": asdict(ours),
                "g_with_mu_error": float(np.median(ours.errors(every))),
                "training_error": plans.times.error,
                "plans": [{"cutoffs": plan.cutoffs, "seconds": plan.seconds} for plan in plans.plans],
            }

        return self.once("times", make)

    def is_done(self, method: Method, seed: int) -> bool:
        """Whether there is a result, of this setting."""
        file = self.work / name_of(method, seed) / "result.json"
        return file.exists() and json.loads(file.read_text())["setting"] == self.identity

    def method(self, method: Method, seed: int = 1) -> dict[str, Any]:
        """Trains and measures."""
        name = name_of(method, seed)
        return self.once(name, lambda: self._run(method, seed, self.work / name))

    def _run(self, method: Method, seed: int, directory: Path) -> dict[str, Any]:
        setting = self.setting
        planned: Sequence[int] = ()
        if method.planned:
            plans = [plan["cutoffs"] for plan in self.times()["plans"]]
            planned = next(edges for edges in plans if len(edges) == method.planned + 1)
        options = replace(setting.options, seed=seed, sampled=setting.samples if method.sampled else 0)
        layout = config(method, setting, self.corpus.counts, planned)
        trainer = Trainer(layout, self.corpus, options, directory, str(self.device))
        trainer.resume()
        for done in trainer.run():
            self.on_step(f"{method.title}: loss {done.loss:.2f}", done.step, options.steps)
        self.on_step(f"{method.title}: measuring", options.steps, options.steps)
        model = trainer.model.eval().requires_grad_(False)
        model.accelerate()
        edges = (0, 2000, 5000, 15_000, setting.vocabulary_size)
        quality = perplexities(model, self.heldout, self.end_id, self.corpus.counts, edges)
        rows = rows_of(model, self.heldout, self.end_id, 1000)
        return {
            "title": method.title,
            "cutoffs": layout.cutoffs,
            "clusters": layout.n_clusters,
            "parameters": model.parameter_count(),
            "words_seen": options.steps * self.batch,
            "seconds": round(trainer.seconds, 4),
            **quality,
            "kernel": model.choice.exact.name,
            "top10_a_second": {
                str(batch): round(batch / top_seconds(model, rows, 10, batch), 1) for batch in (1, 16)
            },
            **{f"top{k}": scored(model, rows, k) for k in (1, 10)},
        }
