"""Spans of requests, exported to memory: names, parents, times, errors; and how traces are configured."""

import logging
from collections.abc import Callable, Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from models.bundle import Bundle
from service.contract.errors import InferenceFailed
from service.contract.messages import Answer, Message
from service.engine.engine import Engine
from service.fleet.loading import card
from service.fleet.served import Catalog, Served
from service.http.api.examples import describe
from service.http.app import create_app
from service.http.telemetry import tracing
from service.metrics.registry import Metrics
from service.settings.settings import ConfigurationError, Settings
from tests.support.asgi import BODY, Connection, Local, LocalApp, access_records
from tests.support.otel import PARENT, TRACE

pytestmark = pytest.mark.anyio

TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


class Traced:
    """An app whose spans are kept."""

    def __init__(self, app: LocalApp, provider: TracerProvider) -> None:
        self.exporter = InMemorySpanExporter()
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.local = app
        context = app.app.context
        traced = create_app(context.settings, context.models, app.metrics, tracing.Tracing(provider))
        app.app, app.admission = traced, traced.context.admission

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        finished = self.exporter.get_finished_spans()
        spans = {span.name: span for span in finished}
        assert len(spans) == len(finished)
        return spans


@pytest.fixture
def traced(local: Local) -> Callable[..., Traced]:
    def make(answer: Callable[[Message], Answer] | None = None, **settings: object) -> Traced:
        return Traced(local(answer, **settings), TracerProvider())

    return make


def seconds(span: ReadableSpan) -> float:
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.end_time - span.start_time) / 1e9


async def test_a_prediction(traced: Callable[..., Traced], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    app = traced()
    await Connection(app.local, x_request_id="mine", traceparent=TRACEPARENT).body(BODY).done()
    spans = app.spans
    server = spans["POST /v1/predict"]
    assert list(spans) == ["tokenize", "queue", "body", "topk", "POST /v1/predict"]
    assert server.kind is SpanKind.SERVER
    assert server.parent is not None
    assert (server.parent.trace_id, server.parent.span_id) == (int(TRACE, 16), int(PARENT, 16))
    for name, span in spans.items():
        assert span.context.trace_id == int(TRACE, 16)
        if name != server.name:
            assert span.parent is not None
            assert span.parent.span_id == server.context.span_id
    assert dict(server.attributes or {}) == {
        "http.request.method": "POST",
        "http.route": "/v1/predict",
        "http.response.status_code": 200,
        "headfirst.request_id": "mine",
        "headfirst.model": app.local.app.context.models.first.name,
        "headfirst.inputs": 1,
    }
    assert server.status.status_code is StatusCode.UNSET
    (fields,) = access_records(caplog)
    assert fields["trace_id"] == TRACE


@pytest.mark.parametrize(
    ("path", "body", "head"),
    [
        ("/v1/predict", BODY, "topk"),
        ("/v1/score", b'{"inputs": ["Thank you very much", "Thank you", "the"]}', "score"),
    ],
)
async def test_the_parts_are_the_whole(bundle: Bundle, path: str, body: bytes, head: str) -> None:
    """With a real engine: parts follow each other within the request, which they fill but for JSON."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    settings, metrics = Settings(), Metrics(bundle.config.n_clusters)
    engine = Engine(bundle, settings, metrics)
    served = Served(bundle, engine, card(bundle), describe(bundle))
    app = LocalApp.__new__(LocalApp)
    app.app = create_app(settings, Catalog([served]), metrics, tracing.Tracing(provider))
    engine.start()
    try:
        while engine.state == "starting":  # It answers 503 until it is warm, and those are spans, too.
            await Connection(app, path).body(body).done()
        exporter.clear()
        call = await Connection(app, path).body(body).done()
    finally:
        engine.stop()
        app.app.context.workers.shutdown()
    assert call.status == 200
    spans = {span.name: span for span in exporter.get_finished_spans()}
    server = spans.pop(f"POST {path}")
    assert list(spans) == ["tokenize", "queue", "body", head]
    at = server.start_time or 0
    for span in spans.values():
        assert (span.start_time or 0) >= at - 1000  # Nanoseconds, of rounding.
        at = span.end_time or 0
    assert at <= (server.end_time or 0) + 1000
    assert 0 < sum(map(seconds, spans.values())) <= seconds(server) + 1e-6
    assert seconds(spans["body"]) > 0
    assert seconds(spans[head]) > 0


async def test_a_completion_has_the_parts_of_each_word(traced: Callable[..., Traced]) -> None:
    app = traced()
    body = b'{"prompt": "Thank you", "max_tokens": 0, "echo": true, "logprobs": 1}'
    await Connection(app.local, "/v1/completions").body(body).done()
    assert set(app.spans) == {"POST /v1/completions", "tokenize", "queue", "body", "score"}


async def test_a_fault_of_the_server_is_an_error(traced: Callable[..., Traced]) -> None:
    def fail(message: Message) -> Answer:
        raise InferenceFailed

    app = traced(fail)
    await Connection(app.local).body(BODY).done()
    server = app.spans["POST /v1/predict"]
    assert server.status.status_code is StatusCode.ERROR
    assert server.attributes is not None
    assert server.attributes["error.type"] == InferenceFailed().code
    assert server.attributes["http.response.status_code"] == 500
    assert "body" not in app.spans


async def test_a_clients_fault_is_not(traced: Callable[..., Traced]) -> None:
    app = traced()
    await Connection(app.local).body(b"{").done()
    (server,) = app.spans.values()
    assert server.status.status_code is StatusCode.UNSET
    assert server.attributes is not None
    assert server.attributes["error.type"] == "invalid_json"


async def test_probes_and_scrapes_are_not_traced(traced: Callable[..., Traced]) -> None:
    app = traced()
    for path in ("/health", "/health/live", "/metrics", "/"):
        await Connection(app.local, path, "GET").body(b"").done()
    assert app.spans == {}


async def test_sampling_is_the_providers(local: Local) -> None:
    app = Traced(local(), TracerProvider(sampler=ALWAYS_OFF))
    call = await Connection(app.local).body(BODY).done()
    assert call.status == 200
    assert app.spans == {}


async def test_off_there_is_nothing_of_it(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(tracing, "Trace")  # Whoever made one would fail.
    call = await Connection(local(), traceparent=TRACEPARENT).body(BODY).done()
    assert call.status == 200


@pytest.fixture
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in (*tracing.ENDPOINT_VARIABLES, "OTEL_TRACES_EXPORTER", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    return


ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"}


@pytest.mark.parametrize(
    ("flag", "variables", "wanted"),
    [
        (None, {}, False),
        ("http://localhost:4318", {}, True),
        (None, ENDPOINT, True),
        (None, {"OTEL_TRACES_EXPORTER": "otlp"}, True),
        (None, {"OTEL_TRACES_EXPORTER": "console"}, False),
        (None, ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"}, False),
        ("http://localhost:4318", {"OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_when_it_is_on(flag: str | None, variables: dict[str, str], wanted: bool) -> None:
    assert tracing.wanted(Settings(otel_endpoint=flag), variables) is wanted


def test_without_the_library(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(tracing, "_installed", lambda: False)
    with pytest.raises(ConfigurationError, match=r"--otel-endpoint: .*pip install 'headfirst\[otel\]'"):
        tracing.check(Settings(otel_endpoint="http://localhost:4318"), {})
    tracing.check(Settings(), ENDPOINT)
    assert "pip install 'headfirst[otel]'" in caplog.text
    assert tracing.open_tracing(Settings(otel_endpoint="http://localhost:4318")) is None


def test_only_otlp_over_http() -> None:
    with pytest.raises(ConfigurationError, match="only http/protobuf, not grpc"):
        tracing.check(Settings(), ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})


@pytest.mark.usefixtures("_no_variables")
def test_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracing.open_tracing(Settings()) is None
    monkeypatch.setenv("OTEL_SERVICE_NAME", "keyboard")
    opened = tracing.open_tracing(Settings(otel_endpoint="http://localhost:9/"))
    assert opened is not None
    assert opened._provider.resource.attributes["service.name"] == "keyboard"
    opened.close()
