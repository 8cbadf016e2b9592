"""Loading a model to be served."""

import logging
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import service
from models.bodies.base import FLOAT_BYTES
from models.bundle import CONTENT, TOKENIZER, WEIGHTS, Bundle, BundleError, digest
from models.spelling.spelling_model import SPELLING
from service.contract.model_card import ModelCard
from service.engine.state_cache import ENTRY_BYTES, TOKEN_BYTES
from service.settings.model_sources import ModelSource
from service.settings.settings import Settings

logger = logging.getLogger("headfirst")

DIGEST_CHARS = 16

READ_BY_WORKERS = (TOKENIZER, SPELLING)
"""The files of a bundle from which HTTP workers make what they have of it, where it has them."""

Examples = Mapping[str, dict[str, Any]]
"""Answers of a model for the OpenAPI page, by path."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A bundle that no engine has yet, and what there is to tell about it; as in `Served`."""

    bundle: Bundle
    card: ModelCard
    examples: Examples
    vocabulary: Path | None


def load(
    source: ModelSource,
    settings: Settings,
    describe: Callable[[Bundle], Examples],
    copies: Path | None = None,
) -> LoadedModel:
    """Loads what is at a model's path now.

    Args:
        describe: asks the bundle for its examples, before an engine has it.
        copies: where to leave a folder with copies of what HTTP workers read (`READ_BY_WORKERS`), named after
            their content.

    Raises:
        BundleError: it cannot be served, or was changed meanwhile.
    """
    started = time.monotonic()
    before = _versions(source.path)
    bundle = Bundle.load(source.path, settings.device, source.name)
    try:
        content = digest(*(source.path / name for name in CONTENT))[:DIGEST_CHARS]
        vocabulary = None if copies is None else _copy(source.path, copies)
    except OSError as error:
        raise BundleError(str(error)) from error
    if _versions(source.path) != before:
        raise BundleError(f"{source.path}: was changed while it was being loaded")
    loaded = LoadedModel(bundle, card(bundle, content), describe(bundle), vocabulary)
    _log(loaded, started)
    return loaded


def card(bundle: Bundle, digest: str | None = None) -> ModelCard:
    """What there is to tell about a loaded bundle, and its `digest`, if known."""
    return ModelCard(
        id=bundle.name,
        created=int((bundle.path / WEIGHTS).stat().st_mtime),
        name=bundle.name,
        architecture=bundle.config.architecture,
        vocabulary_size=bundle.config.vocabulary_size,
        cutoffs=list(bundle.config.cutoffs),
        clusters=bundle.config.n_clusters,
        parameters=bundle.model.parameter_count(),
        dtype=bundle.dtype,
        device=str(bundle.device),
        kernels=bundle.model.kernels,
        digest=digest,
    )


def check_cache(bundle: Bundle, settings: Settings, models: int = 1) -> None:
    """Warns where the state after a text as long as predictions use has no room in the cache: such a text is
    computed anew for each word that a client types.

    Args:
        settings: `state_cache_bytes` is this model's part of what `models` share evenly.
    """
    words, capacity = settings.max_context_words, settings.state_cache_bytes
    needed = (
        bundle.model.state_bytes(words + 1)  # and the start word
        + FLOAT_BYTES * bundle.config.hidden_size
        + TOKEN_BYTES * words
        + ENTRY_BYTES
    )
    if not 0 < capacity < needed:
        return  # It fits, or nothing is to be kept.
    logger.warning(
        f"the state of a text of {words} words does not fit into the state cache; give --state-cache-bytes"
        f" {needed * models} at least, several times that for several clients, or 0 to keep none",
        extra={"fields": {"model": bundle.name, "state_bytes": needed, "state_cache_bytes": capacity}},
    )


def _log(loaded: LoadedModel, started: float) -> None:
    model = loaded.card
    logger.info(
        f"headfirst {service.__version__} loaded a model",
        extra={
            "fields": {
                "model": model.name,
                "architecture": model.architecture,
                "vocabulary": model.vocabulary_size,
                "clusters": model.clusters,
                "parameters": model.parameters,
                "dtype": model.dtype,
                "device": model.device,
                "threads": torch.get_num_threads(),
                "seconds": round(time.monotonic() - started, 3),
                "path": str(loaded.bundle.path),
                "digest": model.digest,
            }
        },
    )


def _versions(path: Path) -> list[tuple[int, int, int, int]]:
    """What tells that a file is another one; nothing for one that is not there, which loading tells."""
    files = [path / name for name in (*CONTENT, SPELLING) if (path / name).is_file()]
    stats = [file.stat() for file in files]
    return [(stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size) for stat in stats]


def _copy(bundle: Path, directory: Path) -> Path:
    files = [bundle / name for name in READ_BY_WORKERS if (bundle / name).is_file()]
    copy = directory / f"vocabulary-{digest(*files)[:DIGEST_CHARS]}"
    if not copy.exists():
        copy.mkdir()
        for file in files:
            shutil.copyfile(file, copy / file.name)
    return copy
