"""GET /metrics: the server's numbers for Prometheus."""

import re
from functools import partial

from fastapi import FastAPI
from starlette.responses import PlainTextResponse, Response

from service.http.request.context import Context
from service.http.request.routing import Request, add_route
from service.metrics.registry import CONTENT_TYPE, OPENMETRICS_TYPE


def add(app: FastAPI, context: Context) -> None:
    """Adds the route to `app`."""

    async def metrics(request: Request) -> Response:
        """All metrics in Prometheus' text format, or, as `Accept` asks, in OpenMetrics with exemplars."""
        exemplars = wants_openmetrics(",".join(request.headers.getlist("accept")))
        page = await context.in_worker(partial(context.metrics.render, exemplars=exemplars))
        content_type = OPENMETRICS_TYPE if exemplars else CONTENT_TYPE
        return Response(page, headers={"content-type": content_type, "vary": "accept"})

    add_route(
        app,
        "/metrics",
        metrics,
        response_class=PlainTextResponse,
        summary="Metrics in Prometheus' text format, or in OpenMetrics with exemplars.",
        tags=["operation"],
    )


def wants_openmetrics(accept: str) -> bool:
    """Whether a client prefers OpenMetrics (RFC 9110, 12.5.1); parts that make no sense are left out.

    Args:
        accept: the header's value.
    """
    openmetrics, text, text_from = 0.0, 0.0, -1
    for element in _ELEMENT.findall(accept):
        media_type = element.partition(";")[0].strip().lower()
        parameters = {
            name.lower(): quoted.replace("\\", "") or plain.strip()
            for name, quoted, plain in _PARAMETER.findall(element)
        }
        quality = _quality(parameters.get("q", "1"))
        if media_type == "application/openmetrics-text" and parameters.get("version", "") in _VERSIONS:
            openmetrics = max(openmetrics, quality)
        elif media_type in _TEXT:
            # The most specific range decides, of equal ones the best.
            text_from, text = max((text_from, text), (_TEXT.index(media_type), quality))
    return openmetrics > 0 and openmetrics >= text


_ELEMENT = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*"?)+')
_PARAMETER = re.compile(r';\s*([^=;,"\s]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;,"]*))')
_VERSIONS = ("", "0.0.1", "1.0.0")
_TEXT = ("*/*", "text/*", "text/plain")


def _quality(value: str) -> float:
    return float(value) if re.fullmatch(r"0(\.\d{0,3})?|1(\.0{0,3})?", value) else 0.0
