"""What is done between loading a model and serving it."""

import gc
import logging
import sys
import time

import torch

import service
from models.bundle import Bundle
from service.metrics import Metrics
from service.routes.models import card
from service.schemas import ModelCard

logger = logging.getLogger("headfirst")

SWITCH_SECONDS = 0.0005
"""How long a thread that prepares a large request may keep the event loop's and the engine's waiting.
With the usual 5 ms a prediction beside it took three times as long."""


GC_THRESHOLD = 20_000
"""New containers after which those that are young are looked through for cycles. With the usual 700, a few
hundred requests that wait are looked through a hundred times a second, for a tenth of the time."""


def log_loaded(bundle: Bundle, started: float) -> None:
    """Logs the model that is going to be served.

    Args:
        started: `time.monotonic()` when loading began.
    """
    model = card(bundle)
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
                "path": str(bundle.path),
            }
        },
    )


def describe(metrics: Metrics, model: ModelCard) -> None:
    """Tells the metrics which model is served."""
    metrics.describe_model(
        model=model.name,
        architecture=model.architecture,
        vocabulary_size=model.vocabulary_size,
        clusters=model.clusters,
        parameters=model.parameters,
        dtype=model.dtype,
        device=model.device,
    )


def settle() -> None:
    """To be called when all is loaded that lives as long as the process, before it serves."""
    # What stays is not looked through again at every collection.
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, *gc.get_threshold()[1:])
    sys.setswitchinterval(SWITCH_SECONDS)
