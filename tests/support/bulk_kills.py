"""`headfirst ARGUMENTS...` in a process that kills itself, again and again, each time at another step.

Step n is the n-th time that a file or folder gets a name: a run ends before it, the next one after it. Each
run is a fork: what takes long, the imports, is done once. The last argument is the output; `whole` is beside
it, that of one run which is not killed. Says on standard output how many runs were killed.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import service.offline.bulk.job
import service.offline.bulk.parquet  # noqa: F401
from service.cli import app

STEPS = 3
"""A run takes no more of them, so that the last ones, where parts become a file, are reached by many runs."""


def kill_at(step: int, after: bool) -> None:
    """Lets this process end at that step without any chance to clean up."""
    steps = 0

    def stepping(change: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*arguments: Any, **options: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == step and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = change(*arguments, **options)
            if steps == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return changed

    for name in ("replace", "rename"):
        setattr(Path, name, stepping(getattr(Path, name)))


def run(arguments: list[str], step: int = 0, after: bool = False) -> int:
    child = os.fork()
    if child == 0:
        kill_at(step, after)
        app(arguments, standalone_mode=False)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(arguments: list[str]) -> None:
    for number in range(100):
        status = run(arguments, number // 2 % STEPS + 1, bool(number % 2))
        if status == 0:
            break
        if status != -signal.SIGKILL:
            sys.exit(f"run {number} ended with {status}")
    else:
        sys.exit("never done")
    output = Path(arguments.pop())
    if run([*arguments, str(output.with_stem("whole"))]) != 0:
        sys.exit("not even once")
    print(number)


if __name__ == "__main__":
    main(sys.argv[1:])
