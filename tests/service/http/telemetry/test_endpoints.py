"""The table of endpoints and the app's routes tell of the same paths; what the table lacks is closed."""

import re
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.http.api import playground
from service.http.telemetry.endpoints import ENDPOINTS, FILE, OTHER, STATUSES, Endpoint, Endpoints
from tests.support.asgi import Connection, Local

pytestmark = pytest.mark.anyio


@pytest.fixture
def routes(local: Local) -> list[str]:
    """The paths of all routes, FastAPI's own among them."""
    paths = []
    for route in local().app.router.routes:
        assert isinstance(route, Route), f"{route} has no path that the table could have"
        paths.append(route.path)
    return paths


def asked(route: str) -> str:
    """A request's path that a route answers."""
    return re.sub(r"\{\w+(:\w+)?\}", "x", route)


def files() -> list[str]:
    return playground.add(FastAPI())


def test_every_route_has_a_row(routes: list[str]) -> None:
    endpoints = Endpoints(files())
    lacking = {route for route in routes if endpoints[asked(route)] is OTHER}
    assert not lacking, f"add a row to service/http/telemetry/endpoints.py for {lacking}"


def test_every_row_has_a_route(routes: list[str]) -> None:
    endpoints = Endpoints(files())
    answered = {endpoints[asked(route)] for route in routes}
    assert answered == set(ENDPOINTS) - {OTHER}
    assert files(), "the playground has no files"


def test_the_row_of_a_route_is_that_of_its_path(routes: list[str]) -> None:
    """Where the table says more than one path a row, it says which."""
    endpoints = Endpoints(files())
    others = {}
    for route in routes:
        row = endpoints[asked(route)].path
        if row != re.sub(r":\w+", "", route) and route not in files():
            others[route] = row
    assert others == {
        "/v2/models/{model}/ready": "/v2/models/{model}",
        "/v2/models/{model}/versions/{version}": "/v2/models/{model}",
        "/v2/models/{model}/versions/{version}/ready": "/v2/models/{model}",
        "/v2/models/{model}/versions/{version}/infer": "/v2/models/{model}/infer",
    }


def test_a_path_has_one_row() -> None:
    assert len(STATUSES) == len(ENDPOINTS)
    assert all(len(set(row.statuses)) == len(row.statuses) for row in ENDPOINTS)


def test_a_new_row_is_closed_unless_it_says_otherwise() -> None:
    row = Endpoint("/new", (200,))
    assert row.keyed
    assert row.traced
    assert not row.asks_model


@pytest.mark.parametrize(
    "path",
    ["/v1", "/v1/", "/v1/nothing", "/v3", "/admin", "/nothing.js", "/{file}", "/v2/", "", "other", "*"],
)
def test_what_the_table_lacks_is_closed(path: str) -> None:
    row = Endpoints(files())[path]
    assert row is OTHER
    assert row.keyed
    assert row.traced


def test_the_public_ones() -> None:
    """A list of its own, so that none becomes public by a slip."""
    assert {row.path for row in ENDPOINTS if not row.keyed} == {
        *("/", "/{file}", "/docs", "/openapi.json", "/metrics", "/admin/reload"),
        *("/health", "/health/live", "/health/ready", "/v2", "/v2/health/live", "/v2/health/ready"),
    }
    assert {row.path for row in ENDPOINTS if row.asks_model} == {
        *("/v1/predict", "/v1/score", "/v1/completions", "/v2/models/{model}/infer"),
        *("/tokenize", "/detokenize"),
    }


async def test_a_route_that_the_table_lacks_needs_the_key(local: Local) -> None:
    app = local(api_key="topsecret")

    async def hello(request: Request) -> Response:
        return Response("hello")

    app.app.router.routes.append(Route("/forgotten", hello))
    assert (await Connection(app, "/forgotten", "GET").done()).status == 401
    assert (await Connection(app, "/no/such/path", "GET").done()).status == 401
    known = await Connection(app, "/forgotten", "GET", authorization="Bearer topsecret").done()
    assert known.status == 200
    assert app.sample("requests_total", endpoint="other", status="401") == 2


async def test_files_are_public_and_counted_together(
    local: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "app.js").write_text("1")
    monkeypatch.setattr(playground, "DIRECTORY", tmp_path)
    app = local(api_key="topsecret")
    assert Endpoints(["/app.js"])["/app.js"] is FILE
    assert (await Connection(app, "/app.js", "GET").done()).status == 200
    assert (await Connection(app, "/app.js", "POST").done()).status == 405
    assert (await Connection(app, "/other.js", "GET").done()).status == 401
    for status in ("200", "405"):
        assert app.sample("requests_total", endpoint="/{file}", status=status) == 1
