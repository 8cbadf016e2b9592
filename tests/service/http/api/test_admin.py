"""POST /admin/reload: who may, what it takes and what it answers, around a reload that is the test's."""

from collections.abc import Sequence

import pytest

from service.contract.errors import HeadfirstError, ModelNotFound, NotReady, ReloadFailed, ReloadRunning
from service.contract.messages import Reloaded
from tests.support.asgi import Connection, Local, LocalApp

pytestmark = pytest.mark.anyio

KEY = {"authorization": "Bearer topsecret"}


def reloading(app: LocalApp, error: HeadfirstError | None = None) -> list[Sequence[str] | None]:
    """The names that reloads were asked for."""
    asked: list[Sequence[str] | None] = []

    async def reload(names: Sequence[str] | None) -> list[Reloaded]:
        asked.append(names)
        if error is not None:
            raise error
        return [Reloaded("tiny", "01", "02")]

    app.app.context.reload = reload
    return asked


async def post(app: LocalApp, body: bytes = b"", **headers: str) -> Connection:
    return await Connection(app, "/admin/reload", **headers).body(body).done()


async def test_where_it_cannot_be_it_says_what_to_do_instead(local: Local) -> None:
    app = local(admin_key="master")
    asked = reloading(app)
    app.app.context.reload_instead = "Deploy again."
    for headers in ({}, {"authorization": "Bearer master"}):
        call = await post(app, **headers)
        assert call.status == 403
        assert call.error == {
            "message": "Deploy again.",
            "type": "permission_error",
            "param": None,
            "code": "not_reloadable",
        }
    assert asked == []


@pytest.mark.parametrize(
    ("keys", "given", "status", "code"),
    [
        ({}, None, 403, "forbidden"),
        ({}, "topsecret", 403, "forbidden"),
        ({"api_key": "topsecret"}, "topsecret", 200, None),
        ({"api_key": "topsecret"}, None, 401, "invalid_api_key"),
        ({"api_key": "topsecret"}, "wrong", 401, "invalid_api_key"),
        ({"admin_key": "master"}, "master", 200, None),
        ({"admin_key": "master"}, None, 401, "invalid_api_key"),
        ({"admin_key": "master", "api_key": "topsecret"}, "master", 200, None),
        ({"admin_key": "master", "api_key": "topsecret"}, "topsecret", 403, "forbidden"),
        ({"admin_key": "master", "api_key": "topsecret"}, "wrong", 401, "invalid_api_key"),
    ],
)
async def test_who_may(
    local: Local, keys: dict[str, str], given: str | None, status: int, code: str | None
) -> None:
    app = local(**keys)
    asked = reloading(app)
    headers = {} if given is None else {"authorization": f"Bearer {given}"}
    call = await post(app, **headers)
    assert call.status == status
    assert bool(asked) == (status == 200)
    if code is not None:
        assert call.error["code"] == code
    if status == 401:
        assert call.headers["www-authenticate"].startswith("Bearer")


async def test_the_admin_key_opens_nothing_else(local: Local) -> None:
    app = local(admin_key="master", api_key="topsecret")
    call = await Connection(app, authorization="Bearer master").body(b'{"inputs": "a"}').done()
    assert call.status == 401


@pytest.mark.parametrize(
    ("body", "names"), [(b"", None), (b"{}", None), (b'{"model": null}', None), (b'{"model": "en"}', ["en"])]
)
async def test_what_is_loaded_again(local: Local, body: bytes, names: list[str] | None) -> None:
    app = local(api_key="topsecret")
    asked = reloading(app)
    async with app.client() as client:
        answer = await client.post("/admin/reload", content=body, headers=KEY)
    assert answer.status_code == 200
    assert answer.json() == {"models": [{"model": "tiny", "changed": True, "old": "01", "new": "02"}]}
    assert asked == [names]
    assert app.sample("requests_total", endpoint="/admin/reload", status="200") == 1


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        (b"{", 400, None),
        (b"[]", 422, None),
        (b'{"model": 5}', 422, "model"),
        (b'{"path": "/etc"}', 422, "path"),
        (b'{"model": "\\ud800"}', 422, "model"),
    ],
)
async def test_a_bad_body(local: Local, body: bytes, status: int, param: str | None) -> None:
    app = local(api_key="topsecret")
    asked = reloading(app)
    call = await post(app, body, **KEY)
    assert (call.status, call.error["param"]) == (status, param)
    assert asked == []


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ModelNotFound(), 404, "model_not_found"),
        (ReloadRunning(), 409, "reload_running"),
        (ReloadFailed("/en: config.json is missing"), 422, "reload_failed"),
        (NotReady(), 503, "not_ready"),
    ],
)
async def test_why_it_was_not(local: Local, error: HeadfirstError, status: int, code: str) -> None:
    app = local(api_key="topsecret")
    reloading(app, error)
    call = await post(app, **KEY)
    assert (call.status, call.error["code"], call.error["message"]) == (status, code, error.message)
    assert ("retry-after" in call.headers) == (status in (409, 503))


async def test_not_while_draining(local: Local) -> None:
    app = local(api_key="topsecret")
    asked = reloading(app)
    app.admission.draining = True
    call = await post(app, **KEY)
    assert (call.status, call.error["code"]) == (503, "draining")
    assert asked == []
