"""Requests to a real server, and comparisons of its answers."""

import itertools
import json
import random
import socket
import time
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.tiny import tiny_words

WORDS = tiny_words()[2:]

BODY = json.dumps({"inputs": "Thank you"})
"""Of a request to either model route."""


def predict(client: httpx.Client, **body: Any) -> list[dict[str, Any]]:
    response = client.post("/v1/predict", json=body)
    assert response.status_code == 200, response.text
    results: list[dict[str, Any]] = response.json()["results"]
    return results


def score(client: httpx.Client, **body: Any) -> list[dict[str, Any]]:
    response = client.post("/v1/score", json=body)
    assert response.status_code == 200, response.text
    results: list[dict[str, Any]] = response.json()["results"]
    return results


def assert_same(one: Any, other: Any) -> None:
    """Equal, numbers up to 1e-4."""
    if isinstance(one, float):
        assert one == pytest.approx(other, rel=1e-3 if abs(one) > 100 else 0, abs=1e-4)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for name in one:
            assert_same(one[name], other[name])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_same(left, right)
    else:
        assert one == other


def sentences(count: int, seed: int, longest: int = 60) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(0, longest))) for _ in range(count)]


Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(client: httpx.Client) -> Samples:
    page = client.get("/metrics").text
    return {
        (sample.name.removeprefix("headfirst_"), tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def samples_once_counted(client: httpx.Client, messages: float) -> tuple[Samples, int]:
    """The metrics once the engine has counted `messages` in all, and how often the page was asked for.

    The engine counts a batch just after its answers: a client that has its answer may ask before that.
    """
    end = time.monotonic() + 30
    for looks in itertools.count(1):
        page = samples(client)
        if page["queue_duration_seconds_count", ()] >= messages:
            return page, looks
        assert time.monotonic() < end, f"{page['queue_duration_seconds_count', ()]} of {messages} messages"
        time.sleep(0.01)
    raise AssertionError


def raw_exchange(url: str, *pieces: bytes) -> bytes:
    """The bytes that the server answers to `pieces` until it closes the connection."""
    host, port = url.removeprefix("http://").split(":")
    answer = b""
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        for piece in pieces:
            connection.sendall(piece)
        while chunk := connection.recv(65536):
            answer += chunk
    return answer
