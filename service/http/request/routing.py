"""How routes are added: documented by FastAPI, run without its machinery."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.contract.errors import (
    DeadlineExceeded,
    Draining,
    HeadfirstError,
    InferenceFailed,
    InvalidRequest,
    MalformedBody,
    ModelNotFound,
    NotReady,
    QueueFull,
    TooLarge,
    Unauthorized,
)
from service.http.schemas.native import ErrorAnswer

Endpoint = Callable[[Request], Awaitable[Response]]

_MODEL_ERRORS: tuple[HeadfirstError, ...] = (
    MalformedBody("The body is not valid JSON: expected value at line 1 column 1."),
    Unauthorized(),
    ModelNotFound(),
    TooLarge(),
    InvalidRequest("k must be greater than or equal to 1.", param="k"),
    QueueFull(),
    InferenceFailed(),
    NotReady(),
    DeadlineExceeded(),
)


class DirectRoute(APIRoute):
    """A route whose endpoint is called at once with the request, and whose response is sent at once.

    FastAPI's own way there (dependencies, exit stacks, validation of body and answer) takes longer than a
    small prediction does; requests are parsed and answers written by the endpoint itself.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.app = self._run

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        response: Response = await self.endpoint(Request(scope, receive))
        await response(scope, receive, send)


class Dispatch:
    """Finds a direct route by one look-up; the rest (the OpenAPI page, 404, 405) is FastAPI's router's."""

    def __init__(self, app: FastAPI) -> None:
        self._router = app.router
        self._routes: dict[tuple[str, str], ASGIApp] = {
            (method, route.path): route.app
            for route in app.router.routes
            if isinstance(route, DirectRoute)
            for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes one request on."""
        # Scopes of other types have no method.
        route = self._routes.get((scope.get("method", ""), scope.get("path", "")), self._router)
        await route(scope, receive, send)


def add_route(
    app: FastAPI,
    path: str,
    endpoint: Endpoint,
    *,
    methods: tuple[str, ...] = ("GET",),
    errors: tuple[HeadfirstError, ...] = (),
    example: object = None,
    **documentation: Any,
) -> None:
    """Adds a direct route.

    Args:
        errors: one for each error status it can answer, as the example on the OpenAPI page.
        example: of its answer.
        documentation: passed on to FastAPI (`summary`, `response_model`, `openapi_extra`, ...).
    """
    responses: dict[int | str, dict[str, Any]] = {error.status: _document(error) for error in errors}
    if example is not None:
        responses[200] = {"content": {"application/json": {"example": example}}}
    add = partial(app.router.add_api_route, path, endpoint, route_class_override=DirectRoute)
    if methods == ("GET",):
        # What answers GET has to answer HEAD (RFC 9110, 9.1). A route of its own: OpenAPI wants one id for
        # an operation; with both methods and first, because a 405 tells in Allow those of the first.
        add(methods=["GET", "HEAD"], include_in_schema=False)
    add(methods=list(methods), responses=responses, **documentation)


def add_model_route(
    app: FastAPI,
    path: str,
    endpoint: Endpoint,
    *,
    request: type[BaseModel],
    answer: type[BaseModel],
    example: object,
    summary: str,
) -> None:
    """Adds a `POST` route that asks the model."""
    schema = request.model_json_schema()
    add_route(
        app,
        path,
        endpoint,
        methods=("POST",),
        errors=_MODEL_ERRORS,
        example=example,
        response_model=answer,
        summary=summary,
        tags=["model"],
        openapi_extra={
            "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
            "parameters": [
                {
                    "name": "X-Request-Timeout",
                    "in": "header",
                    "required": False,
                    "description": "Seconds after which the answer is 504; the smaller of this and "
                    "`timeout_ms` counts.",
                    "schema": {"type": "number", "exclusiveMinimum": 0},
                },
                REQUEST_ID,
            ],
        },
    )


REQUEST_ID = {
    "name": "X-Request-Id",
    "in": "header",
    "required": False,
    "description": "1 to 128 letters, digits and ._:/+=@-; sent back with the answer. Any other is replaced.",
    "schema": {"type": "string"},
}

UNREADY: tuple[HeadfirstError, ...] = (Draining(),)
"""The errors of the health paths."""


def _document(error: HeadfirstError) -> dict[str, Any]:
    headers = {
        name.title(): {"schema": {"type": "string"}, "example": value}
        for name, value in error.headers().items()
    }
    return {
        "model": ErrorAnswer,
        "description": error.default_message,
        "headers": headers,
        "content": {"application/json": {"example": error.as_dict()}},
    }
