"""What is behind every peer: texts -> one padded batch -> the same `topk` -> the same JSON as ours."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch

from models.bundle import DEFAULT, Bundle

K = 10


class Answerer:
    """A loaded model.

    The model's path comes from ``BENCHMARK_MODEL``, the number of torch's threads from ``BENCHMARK_THREADS``.
    """

    def __init__(self) -> None:
        torch.set_num_threads(int(os.environ.get("BENCHMARK_THREADS", "1")))
        self._bundle = Bundle.load(os.environ.get("BENCHMARK_MODEL", DEFAULT), "cpu")
        for size in (1, 8, 64):  # warm
            self.results(["Once upon a time there was"] * size)

    @torch.inference_mode()
    def results(self, texts: Sequence[str], k: int = K) -> list[dict[str, Any]]:
        """One result a text, in order, as in the `results` of ``/v1/predict``."""
        vocabulary, model = self._bundle.vocabulary, self._bundle.model
        contexts = vocabulary.encode_batch(texts)
        lengths = torch.tensor([len(context) + 1 for context in contexts])
        width = int(lengths.max())
        end = vocabulary.end_id
        rows = [[end, *context] + [end] * (width - 1 - len(context)) for context in contexts]
        hidden, _ = model.encode_last(torch.tensor(rows), lengths, model.initial_state(len(texts)))
        best = model.topk(hidden, k)
        return [
            {
                "words": [
                    {"word": vocabulary.word(word), "logprob": round(logprob, 6)}
                    for word, logprob in zip(ids, logprobs, strict=True)
                ],
                "context_words": len(context),
                "unknown_words": context.count(vocabulary.unknown_id),
            }
            for context, ids, logprobs in zip(
                contexts, best.ids.tolist(), best.logprobs.tolist(), strict=True
            )
        ]

    def answers(self, requests: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
        """One answer a request, each a list of texts, all in one batch."""
        results = iter(self.results([text for texts in requests for text in texts]))
        return [{"results": [next(results) for _ in texts]} for texts in requests]
