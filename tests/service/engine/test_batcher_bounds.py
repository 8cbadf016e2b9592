"""What is let in: all of a call or nothing, up to the queue's bounds; and when to try again."""

import pytest

from service.contract.errors import Draining, QueueFull, TooLarge
from service.contract.messages import Predict, Score
from service.contract.retry_after import FIRST_SECONDS, MAX_SECONDS
from service.engine.queue import GROWTH_STEPS
from service.engine.work import Node
from tests.support.batcher_bench import Bench, predict, score


def test_all_or_nothing() -> None:
    bench = Bench(max_inputs=4)
    bench.submit(predict(), predict(), predict())
    with pytest.raises(QueueFull):
        bench.submit(predict(), predict())
    assert bench.batcher.depth == 3
    bench.submit(predict())
    assert bench.batcher.depth == 4


def test_tokens_are_bounded_too() -> None:
    bench = Bench(max_tokens=100)
    bench.submit(score(60))
    with pytest.raises(QueueFull):
        bench.submit(score(60))
    assert bench.batcher.tokens == 60


def test_a_full_bulk_queue_refuses_no_prediction() -> None:
    bench = Bench(max_inputs=2, max_tokens=100)
    bench.submit(score(50), score(50, first=1))
    with pytest.raises(QueueFull):
        bench.submit(score(1))
    bench.submit(predict())


@pytest.mark.parametrize("messages", [[predict()] * 5, [score(101)]])
def test_what_never_fits_is_too_large(messages: list[Predict | Score]) -> None:
    bench = Bench(max_inputs=4, max_tokens=100)
    with pytest.raises(TooLarge, match="at most 4 inputs with 100 words"):
        bench.submit(*messages)


def test_room_is_there_again_after_the_answers() -> None:
    bench = Bench(max_inputs=2, max_tokens=100)
    bench.submit(score(50), score(50, first=1))
    bench.run_all()
    assert bench.batcher.tokens == bench.batcher.depth == 0
    bench.submit(score(50), score(50, first=1))


def test_retry_after_follows_the_present_rate() -> None:
    bench = Bench(max_tokens=990, score_tokens=100)
    bench.submit(*(score(10, first=i) for i in range(99)))
    with pytest.raises(QueueFull) as full:
        bench.submit(score(1))
    assert full.value.retry_after == FIRST_SECONDS
    while bench.batcher.has_work():
        bench.step(seconds=0.5)  # 11 sentences, of 9 tokens to run, a step.
    bench.submit(*(score(10, first=i) for i in range(99)))
    with pytest.raises(QueueFull) as full:
        bench.submit(score(1))
    assert full.value.retry_after == pytest.approx(990 / 110 * 0.5)


def test_retry_after_has_a_limit() -> None:
    bench = Bench(max_inputs=1)
    bench.submit(score(2))
    bench.step(seconds=10_000)
    bench.submit(score(2))
    with pytest.raises(QueueFull) as full:
        bench.submit(score(2))
    assert full.value.retry_after == MAX_SECONDS


def test_time_that_the_other_kind_takes_slows_the_rate() -> None:
    bench = Bench(max_inputs=2)
    bench.submit(score(10))
    bench.step(seconds=1)
    bench.submit(score(10), score(10, first=1))
    bench.submit(predict())
    bench.step(seconds=9)
    with pytest.raises(QueueFull) as full:
        bench.submit(score(10))
    assert full.value.retry_after > 10


def test_closed_while_the_messages_were_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()

    def prepare(jobs: object) -> list[Node]:
        bench.batcher.close(Draining)
        return []

    monkeypatch.setattr("service.engine.batcher.predict_nodes", prepare)
    with pytest.raises(Draining):
        bench.submit(predict())
    assert bench.batcher.depth == 0


def test_closed() -> None:
    bench = Bench()
    bench.submit(predict())
    bench.batcher.close(Draining)
    with pytest.raises(Draining):
        bench.submit(predict())
    bench.step()
    assert len(bench.answered) == 1
    bench.batcher.open()
    bench.submit(predict())


def test_a_shrunk_budget_grows_back() -> None:
    bench = Bench(batch_tokens=2048)
    assert bench.batcher.shrink() == 1024
    for _ in range(20):
        smallest = bench.batcher.shrink()
    assert smallest == 1
    for _ in range(GROWTH_STEPS):
        bench.submit(predict())
        bench.submit(score())
        bench.run_all()
    assert bench.batcher.budgets == (2048, 128)
