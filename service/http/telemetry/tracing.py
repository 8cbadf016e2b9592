"""OpenTelemetry: one trace for each request, made when it is over from times that were measured anyway.

    POST /v1/predict            first byte to the answer's last; a child of the `traceparent` sent
      tokenize                  from the checked body to the messages for the engine
      queue                     until the first batch
      body                      in the batches of its slowest input
      topk | score              likewise

Off unless an endpoint is configured, by `--otel-endpoint` or OpenTelemetry's own variables (`OTEL_...`);
`Exchange.trace` is None then, which is all that a request pays. Needs ``pip install 'headfirst[otel]'``.
"""

import importlib.util
import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import service
from service.http.telemetry.exchange import Exchange, Trace
from service.settings.settings import ConfigurationError, Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

logger = logging.getLogger("headfirst")

CLOSE_SECONDS = 2.0
"""What the end of the server waits for the last spans to be sent."""

ENDPOINT_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOL_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL = "http/protobuf"


class Tracing:
    """Makes spans and hands them to a provider.

    Args:
        provider: of OpenTelemetry's SDK; closed with this.
    """

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("headfirst", service.__version__)
        self._propagator = TraceContextTextMapPropagator()

    def end(self, exchange: Exchange, method: str) -> str | None:
        """Makes a request's spans, now that it is over; its trace's id if it is traced and sampled."""
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        trace, headers, status = exchange.trace, exchange.headers, exchange.status
        if trace is None:
            return None
        carrier = {
            name: headers[name.encode()].decode("latin-1")
            for name in ("traceparent", "tracestate")
            if name.encode() in headers
        }
        attributes: dict[str, str | int] = {
            "http.request.method": method,
            "http.route": exchange.endpoint.path,
            "http.response.status_code": status,
            "headfirst.request_id": exchange.id,
        }
        if trace.model is not None:
            attributes["headfirst.model"] = trace.model
        if exchange.inputs:
            attributes["headfirst.inputs"] = exchange.inputs
        if trace.asked > 1:
            attributes["headfirst.steps"] = trace.asked
        if trace.error is not None:
            attributes["error.type"] = trace.error
        now, wall = time.monotonic(), time.time_ns()
        span = self._tracer.start_span(
            f"{method} {exchange.endpoint.path}",
            self._propagator.extract(carrier),
            SpanKind.SERVER,
            attributes,
            start_time=_ns(exchange.started, now, wall),
        )
        context = span.get_span_context()
        if span.is_recording():
            # A fault of the client's is not one of the server's: OpenTelemetry's conventions for HTTP.
            if status >= 500:
                span.set_status(Status(StatusCode.ERROR, trace.error))
            inside = set_span_in_context(span)
            for name, start, end, about in _children(trace, now):
                child = self._tracer.start_span(
                    name, inside, attributes=about, start_time=_ns(start, now, wall)
                )
                child.end(_ns(end, now, wall))
        span.end(wall)
        return format(context.trace_id, "032x") if context.trace_flags.sampled else None

    def close(self) -> None:
        """Sends what is left, if that takes no longer than `CLOSE_SECONDS`: the SDK itself knows no bound."""
        closing = threading.Thread(target=self._provider.shutdown, name="headfirst-tracing", daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)
        if closing.is_alive():
            logger.warning("the last traces could not be sent in time")


def _children(trace: Trace, now: float) -> list[tuple[str, float, float, dict[str, int] | None]]:
    """Name, start, end and attributes of each span within a request's."""
    spans: list[tuple[str, float, float, dict[str, int] | None]] = []
    if trace.tokenizing is not None:
        spans.append(
            ("tokenize", trace.tokenizing, now if trace.submitted is None else trace.submitted, None)
        )
    for step in trace.steps:
        timing = step.timing
        taken = step.submitted + timing.queue_seconds
        ended = taken + timing.engine_seconds
        ran = ended - timing.head_seconds  # The answer is made at the end of the head.
        about = {"headfirst.batch_size": timing.batch_size, "headfirst.cached_tokens": timing.cached_tokens}
        spans.append(("queue", step.submitted, taken, None))
        spans.append(("body", ran - timing.body_seconds, ran, about))
        spans.append((step.head, ran, ended, None))
    return spans


def _ns(moment: float, now: float, wall: int) -> int:
    """`time.monotonic()` as nanoseconds since 1970, where `wall` is `now`."""
    return wall - round((now - moment) * 1e9)


def check(settings: Settings, environment: Mapping[str, str] = os.environ) -> None:
    """Says at the start what is wrong with the configuration of traces.

    Variables alone, which a cluster may set for all that runs in it, lead to a warning where OpenTelemetry is
    not installed.

    Raises:
        ConfigurationError: `--otel-endpoint` is given and OpenTelemetry is not installed, or another protocol
            than OTLP over HTTP is asked for.
    """
    if not wanted(settings, environment):
        return
    if not _installed():
        message = "OpenTelemetry is not installed: pip install 'headfirst[otel]'"
        if settings.otel_endpoint is not None:
            raise ConfigurationError(f"--otel-endpoint: {message}")
        logger.warning(f"no traces, although OTEL_... variables ask for them: {message}")
        return
    protocol = _first(environment, PROTOCOL_VARIABLES) or PROTOCOL
    if protocol != PROTOCOL:
        raise ConfigurationError(f"{' / '.join(PROTOCOL_VARIABLES)}: only {PROTOCOL}, not {protocol}")


def wanted(settings: Settings, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether traces are configured, and neither `OTEL_SDK_DISABLED=true` nor an `OTEL_TRACES_EXPORTER` other
    than `otlp`, such as `none`, turns them off."""
    exporter = environment.get("OTEL_TRACES_EXPORTER", "")
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or exporter not in ("", "otlp"):
        return False
    return (
        settings.otel_endpoint is not None or bool(_first(environment, ENDPOINT_VARIABLES)) or bool(exporter)
    )


def open_tracing(settings: Settings) -> Tracing | None:
    """Sends spans to the configured endpoint from a thread of this process; None without an endpoint.

    To be called in the process that answers HTTP: a thread does not survive a fork.
    """
    if not wanted(settings) or not _installed():
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    ours = Resource.create({"service.name": "headfirst", "service.version": service.__version__})
    # The user's OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win.
    provider = TracerProvider(
        resource=ours.merge(OTELResourceDetector().detect()),
        shutdown_on_exit=False,  # `Tracing.close` does it, and does not wait for ever.
    )
    endpoint = settings.otel_endpoint
    url = None if endpoint is None else f"{endpoint.rstrip('/')}/v1/traces"
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=url)))
    return Tracing(provider)


def _installed() -> bool:
    try:
        return importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        return False


def _first(environment: Mapping[str, str], names: Sequence[str]) -> str:
    return next((value for name in names if (value := environment.get(name, ""))), "")
