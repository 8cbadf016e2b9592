"""Plots: well-formed SVG with every point in its place."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from models.benchmarking.charts import HEIGHT, LEFT, WIDTH, Series, plot

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("log", [False, True])
def test_a_plot_has_its_points_and_lines(log: bool) -> None:
    points = [(1.0, 10.0), (10.0, 100.0), (100.0, 50.0)]
    series = [Series("points", points, marks=True, labels="abc"), Series("line", points)]
    svg = plot("A < B", "k", "ms", series, log_x=log, log_y=log)
    root = ElementTree.fromstring(svg)  # noqa: S314 (our own)
    circles = root.findall(f"{SVG}circle")
    x, y = ([float(c.attrib[name]) for c in circles] for name in ("cx", "cy"))
    assert x == sorted(x)
    assert all(LEFT <= value <= WIDTH for value in x)
    assert all(0 <= value <= HEIGHT for value in y)
    assert y[1] == min(y)  # the largest value is on top
    assert len(root.findall(f"{SVG}polyline")) == 1
    texts = [text.text for text in root.findall(f"{SVG}text")]
    assert {"A < B", "k", "ms", "points", "line", "a", "b", "c"} <= set(texts)
    if log:
        assert x[1] - x[0] == pytest.approx(x[2] - x[1], abs=0.2)


def test_a_logarithmic_axis_leaves_out_what_is_not_positive() -> None:
    svg = plot(
        "t",
        "x",
        "y",
        [Series("p", [(0.0, 1.0), (1.0, 2.0), (2.0, -1.0)], marks=True)],
        log_x=True,
        log_y=True,
    )
    assert svg.count("<circle") == 1


def test_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="no point"):
        plot("t", "x", "y", [Series("empty", [])])


def test_equal_values_do_not_divide_by_zero() -> None:
    assert plot("t", "x", "y", [Series("one", [(3.0, 5.0)], marks=True)]).count("<circle") == 1
