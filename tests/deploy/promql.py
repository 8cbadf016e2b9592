"""As much of PromQL as tells which series an expression asks for, and whether the server has them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from service.http.telemetry.endpoints import STATUSES
from service.metrics.registry import Metrics
from tests.support.engines import model_card

Labels = dict[str, str]

_SELECTOR = re.compile(r"\b((?:[a-z_]+:)?(?:headfirst|process|python)_[a-z0-9_:]+|up)\b(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'([a-z_]+)(=~|!~|!=|=)"((?:[^"\\]|\\.)*)"')

SCRAPED = frozenset({"job", "instance"})
"""Labels that Prometheus adds."""


def exposed() -> dict[str, list[Labels]]:
    """Every series of a server that has just started: name -> label sets."""
    metrics = Metrics(n_clusters=2)
    metrics.describe_endpoints(STATUSES)
    metrics.describe_models([model_card()])
    series: dict[str, list[Labels]] = {"up": [{}]}
    for family in metrics.registry.collect():
        for sample in family.samples:
            series.setdefault(sample.name, []).append(dict(sample.labels))
    return series


def selectors(expression: str) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """Each series name in the expression with its matchers (label, operator, value)."""
    for name, inside in _SELECTOR.findall(expression):
        yield name, _MATCHER.findall(inside)


def finds(matchers: list[tuple[str, str, str]], labels: Labels) -> bool:
    """Whether a series with these labels is selected; labels of Prometheus and with a $ match all."""
    for label, operator, value in matchers:
        if label in SCRAPED or "$" in value:
            continue
        held = labels.get(label, "")
        equal = held == value if operator in {"=", "!="} else re.fullmatch(value, held) is not None
        if equal != (operator in {"=", "=~"}):
            return False
    return True
