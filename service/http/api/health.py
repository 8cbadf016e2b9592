"""GET /health/live, /health/ready, /health: may this process live, may it get requests?"""

from fastapi import FastAPI
from starlette.responses import Response

from service.http.request.context import Context
from service.http.request.routing import UNREADY, Answering, Request, add_route
from service.http.schemas.native import Health

_OK = Health().model_dump_json().encode()


def add(app: FastAPI, context: Context) -> None:
    """Adds the three routes to `app`."""

    async def live(request: Request) -> Response:
        """200 as long as a restart would not help; 503 if an engine is dead."""
        context.check_live()
        return Response(_OK, media_type="application/json")

    async def ready(request: Request) -> Response:
        """200 while requests are accepted; 503 with the reason while warming up, draining or dead."""
        context.check_ready()
        return Response(_OK, media_type="application/json")

    _add(app, "/health/live", live, "Is the process alive?")
    _add(app, "/health/ready", ready, "Does it accept requests?")
    _add(app, "/health", ready, "The same as /health/ready.")


def _add(app: FastAPI, path: str, endpoint: Answering, summary: str) -> None:
    example = Health().model_dump()
    add_route(
        app,
        path,
        endpoint,
        errors=UNREADY,
        example=example,
        response_model=Health,
        summary=summary,
        tags=["operation"],
    )
