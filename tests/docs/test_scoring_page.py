"""docs/scoring.md: its requests are answered as it says."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docs import shell
from tests.docs.generators import DOCS
from tests.support.server_process import ServerProcess
from tests.support.tiny import spelled_bundle

PAGE = DOCS / "scoring.md"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    model = spelled_bundle(tmp_path_factory.mktemp("spelled"))
    server = ServerProcess("--model", str(model))
    try:
        server.wait_ready()
        yield server.url.removeprefix("http://")
    finally:
        server.stop()


def test_its_requests(address: str, tmp_path: Path) -> None:
    answers: list[dict[str, Any]] = [
        json.loads(shell.run(language, line, tmp_path, address))
        for language, code in shell.blocks(PAGE)
        for line in code.splitlines()
    ]
    spans, space, regions, cut, lines, empty, capitals = answers
    first = spans["results"][0]["words"]
    assert [(word["word"], word["start"], word["end"]) for word in first][2] == ("\u2019s", 7, 9)
    assert [word.get("token") for word in first] == [None, None, "'s", None, None]
    assert [word["word"] for word in space["results"][0]["words"]] == "The cat sat there. </s>".split()
    assert [word["word"] for word in regions["results"][0]["words"]] == ["The cat", "sat there."]
    assert cut["error"]["param"] == "regions[0]"
    assert "cuts the token 'cat' at [4, 7]" in cut["error"]["message"]
    assert [line["word_count"] for line in lines["results"][0]["lines"]] == [4, 6]
    assert [word["word"] for word in empty["results"][0]["words"]] == ["</s>"]
    read = [word.get("token") for word in capitals["results"][0]["words"]]
    assert read == ["the", None, None, None, None, None]
