"""Bar charts as SVG, by hand: no library is needed for bars."""

from __future__ import annotations

import math
from collections.abc import Sequence
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

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="system-ui, sans-serif" font-size="12" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="20" font-size="15" font-weight="600">{escape(title)}</text>',
    ]
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
        parts.append(
            f'<rect x="{x:.1f}" y="32" width="11" height="11" fill="{color}"/>'
            f'<text x="{x + 15:.1f}" y="42">{escape(name)}</text>'
        )
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


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _round_up(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 1.5, 2, 3, 5, 7.5, 10, 15) if step * power >= value * 1.02)


def _ticks(low: float, high: float, log: bool) -> list[float]:
    if not log:
        return [high * i / 5 for i in range(6)]
    return [10.0**e for e in range(round(math.log10(low)), math.floor(math.log10(high)) + 1)]
