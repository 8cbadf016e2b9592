"""POST /admin/reload: load the models again while they are served."""

import time

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from service.contract.errors import (
    Draining,
    Forbidden,
    MalformedBody,
    ModelNotFound,
    NotReady,
    ReloadFailed,
    ReloadRunning,
    TooLarge,
    Unauthorized,
)
from service.http.edge.keys import Key
from service.http.request.call import read_body
from service.http.request.context import Context
from service.http.request.parsing import parse_object
from service.http.request.routing import REQUEST_ID, add_route
from service.http.schemas.native import ReloadAnswer, ReloadedModel, ReloadRequest
from service.settings.reading import read_admin_key, read_api_key
from service.settings.settings import Settings

PATH = "/admin/reload"

_ERRORS = (
    MalformedBody("The body is not valid JSON: expected value at line 1 column 1."),
    Unauthorized(),
    Forbidden(),
    ModelNotFound(),
    ReloadRunning(),
    TooLarge(),
    ReloadFailed("/models/en: config.json is missing"),
    NotReady(),
)


class Access:
    """Who may do what not every client may: the admin key's holder, or the API key's where there is none.

    Raises:
        ConfigurationError: a key cannot be read.
    """

    def __init__(self, settings: Settings) -> None:
        admin, api = read_admin_key(settings), read_api_key(settings)
        self._admin = None if admin is None else Key(admin)
        self._api = None if api is None else Key(api)

    def check(self, request: Request) -> None:
        """Raises Unauthorized or Forbidden unless the request's key is the right one."""
        given = request.headers.get("authorization", "").encode("latin-1")
        right = self._admin or self._api
        if right is None:
            raise Forbidden("Nobody may reload: the server has neither an admin key nor an API key.")
        if right.opens(given):
            return
        if self._api is not None and self._api.opens(given):
            raise Forbidden
        raise Unauthorized


def add(app: FastAPI, context: Context) -> None:
    """Adds the route to `app`. Raises ConfigurationError for a key that cannot be read."""
    access = Access(context.settings)

    async def reload(request: Request) -> Response:
        """Loads models again from where they were loaded first; an empty body means all of them.

        Requests go on meanwhile. Either all models that were asked for are replaced or none is.
        """
        if context.reload_instead is not None:
            raise Forbidden(context.reload_instead, code="not_reloadable")
        access.check(request)
        raw = await read_body(request.receive, time.monotonic() + context.settings.request_timeout)
        body = parse_object(ReloadRequest, raw) if raw else ReloadRequest()
        if context.lifecycle.draining:
            raise Draining
        if context.reload is None:
            raise NotReady("The server is starting.")
        models = await context.reload(None if body.model is None else [body.model])
        answer = ReloadAnswer(
            models=[
                ReloadedModel(model=each.model, changed=each.old != each.new, old=each.old, new=each.new)
                for each in models
            ]
        )
        return Response(answer.model_dump_json().encode(), media_type="application/json")

    example = ReloadedModel(model="en", changed=True, old="0f1e2d3c4b5a6978", new="8796a5b4c3d2e1f0")
    schema = ReloadRequest.model_json_schema()
    add_route(
        app,
        PATH,
        reload,
        methods=("POST",),
        errors=_ERRORS,
        example=ReloadAnswer(models=[example]).model_dump(),
        response_model=ReloadAnswer,
        summary="Load the models again.",
        tags=["operation"],
        openapi_extra={
            "requestBody": {"required": False, "content": {"application/json": {"schema": schema}}},
            "parameters": [REQUEST_ID],
        },
    )
