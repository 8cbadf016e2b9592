"""GET / and the files beside it: the playground, a page that asks this server."""

import base64
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI
from starlette.responses import Response

from service.contract.errors import NotFound
from service.http.request.routing import Answering, Request, add_route

DIRECTORY = Path(__file__).parents[2] / "playground"

CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
    ".txt": "text/plain; charset=utf-8",
}
"""What is served; a file of any other kind in the directory is not."""

_INLINE = re.compile(rb"<(script|style)(?:\s[^>]*)?>(.*?)</\1\s*>", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True)
class StaticFile:
    """A file in memory, with the headers that go with it."""

    content: bytes
    headers: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> "StaticFile":
        """Reads a file whose suffix is in `CONTENT_TYPES`."""
        content = path.read_bytes()
        headers = {
            "content-type": CONTENT_TYPES[path.suffix],
            "etag": f'"{hashlib.sha256(content).hexdigest()[:32]}"',
            # Kept by the browser, but asked for each time: an upgrade of the server shows at once.
            "cache-control": "no-cache",
            "x-content-type-options": "nosniff",
        }
        if path.suffix == ".html":
            headers["content-security-policy"] = content_security_policy(content)
            headers["referrer-policy"] = "no-referrer"
        return cls(content, headers)

    def answer(self, request: Request) -> Response:
        """The file, or 304 where the client has it."""
        known = [
            tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")
        ]
        if self.headers["etag"] in known or known == ["*"]:
            headers = {name: value for name, value in self.headers.items() if name != "content-type"}
            return Response(status_code=304, headers=headers)
        return Response(self.content, headers=self.headers)


def content_security_policy(page: bytes) -> str:
    """Everything from this server alone; inline scripts and styles only those of the page itself, by hash."""
    sources: dict[bytes, list[str]] = {b"script": ["'self'"], b"style": ["'self'"]}
    for tag, text in _INLINE.findall(page):
        if text:
            digest = base64.b64encode(hashlib.sha256(text).digest()).decode()
            sources[tag.lower()].append(f"'sha256-{digest}'")
    directives = {
        "default-src": "'none'",
        "script-src": " ".join(sources[b"script"]),
        "style-src": " ".join(sources[b"style"]),
        "connect-src": "'self'",
        "img-src": "'self' data:",
        "font-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in directives.items())


def add(app: FastAPI) -> list[str]:
    """Adds `/` and a route for each file of `DIRECTORY`; without an index.html, `/` is a 404.

    Returns:
        The files' paths.
    """
    files = {
        path.name: StaticFile.read(path)
        for path in sorted(DIRECTORY.glob("*"))
        if path.is_file() and path.suffix in CONTENT_TYPES
    }
    _add(app, "/", _index(files.pop("index.html", None)))
    for name, file in files.items():
        _add(app, f"/{name}", _asset(file))
    return [f"/{name}" for name in files]


def _add(app: FastAPI, path: str, endpoint: Answering) -> None:
    add_route(app, path, endpoint, methods=("GET", "HEAD"), include_in_schema=False)


def _asset(file: StaticFile) -> Answering:
    async def asset(request: Request) -> Response:
        return file.answer(request)

    return asset


def _index(file: StaticFile | None) -> Answering:
    async def index(request: Request) -> Response:
        if file is None:
            raise NotFound("This installation has no playground; GET /docs shows what can be asked.")
        return file.answer(request)

    return index
