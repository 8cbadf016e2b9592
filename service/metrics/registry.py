"""Every number that the server shows about itself, in one registry of its own.

All series exist before the first request, so that a rate over the first one is right and a dashboard is never
empty. Names have the prefix `headfirst_` and base units; labels have few values, fixed at start.
"""

from collections.abc import Iterable, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.openmetrics import exposition as openmetrics

from service.contract.engine import OwnEngine
from service.contract.model_card import MODEL_LABELS, ModelCard, model_labels

# A `_created` series beside every counter would double the page and no rule of ours reads one.
disable_created_metrics()  # type: ignore[no-untyped-call]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

LATENCY_BUCKETS = tuple(float(f"{50e-6 * 1.5**i:.4g}") for i in range(36))
"""Seconds: 50 microseconds, growing by 1.5, to 73 s."""

POWERS_OF_TWO = tuple(float(2**i) for i in range(17))

STAGES = ("prepare", "body", "topk", "score", "answer")
REASONS = (
    "queue_full",
    "too_large",
    "invalid",
    "expired",
    "cancelled",
    "not_ready",
    "draining",
    "unauthorized",
)

RELOADS = ("success", "failure")


class Metrics:
    """The registry and its metrics; an attribute is named as its metric without the prefix.

    The number of tokens computed in all batches is `headfirst_batch_tokens_sum`; the padding share is
    `headfirst_batch_padding_tokens_total` over the sum of the two.

    Several models are counted together; only `model_info` has a series for each.

    Args:
        n_clusters: tail clusters of the served model: labels "0", "1", ... of `cluster_expansions_total`.
    """

    def __init__(self, n_clusters: int = 0) -> None:
        self.registry = CollectorRegistry()
        self._engines: tuple[OwnEngine, ...] = ()

        self.requests_total = self._counter(
            "requests_total", "Answered HTTP requests", ["endpoint", "status"]
        )
        self.request_duration_seconds = self._histogram(
            "request_duration_seconds",
            "Time from a request's first byte to its answer's last",
            LATENCY_BUCKETS,
            ["endpoint"],
        )
        self.requests_in_progress = self._gauge(
            "requests_in_progress", "HTTP requests that are being answered"
        )
        self.rejected_total = self._counter(
            "rejected_total",
            "Requests refused, and inputs dropped from the queue (expired, cancelled), by reason",
            ["reason"],
        )

        self.queue_depth = self._gauge("queue_depth", "Inputs that wait for a batch")
        self.queue_tokens = self._gauge("queue_tokens", "Tokens of the inputs that wait for a batch")
        self.queue_duration_seconds = self._histogram(
            "queue_duration_seconds", "Time an input waits for its first batch", LATENCY_BUCKETS
        )
        self.batch_size = self._histogram("batch_size", "Inputs in a batch", POWERS_OF_TWO[:11])
        self.batch_tokens = self._histogram("batch_tokens", "Tokens computed in a batch", POWERS_OF_TWO)
        self.batch_padding_tokens_total = self._counter(
            "batch_padding_tokens_total", "Padding computed for nothing, in tokens"
        )
        self.step_duration_seconds = self._histogram(
            "step_duration_seconds", "Time of one batch's stage", LATENCY_BUCKETS, ["stage"]
        )

        self.cluster_expansions_total = self._counter(
            "cluster_expansions_total", "Rows for which a tail cluster was opened in a top-k", ["cluster"]
        )
        self.cluster_rows_total = self._counter("cluster_rows_total", "Rows for which a top-k was computed")
        self.state_cache_hits_total = self._counter(
            "state_cache_hits_total", "Inputs that found a prefix state"
        )
        self.state_cache_misses_total = self._counter("state_cache_misses_total", "Inputs that found none")
        self.state_cache_bytes = self._gauge("state_cache_bytes", "Memory held by cached states")

        self.inference_failures_total = self._counter(
            "inference_failures_total", "Inputs on which the model failed"
        )
        self.out_of_memory_total = self._counter(
            "out_of_memory_total", "Steps for which the device had no memory and that were split"
        )
        self.engine_ready = self._gauge(
            "engine_ready", "1 while every model has an engine that accepts requests, else 0"
        )
        self.engine_restarts_total = self._counter(
            "engine_restarts_total", "Engine processes that were started in the place of one that ended"
        )
        self.model_reloads_total = self._counter(
            "model_reloads_total", "Models that were to be loaded again while they are served", ["result"]
        )
        self.model_info = self._gauge(
            "model_info",
            "A served model; always 1",
            MODEL_LABELS,
        )

        _create(self.rejected_total, REASONS)
        _create(self.step_duration_seconds, STAGES)
        _create(self.model_reloads_total, RELOADS)
        _create(self.cluster_expansions_total, map(str, range(n_clusters)))

        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def watch(self, engine: OwnEngine) -> None:
        """Shows the engine's gauges with those of the others."""
        self._engines = (*self._engines, engine)
        self.queue_depth.set_function(lambda: sum(each.queue_depth for each in self._engines))
        self.queue_tokens.set_function(lambda: sum(each.queue_tokens for each in self._engines))
        self.state_cache_bytes.set_function(lambda: sum(each.cache_bytes for each in self._engines))
        self.engine_ready.set_function(self._all_ready)

    def forget(self, engine: OwnEngine) -> None:
        """Shows the engine's gauges no more; what it counted stays."""
        self._engines = tuple(each for each in self._engines if each is not engine)

    def _all_ready(self) -> bool:
        """A model that is being reloaded has two engines, of which one is enough."""
        ready = {each.model for each in self._engines if each.state == "ready"}
        return bool(ready) and all(each.model in ready for each in self._engines)

    def describe_endpoints(self, statuses: Mapping[str, Iterable[int]]) -> None:
        """Makes the series of HTTP's endpoints: for each of them the statuses that it can answer."""
        for endpoint, possible in statuses.items():
            self.request_duration_seconds.labels(endpoint)
            for status in possible:
                self.requests_total.labels(endpoint, str(status))

    def describe_models(self, models: Iterable[ModelCard]) -> None:
        """Sets `model_info` to the models that are served from now on."""
        self.model_info.clear()
        for labels in map(model_labels, models):
            self.model_info.labels(*labels).set(1)

    def render(self, *, exemplars: bool = False) -> bytes:
        """The page in Prometheus' text format 0.0.4 (`CONTENT_TYPE`), or with exemplars in OpenMetrics 1.0.0
        (`OPENMETRICS_TYPE`)."""
        return encode(self.registry, exemplars=exemplars)

    def _counter(self, name: str, documentation: str, labels: Iterable[str] = ()) -> Counter:
        return Counter(f"headfirst_{name}", documentation, list(labels), registry=self.registry)

    def _gauge(self, name: str, documentation: str, labels: Iterable[str] = ()) -> Gauge:
        return Gauge(
            f"headfirst_{name}",
            documentation,
            list(labels),
            registry=self.registry,
            # Where several workers answer: their sum. Of no effect in one process.
            multiprocess_mode="livesum",
        )

    def _histogram(
        self, name: str, documentation: str, buckets: tuple[float, ...], labels: Iterable[str] = ()
    ) -> Histogram:
        return Histogram(
            f"headfirst_{name}", documentation, list(labels), registry=self.registry, buckets=buckets
        )


def encode(registry: CollectorRegistry, *, exemplars: bool) -> bytes:
    """A registry's page; see `Metrics.render`."""
    if exemplars:
        page: bytes = openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]
        return page
    return generate_latest(registry)


def _create(metric: Counter | Histogram, values: Iterable[str]) -> None:
    for value in values:
        metric.labels(value)
