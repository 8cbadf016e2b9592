"""What the engine does without HTTP: its rate, a typing session, a list of hypotheses.

    python -m benchmarks.serving.inprocess MODEL --threads 1 --seconds 3

Runs in a process of its own and tells its figures as JSON. *Engine time* is the sum of
``headfirst_step_duration_seconds``: what the engine's thread spent on steps, without any waiting.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, cast

import torch

from benchmarks.serving.apps.answering import K
from benchmarks.serving.texts import Texts, contexts
from models.bundle import Bundle
from service.contract.messages import Answer, Message, Predict, Score, Scored
from service.engine.engine import Engine
from service.metrics.registry import Metrics
from service.settings.settings import Settings

LEVELS = 1, 8, 64, 256
WORDS = 200
SESSIONS = 20
HYPOTHESES = 100
LENGTH = 20
SLOTS = 7
LISTS = 5
WAIT_SECONDS = 60.0


class Bench:
    """A running engine and its metrics."""

    def __init__(self, engine: Engine, metrics: Metrics) -> None:
        self.engine, self._metrics = engine, metrics

    def value(self, name: str) -> float:
        """The sum of the series of a sample."""
        samples = (s for family in self._metrics.registry.collect() for s in family.samples)
        return sum(sample.value for sample in samples if sample.name == f"headfirst_{name}")

    def engine_seconds(self) -> float:
        """Time spent on steps so far."""
        return self.value("step_duration_seconds_sum")

    def ask(self, messages: Sequence[Message]) -> list[Answer]:
        """The answers to one group of messages."""
        return [future.result(WAIT_SECONDS) for future in self.engine.submit(messages)]


@contextlib.contextmanager
def running(bundle: Bundle, **settings: Any) -> Iterator[Bench]:
    """An engine that is ready."""
    metrics = Metrics(bundle.config.n_clusters)
    engine = Engine(bundle, Settings(**settings), metrics)
    engine.start()
    end = time.monotonic() + WAIT_SECONDS
    while engine.state == "starting" and time.monotonic() < end:
        time.sleep(0.01)
    if engine.state != "ready":
        raise RuntimeError(f"the engine is {engine.state}: {engine.reason}")
    try:
        yield Bench(engine, metrics)
    finally:
        engine.stop()


def direct_call(bundle: Bundle, seconds: float) -> dict[str, float]:
    """One text after another through the model, as a program without a server would."""
    from benchmarks.serving.apps.answering import Answerer

    answerer, texts = Answerer(), Texts()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        answerer.results([texts[len(times)]])
        times.append(time.perf_counter() - began)
    return {"rate": len(times) / sum(times), "p50": statistics.median(times)}


class Flight:
    """So many predictions in the engine, each followed by the next from the callback that ends it."""

    def __init__(self, bench: Bench, bundle: Bundle, start: int) -> None:
        self._bench, self._encode, self._end_seconds = bench, bundle.vocabulary.encode_batch, 0.0
        self._texts, self._next, self._lock = Texts(), start, threading.Lock()
        self.latencies: list[float] = []
        self.failures = 0

    def run(self, in_flight: int, seconds: float) -> dict[str, float]:
        """Rate and median latency, tokenization included."""
        began = time.perf_counter()
        self._end_seconds = began + seconds
        self._over = threading.Semaphore(0)
        for _ in range(in_flight):
            self._ask()
        for _ in range(in_flight):
            if not self._over.acquire(timeout=seconds + WAIT_SECONDS):
                raise RuntimeError("the engine does not answer")
        took = time.perf_counter() - began
        if self.failures:
            raise RuntimeError(f"{self.failures} predictions failed")
        return {"rate": len(self.latencies) / took, "p50": statistics.median(self.latencies)}

    def _ask(self) -> None:
        began = time.perf_counter()
        if began >= self._end_seconds:
            self._over.release()
            return
        with self._lock:
            text = self._texts[self._next]
            self._next += 1
        tokens = tuple(self._encode([text])[0])
        (future,) = self._bench.engine.submit([Predict("", tokens, K, None, None)])
        future.add_done_callback(lambda done: self._answered(done, began))

    def _answered(self, future: Future[Answer], began: float) -> None:
        self.latencies.append(time.perf_counter() - began)
        self.failures += future.exception() is not None
        self._ask()


def raw_rate(bundle: Bundle, seconds: float) -> dict[str, dict[str, float]]:
    """`Engine.submit` with 1 to 256 predictions in flight; on all cores, as it starts by default."""
    threads = len(os.sched_getaffinity(0))
    result = {}
    with running(bundle, threads=threads) as bench:
        for level, in_flight in enumerate(LEVELS):
            Flight(bench, bundle, level * 400_000).run(in_flight, 0.5)
            result[str(in_flight)] = Flight(bench, bundle, level * 400_000 + 100_000).run(in_flight, seconds)
    return result


def typing(bundle: Bundle, threads: int) -> dict[str, Any]:
    """Texts of 200 words, a prediction after each word: engine time of the last ten words, and hits."""
    lines = contexts()
    random.Random(4).shuffle(lines)  # noqa: S311
    words = [word for line in lines for word in line.split()]
    sessions = []
    for i in range(SESSIONS):
        text = " ".join(words[i * WORDS * 2 :][: WORDS * 2])
        sessions.append(tuple(bundle.vocabulary.encode_batch([text])[0][:WORDS]))
    found: dict[str, Any] = {"words": WORDS, "sessions": SESSIONS}
    for name, cache_bytes in (("on", 64 << 20), ("off", 0)):
        last = []
        with running(bundle, threads=threads, engine_threads=1, state_cache_bytes=cache_bytes) as bench:
            for tokens in sessions:
                # With the cache off every word runs all before it: the end of a session tells all.
                for length in range(1 if cache_bytes else WORDS - 9, WORDS + 1):
                    before = bench.engine_seconds()
                    bench.ask([Predict("", tokens[:length], K, None, None)])
                    if length > WORDS - 10:
                        last.append(bench.engine_seconds() - before)
            found[name] = statistics.median(last)
            if cache_bytes:
                hits, misses = bench.value("state_cache_hits_total"), bench.value("state_cache_misses_total")
                found["hit_rate"] = hits / (hits + misses)
    found["times_less"] = found["off"] / found["on"]
    return found


def hypotheses(vocabulary_size: int, seed: int) -> list[tuple[int, ...]]:
    """An n-best list as recognizers make it: one sentence with two readings of seven of its words, 100 of the
    128 combinations."""
    generator = random.Random(seed)  # noqa: S311
    words = range(10, min(5000, vocabulary_size))
    base = generator.choices(words, k=LENGTH)
    slots = generator.sample(range(LENGTH), SLOTS)
    others = generator.choices(words, k=SLOTS)
    lists = []
    for number in generator.sample(range(2**SLOTS), HYPOTHESES):
        row = list(base)
        for bit, (slot, other) in enumerate(zip(slots, others, strict=True)):
            if number >> bit & 1:
                row[slot] = other
        lists.append(tuple(row))
    return lists


def rescoring(bundle: Bundle, threads: int) -> dict[str, Any]:
    """Engine time of lists of hypotheses: in one request, one by one, and as requests at once."""
    times: dict[str, list[float]] = {"list": [], "one_by_one": [], "at_once": []}
    difference, nodes = 0.0, []
    end = bundle.vocabulary.end_id
    with running(bundle, threads=threads, engine_threads=1) as bench:
        for seed in range(LISTS + 1):
            rows = [(*row, end) for row in hypotheses(len(bundle.vocabulary), seed)]
            nodes.append(len({row[:n] for row in rows for n in range(1, LENGTH + 1)}))
            messages = [Score("", (), row, None) for row in rows]
            before = bench.engine_seconds()
            tree = bench.ask(messages)
            after_tree = bench.engine_seconds()
            single = [bench.ask([message])[0] for message in messages]
            after_single = bench.engine_seconds()
            futures = [bench.engine.submit([message])[0] for message in messages]
            for future in futures:
                future.result(WAIT_SECONDS)
            after_all = bench.engine_seconds()
            for one, other in zip(tree, single, strict=True):
                pairs = zip(cast(Scored, one).logprobs, cast(Scored, other).logprobs, strict=True)
                difference = max(difference, *(abs(a - b) for a, b in pairs))
            if seed:  # the first list warms up
                times["list"].append(after_tree - before)
                times["one_by_one"].append(after_single - after_tree)
                times["at_once"].append(after_all - after_single)
    found: dict[str, Any] = {name: statistics.median(values) for name, values in times.items()}
    found |= {"hypotheses": HYPOTHESES, "length": LENGTH, "lists": LISTS, "difference": difference}
    found["nodes"] = statistics.median(nodes[1:])
    found["times_less"] = found["one_by_one"] / found["list"]
    return found


def main() -> None:
    """All of it, told as JSON."""
    parser = argparse.ArgumentParser(description="The engine without HTTP.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3.0)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    bundle = Bundle.load(args.model, "cpu")
    result = {
        "direct": direct_call(bundle, args.seconds),
        "raw": raw_rate(bundle, args.seconds),
        "typing": typing(bundle, args.threads),
        "rescoring": rescoring(bundle, args.threads),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
