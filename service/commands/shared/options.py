"""Options that several commands share."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class ModeName(StrEnum):
    """How exact log-probabilities are; see `models.kernels.choice`."""

    EXACT = "exact"
    FAST = "fast"


Model = Annotated[
    Path | None,
    typer.Option(
        "--model",
        envvar="HEADFIRST_MODEL",
        show_default="the model that ships with the package",
        help="Directory of the model bundle.",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device", envvar="HEADFIRST_DEVICE", help="auto (a GPU if there is one), cpu, cuda or cuda:N."
    ),
]
Mode = Annotated[
    ModeName,
    typer.Option(
        "--mode",
        envvar="HEADFIRST_MODE",
        help="fast: the same words sooner, log-probabilities within a bound that is told with them.",
    ),
]
Pretokenized = Annotated[
    bool,
    typer.Option(
        "--pretokenized", help="Texts are words of the vocabulary between white space; take them as they are."
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        max=1024,
        envvar="HEADFIRST_THREADS",
        show_default="all cores",
        help="CPU threads for the model.",
    ),
]


@dataclass(frozen=True, slots=True)
class Place:
    """The model and where it runs; as in `service.commands.shared.session.load_bundle`."""

    model: Model = None
    device: Device = "auto"
    threads: Threads = None
