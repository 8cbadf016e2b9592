"""What deploy/prometheus and deploy/grafana hold: rules, alerts, panels and their queries."""

from __future__ import annotations

import json
from typing import Any

from tests.deploy.tools import DEPLOY, load_yaml

FOLDER = DEPLOY / "prometheus"
FILES = sorted((FOLDER / "rules").glob("*.yml"))
RULES: list[dict[str, Any]] = [
    rule for path in FILES for group in load_yaml(path)["groups"] for rule in group["rules"]
]
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
ALERTS = {rule["alert"] for rule in RULES if "alert" in rule}

DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "headfirst.json").read_text("utf-8"))
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES: list[str] = [target["expr"] for panel in PANELS for target in panel["targets"]]


def concrete(query: str) -> str:
    """The query as Grafana would send it, for every job and instance."""
    return query.replace("$__rate_interval", "20s").replace("$job", ".+").replace("$instance", ".+")
