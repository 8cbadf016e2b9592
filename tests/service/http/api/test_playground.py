"""The page at `/`: files from a directory, with the headers that a browser wants."""

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.requests import Request

from service.contract.errors import NotFound
from service.http.api import playground
from service.http.api.playground import StaticFile, content_security_policy
from tests.support.asgi import LocalApp

pytestmark = pytest.mark.anyio
Local = Callable[..., LocalApp]

PAGE = b"""<!doctype html><title>x</title><script src="app.js"></script>
<script type="module">let a = 1;</script><STYLE>p { color: red }</STYLE>"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "index.html").write_bytes(PAGE)
    (tmp_path / "app.js").write_text("let b = 2;")
    (tmp_path / "secret.py").write_text("no")
    (tmp_path / "folder.js").mkdir()
    return tmp_path


@pytest.fixture
def page_app(local: Local, directory: Path, monkeypatch: pytest.MonkeyPatch) -> LocalApp:
    monkeypatch.setattr(playground, "DIRECTORY", directory)
    return local()


async def test_the_page(page_app: LocalApp) -> None:
    async with page_app.client() as client:
        page = await client.get("/")
    assert (page.status_code, page.content) == (200, PAGE)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["cache-control"] == "no-cache"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in page.headers["content-security-policy"]


async def test_assets(page_app: LocalApp) -> None:
    async with page_app.client() as client:
        script = await client.get("/app.js")
        source = await client.get("/secret.py")
        folder = await client.get("/folder.js")
    assert (script.status_code, script.text) == (200, "let b = 2;")
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert (source.status_code, folder.status_code) == (404, 404)
    assert page_app.sample("requests_total", endpoint="/{file}", status="200") == 1
    assert page_app.sample("requests_total", endpoint="other", status="404") == 2


@pytest.mark.parametrize("path", ["/", "/app.js"])
async def test_what_the_browser_has_is_not_sent_again(page_app: LocalApp, path: str) -> None:
    async with page_app.client() as client:
        tag = (await client.get(path)).headers["etag"]
        for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            again = await client.get(path, headers={"if-none-match": known})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        for unknown in ('"other"', tag.strip('"')):
            assert (await client.get(path, headers={"if-none-match": unknown})).status_code == 200


async def test_head_and_wrong_methods(page_app: LocalApp) -> None:
    async with page_app.client() as client:
        assert (await client.head("/")).status_code == 200
        assert (await client.post("/")).status_code == 405


async def test_without_a_page(local: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(playground, "DIRECTORY", tmp_path / "nothing")
    async with local().client() as client:
        answer = await client.get("/")
    assert answer.status_code == NotFound.status
    assert "/docs" in answer.json()["error"]["message"]


async def test_the_key_is_not_asked_for(
    local: Local, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(playground, "DIRECTORY", directory)
    async with local(api_key="topsecret").client() as client:
        assert (await client.get("/")).status_code == 200
        assert (await client.get("/app.js")).status_code == 200


def test_inline_code_is_allowed_by_its_hash() -> None:
    policy = content_security_policy(PAGE)
    directives = dict(directive.split(" ", 1) for directive in policy.split("; "))
    script = base64.b64encode(hashlib.sha256(b"let a = 1;").digest()).decode()
    style = base64.b64encode(hashlib.sha256(b"p { color: red }").digest()).decode()
    assert directives["script-src"] == f"'self' 'sha256-{script}'"
    assert directives["style-src"] == f"'self' 'sha256-{style}'"
    assert directives["connect-src"] == "'self'"
    assert "unsafe" not in policy


def test_every_kind_of_file_in_the_package_is_known() -> None:
    files = [path for path in playground.DIRECTORY.glob("*") if path.is_file()]
    assert {path.suffix for path in files} <= set(playground.CONTENT_TYPES)
    for path in files:
        request = Request({"type": "http", "headers": []})
        assert StaticFile.read(path).answer(request).status_code == 200
