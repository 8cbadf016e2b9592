"""`headfirst bench` in this process, at tiny sizes: what it writes, and what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from models.benchmarking import run as bench_run
from models.benchmarking import shapes, subject
from models.benchmarking.instruction_sets import VARIABLES
from models.benchmarking.shapes import Shape
from models.kernels.cpu import weights as cpu_weights
from models.kernels.cpu.library import KernelError
from tests.support.commands import run
from tests.support.softmaxes import needs_extension

BASELINES = {
    "adaptive_log_prob_topk_fp32",
    "adaptive_log_prob_topk_bf16",
    "full_softmax_topk_fp32",
    "full_softmax_topk_bf16",
    "composite_fp32",
    "composite_bf16",
    "composite_int8",
    "best_torch",
    "best_torch_words",
}


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, cutoffs in (("wt103", (1500, 1800, 2500)), ("txl", (1500, 1700, 2000, 2500))):
        monkeypatch.setitem(shapes.SHAPES, name, Shape(64, cutoffs, (48, 16, 8)[: len(cutoffs) - 1]))
    monkeypatch.setattr(subject, "POOL", 32)
    monkeypatch.setattr(subject, "TEXT_ROWS", 64)


def check_row(row: dict[str, Any]) -> None:
    assert row["ours_ms"] > 0
    assert row["baselines_ms"].keys() == row["ratios"].keys()
    for name, value in row["baselines_ms"].items():
        assert row["ratios"][name] == pytest.approx(value / row["ours_ms"], rel=0.1, abs=0.02)
    assert row["bytes"] > 0
    assert row["bound"] in ("memory", "cache", "compute")
    assert row["share_of_roofline"] > 0
    if row["mode"] == "fast":
        assert row["max_logprob_error"] <= row["logprob_error"] + 1e-4
    else:
        assert row["max_logprob_error"] <= 1e-4


@needs_extension
def test_topk(tmp_path: Path) -> None:
    files = tmp_path / "found.json", tmp_path / "found.md"
    options = ["--batch", "1,3", "--k", "10", "--seconds", "0", "--no-compiled"]
    result = run("bench", "topk", "--shape", "wt103", *options, "--json", files[0], "--markdown", files[1])
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    assert "wt103, 3 rows, k = 10: taking turns" in result.stderr
    report = json.loads(files[0].read_text())
    assert {"machine", "ceilings", "rows"} <= report.keys()
    rows = report["rows"]
    wanted = [
        (batch, expansion, mode)
        for batch in (1, 3)
        for expansion in ("none", "measured", "all")
        for mode in ("exact", "fast")
    ]
    assert [(row["batch"], row["expansion"], row["mode"]) for row in rows] == wanted
    for row in rows:
        assert (row["shape"], row["k"]) == ("wt103", 10)
        assert row["ids_exact"]
        assert row["baselines_ms"].keys() == BASELINES
        check_row(row)
    opens = {row["expansion"]: row["rows_that_open"] for row in rows}
    assert opens["none"] == 0
    assert 0.7 < opens["measured"] < 1
    assert opens["all"] == 1
    table = files[1].read_text()
    assert table.count("\n| 1 | 10 | ") == table.count("\n| 3 | 10 | ") == 6


@needs_extension
def test_the_default_shape_on_a_text(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("Thank you very much.\nThe cat sat on the mat.\n" * 4)
    options = ["--batch", "2", "--seconds", "0", "--no-compiled"]
    result = run("bench", "topk", *options, "--text", text)
    assert result.exit_code == 0, result.stderr
    exact, fast = json.loads(result.stdout)["rows"]
    assert (exact["expansion"], exact["mode"], fast["mode"]) == ("measured", "exact", "fast")
    assert exact["ids_exact"]
    assert fast["ids_exact"]
    result = run("bench", "score", "--batch", "5", "--seconds", "0", "--no-compiled", "--text", text)
    assert result.exit_code == 0, result.stderr
    for row in json.loads(result.stdout)["rows"]:
        assert row["batch"] == 5
        assert {"module_forward_fp32", "module_forward_bf16", "cross_entropy_chunked_fp32"} <= row[
            "ratios"
        ].keys()
        check_row(row)


@needs_extension
def test_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wanted = {"wt103": {1: (10,), 2: (1, 10)}, "txl": {1: (10,)}}
    monkeypatch.setattr(bench_run, "ALL_TOPK", wanted)
    monkeypatch.setattr(bench_run, "ALL_SECONDS", 0.0)
    monkeypatch.setattr(bench_run, "ALL_COMPILED", frozenset())
    monkeypatch.setattr(bench_run, "SCORED", {"wt103": 7, "txl": 7})
    result = run("bench", "all", "--markdown", tmp_path / "all.md")
    assert result.exit_code == 0, result.stderr
    rows = json.loads(result.stdout)["rows"]
    found = [(row["shape"], row["batch"], row.get("k")) for row in rows]
    assert sorted(set(found), key=str) == sorted(
        [
            ("wt103", 1, 10),
            ("wt103", 2, 1),
            ("wt103", 2, 10),
            ("wt103", 7, None),
            ("txl", 1, 10),
            ("txl", 7, None),
        ],
        key=str,
    )
    assert all(row.get("ids_exact", True) for row in rows)
    assert (tmp_path / "all.md").read_text().count("## ") == 4


@needs_extension
def test_one_instruction_set(tmp_path: Path) -> None:
    """In a process of its own, where torch is not loaded before; where it is, nothing is forced by half."""
    file = tmp_path / "found.json"
    options = ["bench", "score", "--batch", "2", "--seconds", "0", "--isa", "scalar", "--json", str(file)]
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES["scalar"]}
    command = [sys.executable, "-m", "service.cli", *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(file.read_text())["machine"]["instructions"]
    assert found == {"ours": "scalar", "torch": "DEFAULT", "variables": VARIABLES["scalar"]}
    refused = run(*options)
    assert refused.exit_code == 2
    assert "--isa scalar: torch is loaded already; set ATEN_CPU_CAPABILITY=default" in refused.stderr


@needs_extension
@pytest.mark.slow
def test_compiled_baselines(tmp_path: Path) -> None:
    """Inductor takes some ten seconds for each; where it cannot, the report says why."""
    options = ["--shape", "wt103", "--batch", "2", "--seconds", "0", "--compiled"]
    result = run("bench", "topk", *options)
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    there = set(report["rows"][0]["baselines_ms"])
    missing = set(report["skipped"].get("wt103", {}))
    compiled = {
        "adaptive_log_prob_topk_fp32_compiled",
        "adaptive_log_prob_topk_bf16_compiled",
        "full_softmax_topk_fp32_compiled",
        "full_softmax_topk_bf16_compiled",
        "composite_bf16_compiled",
    }
    assert compiled <= there | missing
    assert not there & missing
    assert all(report["skipped"].get("wt103", {}).values())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--batch", "1,x"], "--batch must be whole numbers"),
        (["--batch", "0"], "--batch must be whole numbers"),
        (["--batch", ""], "--batch must be whole numbers"),
        (["--k", "1001"], "--k must be whole numbers from 1 to 1,000"),
        (["--json", "/no/such/place/found.json"], "/no/such/place: no such directory"),
        (["--text", "/no/such/text.txt"], "/no/such/text.txt"),
    ],
)
def test_refusals(arguments: list[str], words: str) -> None:
    if "--text" in arguments and not _has_extension():
        pytest.skip("the extension is asked for first")
    assert words in refusal_after_progress(run("bench", "topk", *arguments))


def refusal_after_progress(result: Any) -> str:
    assert result.exit_code == 2
    return str(result.stderr.rstrip("\n").split("\n")[-1])


def _has_extension() -> bool:
    try:
        return bool(cpu_weights.best_level())
    except KernelError:
        return False


def test_without_the_extension(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str = "") -> str:
        raise KernelError("the C++ extension was not built")

    monkeypatch.setattr(cpu_weights, "best_level", absent)
    assert "not built" in refusal_after_progress(run("bench", "topk", "--shape", "wt103", "--no-compiled"))


def test_help_needs_no_model() -> None:
    assert run("bench", "topk", "--help").exit_code == 0
