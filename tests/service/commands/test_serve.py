"""`headfirst serve`: how it starts, and what stops it at the start."""

import gc
import json
import shutil
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import service
from service import cli
from service.commands import serve
from service.fleet.fleet import Fleet
from service.http.app import HeadfirstApp
from service.processes.single import LocalServer
from tests.support.server_process import assert_refused, failed_start


def test_help_names_the_command() -> None:
    result = CliRunner().invoke(cli.app, ["--help"])
    assert result.exit_code == 0
    assert "serve" in result.output


def test_the_console_script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["headfirst", "--version"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 0
    assert service.__version__ in capsys.readouterr().out


def test_version() -> None:
    result = CliRunner().invoke(cli.app, ["--version"])
    assert (result.exit_code, result.output) == (0, f"headfirst {service.__version__}\n")


def test_help_of_serve_lists_the_settings() -> None:
    result = CliRunner().invoke(cli.app, ["serve", "--help"])
    assert result.exit_code == 0
    assert "--max-batch-tokens" in result.output
    assert "HEADFIRST_MAX_BATCH_TOKENS" in result.output


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (["--port", "70000"], {}, ["--port", "70000"]),
        (["--nonsense"], {}, ["--nonsense"]),
        ([], {"HEADFIRST_DEVICE": "tpu"}, ["HEADFIRST_DEVICE", "cuda"]),
        (["--model", "/no/such/bundle", "--port", "0"], {}, ["/no/such/bundle"]),
    ],
    ids=["port", "flag", "variable", "bundle"],
)
def test_a_wrong_start_is_one_line(
    arguments: list[str], environment: dict[str, str], words: list[str]
) -> None:
    assert_refused(failed_start(*arguments, **environment), *words)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert serve.run(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("headfirst serve: ")
    return line


def truncate(bundle: Path) -> None:
    weights = bundle / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def other_vocabulary(bundle: Path) -> None:
    config = json.loads((bundle / "config.json").read_text())
    config["vocabulary_size"] += 1
    config["cutoffs"][-1] += 1
    (bundle / "config.json").write_text(json.dumps(config))


@pytest.mark.usefixtures("no_logging_left")
@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (lambda bundle: (bundle / "config.json").unlink(), "config.json"),
        (lambda bundle: (bundle / "tokenizer.json").unlink(), "tokenizer.json"),
        (lambda bundle: (bundle / "config.json").write_text("{"), "config.json"),
        (truncate, "model.safetensors"),
        (other_vocabulary, "vocabulary"),
    ],
    ids=["no config", "no tokenizer", "config no JSON", "truncated", "other vocabulary"],
)
def test_a_broken_bundle_is_one_line(
    bundle_path: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path], None],
    word: str,
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(bundle_path, broken)
    damage(broken)
    assert word in refused(capsys, "--model", str(broken), "--port", "0")


@pytest.mark.usefixtures("no_logging_left")
def test_a_taken_port_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert "in use" in refused(capsys, "--port", str(port))


def test_a_key_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--api-key-file /no/such/file" in refused(capsys, "--api-key-file", "/no/such/file")


@pytest.mark.usefixtures("no_logging_left")
@pytest.mark.parametrize(("workers", "way"), [("0", "_run"), ("1", "_run_processes")])
def test_ctrl_c_while_loading(monkeypatch: pytest.MonkeyPatch, workers: str, way: str) -> None:
    def interrupted(settings: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(serve, way, interrupted)
    assert serve.run(["--http-workers", workers]) == 130


@pytest.mark.usefixtures("no_logging_left")
def test_what_it_starts(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process, with a server that ends at once."""
    started: list[tuple[str, str, int]] = []

    class Started(LocalServer):
        """Notes what it would serve, instead of serving it."""

        def __init__(self, app: HeadfirstApp, fleet: Fleet, drain_timeout: float) -> None:
            super().__init__(app, fleet, drain_timeout)
            self.app = app

        def run(self, sockets: list[socket.socket] | None = None) -> None:
            ((listening,), models) = sockets, self.app.context.models
            started.append((models.first.name, models.state, listening.getsockname()[1]))

    monkeypatch.setattr("service.processes.single.LocalServer", Started)
    threads = str(torch.get_num_threads())
    arguments = ("--model", str(bundle_path), "--port", "0", "--threads", threads, "--api-key", "topsecret")
    arguments += ("--http-workers", "0")
    interval = sys.getswitchinterval()
    try:
        assert serve.run(arguments) == 0
    finally:
        gc.unfreeze()
        sys.setswitchinterval(interval)
    ((name, state, port),) = started
    assert (name, port > 0) == ("tiny", True)
    assert state in ("starting", "ready")
    assert "headfirst-engine" not in [thread.name for thread in threading.enumerate()]
    first, second = capsys.readouterr().err.splitlines()
    assert "on the command line" in first
    assert "loaded a model model=tiny" in second


def test_without_a_place_for_temporary_files(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def mkdtemp(prefix: str) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("service.processes.supervisor.tempfile.mkdtemp", mkdtemp)
    message = refused(capsys, "--port", "0", "--http-workers", "1")
    assert "TMPDIR" in message
    assert "--http-workers 0" in message
