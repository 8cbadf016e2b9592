"""Log lines for people or for machines; one format for ours and uvicorn's.

A record may carry `fields` (`logger.info("request", extra={"fields": {...}})`): the text format appends them
as `name=value`, the JSON format makes them keys. What a client typed is never logged.
"""

import json
import logging
import os
import sys
import time
from functools import lru_cache
from typing import Any, Literal, TextIO

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure(log_format: Literal["text", "json"], level: str, stream: TextIO | None = None) -> None:
    """Sends every logger's records of `level` and above to `stream` (standard error) in `log_format`.

    Args:
        level: a key of `LEVELS`.
    """
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(LEVELS[level])
    # Our lines have none of these, and finding them takes as long as formatting: see logging's HOWTO.
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    # At debug, asyncio reports every slow callback and selector, which would bury our own lines.
    logging.getLogger("asyncio").setLevel(max(logging.INFO, LEVELS[level]))


def name_process(name: str) -> None:
    """Marks each further line with the name and the id of this process."""
    fields = {"process": name, "pid": os.getpid()}

    def mark(record: logging.LogRecord) -> bool:
        record.fields = getattr(record, "fields", {}) | fields
        return True

    for handler in logging.getLogger().handlers:
        handler.filters.clear()
        handler.addFilter(mark)


class TextFormatter(logging.Formatter):
    """`2026-11-24T08:30:00.123Z info    headfirst: message name=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and a traceback below it if the record has one."""
        line = f"{_timestamp(record)} {record.levelname.lower():<7} {record.name}: {record.getMessage()}"
        fields: dict[str, Any] = getattr(record, "fields", {})
        for name, value in fields.items():
            line += f" {name}={_plain(value)}"
        # One record, one line: a line break in a value must not look like a second record.
        line = line.replace("\r", "\\r").replace("\n", "\\n")
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the record's fields, exception."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of ASCII JSON."""
        line: dict[str, Any] = {
            "time": _timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, separators=(",", ":"))


def _timestamp(record: logging.LogRecord) -> str:
    return f"{_to_the_second(int(record.created))}.{int(record.msecs):03d}Z"


@lru_cache(2)
def _to_the_second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _plain(value: object) -> str:
    if type(value) is int:
        return str(value)
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return json.dumps(text) if not text or " " in text or '"' in text else text
