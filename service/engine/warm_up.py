"""Batches before the first request: what the first of a shape sets up, no client waits for."""

import torch

from models.bundle import Bundle
from service.contract.messages import Predict, Score
from service.engine.head import K_BUCKETS
from service.engine.runner import Runner
from service.engine.state_cache import StateCache
from service.engine.work import Group, Job, Node, Slice
from service.metrics.registry import Metrics

WARM_UP_SHAPES = ((1, 1), (8, 1), (64, 1), (1, 16), (8, 16), (64, 16))
"""Rows and tokens a row."""
WARM_UP_ROWS = {"cpu": (1, 64), "cuda": tuple(2**i for i in range(11))}
"""Rows of a search: on a GPU each power of two is a bucket with a graph of its own."""


def warm_up(bundle: Bundle) -> None:
    """Runs batches of typical shapes and every bucket of the search, so that no client waits for what the
    first of a shape sets up.

    Uses a cache and metrics of its own: what is served starts at zero.
    """
    runner = Runner(bundle, StateCache(1 << 20), Metrics(bundle.config.n_clusters))
    size = len(bundle.vocabulary)
    for rows, count in WARM_UP_SHAPES:
        for kind in (Predict, Score):
            slices = []
            for row in range(rows):
                tokens = tuple(7919 * (row + i) % size for i in range(count))  # From all over the vocabulary.
                message = (
                    Predict("", tokens, 10, None, None) if kind is Predict else Score("", (), tokens, None)
                )
                job = Job(message, Group(), 0.0)
                known = count if kind is Predict else 0
                node = Node(tokens, max(known, count - 1), known, [job], [job])
                runner.begin(node)
                slices.append(Slice(node, node.inputs - node.position))
            runner.answer(slices)
    _warm_up_search(bundle, runner)


def _warm_up_search(bundle: Bundle, runner: Runner) -> None:
    """Searches of every number of rows and of every size of k, with and without a prefix, in both modes."""
    model, size = bundle.model, len(bundle.vocabulary)
    # With the tables that look-ups in any case and without marks need: a fifth of a second each.
    prefixed = bundle.vocabulary.starting_with("a", ignore_case=True, words_only=True).to(bundle.device)
    row = runner.start_hidden
    for rows in WARM_UP_ROWS.get(bundle.device.type, (1,)):
        hidden = row.expand(rows, -1).contiguous()
        for k in {min(bucket, size) for bucket in K_BUCKETS}:
            model.topk(hidden, k).ids.tolist()
        for allowed in (None, [prefixed] * rows):
            model.topk(hidden, min(K_BUCKETS[0], size), allowed).ids.tolist()
            model.topk_bounded(hidden, min(K_BUCKETS[0], size), allowed)[0].ids.tolist()
        model.target_logprobs_bounded(hidden, torch.zeros(rows, dtype=torch.int64, device=bundle.device))
