"""docs/life-of-a-request.md tells what happens: its functions exist, a request calls them in this order."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.bundle import Bundle
from tests.support.tiny import tiny_bundle
from tests.support.walk import Walk, walks_of_two_predictions

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "life-of-a-request.md").read_text("utf-8")
STEPS = re.findall(
    r"^(\d)\. (.*?)(?=^\d\. |^`POST|\Z)", PAGE.partition("## With")[0], re.DOTALL | re.MULTILINE
)
_REFERENCE = re.compile(r"`([\w/]+\.py)::([\w.]+)`")
MOST_FILES, MOST_RETURNS = 34, 68
"""For a prediction whose state is kept; 42 and 111 before the request's record was handed along. A file more
is another thing to know for all who read a request's way: see `tests/support/walk.py` for what is counted."""
UNORDERED = {"Call.work", "wait_for_all", "Batcher.next", "Bucket", "Predict"}
"""Called within a step, but not in the order of its sentences; or no function."""


def symbols(path: Path) -> Iterator[str]:
    """All functions, classes and methods of a file, as they are named in Python."""
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield f"{node.name}.{inner.name}"


@pytest.mark.parametrize(("file", "name"), sorted(set(_REFERENCE.findall(PAGE))))
def test_what_is_named_exists(file: str, name: str) -> None:
    assert name in set(symbols(ROOT / file))


def test_there_are_eight_steps() -> None:
    assert [number for number, _ in STEPS] == list("12345678")
    assert all(_REFERENCE.search(text) for _, text in STEPS)


@pytest.fixture(scope="module")
def walks(tmp_path_factory: pytest.TempPathFactory) -> list[Walk]:
    """The ways of two equal predictions; the state and the words of the second are known from the first."""
    return walks_of_two_predictions(Bundle.load(tiny_bundle(tmp_path_factory.mktemp("walk")), "cpu"))


def test_it_is_short(walks: list[Walk]) -> None:
    """A reader who follows a request opens few files, and seldom has to turn back to one."""
    walk = walks[1]
    returns = Counter(file for file, _ in walk.returns)
    assert len(walk.files) <= MOST_FILES, sorted(walk.files)
    assert sum(returns.values()) <= MOST_RETURNS, returns.most_common()


def test_a_request_calls_all_of_them_in_this_order(walks: list[Walk]) -> None:
    called = list(dict.fromkeys(name for _, name in walks[0].order))
    told = [reference for _, text in STEPS for reference in _REFERENCE.findall(text)]
    missing = [name for _, name in told if name not in called]
    # An idle engine's thread is in `Batcher.next` before the request comes; the other two are classes.
    assert set(missing) <= {"Batcher.next", "Bucket", "Predict"}
    order = [name for _, name in told if name not in UNORDERED]
    places = [called.index(name) for name in order]
    assert places == sorted(places), [order[i] for i in range(1, len(order)) if places[i] < places[i - 1]]
