"""The OpenAPI page and its examples."""

import json

import pytest

from tests.support.asgi import Local

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
    async with app.client() as client:
        document = (await client.get("/openapi.json")).json()
        operation = document["paths"][f"/v1/{path}"]["post"]
        request = operation["requestBody"]["content"]["application/json"]["schema"]["examples"][0]
        response = await client.post(f"/v1/{path}", json=request)
    assert response.json() == operation["responses"]["200"]["content"]["application/json"]["example"]


@pytest.mark.parametrize("path", ["predict", "score"])
async def test_documented_examples_work(local: Local, path: str) -> None:
    app = local()
    async with app.client() as client:
        document = (await client.get("/openapi.json")).json()
        operation = document["paths"][f"/v1/{path}"]["post"]
        for example in operation["requestBody"]["content"]["application/json"]["schema"]["examples"]:
            response = await client.post(f"/v1/{path}", json=example)
            assert response.status_code == 200
            documented = operation["responses"]["200"]["content"]["application/json"]["example"]
            assert list(response.json()["results"][0]) == list(documented["results"][0])
            fields = list(documented["results"][0]["words"][0]) + ["completion"] * ("prefix" in example)
            assert list(response.json()["results"][0]["words"][0]) == fields
