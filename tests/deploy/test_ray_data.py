"""deploy/ray/score_dataset.py on a real Ray: one row out for each row in, however often it is killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.deploy.ray_environment import environment, ray_python
from tests.deploy.tools import DEPLOY
from tests.support.commands import run
from tests.support.http import sentences
from tests.support.tiny import tiny_bundle

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROWS, PART = 300, 5


def start(source: Path, output: Path, bundle_path: Path, log: Path) -> subprocess.Popen[bytes]:
    """The job in a process group of its own, with the Ray that it starts."""
    command = [ray_python(), DEPLOY / "ray" / "score_dataset.py", "--input", source, "--output", output]
    command += [
        "--text-column",
        "t",
        "--model",
        bundle_path,
        "--part-rows",
        PART,
        "--actors",
        2,
        "--cpus",
        0.5,
    ]
    with log.open("ab") as opened:
        return subprocess.Popen(
            [str(part) for part in command], env=environment(), stderr=opened, stdout=opened, process_group=0
        )


def kill(process: subprocess.Popen[bytes]) -> None:
    """Ends the job as a lost machine would. Its workers see it go and follow; those in its group at once."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def write(folder: Path, suffix: str) -> list[dict[str, object]]:
    """Three files; the last row of each has no text."""
    folder.mkdir()
    rows: list[dict[str, object]] = []
    for number in range(3):
        texts = [*sentences(ROWS // 3 - 1, seed=number), None]
        file = [{"id": len(rows) + at, "t": text} for at, text in enumerate(texts)]
        path = folder / f"{number}{suffix}"
        if suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist(file), path, row_group_size=40)
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in file))
        rows += file
    return rows


def read(folder: Path, suffix: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for path in sorted(folder.glob(f"part-*{suffix}")):
        if suffix == ".parquet":
            found += pq.read_table(path).to_pylist()
        else:
            found += map(json.loads, path.read_text().splitlines())
    return found


@pytest.fixture(scope="module")
def bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_killed_and_resumed(bundle_path: Path, tmp_path: Path, suffix: str) -> None:
    rows = write(tmp_path / "in", suffix)
    output, log = tmp_path / "out", tmp_path / "log"
    job = start(tmp_path / "in", output, bundle_path, log)
    while len(list(output.glob("part-*"))) < 3:
        assert job.poll() is None, log.read_text()
        time.sleep(0.005)  # it tells nobody about its progress
    kill(job)
    kept = {path.name: path.stat().st_mtime_ns for path in output.glob("part-*") if path.suffix == suffix}
    assert 3 <= len(kept) < ROWS // PART
    job = start(tmp_path / "in", output, bundle_path, log)
    assert job.wait(600) == 0, log.read_text()
    assert "300 rows, " in log.read_text()
    assert "3 rows have no score (3 null; the first is row 100)" in log.read_text()
    # What was kept was not computed again.
    assert kept.items() <= {path.name: path.stat().st_mtime_ns for path in output.iterdir()}.items()
    found = read(output, suffix)
    assert [{"id": row["id"], "t": row["t"]} for row in found] == rows
    whole = tmp_path / "whole.jsonl"
    (tmp_path / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ("--input", tmp_path / "all.jsonl", "--output", whole, "--text-column", "t")
    assert run("score", "--model", bundle_path, *arguments).exit_code == 0
    for row, wanted in zip(found, map(json.loads, whole.read_text().splitlines()), strict=True):
        assert row["word_count"] == wanted["word_count"]
        assert row["logprob"] == (wanted["logprob"] and pytest.approx(wanted["logprob"], abs=1e-4))
