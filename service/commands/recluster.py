"""`headfirst recluster MODEL OUT`: few large tail clusters, or none, -> many, for faster exact answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.commands.shared.options import Threads
from service.commands.shared.progress import counting
from service.commands.shared.session import UserError, load_bundle, session, show

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from models.bundle import Bundle
    from models.language_model import LanguageModel
    from models.training.corpus import Tokens

HELDOUT_SHARE = 0.1
RANKED_ROWS = 5_000
"""Positions whose mean distribution ranks the words of a softmax over all of them."""
SMALLEST_SHORTLIST = 64
"""That is tried for such a softmax."""


def recluster(
    model: Annotated[Path, typer.Argument(help="The bundle.")],
    out: Annotated[Path, typer.Argument(help="The directory of the bundle to write.")],
    text: Annotated[
        Path, typer.Option(help="Text like that to be predicted: a file, or a directory of them.")
    ],
    clusters: Annotated[int, typer.Option(min=1, help="Tail clusters.")] = 100,
    cutoffs: Annotated[
        str,
        typer.Option(show_default="the fastest for top-k", help="Cluster edges: N,N,...,vocabulary size."),
    ] = "",
    rows: Annotated[int, typer.Option(min=100, help="Positions of the text to fit on.")] = 50_000,
    iterations: Annotated[int, typer.Option(min=1, help="Of the fit, at most.")] = 300,
    fine_tune: Annotated[
        int,
        typer.Option(min=0, help="Steps that train all weights on TEXT afterwards; 0: the rest is frozen."),
    ] = 0,
    learning_rate: Annotated[float, typer.Option(min=0.0, help="Of --fine-tune.")] = 1e-4,
    k: Annotated[int, typer.Option("-k", min=1, help="Words of an answer.")] = 10,
    threads: Threads = None,
    work: Annotated[
        Path | None, typer.Option(help="What is done so far; OUT with .work added by default.")
    ] = None,
) -> None:
    """Cut the tail into many small clusters that share the old projections and word vectors.

    A softmax over all words, without a tail, is cut whole: its most probable words become the short-list, and
    ids follow the words' probability on TEXT. Only the head's rows of clusters are new, found on TEXT; with
    --fine-tune all weights then learn from it.
    Reports perplexity and the words that an exact top-k scores, before and after, on a tenth of the text that
    neither saw. Stopped, the same command goes on.
    """
    with session("recluster"):
        from models.bundle import Bundle, BundleError
        from models.training.clusters.planning import sample_lines
        from models.training.corpus import CorpusError, text_files
        from models.training.memory import keep_memory
        from models.training.recluster import assemble
        from models.training.splitting import split
        from models.training.trainer import TrainingError

        keep_memory()
        bundle = load_bundle(model, "cpu", threads)
        if bundle.config.quantization is not None:
            raise UserError(f"{model}: has weights of 8 bits: recluster the model before, then quantize it")
        plain = bundle.config.n_clusters == 0
        if bundle.config.cutoffs[0] == 0:
            raise UserError(f"{model}: a two-level tree has no short-list to keep")
        if not plain and not cutoffs and clusters < bundle.config.n_clusters:
            raise UserError(
                f"{model}: the model has {bundle.config.n_clusters} clusters, which can be cut but not"
                " joined: --clusters must be as many or more"
            )
        work = work or out.with_name(out.name + ".work")
        work.mkdir(parents=True, exist_ok=True)
        try:
            lines = sample_lines(bundle, text_files(text), int(rows / (1 - HELDOUT_SHARE)), holdout_every=2)
            at = max(1, int(len(lines) * HELDOUT_SHARE))
            heldout, training = lines[:at], lines[at:]
            if not training:
                raise UserError(f"{text}: too little text")
            hidden = _rows(bundle, training, rows)
            if plain:
                bundle, place = _by_probability(bundle, hidden)
                heldout, training = ([place[line] for line in some] for some in (heldout, training))
            edges = _edges(cutoffs, bundle, hidden, clusters, k, work)
            weights = _fit(bundle, hidden, edges, iterations, work)
            made = (split if plain else assemble)(bundle.model, edges, *weights)
            models = {"before": bundle.model, "after": made}
            if fine_tune:
                models["fine-tuned"] = made = _fine_tune(
                    bundle, made, training, fine_tune, learning_rate, work
                )
            facts = {name: _measured(bundle, one, heldout, k) for name, one in models.items()}
            card = (bundle.path / "README.md").read_text() if (bundle.path / "README.md").exists() else ""
            card += _note(facts)
            Bundle.save(out, made, bundle.vocabulary, card, _dtype(bundle), bundle.spelling)
        except (CorpusError, BundleError, TrainingError, ValueError) as error:
            raise UserError(str(error)) from None
        _report(facts)
        show(f"wrote {out}: try headfirst serve --model {out}")


def _rows(bundle: Bundle, lines: list[Tokens], count: int) -> Tensor:
    """(count, d), in random order."""
    import torch

    from models.training.evaluation import hidden_rows

    parts = []
    with counting("reading", count, "positions") as heard:
        for hidden, _ in hidden_rows(bundle.model, lines, bundle.vocabulary.end_id):
            parts.append(hidden)
            heard(len(hidden))
    rows = torch.cat(parts).clone()
    return rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(1))][:count]


def _by_probability(bundle: Bundle, hidden: Tensor) -> tuple[Bundle, Tokens]:
    """The bundle with ids by their words' probability on the text, and (V,) the new id of each old one.

    Raises:
        ValueError: the model is no softmax over all words, or has vectors of several widths.
    """
    from dataclasses import replace

    import numpy as np

    from models.training.splitting import check_plain, most_probable_first, renumbered

    check_plain(bundle.config)
    with counting("ranking the words", None):
        order = most_probable_first(bundle.model.softmax, hidden[:RANKED_ROWS])
    model, vocabulary = renumbered(bundle.model, bundle.vocabulary, order)
    place = order.argsort().numpy().astype(np.uint32)
    return replace(bundle, model=model, vocabulary=vocabulary), place


def _edges(
    cutoffs: str, bundle: Bundle, hidden: Tensor, clusters: int, k: int, work: Path
) -> tuple[int, ...]:
    """Those given, those of an earlier call with the same model and number, or the planner's."""
    import json

    import torch

    from models.training.clusters.cutoffs import Widths, candidates, cheapest
    from models.training.clusters.planning import serving_plans
    from models.training.clusters.serving_costs import masses
    from models.training.recluster import Refinement, reclustered_config
    from models.training.splitting import split_config

    config = bundle.config
    plain = config.n_clusters == 0
    if cutoffs:
        if not all(part.isdecimal() for part in cutoffs.split(",")):
            raise UserError(f"--cutoffs must be N,N,...,N, got {cutoffs!r}")
        edges = tuple(map(int, cutoffs.split(",")))
        (split_config if plain else reclustered_config)(config, edges)
        return edges
    file = work / "cutoffs.json"
    request = [str(bundle.path.resolve()), config.cutoffs, clusters, k]
    if file.exists():
        kept = json.loads(file.read_text())
        if kept["request"] == json.loads(json.dumps(request)):
            return tuple(kept["cutoffs"])
    pairs = [(config.hidden_size, config.vocabulary_size)]
    smallest = min(SMALLEST_SHORTLIST, config.vocabulary_size // 2)
    if not plain:
        bands = zip(config.bands, config.band_edges[1:], strict=True)
        pairs, smallest = [(band.width, edge) for band, edge in bands], config.cutoffs[0]
    widths = Widths(config.hidden_size, bands=tuple(pairs))
    grid = candidates(config.vocabulary_size, max(160, 2 * clusters), smallest, config.cutoffs)
    some = hidden[:1000]
    with counting("predicting", len(some), "positions") as heard, torch.inference_mode():
        logprobs = (bundle.model.softmax.log_prob(part) for part in torch.split(some, 64))
        found = masses(logprobs, grid, [k], bundle.model.softmax.excluded, heard)
    with counting("measuring", None):
        plans = serving_plans(found, k, widths, bundle.device, [clusters])
    costs = plans.costs if plain else Refinement(plans.costs, config.cutoffs)
    edges = cheapest(costs, clusters).cutoffs
    file.write_text(json.dumps({"request": request, "cutoffs": edges}))
    return edges


def _fit(
    bundle: Bundle, hidden: Tensor, edges: tuple[int, ...], iterations: int, work: Path
) -> tuple[Tensor, Tensor]:
    from models.training.recluster import Distillation, fit_rows, starting_rows
    from models.training.splitting import linear_rows

    softmax, plain = bundle.model.softmax, bundle.config.n_clusters == 0
    with counting("probabilities of all words", None):
        rows = Distillation.of(softmax, hidden, edges)
    with counting("fitting", iterations, "iterations") as heard:
        last = 0

        def on_step(done: int, _: float) -> None:
            nonlocal last
            heard(done - last)
            last = done

        start = linear_rows(softmax, hidden, edges) if plain else starting_rows(softmax, edges)
        with_bias = plain or softmax.head_bias is not None
        return fit_rows(rows, start, with_bias, iterations, work / "head.pt", on_step)


def _fine_tune(
    bundle: Bundle, made: LanguageModel, lines: list[Tokens], steps: int, learning_rate: float, work: Path
) -> LanguageModel:
    from models.training.fine_tuning import fine_tune

    with counting("training all weights", steps, "steps") as heard:
        last = 0

        def on_step(done: int) -> None:
            nonlocal last
            heard(done - last)
            last = done

        return fine_tune(made, bundle.vocabulary, lines, steps, learning_rate, work, on_step)


def _measured(bundle: Bundle, model: LanguageModel, heldout: list[Tokens], k: int) -> dict[str, float]:
    """Perplexity, the words that an exact top-k scores, the rows that open a cluster."""
    import torch

    from models.training.evaluation import evaluate, hidden_rows

    vocabulary = bundle.vocabulary
    result = evaluate(model, heldout, vocabulary.end_id, vocabulary.unknown_id)
    with torch.inference_mode():
        rows = torch.cat([h for h, _ in hidden_rows(model, heldout, vocabulary.end_id)])[:2000]
        opened = torch.cat([model.topk(part, k).expanded for part in torch.split(rows, 64)]).double()
    sizes = torch.tensor(model.softmax.cluster_sizes, dtype=torch.float64)
    columns = model.softmax.shortlist + model.softmax.n_clusters
    return {
        "clusters": model.softmax.n_clusters,
        "perplexity": result.perplexity,
        "words_scored": columns + (opened @ sizes).mean().item(),
        "rows_that_open": opened.any(1).double().mean().item(),
        "k": k,
        "heldout_words": result.words,
    }


def _report(facts: dict[str, dict[str, float]]) -> None:
    from rich.table import Table

    before, after = facts["before"], list(facts.values())[-1]
    table = Table("", "clusters", "perplexity", f"words scored a top-{before['k']:.0f}", "rows that open one")
    for name, one in facts.items():
        table.add_row(
            name,
            f"{one['clusters']:.0f}",
            f"{one['perplexity']:.2f}",
            f"{one['words_scored']:,.0f}",
            f"{one['rows_that_open']:.1%}",
        )
    show(
        table,
        f"perplexity {after['perplexity'] / before['perplexity'] - 1:+.2%},"
        f" {before['words_scored'] / after['words_scored']:.1f}x fewer words scored;"
        f" {before['heldout_words']:,.0f} words held out",
    )


def _note(facts: dict[str, dict[str, float]]) -> str:
    before, after = facts["before"], list(facts.values())[-1]
    what = (
        f"{before['clusters']:.0f} tail clusters became {after['clusters']:.0f}, which share their"
        " projections and word vectors"
        if before["clusters"]
        else f"the softmax over all words became a short-list and {after['clusters']:.0f} tail clusters of"
        " the same word vectors, ids by the words' probability"
    )
    trained = " All weights were then trained a little further on that text." if "fine-tuned" in facts else ""
    return (
        "\n## Reclustered\n\n"
        f"By `headfirst recluster`: {what}.{trained} On text that was not used for it the"
        f" perplexity was {before['perplexity']:.2f} and is {after['perplexity']:.2f}; an exact"
        f" top-{before['k']:.0f} scored {before['words_scored']:,.0f} words and scores"
        f" {after['words_scored']:,.0f}. The figures above are those of the model before.\n"
    )


def _dtype(bundle: Bundle) -> torch.dtype:
    import torch

    return {"float16": torch.float16, "bfloat16": torch.bfloat16}.get(bundle.dtype, torch.float32)
