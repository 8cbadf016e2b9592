"""What all commands that run the model in this process share: they load it, and report errors in one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

    from models.bundle import Bundle

USAGE_ERROR: Final = 2
STOPPED: Final = 130
"""128 + SIGINT: what a shell reports of a program that Ctrl-C ended."""
CLOSED_PIPE: Final = 141
"""128 + SIGPIPE: what a shell reports of a program whose reader is gone."""


class UserError(Exception):
    """An error that the user can mend; the message is one line that says what to change."""


@contextmanager
def session(command: str) -> Iterator[None]:
    """Ends the process: with status 2 and one line for a `UserError`, quietly when the reader is gone."""
    try:
        yield
    except UserError as error:
        _refuse(command, str(error))
    except BrokenPipeError:
        _discard_output()
        raise typer.Exit(CLOSED_PIPE) from None
    except OSError as error:
        _discard_output()
        _refuse(command, f"{error.filename or 'output'}: {error.strerror or error}")


def load_bundle(model: Path | None, device: str, threads: int | None) -> Bundle:
    """The model at `model`, or the one that ships. Raises UserError if it cannot be loaded."""
    # torch takes seconds to import, and `--help` does not need it.
    import torch

    from models.bundle import DEFAULT, Bundle, BundleError

    if threads is not None:
        torch.set_num_threads(threads)
    try:
        return Bundle.load(DEFAULT if model is None else model, device)
    except BundleError as error:
        raise UserError(str(error)) from None


def standard_output() -> BinaryIO:
    """Standard output, for bytes. Raises UserError if the shell closed it (``>&-``)."""
    if sys.stdout is None:
        raise UserError("standard output is closed")
    return sys.stdout.buffer


def show(*parts: RenderableType) -> None:
    """Prints tables and lines for a person, in color on a terminal."""
    from rich.console import Console

    console = Console(highlight=False)
    with console.capture() as capture:
        console.print(*parts, sep="\n")
    out = standard_output()
    out.write(capture.get().encode(console.encoding, "replace"))
    out.flush()


def _refuse(command: str, message: str) -> None:
    typer.echo(f"headfirst {command}: {' '.join(message.split())}", err=True)
    raise typer.Exit(USAGE_ERROR) from None


def _discard_output() -> None:
    """Redirects standard output to nowhere: at its exit Python would report the buffered rest as an error."""
    if sys.stdout is None:
        return
    try:
        descriptor = sys.stdout.fileno()
    except OSError:  # replaced by something in memory
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
