"""The whole CPU table with one command: ``python -m benchmarks.cpu``, less than ten minutes on two cores.

Top-k and scoring, ours beside torch's own ways, for the model that ships and for the sizes of published
models (`models.benchmarking`; the same as ``headfirst bench all``). Writes ``cpu-DATE.json`` and
``cpu-DATE.md`` into `results/`. The machine should be quiet.
"""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path

from service.cli import app

RESULTS = Path(__file__).with_name("results")


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="of each shape one batch, once, to try it")
    parser.add_argument("--out", type=Path, default=RESULTS, help="directory for the results")
    args = parser.parse_args()
    name = f"cpu-{datetime.datetime.now(datetime.UTC).date()}"
    arguments = ["bench", "all", "--json", str(args.out / f"{name}.json")]
    arguments += ["--markdown", str(args.out / f"{name}.md"), *(["--quick"] if args.quick else [])]
    app(arguments)


if __name__ == "__main__":
    main()
