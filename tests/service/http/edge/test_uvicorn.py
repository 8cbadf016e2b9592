"""What service/http/edge/protocol.py uses of uvicorn, which documents none of it, is still there."""

import ast
import asyncio
import inspect
import re
import socket
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from packaging.requirements import Requirement
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from service.http.edge import protocol

pytestmark = pytest.mark.anyio

TREE = ast.parse(inspect.getsource(protocol))
(OURS,) = [node for node in TREE.body if isinstance(node, ast.ClassDef)]

SIGNATURES = {
    "__init__": ["config", "server_state", "app_state", "_loop"],
    "connection_made": ["transport"],
    "connection_lost": ["exc"],
    "data_received": ["data"],
    "on_message_begin": [],
    "on_headers_complete": [],
    "on_body": ["body"],
    "on_message_complete": [],
    "on_response_complete": [],
    "eof_received": [],
    "on_url": ["url"],
    "on_header": ["name", "value"],
    "timeout_keep_alive_handler": [],
}
"""The methods that we override or call, and their parameters."""


def changed(what: str) -> str:
    return (
        f"uvicorn {uvicorn.__version__} has changed {what}. service/http/edge/protocol.py stands on it: read"
        " uvicorn/protocols/http/httptools_impl.py, adapt protocol.py, and raise the bound in pyproject.toml."
    )


def attributes_of(name: str) -> set[str]:
    """The attributes of `name` that our protocol reads or sets."""
    return {
        node.attr
        for node in ast.walk(OURS)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == name
    }


@pytest.fixture
async def theirs() -> AsyncIterator[HttpToolsProtocol]:
    """A connection of uvicorn's own, to which a client has sent the head of a request."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    loop = asyncio.get_running_loop()
    config = uvicorn.Config(app, interface="asgi3", lifespan="off", ws="none")
    state = ServerState()
    client, accepted = socket.socketpair()
    _, made = await loop.connect_accepted_socket(lambda: HttpToolsProtocol(config, state, {}, loop), accepted)
    client.sendall(b"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n")
    async with asyncio.timeout(30):
        while not state.tasks:  # noqa: ASYNC110 -- uvicorn tells nobody
            await asyncio.sleep(0.001)
    yield made
    client.close()
    for task in state.tasks:
        task.cancel()
    await asyncio.gather(*state.tasks, return_exceptions=True)
    made.transport.close()


@pytest.mark.parametrize("name", sorted(SIGNATURES))
def test_methods(name: str) -> None:
    method = getattr(HttpToolsProtocol, name, None)
    assert method is not None, changed(f"HttpToolsProtocol.{name}: it is gone")
    parameters = list(inspect.signature(method).parameters)[1:]
    assert parameters == SIGNATURES[name], changed(f"the parameters of HttpToolsProtocol.{name}")


def test_all_methods_that_we_override_are_looked_at() -> None:
    overridden = {node.name for node in OURS.body if isinstance(node, ast.FunctionDef)}
    assert {name for name in overridden if hasattr(HttpToolsProtocol, name)} <= set(SIGNATURES)


@pytest.mark.parametrize("name", ["self", "self.cycle", "cycle", "self.flow", "self.server_state"])
async def test_attributes(theirs: HttpToolsProtocol, name: str) -> None:
    holder = {"self": theirs, "cycle": theirs.cycle}.get(name)
    holder = holder or getattr(theirs, name.removeprefix("self."))
    wanted = {attribute for attribute in attributes_of(name) if not attribute.startswith("_")}
    own = {node.name for node in OURS.body if isinstance(node, ast.FunctionDef)}
    lacking = {attribute for attribute in wanted - own if not hasattr(holder, attribute)}
    assert wanted, f"nothing of {name} is used any more: strike it out here"
    assert not lacking, changed(f"{name} of HttpToolsProtocol, which lacks {sorted(lacking)}")


async def test_nothing_private_is_used_and_no_name_is_taken(theirs: HttpToolsProtocol) -> None:
    """Our protocol's own attributes have underscores, and uvicorn has none of these names."""
    ours = {name for name in attributes_of("self") if name.startswith("_") and not name.startswith("__")}
    taken = {name for name in ours if hasattr(theirs, name)}
    assert not taken, changed(f"HttpToolsProtocol, which now has {sorted(taken)} itself")
    for name in ("self.cycle", "cycle", "self.flow", "self.server_state"):
        assert not [attribute for attribute in attributes_of(name) if attribute.startswith("_")]


async def test_a_cycle_is_made_by_the_head_and_calls_back(theirs: HttpToolsProtocol) -> None:
    cycle = theirs.cycle
    states = (cycle.response_started, cycle.response_complete, cycle.disconnected, cycle.more_body)
    assert states == (False, False, False, True), changed("the states of RequestResponseCycle")
    assert cycle.keep_alive, changed("RequestResponseCycle.keep_alive")
    assert cycle.scope is theirs.scope, changed("the scope of RequestResponseCycle")
    assert theirs.url == b"/x", changed("HttpToolsProtocol.url")
    assert (b"host", b"x") in theirs.headers, changed("HttpToolsProtocol.headers")
    assert not theirs.expect_100_continue, changed("HttpToolsProtocol.expect_100_continue")
    assert not theirs.pipeline, changed("HttpToolsProtocol.pipeline")
    assert theirs.timeout_keep_alive_task is None, changed("HttpToolsProtocol.timeout_keep_alive_task")


def test_the_upper_bound_is_above_what_is_tested() -> None:
    """pip installs no uvicorn that these tests have not seen."""
    root = Path(__file__).resolve().parents[4]
    dependencies = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    (bound,) = [Requirement(line) for line in dependencies if Requirement(line).name == "uvicorn"]
    assert uvicorn.__version__ in bound.specifier
    (pinned,) = re.findall(
        r"^uvicorn==(\d+)\.(\d+)", (root / "constraints.txt").read_text("utf-8"), re.MULTILINE
    )
    assert f"{pinned[0]}.{pinned[1]}.999" in bound.specifier
    assert f"{pinned[0]}.{int(pinned[1]) + 2}" not in bound.specifier
