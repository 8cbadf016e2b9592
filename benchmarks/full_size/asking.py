"""Asking a bundle of published size: how fast it loads, scores and predicts."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from models.bundle import Bundle
from service.contract.messages import Predict
from service.engine.engine import Engine
from service.metrics.registry import Metrics
from service.settings.settings import Settings

CONTEXT, TYPED, ROWS = 64, 8, 8
"""Words before the first prediction, predictions, texts scored side by side."""


def ask(path: Path) -> dict[str, Any]:
    """Loads a bundle; scores texts side by side; predicts word by word, with and without the state cache."""
    started = time.perf_counter()
    bundle = Bundle.load(path, "cpu")
    figures: dict[str, Any] = {
        "load_seconds": round(time.perf_counter() - started, 1),
        "parameters": bundle.model.parameter_count(),
        "threads": torch.get_num_threads(),
        "kernels": bundle.model.kernels,
    }
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(4, len(bundle.vocabulary), (ROWS, CONTEXT), generator=generator)
    with torch.inference_mode():
        started = time.perf_counter()
        state = bundle.model.initial_state(ROWS)
        hidden, _ = bundle.model.encode(ids, torch.full((ROWS,), CONTEXT), state)
        body = time.perf_counter() - started
        values = bundle.model.target_logprobs(
            hidden[:, :-1].reshape(-1, hidden.shape[2]), ids[:, 1:].flatten()
        )
        figures["scored_tokens_per_second"] = round(ids.numel() / (time.perf_counter() - started), 1)
        figures["of_which_body"] = round(body / (time.perf_counter() - started), 3)
        figures["mean_logprob"] = round(values.mean().item(), 2)
    words = ids.flatten().tolist()
    for name, cache_bytes in (("without", 0), ("with", 1 << 30)):
        seconds = _type(bundle, words, cache_bytes)
        figures[f"predictions_per_second_{name}_cache"] = round(TYPED / seconds, 2)
    figures["typed_context_words"] = CONTEXT
    return figures


def _type(bundle: Bundle, words: list[int], cache_bytes: int) -> float:
    """Seconds for `TYPED` predictions, each with a word more, after one that is not counted."""
    engine = Engine(bundle, Settings(state_cache_bytes=cache_bytes), Metrics(bundle.config.n_clusters))
    engine.start()
    while engine.state == "starting":
        time.sleep(0.05)

    def predict(length: int) -> None:
        (future,) = engine.submit([Predict("", tuple(words[:length]), 10, None, None)])
        future.result()

    try:
        predict(CONTEXT)
        started = time.perf_counter()
        for length in range(CONTEXT + 1, CONTEXT + 1 + TYPED):
            predict(length)
        return time.perf_counter() - started
    finally:
        engine.stop()
