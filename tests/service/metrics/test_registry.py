"""The metrics page: complete before the first request, with the names of the contract."""

import itertools
import re
from dataclasses import dataclass
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.http.telemetry.endpoints import STATUSES
from service.metrics.registry import CONTENT_TYPE, LATENCY_BUCKETS, REASONS, STAGES, Metrics
from tests.support.engines import model_card

CONTRACT = [
    "requests_total",
    "request_duration_seconds",
    "queue_depth",
    "queue_duration_seconds",
    "batch_size",
    "batch_tokens",
    "step_duration_seconds",
    "cluster_expansions_total",
    "cluster_rows_total",
    "state_cache_hits_total",
    "state_cache_misses_total",
    "state_cache_bytes",
    "rejected_total",
    "model_info",
]


@pytest.fixture
def metrics() -> Metrics:
    metrics = Metrics(3)
    metrics.describe_endpoints(STATUSES)
    metrics.describe_models([model_card()])
    return metrics


def families(metrics: Metrics) -> dict[str, list[tuple[str, dict[str, str], float]]]:
    return {
        family.name: [(sample.name, sample.labels, sample.value) for sample in family.samples]
        for family in text_string_to_metric_families(metrics.render().decode())
    }


@pytest.mark.parametrize("name", CONTRACT)
def test_the_contract_before_the_first_request(metrics: Metrics, name: str) -> None:
    assert families(metrics)[f"headfirst_{name}".removesuffix("_total")]
    assert hasattr(metrics, name)


def test_label_values_before_the_first_request(metrics: Metrics) -> None:
    page = families(metrics)
    requests = {(labels["endpoint"], int(labels["status"])) for _, labels, _ in page["headfirst_requests"]}
    assert requests == {(endpoint, status) for endpoint, statuses in STATUSES.items() for status in statuses}
    assert {labels["reason"] for _, labels, _ in page["headfirst_rejected"]} == set(REASONS)
    assert {labels["cluster"] for _, labels, _ in page["headfirst_cluster_expansions"]} == {"0", "1", "2"}
    assert {labels["stage"] for _, labels, _ in page["headfirst_step_duration_seconds"]} == set(STAGES)
    assert {labels["endpoint"] for _, labels, _ in page["headfirst_request_duration_seconds"]} == set(
        STATUSES
    )
    assert all(value == 0 for _, _, value in page["headfirst_requests"] + page["headfirst_rejected"])


def test_latency_buckets() -> None:
    assert LATENCY_BUCKETS[0] == 50e-6
    assert LATENCY_BUCKETS[-1] > 60
    for low, high in itertools.pairwise(LATENCY_BUCKETS):
        assert high / low == pytest.approx(1.5, rel=1e-3)


def test_names_are_in_base_units(metrics: Metrics) -> None:
    for name, samples in families(metrics).items():
        assert re.fullmatch(r"(headfirst|process|python)_[a-z_]+", name)
        assert not name.endswith(("_ms", "_milliseconds", "_mb", "_created"))
        assert not any(sample.endswith("_created") for sample, _, _ in samples)


def test_model_info_is_of_the_models_that_are_served_now(metrics: Metrics) -> None:
    metrics.describe_models([model_card("n"), model_card("o", clusters=2)])
    one, other = families(metrics)["headfirst_model_info"]
    assert one[2] == other[2] == 1
    assert one[1] == {
        "model": "n",
        "architecture": "lstm",
        "vocabulary_size": "9",
        "clusters": "3",
        "parameters": "7",
        "dtype": "float16",
        "device": "cpu",
    }
    assert other[1] == one[1] | {"model": "o", "clusters": "2"}


@dataclass
class Engine:
    """What is read of one."""

    model: str
    state: Any = "ready"
    queue_depth: int = 2
    queue_tokens: int = 30
    cache_bytes: int = 400


def test_gauges_of_several_engines_are_sums(metrics: Metrics) -> None:
    def gauges() -> list[float]:
        names = ("queue_depth", "queue_tokens", "state_cache_bytes", "engine_ready")
        return [families(metrics)[f"headfirst_{name}"][0][2] for name in names]

    assert gauges() == [0, 0, 0, 0]
    one, other = Engine("n"), Engine("o", queue_depth=3)
    metrics.watch(one)
    metrics.watch(other)
    assert gauges() == [5, 60, 800, 1]
    other.state = "dead"
    assert gauges()[-1] == 0
    # The same model's next engine: while it warms up, the one that is there is enough.
    other.state = "ready"
    again = Engine("o", "starting", 0, 0, 0)
    metrics.watch(again)
    assert gauges() == [5, 60, 800, 1]
    again.state = "ready"
    metrics.forget(other)
    assert gauges() == [2, 30, 400, 1]


def test_process_and_collector_metrics(metrics: Metrics) -> None:
    assert {"process_resident_memory_bytes", "python_gc_collections", "python_info"} <= set(families(metrics))
    assert CONTENT_TYPE.startswith("text/plain; version=0.0.4")


def test_registries_are_apart() -> None:
    one, other = Metrics(), Metrics()
    one.cluster_rows_total.inc()
    assert other.registry.get_sample_value("headfirst_cluster_rows_total") == 0
