"""A real server sends its spans to a collector: from one process, and from workers."""

import signal
from collections.abc import Iterator

import httpx
import pytest

from tests.support.otel import PARENT, TRACE, Collector, collecting
from tests.support.server_process import StartServer


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


@pytest.mark.parametrize("workers", ["0", pytest.param("1", marks=pytest.mark.slow)])
def test_spans_arrive(
    start_server: StartServer,
    collector: Collector,
    workers: str,
) -> None:
    variables = {"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=test"}
    with start_server("--http-workers", workers, "--otel-endpoint", collector.url, **variables) as server:
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "x-request-id": "mine"}
        answer = httpx.post(
            f"{server.url}/v1/score", json={"inputs": "Thank you"}, headers=headers, timeout=30
        )
    assert answer.status_code == 200
    assert {path for path, _ in collector.requests} == {"/v1/traces"}
    resources = [each for _, request in collector.requests for each in request.resource_spans]
    about = {pair.key: pair.value.string_value for pair in resources[0].resource.attributes}
    assert about["service.name"] == "headfirst"
    assert about["deployment.environment"] == "test"
    spans = {
        span.name: span
        for resource in resources
        for scope in resource.scope_spans
        for span in scope.spans
        if span.trace_id.hex() == TRACE
    }
    assert set(spans) == {"POST /v1/score", "tokenize", "queue", "body", "score"}
    assert spans["POST /v1/score"].parent_span_id.hex() == PARENT
    assert spans["body"].end_time_unix_nano > spans["body"].start_time_unix_nano
    (line,) = [line for line in server.lines if line.get("id") == "mine"]
    assert line["trace_id"] == TRACE


def test_a_collector_that_is_away_holds_nothing_up(start_server: StartServer, collector: Collector) -> None:
    address = collector.url.replace(str(collector.server_port), "9")
    with start_server("--otel-endpoint", address) as server:
        answer = httpx.post(f"{server.url}/v1/score", json={"inputs": "Thank you"}, timeout=30)
        assert answer.status_code == 200
        server.signal(signal.SIGTERM)
        assert server.wait(15) == 0
    assert any("could not be sent in time" in str(line) for line in server.lines)
