"""The Transformer-XL cases: checkpoints in the original formats and what their own libraries answer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from models.bundle import Bundle
from models.importers import convert

DATA = Path(__file__).parents[1] / "oracles" / "transfo_xl" / "data"
CASES = sorted(path.name for path in DATA.iterdir())
FORMATS = {"hf": "transfo-xl-hf", "pytorch": "transfo-xl-pytorch", "nvidia": "transfo-xl-nvidia"}


def form(case: str) -> str:
    """The format of a case, which its name begins with."""
    return FORMATS[case.split("-")[0]]


@dataclass(frozen=True)
class Expected:
    """Texts (ids, the start word first), the library's log-probabilities (T, V), its count of parameters."""

    texts: list[Tensor]
    logprobs: list[Tensor]
    parameters: int


def expected(case: str) -> Expected:
    """What the library said."""
    with safe_open(DATA / case / "expected.safetensors", framework="pt") as stored:
        n = len(stored.keys()) // 2
        return Expected(
            [stored.get_tensor(f"ids.{i}") for i in range(n)],
            [stored.get_tensor(f"logprobs.{i}") for i in range(n)],
            json.loads(stored.metadata()["about"])["parameters"],
        )


def imported(case: str, folder: Path) -> Bundle:
    """The case as a bundle, written and loaded again."""
    converted = convert(form(case), DATA / case)
    Bundle.save(folder, converted.model(), converted.vocabulary, dtype=torch.float32)
    return Bundle.load(folder, device="cpu")
