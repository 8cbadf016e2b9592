"""Loading a model to be served, and what is done before the first request."""

import ctypes
import gc
import logging
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import service
from models.bodies.base import FLOAT_BYTES
from models.bundle import CONTENT, TOKENIZER, Bundle, BundleError, digest
from service.engine.state_cache import ENTRY_BYTES, TOKEN_BYTES
from service.http.api.examples import describe
from service.http.api.models import card
from service.http.schemas.native import ModelCard
from service.settings.model_sources import ModelSource
from service.settings.settings import Settings

logger = logging.getLogger("headfirst")

SWITCH_SECONDS = 0.0005
"""How long a thread that prepares a large request may keep the event loop's and the engine's waiting.
With the usual 5 ms a prediction beside it took three times as long."""

DIGEST_CHARS = 16

GC_THRESHOLD = 20_000
"""New containers after which those that are young are looked through for cycles. With the usual 700, a few
hundred requests that wait are looked through a hundred times a second, for a tenth of the time."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A bundle that no engine has yet, and what there is to tell about it; as in `Served`."""

    bundle: Bundle
    card: ModelCard
    examples: Mapping[str, dict[str, Any]]
    tokenizer: Path | None


def load(source: ModelSource, settings: Settings, copies: Path | None = None) -> LoadedModel:
    """Loads what is at a model's path now.

    Args:
        copies: where to leave a copy of tokenizer.json for HTTP workers, named after its content.

    Raises:
        BundleError: it cannot be served, or was changed meanwhile.
    """
    started = time.monotonic()
    before = _versions(source.path)
    bundle = Bundle.load(source.path, settings.device, source.name)
    try:
        content = digest(*(source.path / name for name in CONTENT))[:DIGEST_CHARS]
        tokenizer = None if copies is None else _copy(source.path / TOKENIZER, copies)
    except OSError as error:
        raise BundleError(str(error)) from error
    if _versions(source.path) != before:
        raise BundleError(f"{source.path}: was changed while it was being loaded")
    loaded = LoadedModel(bundle, card(bundle, content), describe(bundle), tokenizer)
    _log(loaded, started)
    return loaded


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


def settle() -> None:
    """To be called when all is loaded that lives as long as the process, before it serves."""
    # What stays is not looked through again at every collection.
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, *gc.get_threshold()[1:])
    sys.setswitchinterval(SWITCH_SECONDS)


def give_back_memory() -> None:
    """Returns to the system what an ended engine had: neither the allocator nor CUDA's does that alone."""
    gc.collect()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # Of glibc; musl has none.
        if trim is not None:
            trim(0)


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
    stats = [(path / name).stat() for name in CONTENT if (path / name).is_file()]
    return [(stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size) for stat in stats]


def _copy(file: Path, directory: Path) -> Path:
    copy = directory / f"vocabulary-{digest(file)[:DIGEST_CHARS]}.json"
    if not copy.exists():
        shutil.copyfile(file, copy)
    return copy
