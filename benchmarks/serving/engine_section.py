"""What was measured of the engine without HTTP, as Markdown."""

from __future__ import annotations

from benchmarks.serving.peers import OURS
from benchmarks.serving.results import Results
from benchmarks.serving.table import table


def engine_section(results: Results) -> list[str]:
    """The heading and the tables; nothing if it was not measured."""
    found = results.found.get("inprocess")
    if not found:
        return []
    raw, typing, lists = found["raw"], found["typing"], found["rescoring"]

    def overhead(level: int) -> str:
        ours, inside = results.closed(OURS, level, "rate"), raw.get(str(level), {}).get("rate")
        return f"{1 - ours / inside:.0%}" if ours and inside else "-"

    def rate(level: int) -> str:
        return f"{raw[str(level)]['rate']:,.0f}" if str(level) in raw else "-"

    single = results.closed(OURS, 1, "p50")
    over = f"{(single - found['direct']['p50']) * 1e3:+.2f} ms" if single else "-"
    return [
        "## The engine without HTTP",
        "",
        *table(
            ("in flight", *(str(level) for level in results.levels)),
            (
                ["`Engine.submit`, predictions a second", *map(rate, results.levels)],
                ["what HTTP and the load generator cost of it", *map(overhead, results.levels)],
            ),
        ),
        f"A direct call of the model (tokenize, body, top-k; no engine): median "
        f"{found['direct']['p50'] * 1e3:.2f} ms; `Engine.submit` with one in flight "
        f"{raw['1']['p50'] * 1e3:.2f} ms; over HTTP at one connection {over} against the direct call.",
        "",
        *table(
            ("engine time", "with", "without", "times less", "more"),
            (
                [
                    "typing: words 191 to 200 of a text, state cache",
                    f"{typing['on'] * 1e3:.2f} ms",
                    f"{typing['off'] * 1e3:.2f} ms",
                    f"{typing['times_less']:.1f}",
                    f"hit rate {typing['hit_rate']:.2%} over {typing['sessions']} sessions",
                ],
                [
                    f"{lists['hypotheses']} hypotheses of {lists['length']} words: a list, or one by one",
                    f"{lists['list'] * 1e3:.0f} ms",
                    f"{lists['one_by_one'] * 1e3:.0f} ms",
                    f"{lists['times_less']:.1f}",
                    f"{lists['nodes']:.0f} nodes of {lists['hypotheses'] * lists['length']} words; "
                    f"largest difference {lists['difference']:.1e}; as so many requests at once "
                    f"{lists['at_once'] * 1e3:.0f} ms",
                ],
            ),
        ),
    ]
