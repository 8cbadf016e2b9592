"""What the three scripts of this folder share: the texts, the words and the file of expected values."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

DATA = Path(__file__).parent / "data"
VOCABULARY = 60
LENGTHS = (21, 13, 1)
"""Of the texts; the memories of all cases are shorter than the longest."""

_WORDS = (
    "the of and in to a was on for that as with by is at from his it an were are which this be had he not or"
    " one first two their has have its new who but also after time Aires Buenos river's"
).split()


def words(start: str = "<eos>", unknown: str = "<unk>") -> list[str]:
    """The vocabulary: special words, words, the marks of Moses and punctuation."""
    listed = [start, unknown, ",", ".", "@-@", "@,@", "@.@", "'s", "(", ")", *_WORDS]
    listed += [f"word{i}" for i in range(VOCABULARY - len(listed))]
    assert len(set(listed)) == len(listed) == VOCABULARY
    return listed


def redraw(model: nn.Module) -> None:
    """Every parameter from N(0, 0.3), so that no part of the model is without effect."""
    generator = torch.Generator().manual_seed(20261124)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3, generator=generator)


def texts() -> list[Tensor]:
    """Ids of the texts, each starting with the start word 0."""
    generator = torch.Generator().manual_seed(7)
    return [
        torch.cat(
            [torch.zeros(1, dtype=torch.int64), torch.randint(VOCABULARY, (n - 1,), generator=generator)]
        )
        for n in LENGTHS
    ]


def save(case: str, expected: list[Tensor], about: dict[str, object]) -> None:
    """Write what the library said: for each text the log-probabilities (T, V) of what follows each word."""
    values: dict[str, Tensor] = {}
    for i, (text, logprobs) in enumerate(zip(texts(), expected, strict=True)):
        assert logprobs.shape == (len(text), VOCABULARY), logprobs.shape
        assert torch.allclose(logprobs.double().exp().sum(-1), torch.ones(len(text)).double(), atol=1e-5)
        values[f"ids.{i}"] = text
        values[f"logprobs.{i}"] = logprobs.float().contiguous()
    save_file(values, DATA / case / "expected.safetensors", metadata={"about": json.dumps(about)})
    print(case, about)
