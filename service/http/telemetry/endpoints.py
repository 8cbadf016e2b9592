"""What the paths are called in metrics, logs and traces."""

from service.metrics.registry import ENDPOINTS

INFER = "/v2/models/{model}/infer"
MODEL_ENDPOINTS = frozenset({"/v1/predict", "/v1/score", "/v1/completions", INFER})
"""Those that ask a model."""


def endpoint_of(path: str) -> str:
    """The label of a path in the metrics, of which there are few."""
    if path in ENDPOINTS:
        return path
    if path.startswith("/v2/models/"):
        return INFER if path.endswith("/infer") else "/v2/models/{model}"
    return "/v1/models/{name}" if path.startswith("/v1/models/") else "other"
