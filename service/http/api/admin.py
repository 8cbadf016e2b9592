"""POST /admin/reload: load the models again while they are served."""

import time

from fastapi import FastAPI
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
from service.http.request.call import read_body
from service.http.request.context import Context
from service.http.request.parsing import parse_object
from service.http.request.routing import REQUEST_ID, Request, add_route
from service.http.schemas.native import ReloadAnswer, ReloadedModel, ReloadRequest

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


def add(app: FastAPI, context: Context) -> None:
    """Adds the route to `app`."""

    async def reload(request: Request) -> Response:
        """Loads models again from where they were loaded first; an empty body means all of them.

        Requests go on meanwhile. Either all models that were asked for are replaced or none is.
        """
        if context.reload_instead is not None:
            raise Forbidden(context.reload_instead, code="not_reloadable")
        context.admission.check_admin(request.exchange)
        raw = await read_body(request, context, time.monotonic() + context.settings.request_timeout)
        body = parse_object(ReloadRequest, raw) if raw else ReloadRequest()
        if context.admission.draining:
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
