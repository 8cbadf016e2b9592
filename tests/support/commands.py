"""Commands run in this process, as a shell would run them."""

from __future__ import annotations

import json
import os
from typing import Any

from typer.testing import CliRunner, Result

from service.cli import app


def run(*arguments: object, stdin: bytes = b"") -> Result:
    """Runs `headfirst arguments...` without settings of the developer's own."""
    environment = {name: None for name in os.environ if name.startswith("HEADFIRST_")}
    result = CliRunner(env=environment).invoke(app, [str(argument) for argument in arguments], input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def json_rows(result: Result) -> list[dict[str, Any]]:
    """The JSON lines that a run wrote, which must be its whole output."""
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "" or result.stdout.endswith("\n")
    return [json.loads(line) for line in result.stdout.split("\n")[:-1]]


def refusal(result: Result) -> str:
    """The one line that a refused run wrote to standard error."""
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr.rstrip("\n")
