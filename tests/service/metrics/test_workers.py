"""The metrics page of several workers, made in this process."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from prometheus_client import values
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from service.metrics.process_group import write_processes
from service.metrics.registry import Metrics
from service.metrics.samples import Sample, samples
from service.metrics.workers import WorkerMetrics, forget_gauges
from tests.support.engines import model_card

Worker = Callable[..., WorkerMetrics]


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Worker:
    """Makes one worker's metrics after the other's: each gets a class of values of its own."""
    monkeypatch.setattr(values, "ValueClass", values.ValueClass)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    write_processes(tmp_path, [os.getpid()])

    def make(name: str, engine: Sequence[Sample] = ()) -> WorkerMetrics:
        metrics = WorkerMetrics(2, tmp_path, name, lambda: engine)
        metrics.describe_models([model_card(clusters=2)])
        return metrics

    return make


def page(metrics: Metrics) -> dict[tuple[str, frozenset[str]], float]:
    return {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


REQUESTS = ("headfirst_requests_total", frozenset({"/v1/predict", "200"}))
IN_PROGRESS = ("headfirst_requests_in_progress", frozenset[str]())


def test_the_page_is_the_sum(worker: Worker) -> None:
    one, other = worker("worker-1"), worker("worker-2")
    one.requests_total.labels("/v1/predict", "200").inc(3)
    other.requests_total.labels("/v1/predict", "200").inc(4)
    one.request_duration_seconds.labels("/v1/predict").observe(0.5)
    other.requests_in_progress.inc()
    assert page(one)[REQUESTS] == 7
    ours = {key: value for key, value in page(one).items() if not key[0].startswith("process_")}
    assert ours == {key: value for key, value in page(other).items() if not key[0].startswith("process_")}
    assert ours[IN_PROGRESS] == 1
    assert ours["headfirst_request_duration_seconds_count", frozenset({"/v1/predict"})] == 1
    (info,) = [value for (name, _), value in ours.items() if name == "headfirst_model_info"]
    assert info == 1


def test_a_worker_that_takes_anothers_place_counts_on(worker: Worker, tmp_path: Path) -> None:
    first, other = worker("worker-1"), worker("worker-2")
    first.requests_total.labels("/v1/predict", "200").inc(3)
    first.requests_in_progress.inc()
    # It is killed.
    assert page(other)[REQUESTS] == 3
    forget_gauges(tmp_path, "worker-1")
    assert page(other)[IN_PROGRESS] == 0
    again = worker("worker-1")
    again.requests_total.labels("/v1/predict", "200").inc()
    assert page(other)[REQUESTS] == page(again)[REQUESTS] == 4
    assert page(other)[IN_PROGRESS] == 0


def test_the_engines_numbers_are_added(worker: Worker) -> None:
    engine = Metrics(2)
    engine.queue_depth.set_function(lambda: 5)
    engine.rejected_total.labels("expired").inc(2)
    engine.cluster_expansions_total.labels("1").inc(9)
    engine.cluster_expansions_total.labels("7").inc(5)  # Of a model that came by a reload.
    engine.batch_size.observe(3)
    metrics = worker("worker-1", samples(engine.registry))
    metrics.rejected_total.labels("invalid").inc()
    shown = page(metrics)
    assert shown["headfirst_queue_depth", frozenset()] == 5
    assert shown["headfirst_rejected_total", frozenset({"expired"})] == 2
    assert shown["headfirst_rejected_total", frozenset({"invalid"})] == 1
    assert shown["headfirst_cluster_expansions_total", frozenset({"1"})] == 9
    assert shown["headfirst_cluster_expansions_total", frozenset({"7"})] == 5
    assert shown["headfirst_batch_size_bucket", frozenset({"2.0"})] == 0
    assert shown["headfirst_batch_size_bucket", frozenset({"4.0"})] == 1
    assert shown["headfirst_batch_size_sum", frozenset()] == 3


def test_restarts_of_the_engine_process_are_counted(worker: Worker, tmp_path: Path) -> None:
    one, other = worker("worker-1"), worker("worker-2")
    key = ("headfirst_engine_restarts_total", frozenset[str]())
    assert page(one)[key] == 0
    write_processes(tmp_path, [os.getpid()], 3)
    assert page(one)[key] == page(other)[key] == 3


def test_processes_are_one(worker: Worker, tmp_path: Path) -> None:
    metrics = worker("worker-1")
    alone = page(metrics)
    gone = 2**22 + 1  # No process has a number over pid_max.
    write_processes(tmp_path, [os.getpid(), gone])
    assert page(metrics).keys() == alone.keys()
    write_processes(tmp_path, [os.getpid(), os.getpid()])
    shown = page(metrics)
    assert shown["process_open_fds", frozenset()] > alone["process_open_fds", frozenset()]
    assert shown["process_resident_memory_bytes", frozenset()] > 10e6
    assert shown["process_cpu_seconds_total", frozenset()] > 0
    assert abs(time.time() - shown["process_start_time_seconds", frozenset()]) < 24 * 3600


def test_a_worker_shows_its_own_exemplars(worker: Worker) -> None:
    other, metrics = worker("worker-1"), worker("worker-2")
    other.request_duration_seconds.labels("/v1/predict").observe(0.5, {"request_id": "theirs"})
    metrics.request_duration_seconds.labels("/v1/predict").observe(0.5, {"request_id": "ours"})
    shown = [
        sample
        for family in openmetrics_families(metrics.render(exemplars=True).decode())
        for sample in family.samples
        if sample.labels.get("endpoint") == "/v1/predict"
    ]
    counts = [sample.value for sample in shown if sample.name.endswith("duration_seconds_count")]
    assert counts == [2]
    told = [sample.exemplar.labels for sample in shown if sample.exemplar is not None]
    assert told == [{"request_id": "ours"}]
    assert b"request_id" not in metrics.render()
