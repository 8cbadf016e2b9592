"""Whatever happens, in whatever order: every message leaves once, and soon."""

import contextlib
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from service.contract.errors import QueueFull
from service.contract.messages import Predict, Score
from service.engine.scheduler import SCORE_SLICE_TOKENS
from service.engine.work import Batch
from tests.support.batcher_bench import Bench, messages_of, predict, score

MESSAGES = st.one_of(
    st.builds(predict, st.integers(0, 150), st.one_of(st.none(), st.integers(0, 60).map(float))),
    st.builds(
        score,
        st.integers(0, 300),
        st.one_of(st.none(), st.integers(0, 60).map(float)),
        first=st.integers(0, 3),
    ),
)
EVENTS = st.one_of(
    st.tuples(st.just("submit"), st.lists(MESSAGES, max_size=6)),
    st.tuples(st.just("step"), st.integers(1, 9)),
    st.tuples(st.just("cancel"), st.integers(0, 1000)),
    st.tuples(st.just("timer"), st.none()),
)


def ask(bench: Bench, kind: str, value: object) -> None:
    """What those who ask do, and the timer."""
    if kind == "submit":
        with contextlib.suppress(QueueFull):
            bench.submit(*value)  # type: ignore[misc]
    elif kind == "cancel" and bench.jobs:
        job = bench.jobs[int(value) % len(bench.jobs)]  # type: ignore[call-overload]
        if job in bench.open:
            assert job.cancel()
            bench.gone[job] += 1
    elif kind == "timer" and any(job.deadline <= bench.now for job in bench.open):
        bench.gone.update(bench.batcher.overdue() or ())


def check_all_left(bench: Bench) -> None:
    """Each job was answered once or is gone, those among them that are too late now."""
    if bench.open:
        bench.gone.update(bench.batcher.overdue() or ())
    assert bench.answered + bench.gone == Counter(bench.jobs)
    assert bench.batcher.depth == bench.batcher.tokens == 0
    assert bench.batcher.wait_idle(0)


@settings(max_examples=200, deadline=None)
@given(st.lists(EVENTS, max_size=40), st.integers(1, 300), st.integers(1, 300))
def test_every_message_is_answered_once_and_no_budget_is_exceeded(
    events: list[tuple[str, object]], batch_tokens: int, score_tokens: int
) -> None:
    bench = Bench(batch_tokens, score_tokens, max_inputs=20, max_tokens=2000)
    for kind, value in events:
        ask(bench, kind, value)
        if kind == "step" and any(job.deadline > bench.now for job in bench.open):
            batch = bench.step(seconds=float(value))  # type: ignore[arg-type]
            budget = (
                batch_tokens
                if isinstance(messages_of(batch)[0], Predict)
                else min(batch_tokens, score_tokens)
            )
            assert 0 < batch.tokens <= budget
            assert all(piece.count <= SCORE_SLICE_TOKENS for piece in batch.slices)
    while any(job.deadline > bench.now for job in bench.open):
        bench.step(seconds=0)
    check_all_left(bench)
    assert sum(bench.rejected.values()) == sum(bench.gone.values())


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(MESSAGES, min_size=1, max_size=6), min_size=1, max_size=20), st.integers(1, 300))
def test_the_last_to_come_waits_a_bounded_time(calls: list[list[Predict | Score]], batch_tokens: int) -> None:
    """However much stands before it, a keystroke is answered within the first turn of each client."""
    bench = Bench(batch_tokens, batch_tokens)
    for messages in calls:
        bench.submit(*messages)
    (job,) = bench.submit(predict(1))
    for _ in range(4 * (len(calls) + 2)):
        if bench.answered[job]:
            return
        bench.step()
    raise AssertionError("starved")


CONCURRENT = st.one_of(
    st.tuples(st.just("submit"), st.lists(MESSAGES, max_size=6)),
    st.tuples(st.just("take"), st.none()),
    st.tuples(st.just("end"), st.integers(0, 3)),
    st.tuples(st.just("cancel"), st.integers(0, 1000)),
    st.tuples(st.just("timer"), st.none()),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(CONCURRENT, max_size=60), st.integers(2, 4), st.integers(1, 300))
def test_threads_share_the_work_and_answer_each_message_once(
    events: list[tuple[str, object]], threads: int, batch_tokens: int
) -> None:
    bench = Bench(batch_tokens, batch_tokens, max_inputs=20, max_tokens=2000, threads=threads)
    running: list[Batch] = []

    def take() -> None:
        batch = bench.next()
        mine = {id(piece.node) for piece in batch.slices}
        others = {id(piece.node) for other in running for piece in other.slices}
        assert len(mine) == len(batch.slices)
        assert not mine & others, "two threads have one node"
        assert batch.tokens <= batch_tokens
        running.append(batch)

    for kind, value in events:
        ask(bench, kind, value)
        if kind == "take" and len(running) < threads and bench.batcher.has_work():
            take()
        elif kind == "end" and running:
            bench.run(running.pop(int(value) % len(running)), seconds=1)  # type: ignore[call-overload]
    while running or bench.batcher.has_work():
        if running and (len(running) == threads or not bench.batcher.has_work()):
            bench.run(running.pop(0), seconds=0)
        else:
            take()
    check_all_left(bench)
