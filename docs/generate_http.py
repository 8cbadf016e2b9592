"""Writes docs/http.md, the HTTP reference, from the app itself: python docs/generate_http.py [--check]"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.bundle import Bundle
from service.engine.engine import Engine
from service.fleet.loading import card
from service.fleet.served import Catalog, Served
from service.http.api.examples import describe
from service.http.app import create_app
from service.http.telemetry.endpoints import ENDPOINTS
from service.metrics.registry import Metrics
from service.settings.settings import Settings

PAGE = Path(__file__).with_name("http.md")
MODEL = Path(__file__).parents[1] / "models" / "default"
SHOWN = ("/v1/predict", "/v1/score")
"""The calls whose answer is shown; their numbers are the shipped model's, to two digits."""

CODES = (
    (
        400,
        "invalid_host",
        "No `Host`, several, a malformed one, or one that `--allowed-hosts` does not have.",
    ),
    (400, "invalid_http", "What came is no HTTP/1.1, or its head or its trailers have more than 64 KiB."),
    (
        400,
        "invalid_json",
        "The body is not one JSON document in UTF-8 (NaN is none, nor is a byte-order mark).",
    ),
    (400, "unsupported_content_encoding", "The body is compressed."),
    (401, "invalid_api_key", "The key is missing or wrong."),
    (403, "forbidden", "The key may not do this; or there is none that may."),
    (403, "not_reloadable", "Models cannot be loaded again here, but by deploying anew (Ray Serve)."),
    (
        404,
        "model_not_found",
        "The model, or the version of a `/v2` path, is not served; `param` tells which.",
    ),
    (404, "not_found", "No such path. Paths are taken literally: `/v1/predict/` is none."),
    (405, "method_not_allowed", "The path has other methods; `Allow` names them."),
    (409, "reload_running", "Models are being loaded again already."),
    (413, "body_too_large", "More bytes than `--max-body-bytes`; the connection is closed."),
    (
        415,
        "unsupported_media_type",
        "A page of another origin sent another `Content-Type` than JSON.",
    ),
    (422, "answer_too_large", "The answer could have more than `--max-answer-bytes`."),
    (422, "empty", "A list without elements, or nothing to score."),
    (
        422,
        "invalid_type",
        "A value of another type; numbers in strings are not numbers, nor is 3.0 an integer.",
    ),
    (422, "invalid_unicode", "Half of a surrogate pair."),
    (422, "invalid_value", "A value out of range."),
    (422, "missing_field", "A required field is absent."),
    (422, "reload_failed", "What is on the disk cannot be served; what was served goes on."),
    (422, "too_many_characters", "A text longer than `--max-input-chars`."),
    (422, "too_many_inputs", "More texts than `--max-inputs`, or more completions than that."),
    (422, "too_many_words", "A text over `--max-input-words`, or a request that the queue could never hold."),
    (422, "unknown_field", "A field that this call does not have. None is ignored."),
    (422, "unsupported", "A field that is known, and not supported."),
    (429, "queue_full", "The queue has no room for all inputs of the request; none was taken."),
    (
        429,
        "too_many_bytes",
        "Bodies not yet complete have more than `--max-waiting-body-bytes`; the connection is closed.",
    ),
    (429, "too_many_requests", "More requests at once than `--max-concurrent-requests`."),
    (500, "inference_failed", "The model failed on this input; the others of its batch have their answers."),
    (500, "internal_error", "A fault of ours. The log has it under the request's id."),
    (503, "draining", "The server is about to end: ask another."),
    (503, "engine_dead", "The engine ended, and no other was started."),
    (503, "loading", "Models are being loaded, or a new engine is starting."),
    (503, "not_ready", "The same, seen from within a request that was accepted."),
    (504, "deadline_exceeded", "The request's time was over before its answer was there."),
)
"""Every code that is sent: its status, and what it means; a test compares them with the source."""

Schema = dict[str, Any]

INTRODUCTION = """\
# HTTP reference

<!-- Written by docs/generate_http.py from the app; a test compares the two. Do not edit. -->

{description}
The same as a page with a form to try it: `/docs`; for programs: `/openapi.json`.

Of a limit that a setting decides, the default is told in [operating.md](operating.md).

Where the server has an API key, every path needs it, also one that does not exist, but these: {public}. Of
them, `/admin/reload` asks for the admin key, if there is one, else for the API key.

"""


def document() -> Schema:
    """The OpenAPI document of an app around the model that ships."""
    bundle = Bundle.load(MODEL, "cpu")
    settings, metrics = Settings(), Metrics(bundle.config.n_clusters)
    engine = Engine(bundle, settings, metrics)  # Never started: no request comes.
    app = create_app(settings, Catalog([Served(bundle, engine, card(bundle), describe(bundle))]), metrics)
    return app.openapi()


def page(api: Schema) -> str:
    """The whole reference."""
    calls = [
        (f"{method.upper()} {path}", operation)
        for path, operations in api["paths"].items()
        for method, operation in operations.items()
    ]
    public = ", ".join(f"`{endpoint.path}`" for endpoint in ENDPOINTS if not endpoint.keyed)
    parts = [INTRODUCTION.format(description=api["info"]["description"], public=public)]
    parts.append("\n".join(f"- [`{call}`](#{_anchor(call)}): {it['summary']}" for call, it in calls) + "\n\n")
    parts.append(_errors(calls))
    parts += [_call(name, operation, api["components"]["schemas"]) for name, operation in calls]
    return "".join(parts).rstrip() + "\n"


def _errors(calls: list[tuple[str, Schema]]) -> str:
    """Every error that the document knows, once."""
    rows: dict[tuple[str, str], str] = {}
    for _, operation in calls:
        for status, response in operation["responses"].items():
            error = response.get("content", {}).get("application/json", {}).get("example", {}).get("error")
            if error:
                rows.setdefault((status, error["code"]), f"`{error['type']}` | {error['message']}")
    table = [f"| {status} | `{code}` | {rest} |" for (status, code), rest in sorted(rows.items())]
    codes = [f"| {status} | `{code}` | {meaning} |" for status, code, meaning in CODES]
    return (
        "## Errors\n\n"
        '`{"error": {"message", "type", "param", "code"}}`; `param` names the field at fault, such as\n'
        "`k` or `inputs[3]`, and is null where none is. 409, 429 and 503 have `Retry-After` in seconds.\n"
        "`message` is for people and may change; programs go by the status or by `code`:\n\n"
        "| status | `code` | |\n|---|---|---|\n" + "\n".join(codes) + "\n\n"
        "Some in full:\n\n"
        "| status | `code` | `type` | `message` |\n|---|---|---|---|\n" + "\n".join(table) + "\n\n"
        "`HEAD` is answered wherever `GET` is. There is no CORS: a page of another origin reaches the\n"
        "server through a proxy that adds it\n"
        "([operating.md](operating.md#behind-a-proxy-tls-keys-browsers)).\n\n"
    )


def _call(name: str, operation: Schema, schemas: dict[str, Schema]) -> str:
    parts = [f"## {name}\n\n{operation['summary']}\n\n"]
    parameters = [one for one in operation.get("parameters", []) if one["in"] == "header"]
    if parameters:
        parts.append(
            "".join(f"- header `{one['name']}`: {_line(one.get('description', ''))}\n" for one in parameters)
            + "\n"
        )
    content = operation.get("requestBody", {}).get("content", {})
    if content:
        schema = content["application/json"]["schema"]
        defs = schemas | schema.get("$defs", {})
        parts.append("The body:\n\n| field | type | default | |\n|---|---|---|---|\n")
        required = schema.get("required", [])
        for field, value in schema.get("properties", {}).items():
            default = "required" if field in required else _code(value.get("default"))
            about = _line(value.get("description", ""))
            parts.append(f"| `{field}` | {_type(value, defs)} | {default} | {about} |\n")
        shown = schema.get("examples", [])
        parts.append("\n" + "".join(f"```json\n{json.dumps(one)}\n```\n\n" for one in shown))
    for status, response in operation["responses"].items():
        if status == "200":
            parts.append(_answer(name, response, schemas))
    failures = [status for status in operation["responses"] if status != "200"]
    if failures:
        parts.append(f"Errors: {', '.join(failures)}.\n\n")
    return "".join(parts)


def _answer(name: str, response: Schema, schemas: dict[str, Schema]) -> str:
    content = response.get("content", {})
    if "application/json" not in content:
        return f"The answer is {', '.join(f'`{kind}`' for kind in content)}.\n\n" if content else ""
    body = content["application/json"]
    rows = list(_fields(body.get("schema", {}), schemas, ""))
    text = ""
    if rows:
        text = "The answer:\n\n| field | type | |\n|---|---|---|\n" + "".join(rows) + "\n"
    if "example" in body and name.partition(" ")[2] in SHOWN:
        text += f"```json\n{json.dumps(_rounded(body['example']))}\n```\n\n"
    return text


def _fields(schema: Schema, schemas: dict[str, Schema], prefix: str) -> Iterator[str]:
    """A row for each field of an object and of those in it."""
    for name, value in _resolved(schema, schemas).get("properties", {}).items():
        about = _line(value.get("description", ""))
        yield f"| `{prefix}{name}` | {_type(value, schemas)} | {about} |\n"
        inner, suffix = value, ""
        for choice in value.get("anyOf", []):
            inner = choice if choice.get("type") != "null" else inner
        while inner.get("type") == "array":
            inner, suffix = inner.get("items", {}), suffix + "[]"
        if "$ref" in inner:
            yield from _fields(inner, schemas, f"{prefix}{name}{suffix}.")


def _type(schema: Schema, schemas: dict[str, Schema]) -> str:
    """In words: `string`, `list of integer`, `"a" or "b" or null`."""
    schema = _resolved(schema, schemas)
    if "anyOf" in schema:
        return " or ".join(_type(choice, schemas) for choice in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(_code(value) for value in schema["enum"])
    if "const" in schema:
        return _code(schema["const"])
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}), schemas)}"
    bounds = [
        f"{sign} {schema[key]}"
        for key, sign in (
            ("minimum", "≥"),
            ("exclusiveMinimum", ">"),
            ("maximum", "≤"),
            ("exclusiveMaximum", "<"),
        )
        if key in schema
    ]
    return f"{kind} {', '.join(bounds)}" if bounds else str(kind)


def _resolved(schema: Schema, schemas: dict[str, Schema]) -> Schema:
    while "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    return schema


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return round(value, 2) if isinstance(value, float) else value


def _code(value: object) -> str:
    return f"`{json.dumps(value)}`"


def _line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _anchor(call: str) -> str:
    """The link that GitHub makes of a heading."""
    return "".join(c for c in call.lower().replace(" ", "-") if c.isalnum() or c in "-_")


def main() -> int:
    """Writes the page, or with --check only says whether it is as it should be."""
    text = page(document())
    if "--check" in sys.argv[1:]:
        same = PAGE.read_text("utf-8") == text
        print("docs/http.md is as the app says" if same else "docs/http.md is out of date", file=sys.stderr)
        return 0 if same else 1
    PAGE.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
