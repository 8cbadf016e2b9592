"""Stands in for `headfirst serve ...` in the pages' blocks: starts it, asks for a prediction, ends it.

python -m tests.docs.served_once --model BUNDLE
"""

from __future__ import annotations

import sys

import httpx

from tests.support.server_process import ServerProcess


def main(arguments: list[str]) -> int:
    """The server's exit status, which is 0 if all went well."""
    server = ServerProcess(*arguments)
    try:
        server.wait_ready()
        answer = httpx.post(f"{server.url}/v1/predict", json={"inputs": "the", "k": 3}, timeout=60)
        print(answer.raise_for_status().text)
    finally:
        status = server.stop()
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
