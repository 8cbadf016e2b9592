"""The mixed load in short: what it asks, and a server that it leaves as it found it."""

import json
import random
from argparse import Namespace

import pytest

from benchmarks.serving import machine, peers
from benchmarks.serving.mixed import KINDS, WEIGHTS, Mix
from benchmarks.serving.soak import faults, growth, report, soak
from tests.support.tiny import tiny_bundle


def found(**changes):
    good = {
        "http_workers": 0,
        "requests": 3,
        "statuses": {"good": {"200": 1}, "gone": {"0": 1}, "bad": {"422": 1}, "late": {"504": 1}},
        "gauges": {"queue_depth": 0.0},
        "internal_errors": 0.0,
        "memory": [(float(i), 1000) for i in range(12)],
        "growth": 0.0,
        "cpu": 1.0,
    }
    return good | changes


def test_kinds_come_as_often_as_they_should():
    mix = Mix(random.Random(1))
    kinds = [mix.kind() for _ in range(10_000)]
    for kind, weight in zip(KINDS, WEIGHTS, strict=True):
        assert kinds.count(kind) == pytest.approx(100 * weight, rel=0.1)


def test_good_requests_are_json_and_typed_texts_grow():
    mix = Mix(random.Random(1))
    bodies = []
    for _ in range(300):
        head, body = mix.request("good").split(b"\r\n\r\n")
        assert f"Content-Length: {len(body)}".encode() in head
        bodies.append(json.loads(body))
    typed = [body["inputs"] for body in bodies if isinstance(body["inputs"], str)]
    assert any(after.startswith(f"{before} ") for before in typed for after in typed)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"statuses": {"good": {"500": 2}}}, "2 good requests were answered 500"),
        ({"statuses": {"late": {"503": 1}}}, "1 late requests were answered 503"),
        ({"gauges": {"queue_depth": 4.0}}, "queue_depth stays at 4"),
        ({"growth": 0.1}, "memory grew by 10.0% after the warm-up"),
        ({"internal_errors": 1.0}, "1 answers were 500"),
    ],
)
def test_what_is_not_as_required_is_told(changes, sentence):
    assert faults(found()) == []
    assert faults(found(**changes)) == [sentence]


def test_growth_is_of_the_time_after_the_warm_up():
    assert growth([(float(i), 500 if i < 25 else 1000) for i in range(101)]) == 0
    assert growth([(float(i), 1000 + 10 * i) for i in range(101)]) > 0.2


def _soak(tmp_path, http_workers, seconds):
    tree = machine.ROOT
    place = peers.Place(tree, tiny_bundle(tmp_path / "tiny"), tmp_path, tmp_path, 1)
    return soak(place, http_workers, Namespace(seconds=seconds, clients=8, seed=1))


def test_nothing_stays_behind(tmp_path):
    one = _soak(tmp_path, 0, 4.0)
    one["growth"] = 0.0  # In so short a time the caches are still being filled.
    assert faults(one) == []
    assert one["statuses"]["good"]["200"] > 50
    assert sum(one["statuses"]["gone"].values())
    results = {"date": "today", "commit": "c", "machine": machine.machine(), "model": "m", "seconds": 4.0}
    assert "| 0 |" in report(results | {"clients": 8, "runs": [one | {"faults": []}]})


@pytest.mark.slow
@pytest.mark.parametrize("http_workers", [0, 1])
def test_nothing_stays_behind_for_longer(tmp_path, http_workers):
    assert faults(_soak(tmp_path, http_workers, 20.0)) == []
