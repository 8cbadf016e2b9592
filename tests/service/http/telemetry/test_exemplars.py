"""Exemplars on the latency histogram, and who gets to see them."""

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_plain

from service.http.telemetry.exemplars import Exemplars, sampled_trace
from service.metrics.registry import CONTENT_TYPE, OPENMETRICS_TYPE
from tests.support.asgi import BODY, Connection, Local, LocalApp
from tests.support.otel import PARENT, TRACE

pytestmark = pytest.mark.anyio

PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
SAMPLED = f"00-{TRACE}-{PARENT}-01"


async def exemplars(app: LocalApp) -> list[dict[str, str]]:
    async with app.client() as client:
        response = await client.get("/metrics", headers={"accept": PROMETHEUS})
    assert response.headers["content-type"] == OPENMETRICS_TYPE
    (family,) = [
        family
        for family in parse_openmetrics(response.text)
        if family.name == "headfirst_request_duration_seconds"
    ]
    found = [
        sample.exemplar
        for sample in family.samples
        if sample.exemplar is not None and sample.labels["endpoint"] == "/v1/predict"
    ]
    for exemplar in found:
        assert 0 < exemplar.value < 100
        assert sum(len(name) + len(value) for name, value in exemplar.labels.items()) <= 128
    return [exemplar.labels for exemplar in found]


async def test_the_requests_id(local: Local) -> None:
    app = local()
    await Connection(app, x_request_id="mine").body(BODY).done()
    assert await exemplars(app) == [{"request_id": "mine"}]


async def test_the_traces_id_if_somebody_keeps_it(local: Local) -> None:
    app = local()
    await Connection(app, x_request_id="mine", traceparent=SAMPLED).body(BODY).done()
    assert await exemplars(app) == [{"trace_id": TRACE}]


async def test_an_id_that_is_too_long_is_left_out(local: Local) -> None:
    app = local()
    await Connection(app, x_request_id="x" * 119).body(BODY).done()
    assert await exemplars(app) == []
    await Connection(app, x_request_id="x" * 118).body(BODY).done()
    assert await exemplars(app) == [{"request_id": "x" * 118}]


@pytest.mark.parametrize("accept", ["", "*/*", "text/plain", "text/plain;version=1.0.0", "text/html"])
async def test_others_get_plain_text(local: Local, accept: str) -> None:
    app = local()
    await Connection(app).body(BODY).done()
    async with app.client() as client:
        response = await client.get("/metrics", headers={"accept": accept})
    assert response.headers["content-type"] == CONTENT_TYPE
    assert response.headers["vary"] == "accept"
    assert "# {" not in response.text
    assert list(parse_plain(response.text))


def test_one_a_second_for_each_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("service.http.telemetry.exemplars.time.monotonic", lambda: now)
    chosen = Exemplars()

    def labels(endpoint: str, seconds: float, name: str) -> dict[str, str] | None:
        return chosen.labels(endpoint, seconds, name, None, None)

    assert labels("/v1/predict", 0.001, "a") == {"request_id": "a"}
    assert labels("/v1/predict", 0.001, "b") is None
    assert labels("/v1/predict", 1.0, "slow") == {"request_id": "slow"}
    assert labels("/v1/score", 0.001, "c") == {"request_id": "c"}
    now = 101.0
    assert labels("/v1/predict", 0.001, "d") == {"request_id": "d"}


@pytest.mark.parametrize(
    "header",
    [
        f"00-{TRACE}-{PARENT}-00",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        "nonsense",
        "",
    ],
)
def test_no_trace(header: str) -> None:
    assert sampled_trace(header.encode()) is None
