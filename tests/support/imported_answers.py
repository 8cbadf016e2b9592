"""How an imported model's answers are compared with those of the library that made it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from models.bundle import Bundle
from models.importers import convert
from models.language_model import LanguageModel

TOLERANCE = 1e-4


def imported(form: str, cases: Mapping[str, Path], directory: Path) -> dict[str, Bundle]:
    """Each case, imported, saved under `directory` and loaded."""
    found = {}
    for case, source in cases.items():
        converted = convert(form, source)
        Bundle.save(directory / case, converted.model(), converted.vocabulary, dtype=torch.float32)
        found[case] = Bundle.load(directory / case, "cpu")
    return found


@torch.inference_mode()
def hidden_rows(bundle: Bundle, ids: Tensor) -> Tensor:
    """Those (T, d) after each of `ids`."""
    return bundle.model.encode(ids[None], torch.tensor([len(ids)]), bundle.model.initial_state(1))[0][0]


def assert_words_as(bundle: Bundle, hidden: Tensor, want: Mapping[str, Tensor]) -> None:
    """The best words after the rows, and the scores of a text's own, follow from all words' probabilities."""
    allowed = want["logprobs"].clone()
    allowed[:, bundle.vocabulary.unknown_id] = -torch.inf
    best = bundle.model.topk(hidden, 12)
    close(best.logprobs, allowed.topk(12).values)
    close(best.logprobs, allowed.gather(1, best.ids))
    scores = bundle.model.target_logprobs(hidden[:-1], want["ids"][1:])
    close(scores, want["logprobs"][:-1].gather(1, want["ids"][1:, None])[:, 0])


@torch.inference_mode()
def rows(model: LanguageModel, text: Tensor, pieces: list[int]) -> Tensor:
    """Hidden rows (T, d) of `text` run alone in pieces of the given lengths."""
    state, found = model.split_state(model.initial_state(1))[0], []
    for piece in torch.split(text, pieces):
        hidden, after = model.encode(piece[None], torch.tensor([len(piece)]), model.stack_states([state]))
        (state,) = model.split_state(after)
        found.append(hidden[0])
    return torch.cat(found)


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, atol=TOLERANCE, rtol=0)
