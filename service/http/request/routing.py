"""FastAPI, worn as a coat: it documents the routes, and none of its machinery stands in a request's way.

What is left of FastAPI is the OpenAPI page, the matching of paths with parameters, and 404 and 405. The rest
is gone round, because each part costs more than a small prediction does:

* its entry (`FastAPI.__call__`: mounts, telemetry) and its middleware (`build_middleware_stack`): `DirectApp`
  calls `answer`, our own layers;
* its router: `Dispatch` finds a route by one look-up;
* its endpoints (dependencies, exit stacks, validation of body and answer): `Dispatch` calls an endpoint with
  a `Request` and sends what it returns.
"""

import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette import requests
from starlette.responses import Response
from starlette.routing import Match
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
from service.http.telemetry.exchange import Exchange

NAMED_PARTS = "x-named-parts"
"""Where an operation has the schemas that its request refers to; the app puts them into `components`."""

_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")
_PARAMETER = re.compile(r"{(\w+)(?::\w+)?}")


class Request(requests.Request):
    """A request, and what is kept of it (`exchange`)."""

    def __init__(self, exchange: Exchange, scope: Scope, receive: Receive) -> None:
        super().__init__(scope, receive)
        self.exchange = exchange


Answering = Callable[[Request], Awaitable[Response]]
"""An endpoint of ours. It reads the request and writes the answer itself."""

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
    """A route to an `Answering` endpoint, which `Dispatch` calls; FastAPI knows it for its documentation."""


class DirectApp(FastAPI):
    """FastAPI as far as this server uses it.

    Attributes:
        answer: answers HTTP requests; a server may call it instead of the app.
    """

    answer: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request; scopes of other types are for FastAPI's router."""
        await (self.answer if scope["type"] == "http" else self.router)(scope, receive, send)


class Dispatch:
    """Finds the route of a request, by one look-up for most paths, and answers by its endpoint.

    The rest (the OpenAPI page, 404, 405) is left to FastAPI's router.

    Args:
        app: with all its routes.
        root_path: where a proxy has it, for the OpenAPI page; `X-Forwarded-Prefix` wins.
    """

    def __init__(self, app: FastAPI, root_path: str = "") -> None:
        self._app = app
        self._root_path = root_path
        direct = [route for route in app.router.routes if isinstance(route, DirectRoute)]
        self._endpoints: dict[tuple[str, str], Answering] = {
            (method, route.path): route.endpoint for route in direct for method in route.methods or ()
        }
        self._patterns = [route for route in direct if route.param_convertors]

    async def __call__(self, exchange: Exchange, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        endpoint = self._endpoints.get((scope["method"], scope["path"])) or self._match(scope)
        if endpoint is None:
            scope["app"] = self._app
            prefix = exchange.headers.get(b"x-forwarded-prefix", b"").decode("latin-1").rstrip("/")
            scope["root_path"] = prefix if _PREFIX.fullmatch(prefix) else self._root_path
            await self._app.router(scope, receive, send)
        else:
            response = await endpoint(Request(exchange, scope, receive))
            await response(scope, receive, send)

    def _match(self, scope: Scope) -> Answering | None:
        """The endpoint of a path with parameters, which are put into the scope."""
        for route in self._patterns:
            match, found = route.matches(scope)
            if match is Match.FULL:
                scope.update(found)
                endpoint: Answering = route.endpoint
                return endpoint
        return None


def add_route(
    app: FastAPI,
    path: str,
    endpoint: Answering,
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
    extra = documentation.setdefault("openapi_extra", {})
    parameters = extra.setdefault("parameters", [])
    told = {parameter["name"] for parameter in parameters}
    named = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(path)
        if name not in told
    ]
    documentation["openapi_extra"] = extra | {"parameters": [*named, *parameters]}
    add = partial(app.router.add_api_route, path, endpoint, route_class_override=DirectRoute)
    if methods == ("GET",):
        # What answers GET has to answer HEAD (RFC 9110, 9.1). A route of its own: OpenAPI wants one id for
        # an operation; with both methods and first, because a 405 tells in Allow those of the first.
        add(methods=["GET", "HEAD"], include_in_schema=False)
    add(methods=list(methods), responses=responses, **documentation)


def add_model_route(
    app: FastAPI,
    path: str,
    endpoint: Answering,
    *,
    request: type[BaseModel],
    answer: type[BaseModel],
    example: object,
    summary: str,
) -> None:
    """Adds a `POST` route that asks the model."""
    schema = request.model_json_schema(ref_template="#/components/schemas/{model}")
    parts = schema.pop("$defs", {})
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
            NAMED_PARTS: parts,
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
