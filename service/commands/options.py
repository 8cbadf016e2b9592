"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
