"""GET /metrics: the server's numbers for Prometheus."""

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from service.metrics import CONTENT_TYPE
from service.routes.context import Context
from service.routes.direct import add_route


def add(app: FastAPI, context: Context) -> None:
    """Adds the route to `app`."""

    async def metrics(request: Request) -> Response:
        """All metrics in Prometheus' text format."""
        page = await context.in_worker(context.metrics.render)
        return Response(page, headers={"content-type": CONTENT_TYPE})

    add_route(
        app,
        "/metrics",
        metrics,
        response_class=PlainTextResponse,
        summary="Metrics in Prometheus' text format.",
        tags=["operation"],
    )
