"""Log lines: both formats, one line a record, levels."""

import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Literal

import pytest

from service import logs


@pytest.fixture(autouse=True)
def root_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    quiet = logging.getLogger("asyncio").level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("asyncio").setLevel(quiet)


def lines_of(log_format: Literal["text", "json"], level: str = "info") -> list[str]:
    stream = io.StringIO()
    logs.configure(log_format, level, stream)
    logger = logging.getLogger("headfirst.test")
    logger.debug("too fine")
    logger.info("plain %d", 7)
    fields = {"text": "a b", "empty": "", "half": 0.5, "quote": 'x"y', "none": None, "break": "one\ntwo\r"}
    logger.warning("with fields", extra={"fields": fields})
    try:
        raise ValueError("why")
    except ValueError:
        logger.exception("failed")
    return stream.getvalue().splitlines()


def test_text() -> None:
    plain, fields, failed, *traceback = lines_of("text")
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    assert re.fullmatch(rf"{time} info    headfirst\.test: plain 7", plain)
    assert fields.endswith(r'text="a b" empty="" half=0.5 quote="x\"y" none=None break=one\ntwo\r')
    assert " warning headfirst.test: with fields " in fields
    assert failed.endswith("error   headfirst.test: failed")
    assert traceback[-1] == "ValueError: why"


def test_json() -> None:
    plain, fields, failed = map(json.loads, lines_of("json"))
    assert (plain["level"], plain["logger"], plain["message"]) == ("info", "headfirst.test", "plain 7")
    assert plain["time"].endswith("Z")
    assert (fields["text"], fields["half"], fields["none"]) == ("a b", 0.5, None)
    assert failed["exception"].endswith("ValueError: why")


def test_levels() -> None:
    assert len(lines_of("json", "debug")) == 4
    assert len(lines_of("json", "error")) == 1
    assert logging.getLogger("asyncio").level == logging.ERROR


def test_configuring_twice_does_not_double_lines() -> None:
    lines_of("json")
    assert len(lines_of("json")) == 3


def test_standard_error_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("text", "info")
    logging.getLogger("headfirst").info("here")
    captured = capsys.readouterr()
    assert "here" in captured.err
    assert captured.out == ""
