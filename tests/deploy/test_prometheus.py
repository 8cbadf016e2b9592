"""Rules and alerts, by Debian's promtool and against the metrics that the server has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.deploy.monitoring import ALERTS, FOLDER, RECORDED, RULES
from tests.deploy.promql import exposed, finds, selectors
from tests.deploy.tools import check, load_yaml, program, run


@pytest.fixture(scope="module")
def promtool() -> Path:
    return program("promtool", "prometheus")


def test_the_configuration_is_valid(promtool: Path) -> None:
    assert "2 rule files found" in check(promtool, "check", "config", FOLDER / "prometheus.yml")


def test_the_rules_do_what_their_tests_say(promtool: Path) -> None:
    assert "SUCCESS" in check(promtool, "test", "rules", FOLDER / "tests" / "rules_test.yml")


def test_a_wrong_threshold_fails_those_tests(promtool: Path, tmp_path: Path) -> None:
    for name in ("rules", "tests"):
        (tmp_path / name).mkdir()
        for path in (FOLDER / name).iterdir():
            (tmp_path / name / path.name).write_text(
                path.read_text().replace("ratio5m > 0.01", "ratio5m > 0.1")
            )
    done = run(promtool, "test", "rules", tmp_path / "tests" / "rules_test.yml")
    assert done.returncode == 1
    assert "HeadfirstErrors" in done.stdout + done.stderr


def test_each_alert_is_seen_firing_and_silent() -> None:
    tests = load_yaml(FOLDER / "tests" / "rules_test.yml")["tests"]
    cases = [case for test in tests for case in test.get("alert_rule_test", [])]
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == ALERTS
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == ALERTS


def test_each_recorded_figure_is_tested() -> None:
    tests = load_yaml(FOLDER / "tests" / "rules_test.yml")["tests"]
    asked = " ".join(case["expr"] for test in tests for case in test.get("promql_expr_test", []))
    assert {name for name in RECORDED if name in asked} == RECORDED


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("record") or rule["alert"])
def test_a_rule_asks_for_series_that_exist(rule: dict[str, Any]) -> None:
    series = exposed()
    found = list(selectors(rule["expr"]))
    assert found
    for name, matchers in found:
        if name not in RECORDED:
            assert any(finds(matchers, labels) for labels in series.get(name, [])), name


def test_the_alerts_tell_what_to_do() -> None:
    for rule in RULES:
        if "alert" in rule:
            assert rule["labels"]["severity"] in {"critical", "warning", "info"}
            assert set(rule["annotations"]) == {"summary", "description"}
