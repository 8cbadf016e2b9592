"""The OpenAPI page and its examples."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from service.http.request.routing import NAMED_PARTS
from tests.support.asgi import Local, LocalApp, post

pytestmark = pytest.mark.anyio


async def test_openapi(local: Local) -> None:
    async with local().client() as client:
        document = (await client.get("/openapi.json")).json()
        page = await client.get("/docs")
    assert set(document["paths"]) == {
        "/v1/predict",
        "/v1/score",
        "/v1/completions",
        "/v1/models",
        "/v1/models/{name}",
        "/tokenize",
        "/detokenize",
        "/tokenizer_info",
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/{model}",
        "/v2/models/{model}/infer",
        "/v2/models/{model}/ready",
        "/v2/models/{model}/versions/{version}",
        "/v2/models/{model}/versions/{version}/infer",
        "/v2/models/{model}/versions/{version}/ready",
        "/health",
        "/health/live",
        "/health/ready",
        "/metrics",
        "/admin/reload",
    }
    assert page.headers["content-type"].startswith("text/html")
    for path in ("/v1/predict", "/v1/score"):
        operation = document["paths"][path]["post"]
        assert set(operation["responses"]) == {
            "200",
            "400",
            "401",
            "404",
            "413",
            "422",
            "429",
            "500",
            "503",
            "504",
        }
        assert operation["requestBody"]["content"]["application/json"]["schema"]["examples"]
        assert operation["responses"]["200"]["content"]["application/json"]["example"]["results"]
        for status, response in operation["responses"].items():
            content = response["content"]["application/json"]
            assert content["example"]
            if status != "200":
                assert content["schema"] == {"$ref": "#/components/schemas/ErrorAnswer"}
    assert "HTTPValidationError" not in json.dumps(document)


@pytest.mark.parametrize("path", ["predict", "score"])
async def test_documented_answers_are_the_models_own(local: Local, path: str) -> None:
    app = local()
    (first, *_), documented = await examples_of(app, path)
    assert (await post(app, path, **first)).json() == documented


@pytest.mark.parametrize("path", ["predict", "score"])
async def test_documented_examples_work(local: Local, path: str) -> None:
    app = local()
    examples, documented = await examples_of(app, path)
    for example in examples:
        response = await post(app, path, **example)
        assert response.status_code == 200
        result, shown = response.json()["results"][0], documented["results"][0]
        assert set(shown) <= set(result)
        assert set(shown["words"][0]) <= set(result["words"][0])


async def examples_of(app: LocalApp, path: str) -> tuple[list[Any], Any]:
    """The requests that the page shows for a path, and the answer to the first."""
    operation = (await document_of(app))["paths"][f"/v1/{path}"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    return schema["examples"], operation["responses"]["200"]["content"]["application/json"]["example"]


async def document_of(app: LocalApp, **headers: str) -> dict[str, Any]:
    async with app.client() as client:
        document: dict[str, Any] = (await client.get("/openapi.json", headers=headers)).json()
        return document


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


async def test_a_validator_finds_it_valid(local: Local) -> None:
    validator = pytest.importorskip("openapi_spec_validator")
    validator.validate(await document_of(local()))


async def test_references_lead_somewhere(local: Local) -> None:
    document = await document_of(local())
    found = set(references(document))
    assert len(found) > 20
    for reference in found:
        place = document
        assert reference.startswith("#/")
        for step in reference[2:].split("/"):
            place = place[step]
    assert NAMED_PARTS not in json.dumps(document)


async def test_parameters_of_paths_are_told(local: Local) -> None:
    document = await document_of(local())
    for path, operations in document["paths"].items():
        for operation in operations.values():
            told = [one["name"] for one in operation.get("parameters", []) if one["in"] == "path"]
            assert told == re.findall(r"{(\w+)}", path)


async def test_who_needs_a_key(local: Local) -> None:
    document = await document_of(local())
    assert document["components"]["securitySchemes"] == {"key": {"type": "http", "scheme": "bearer"}}
    keyed = {path for path, each in document["paths"].items() for one in each.values() if "security" in one}
    assert {"/v1/predict", "/v1/models", "/tokenize", "/admin/reload"} < keyed
    assert not {"/health", "/metrics", "/v2"} & keyed


@pytest.mark.parametrize(
    ("settings", "headers", "prefix"),
    [
        ({}, {}, ""),
        ({"root_path": "/models"}, {}, "/models"),
        ({}, {"x-forwarded-prefix": "/a/b/"}, "/a/b"),
        ({"root_path": "/models"}, {"x-forwarded-prefix": "/a"}, "/a"),
        ({}, {"x-forwarded-prefix": "//evil.example"}, ""),
        ({}, {"x-forwarded-prefix": "/'<script>"}, ""),
    ],
)
async def test_below_a_path(
    local: Local, settings: dict[str, str], headers: dict[str, str], prefix: str
) -> None:
    app = local(**settings)
    async with app.client() as client:
        page = (await client.get("/docs", headers=headers)).text
    assert f"url: '{prefix}/openapi.json'" in page
    servers = (await document_of(app, **headers)).get("servers", [])
    assert [server["url"] for server in servers] == [prefix] * bool(prefix)
