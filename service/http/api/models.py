"""GET /v1/models and /v1/models/{name}: what is served."""

from fastapi import FastAPI
from starlette.responses import Response

from service.contract.errors import ModelNotFound, Unauthorized
from service.contract.model_card import ModelCard
from service.http.request.context import Context
from service.http.request.routing import REQUEST_ID, Request, add_route
from service.http.schemas.native import ModelList


def add(app: FastAPI, context: Context) -> None:
    """Adds the route to `app`."""

    def answer() -> ModelList:
        return ModelList(data=[served.card for served in context.models])

    async def models(request: Request) -> Response:
        return Response(answer().model_dump_json().encode(), media_type="application/json")

    async def model(request: Request) -> Response:
        found = context.models.get(request.path_params["name"])
        return Response(found.card.model_dump_json().encode(), media_type="application/json")

    add_route(
        app,
        "/v1/models/{name:path}",
        model,
        errors=(Unauthorized(), ModelNotFound()),
        example=context.models.first.card.model_dump(),
        response_model=ModelCard,
        summary="What is the model of this name?",
        tags=["model"],
        openapi_extra={"parameters": [REQUEST_ID]},
    )
    add_route(
        app,
        "/v1/models",
        models,
        errors=(Unauthorized(),),
        example=answer().model_dump(),
        response_model=ModelList,
        summary="Which models are served?",
        tags=["model"],
        openapi_extra={"parameters": [REQUEST_ID]},
    )
