"""The fairseq cases: checkpoints in the original formats and what fairseq itself answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from models.bundle import Bundle
from models.config.bodies import TransformerConfig
from models.importers import convert
from models.importers.base import Converted

DATA = Path(__file__).parents[1] / "oracles" / "fairseq" / "data"
CASES = sorted(path.name for path in DATA.iterdir())
TRANSFORMERS = [case for case in CASES if not case.startswith("fconv")]
LONG = {"new-wiki103": (0, 8, 12), "new-post-norm": (0, 8)}
"""Cases with a text longer than their window, and the contexts with which fairseq evaluated it."""


@dataclass(frozen=True)
class Expected:
    """Texts (ids, the start word first), their log-probabilities (T, V); of a long text the targets (T,) and
    their log-probabilities by context window."""

    texts: list[Tensor]
    logprobs: list[Tensor]
    long_targets: Tensor | None
    long_logprobs: dict[int, Tensor]


def expected(case: str) -> Expected:
    """What fairseq said."""
    stored = load_file(DATA / case / "expected.safetensors")
    count = sum(name.startswith("ids.") for name in stored)
    return Expected(
        [stored[f"ids.{i}"] for i in range(count)],
        [stored[f"logprobs.{i}"] for i in range(count)],
        stored.get("long"),
        {int(name.split("_")[1]): stored[name] for name in stored if name.startswith("long.context")},
    )


def converted(case: str, overlap: int | None = None) -> Converted:
    """The case in our terms, `overlap` words read again where its text passes the window."""
    found = convert("fairseq", DATA / case)
    if overlap is None:
        return found
    assert isinstance(found.config.body, TransformerConfig)
    body = found.config.body.model_copy(update={"overlap": overlap})
    return replace(found, config=found.config.model_copy(update={"body": body}))


def imported(case: str, folder: Path) -> Bundle:
    """The case as a bundle, written and loaded again."""
    found = converted(case)
    Bundle.save(folder, found.model(), found.vocabulary, dtype=torch.float32)
    return Bundle.load(folder, device="cpu")
