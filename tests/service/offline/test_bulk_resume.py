"""A bulk job that is killed goes on where it was: no row lost, none twice, nothing to see in the output."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.offline.bulk.checkpoint import Checkpoint
from service.offline.bulk.source import Span
from tests.support.commands import refusal, run
from tests.support.http import sentences
from tests.support.server_process import clean_environment


def texts(rows: int) -> list[str | None]:
    return [*sentences(rows - 1, seed=5), None]


def write(path: Path, rows: int) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.table({"id": range(rows), "t": texts(rows)}), path, row_group_size=rows // 3)
    else:
        path.write_text(
            "".join(json.dumps({"id": n, "t": text}) + "\n" for n, text in enumerate(texts(rows)))
        )
    return path


def command(bundle_path: Path, source: Path, output: Path, part_rows: int = 7) -> list[str]:
    arguments = ["score", "--model", bundle_path, "--threads", 1, "--input", source, "--text-column", "t"]
    return [str(each) for each in [*arguments, "--part-rows", part_rows, "--output", output]]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_killed_at_every_step(bundle_path: Path, tmp_path: Path, suffix: str) -> None:
    source, output = write(tmp_path / f"in{suffix}", 40), tmp_path / f"out{suffix}"
    arguments = command(bundle_path, source, output)
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.bulk_kills", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=clean_environment(),
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # Six parts of two files, then the output, then the folder's other name: before and after most of them.
    assert int(done.stdout) >= 12
    assert output.read_bytes() == (tmp_path / f"whole{suffix}").read_bytes()
    assert sorted(path.name for path in tmp_path.glob("out*")) == [output.name]


NEVER_DONE = """
import threading
from service.offline.bulk.checkpoint import Checkpoint
commit, count = Checkpoint.commit, 0
def commit_or_wait(*arguments):
    global count
    count += 1
    if count == 20:
        threading.Event().wait()
    commit(*arguments)
Checkpoint.commit = commit_or_wait
from service.cli import main
main()
"""
"""The command, but that it waits for ever before its 20th part: a kill then never comes too late."""


def test_kill_9_from_outside(bundle_path: Path, tmp_path: Path) -> None:
    source, output = write(tmp_path / "in.parquet", 600), tmp_path / "out.parquet"
    arguments = command(bundle_path, source, output, 20)
    process = subprocess.Popen(
        [sys.executable, "-c", NEVER_DONE, *arguments], env=clean_environment(), stderr=subprocess.PIPE
    )
    while not (tmp_path / "out.parquet.parts" / "part-000002.parquet").exists():
        assert process.poll() is None
        time.sleep(0.001)  # there is no message to wait for
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not output.exists()
    kept = len(list((tmp_path / "out.parquet.parts").glob("part-*.parquet")))
    assert 3 <= kept < 20
    result = run(*arguments)
    assert result.exit_code == 0
    assert f"goes on after {kept * 20:,} of 600 rows" in result.stderr
    assert "600 rows, " in result.stderr
    assert "1 rows have no score (1 null; the first is row 600)" in result.stderr
    rows = pq.read_table(output).to_pylist()
    assert [(row["id"], row["t"]) for row in rows] == list(enumerate(texts(600)))
    whole = tmp_path / "whole.parquet"
    assert run(*command(bundle_path, source, whole, 20)).exit_code == 0
    for row, wanted in zip(rows, pq.read_table(whole).to_pylist(), strict=True):
        # Another process may add up in another order.
        assert row == {**wanted, "logprob": pytest.approx(wanted["logprob"]), "perplexity": row["perplexity"]}
        assert row["perplexity"] == pytest.approx(wanted["perplexity"])


def interrupt(monkeypatch: pytest.MonkeyPatch, parts: int) -> None:
    """Ctrl-C after so many parts."""
    commit, count = Checkpoint.commit, 0

    def counted(*arguments: object) -> None:
        nonlocal count
        if count == parts:
            raise KeyboardInterrupt
        count += 1
        commit(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Checkpoint, "commit", counted)


@pytest.fixture
def stopped(bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command of a job that was stopped after two of six parts."""
    arguments = command(bundle_path, write(tmp_path / "in.jsonl", 40), tmp_path / "out.jsonl")
    with monkeypatch.context() as patched:
        interrupt(patched, 2)
        result = run(*arguments)
    assert result.exit_code == 130
    assert "stopped after 14 of 40 rows" in result.stderr
    return arguments


def test_ctrl_c_says_how_to_go_on(stopped: list[str], tmp_path: Path) -> None:
    result = run(*stopped)
    assert result.exit_code == 0
    assert result.stderr.startswith("goes on after 14 of 40 rows\n40 rows, ")
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 40


@pytest.mark.parametrize(
    ("more", "changed"),
    [
        (("--context", "the"), "context"),
        (("--per-word",), "columns"),
        (("--part-rows", "8"), "part_rows"),
        (("--no-end-of-sentence",), "end_of_sentence"),
    ],
)
def test_parts_of_another_job_are_not_mixed_in(
    stopped: list[str], tmp_path: Path, more: tuple[str, ...], changed: str
) -> None:
    folder = tmp_path / "out.jsonl.parts"
    assert refusal(run(*stopped, *more)) == (
        f"headfirst score: {folder} keeps parts of another job ({changed} differs):"
        " give --restart to begin anew"
    )
    result = run(*stopped, *more, "--restart")
    assert result.exit_code == 0
    assert result.stderr.startswith("40 rows, ")


def test_another_input_is_another_job(stopped: list[str], tmp_path: Path) -> None:
    os.utime(tmp_path / "in.jsonl", ns=(1, 1))
    assert "(input differs)" in refusal(run(*stopped))


def test_one_run_at_a_time(stopped: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "out.jsonl.parts"
    job = json.loads((folder / "_job.json").read_text())
    with Checkpoint(folder, ".jsonl").open(job):
        assert refusal(run(*stopped)) == f"headfirst score: {folder}: another run is at work here"
    assert run(*stopped).exit_code == 0


def test_a_damaged_part_is_found(stopped: list[str], tmp_path: Path) -> None:
    part = Checkpoint(tmp_path / "out.jsonl.parts", ".jsonl").part(Span(1, 7, 7))
    part.write_text(part.read_text().split("\n", 1)[1])
    result = run(*stopped)
    assert result.exit_code == 2
    assert result.stderr.endswith(f"headfirst score: {part} has 6 rows, not the 7 that were kept\n")
    assert not (tmp_path / "out.jsonl").exists()
