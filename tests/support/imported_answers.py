"""How an imported model's answers are compared with those of the library that made it."""

from __future__ import annotations

import torch
from torch import Tensor

from models.language_model import LanguageModel

TOLERANCE = 1e-4


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
