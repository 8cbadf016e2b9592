"""The dashboard: every query is PromQL and asks for series that the server has; test_scrape.py runs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.monitoring import DASHBOARD, PANELS, QUERIES, concrete
from tests.deploy.promql import exposed, finds, selectors
from tests.deploy.tools import DEPLOY, check, program

DESIGNED = """requests_total request_duration_seconds_bucket queue_depth queue_duration_seconds_bucket
    batch_size_bucket batch_tokens_sum step_duration_seconds_bucket cluster_expansions_total
    cluster_rows_total state_cache_hits_total state_cache_misses_total state_cache_bytes rejected_total
    model_info""".split()


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_asks_for_series_that_exist(panel: dict[str, Any]) -> None:
    series = exposed()
    assert panel["description"]
    for target in panel["targets"]:
        found = list(selectors(target["expr"]))
        assert found
        for name, matchers in found:
            assert any(finds(matchers, labels) for labels in series.get(name, [])), name
            assert {label for label, _, _ in matchers} >= {"job", "instance"}


def test_every_designed_metric_is_shown() -> None:
    shown = {name for query in QUERIES for name, _ in selectors(query)}
    assert {f"headfirst_{name}" for name in DESIGNED} - shown == set()


def test_every_query_is_promql(tmp_path: Path) -> None:
    rules = [{"record": f"query:{i}", "expr": concrete(query)} for i, query in enumerate(QUERIES)]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    said = check(program("promtool", "prometheus"), "check", "rules", "--lint=none", path)
    assert f"{len(QUERIES)} rules found" in said


def test_panels_do_not_overlap_and_ids_differ() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)


def test_the_data_source_is_the_provisioned_one() -> None:
    path = DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yml"
    (source,) = yaml.safe_load(path.read_text())["datasources"]
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["current"]["value"] == source["uid"]
    assert {target["datasource"]["uid"] for panel in PANELS for target in panel["targets"]} == {
        "${datasource}"
    }
