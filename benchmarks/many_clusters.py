"""Two large tail clusters against many small ones: ``python -m benchmarks.many_clusters CORPUS``.

The same LSTM is trained on the same words with output layers that differ in nothing but how the tail is cut
into clusters; several seeds. Each run leaves checkpoints and goes on from them. Afterwards each model is
measured on the held-out lines: perplexity, by frequency band too (beside that of the words' frequencies
alone, to see whether rare words were learned at all), and the words that an exact top-k scores.
"""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.measures import perplexities, rows_of, scored, top_seconds
from benchmarks.serving.machine import machine
from models.bundle import Bundle
from models.config import Band, LSTMConfig, ModelConfig
from models.language_model import LanguageModel
from models.training.corpus import Corpus, CorpusOptions, Tokens, prepare, text_files
from models.training.cutoffs import geometric_cutoffs
from models.training.evaluation import split_lines
from models.training.trainer import Trainer, TrainingOptions

VOCABULARY, HIDDEN, UNITS, WIDTHS, BAND_EDGE = 44_000, 128, 256, (64, 16), 15_000


def cutoffs(tails: int) -> tuple[int, ...]:
    """Cluster edges: short-list 4000 for two tails, else smaller the more clusters there are."""
    if tails == 2:
        return 4000, BAND_EDGE, VOCABULARY
    return geometric_cutoffs(VOCABULARY, 2000 if tails < 100 else 1000, tails)


def config(tails: int) -> ModelConfig:
    """The model; words up to rank `BAND_EDGE` or so have wide vectors, the others narrow ones."""
    edges = cutoffs(tails)
    wide = sum(edge <= BAND_EDGE for edge in edges[1:])
    return ModelConfig(
        vocabulary_size=VOCABULARY,
        hidden_size=HIDDEN,
        cutoffs=edges,
        bands=(Band(clusters=wide, width=WIDTHS[0]), Band(clusters=tails - wide, width=WIDTHS[1])),
        embedding_scale=HIDDEN**0.5,
        body=LSTMConfig(layers=1, units=UNITS),
    )


def train(corpus: Corpus, work: Path, tails: int, seed: int, steps: int) -> Trainer:
    """Train to the end, from the last checkpoint."""
    directory = work / f"tails-{tails}-seed-{seed}"
    directory.mkdir(parents=True, exist_ok=True)
    options = TrainingOptions(
        steps=steps,
        rows=64,
        window=32,
        learning_rate=4e-3,
        warmup=200,
        cooldown=0.4,
        precision="bfloat16",
        seed=seed,
        validate_every=1000,
        checkpoint_every=100,
    )
    trainer = Trainer(config(tails), corpus, options, directory)
    trainer.resume()
    average = 0.0
    for done in trainer.run():
        average += 0.02 * (done.loss - average) if average else done.loss
        if done.step % 50 == 0 or done.validation:
            speed = trainer.step * done.words / trainer.seconds
            held = f"  held out {done.validation.perplexity:.1f}" if done.validation else ""
            line = (
                f"tails {tails} seed {seed} step {done.step}/{steps} loss {average:.3f} {speed:.0f} words/s"
            )
            print(line + held, flush=True)
    return trainer


def measure(model: LanguageModel, heldout: list[Tokens], corpus: Corpus) -> dict[str, Any]:
    """Perplexities on all held-out lines, and what exact answers score and take on 4000 of their rows."""
    edges = (0, 1000, 2000, 4000, 8000, BAND_EDGE, 25_000, VOCABULARY)
    end_id = corpus.vocabulary.end_id
    rows = rows_of(model, heldout, end_id, 4000)
    return {
        "tails": model.softmax.n_clusters,
        "shortlist": model.softmax.shortlist,
        "parameters": model.parameter_count(),
        **perplexities(model, heldout, end_id, corpus.counts, edges),
        **{f"top{k}": scored(model, rows, k) for k in (1, 10)},
        "top10_ms": round(top_seconds(model, rows, 10, 1) * 1e3, 4),
    }


def write(results: list[dict[str, Any]], out: Path) -> None:
    """``clusters-DATE.json`` and ``.md``."""
    stem = out / f"clusters-{datetime.now(UTC).date().isoformat()}"
    facts = {**machine(), "threads": 1}
    stem.with_suffix(".json").write_text(json.dumps({"machine": facts, "runs": results}, indent=1) + "\n")
    bands = results[0]["bands"]
    heads = [f"{band['ranks'][0]:,} to {band['ranks'][1]:,}" for band in bands]
    lines = [
        "# Two large tail clusters against many small ones",
        "",
        f"LSTM of {UNITS} units, hidden size {HIDDEN}, {VOCABULARY:,} words;"
        f" {results[0]['words_seen']:,} seen.",
        "",
        "| tails | run | short-list | perplexity | rows that open one, k = 1 / 10 | words scored a top-10 |"
        " top-10, ms |",
        "|---:|---:|---:|---:|---|---:|---:|",
    ]
    for one in results:
        opened = " / ".join(f"{one[top]['rows_that_open']:.0%}" for top in ("top1", "top10"))
        lines.append(
            f"| {one['tails']} | {one['run']} | {one['shortlist']:,} | {one['perplexity']:.1f} | {opened} |"
            f" {one['top10']['words_scored']:,.0f} | {one['top10_ms']:.3f} |"
        )
    lines += ["", "Perplexity by frequency rank:", "", f"| tails | run | {' | '.join(heads)} |"]
    lines.append("|---:|---:|" + "---:|" * len(heads))
    for one in results:
        cells = [f"{band['perplexity']:,.0f}" for band in one["bands"]]
        lines.append(f"| {one['tails']} | {one['run']} | {' | '.join(cells)} |")
    cells = [f"{band['unigram']:,.0f}" for band in bands]
    lines += [f"| frequencies alone | | {' | '.join(cells)} |", ""]
    stem.with_suffix(".md").write_text("\n".join(lines))


def main() -> None:
    """Train what is missing, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/clusters"))
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--runs", default="2:1,64:1,2:2,64:2,128:1", help="TAILS:SEED,...")
    parser.add_argument(
        "--also",
        type=Path,
        nargs="*",
        default=[],
        help="bundles with the same vocabulary, to be measured too",
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    corpus = prepare(text_files(args.corpus), args.work / f"corpus-{VOCABULARY}", CorpusOptions(VOCABULARY))
    results = []
    for run in args.runs.split(","):
        tails, seed = map(int, run.split(":"))
        trainer = train(corpus, args.work, tails, seed, args.steps)
        model = trainer.model.eval().requires_grad_(False)
        model.accelerate()
        seen = trainer.step * trainer.options.rows * trainer.options.window
        found = measure(model, trainer.heldout, corpus)
        results.append({"run": f"seed {seed}", "words_seen": seen, **found})
        print(json.dumps(results[-1]), flush=True)
    for path in args.also:
        bundle = Bundle.load(path, "cpu")
        heldout = split_lines(corpus.heldout, corpus.vocabulary.end_id)
        results.append({"run": path.name, **measure(bundle.model, heldout, corpus)})
    write(results, args.out)


if __name__ == "__main__":
    main()
