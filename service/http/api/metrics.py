"""GET /metrics: the server's numbers for Prometheus."""

from functools import partial

from fastapi import FastAPI
from prometheus_client.exposition import choose_encoder
from starlette.responses import PlainTextResponse, Response

from service.http.request.context import Context
from service.http.request.routing import Request, add_route
from service.metrics.registry import CONTENT_TYPE, OPENMETRICS_TYPE


def add(app: FastAPI, context: Context) -> None:
    """Adds the route to `app`."""

    async def metrics(request: Request) -> Response:
        """All metrics in Prometheus' text format, or, as `Accept` asks, in OpenMetrics with exemplars."""
        _, chosen = choose_encoder(request.headers.get("accept", ""))
        exemplars = chosen.startswith("application/openmetrics-text")
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
