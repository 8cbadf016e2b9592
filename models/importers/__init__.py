"""Published checkpoints -> bundle: one module a format, each with ``convert(source) -> Converted``."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Final

from models.importers.base import CheckpointError, Converted

FORMATS: Final = {
    "fairseq": "fairseq.checkpoint",
    "transfo-xl-hf": "transfo_xl.hf",
    "transfo-xl-pytorch": "transfo_xl.pytorch",
    "transfo-xl-nvidia": "transfo_xl.nvidia",
    "torch-adaptive": "torch_adaptive.checkpoint",
    "awd-lstm": "awd_lstm",
    "word-language-model": "word_language_model",
}
"""What a format is called on the command line, and the module that reads it."""


def convert(form: str, source: Path) -> Converted:
    """What the checkpoint at `source` holds. No code in it is run.

    Args:
        form: a key of `FORMATS`.
        source: the directory or file as published.

    Raises:
        CheckpointError: one line on what is wrong with it.
    """
    module = import_module(f"models.importers.{FORMATS[form]}")
    if not source.exists():
        raise CheckpointError(f"{source}: no such file or directory")
    converted = module.convert(source)
    assert isinstance(converted, Converted)  # noqa: S101 -- by the format's module
    return converted
