"""Bar charts and plots as SVG, by hand: no library is needed for bars and lines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

COLORS = "#d1495b", "#f0908f", "#2e86ab", "#6a994e", "#f2a541", "#7b5ea7", "#5c677d"
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 860, 400, 70, 64, 60


def grouped_bars(
    title: str,
    unit: str,
    groups: Sequence[str],
    series: Sequence[tuple[str, Sequence[float | None]]],
    log: bool = False,
) -> str:
    """A chart with a group of bars for each of `groups`, a bar for each of `series`.

    Args:
        title: over it; `unit` stands at the axis.
        series: names, and a value a group; None or a value that is not positive leaves the bar out.
        log: a logarithmic axis.
    """
    values = [value for _, row in series for value in row if value is not None and value > 0]
    high = _round_up(max(values, default=1.0))
    low = 10 ** math.floor(math.log10(min(values, default=0.1))) if log else 0.0
    plot = HEIGHT - TOP - BOTTOM

    def y(value: float) -> float:
        share = math.log(value / low) / math.log(high / low) if log else value / high
        return TOP + plot * (1 - share)

    parts = _frame(title)
    parts += [
        f'<line x1="{LEFT}" x2="{WIDTH - 10}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" stroke="#ddd"/>'
        f'<text x="{LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>'
        for tick in _ticks(low, high, log)
    ]
    parts.append(f'<text x="14" y="{TOP - 10}">{escape(unit)}</text>')
    width = (WIDTH - LEFT - 10) / max(1, len(groups))
    bar = width * 0.84 / max(1, len(series))
    for number, (name, row) in enumerate(series):
        color = COLORS[number % len(COLORS)]
        x = LEFT + number * (WIDTH - LEFT) / max(1, len(series))
        parts.append(_legend(name, color, x))
        for group, value in enumerate(row):
            if value is None or value <= 0:
                continue
            at = LEFT + group * width + width * 0.08 + number * bar
            parts.append(
                f'<rect x="{at:.1f}" y="{y(value):.1f}" width="{bar - 2:.1f}" '
                f'height="{TOP + plot - y(value):.1f}" fill="{color}"><title>{escape(name)}, '
                f"{escape(groups[group])}: {value:.4g} {escape(unit)}</title></rect>"
                f'<text x="{at + bar / 2 - 1:.1f}" y="{y(value) - 3:.1f}" font-size="8.5" '
                f'text-anchor="middle">{_short(value)}</text>'
            )
    for group, name in enumerate(groups):
        x = LEFT + (group + 0.5) * width
        parts.append(
            f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{escape(name)}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


@dataclass(frozen=True, slots=True)
class Series:
    """A named row of (x, y) in a plot; `marks` draws points, else a line through them."""

    name: str
    points: Sequence[tuple[float, float]]
    marks: bool = False
    labels: Sequence[str] = ()


def plot(
    title: str,
    x_label: str,
    y_label: str,
    series: Sequence[Series],
    log_x: bool = False,
    log_y: bool = False,
    color_of: Sequence[int] | None = None,
) -> str:
    """Lines and points over two axes.

    Args:
        title: over it; the labels stand at the axes.
        series: drawn in order; a logarithmic axis leaves out values that are not positive.
        log_x: a logarithmic axis; `log_y` likewise.
        color_of: which color each series has; one each by default.

    Raises:
        ValueError: there is nothing to draw.
    """
    drawn = [
        [(x, y) for x, y in one.points if (x > 0 or not log_x) and (y > 0 or not log_y)] for one in series
    ]
    every = [point for points in drawn for point in points]
    if not every:
        raise ValueError(f"no point to draw in {title!r}")
    across = _Axis.over([x for x, _ in every], log_x, LEFT, WIDTH - 24)
    up = _Axis.over([y for _, y in every], log_y, HEIGHT - BOTTOM, TOP)
    parts = _frame(title)
    for tick, text in up.ticks():
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - 24}" y1="{tick:.1f}" y2="{tick:.1f}" stroke="#ddd"/>'
            f'<text x="{LEFT - 6}" y="{tick + 4:.1f}" text-anchor="end">{text}</text>'
        )
    for tick, text in across.ticks():
        parts.append(
            f'<line x1="{tick:.1f}" x2="{tick:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="#eee"/>'
            f'<text x="{tick:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{text}</text>'
        )
    parts.append(f'<text x="14" y="{TOP - 10}">{escape(y_label)}</text>')
    middle = (LEFT + WIDTH - 24) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 16}" text-anchor="middle">{escape(x_label)}</text>')
    for number, (one, points) in enumerate(zip(series, drawn, strict=True)):
        color = COLORS[(number if color_of is None else color_of[number]) % len(COLORS)]
        at = [(across.place(x), up.place(y)) for x, y in points]
        parts.append(_legend(one.name, color, LEFT + number * (WIDTH - LEFT) / max(1, len(series))))
        if not one.marks:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
            parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
            continue
        for i, ((x, y), (left, top)) in enumerate(zip(points, at, strict=True)):
            parts.append(
                f'<circle cx="{left:.1f}" cy="{top:.1f}" r="3.5" fill="{color}">'
                f"<title>{escape(one.name)}: {x:.4g}, {y:.4g}</title></circle>"
            )
            if i < len(one.labels):
                parts.append(
                    f'<text x="{left + 6:.1f}" y="{top - 5:.1f}" font-size="10">'
                    f"{escape(one.labels[i])}</text>"
                )
    return "\n".join([*parts, "</svg>"]) + "\n"


@dataclass(frozen=True, slots=True)
class _Axis:
    low: float
    high: float
    log: bool
    start: float
    end: float

    @classmethod
    def over(cls, values: Sequence[float], log: bool, start: float, end: float) -> _Axis:
        low, high = min(values), max(values)
        if log:
            return cls(low / 1.15, high * 1.15, True, start, end)
        # From zero, unless all of it would be a strip at the far end.
        low = 0.0 if low >= 0 and low < 0.85 * high else low - 0.08 * (high - low or abs(low) or 1.0)
        return cls(low, high + 0.05 * (high - low or 1.0), False, start, end)

    def place(self, value: float) -> float:
        """Where on the picture."""
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        """Places and texts of round numbers."""
        if not self.log:
            step = _round_up((self.high - self.low) / 8)
            first = math.ceil(self.low / step)
            values = [step * i for i in range(first, math.floor(self.high / step) + 1)]
        else:
            exponents = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            factors = (1,) if len(exponents) > 5 else (1, 2, 5)
            values = [f * 10.0**e for e in exponents for f in factors if self.low <= f * 10.0**e <= self.high]
        return [(self.place(value), f"{value:,.10g}") for value in values]


def _frame(title: str) -> list[str]:
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="system-ui, sans-serif" font-size="12" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="20" font-size="15" font-weight="600">{escape(title)}</text>',
    ]


def _legend(name: str, color: str, x: float) -> str:
    if not name:  # points on the line that has the name
        return ""
    return (
        f'<rect x="{x:.1f}" y="32" width="11" height="11" fill="{color}"/>'
        f'<text x="{x + 15:.1f}" y="42">{escape(name)}</text>'
    )


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _round_up(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 1.5, 2, 3, 5, 7.5, 10, 15) if step * power >= value * 1.02)


def _ticks(low: float, high: float, log: bool) -> list[float]:
    if not log:
        return [high * i / 5 for i in range(6)]
    return [10.0**e for e in range(round(math.log10(low)), math.floor(math.log10(high)) + 1)]
