"""Whoever has nothing to do blocks, and is woken when there is something."""

import threading
import time
from collections.abc import Callable

from service.engine.batcher import Batcher
from service.engine.work import Batch
from tests.support.batcher_bench import Bench, predict, score


class Caller(threading.Thread):
    """Calls a function in a thread of its own; `result` waits for what it returns."""

    def __init__(self, function: object) -> None:
        super().__init__(daemon=True)
        self.function = function
        self.returned: list[object] = []
        self.start()

    def run(self) -> None:
        assert callable(self.function)
        self.returned.append(self.function())

    def result(self) -> object:
        self.join(30)
        assert self.returned, "it is still blocked"
        return self.returned[0]


def look_until(holds: Callable[[], bool]) -> None:
    """Who is about to block tells nobody, so this looks again and again, and lets others run in between."""
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end, "nobody waits"
        time.sleep(0)


def wait_until_asleep(batcher: Batcher, threads: int = 1) -> None:
    look_until(lambda: batcher.asleep() == threads)


def test_next_blocks_until_something_is_there() -> None:
    bench = Bench()
    caller = Caller(lambda: bench.batcher.next(bench.begin))
    wait_until_asleep(bench.batcher)
    bench.submit(predict())
    batch = caller.result()
    assert isinstance(batch, Batch)
    assert len(batch.slices) == 1


def test_next_blocks_when_only_the_dead_are_waiting() -> None:
    bench = Bench()
    bench.submit(predict(deadline=1))
    bench.now = 2.0
    caller = Caller(lambda: bench.batcher.next(bench.begin))
    wait_until_asleep(bench.batcher)
    bench.batcher.stop()
    assert caller.result() is None


def test_the_timer_wakes_for_an_earlier_deadline() -> None:
    bench = Bench()
    caller = Caller(bench.batcher.overdue)
    bench.submit(predict(deadline=1000))
    look_until(lambda: bench.batcher.wake_at == 1000)
    bench.now = 10.0
    (job,) = bench.submit(predict(deadline=10))
    assert caller.result() == [job]


def test_the_timer_wakes_by_itself() -> None:
    bench = Bench()
    (job,) = bench.submit(predict(deadline=0.05))
    times = iter([0.0])
    bench.clock = lambda: next(times, 1.0)
    assert bench.batcher.overdue() == [job]


def test_stop_wakes_everybody() -> None:
    bench = Bench()
    callers = [Caller(lambda: bench.batcher.next(bench.begin)), Caller(bench.batcher.overdue)]
    look_until(bench.batcher.idle)
    bench.batcher.stop()
    assert [caller.result() for caller in callers] == [None, None]


def test_with_nothing_asked_all_sleep_until_they_are_woken() -> None:
    """A thread that sleeps has no time at which it looks again by itself."""
    bench = Bench(threads=2)
    assert not bench.batcher.idle()
    callers = [Caller(lambda: bench.batcher.next(bench.begin)) for _ in range(2)]
    wait_until_asleep(bench.batcher, 2)
    assert not bench.batcher.idle()
    callers.append(Caller(bench.batcher.overdue))
    look_until(bench.batcher.idle)
    assert bench.batcher.wake_at == float("inf")
    bench.submit(predict())
    assert not bench.batcher.idle()
    bench.batcher.stop()


def test_waiting_for_idleness() -> None:
    bench = Bench()
    assert bench.batcher.wait_idle(0)
    bench.submit(predict())
    assert not bench.batcher.wait_idle(0)
    caller = Caller(lambda: bench.batcher.wait_idle(60))
    caller.join(0.05)  # It is blocked by then.
    assert not caller.returned
    bench.step()
    assert caller.result() is True


def test_who_fell_asleep_last_is_woken_first() -> None:
    bench = Bench(threads=2)
    first = Caller(lambda: bench.batcher.next(bench.begin))
    wait_until_asleep(bench.batcher)
    second = Caller(lambda: bench.batcher.next(bench.begin))
    wait_until_asleep(bench.batcher, 2)
    bench.submit(predict())
    assert isinstance(second.result(), Batch)
    assert not first.returned
    bench.submit(predict())
    assert isinstance(first.result(), Batch)


def test_what_one_thread_leaves_wakes_the_other() -> None:
    bench = Bench(threads=2)
    callers = [Caller(lambda: bench.batcher.next(bench.begin)) for _ in range(2)]
    wait_until_asleep(bench.batcher, 2)
    bench.submit(*(predict(31) for _ in range(64)))
    batches = [caller.result() for caller in callers]
    assert all(isinstance(batch, Batch) for batch in batches)
    assert sum(len(batch.slices) for batch in batches if isinstance(batch, Batch)) <= 64


def test_who_answers_a_small_batch_takes_what_comes_meanwhile() -> None:
    bench = Bench(threads=2)
    bench.submit(predict())
    batch = bench.next()
    other = Caller(lambda: bench.batcher.next(bench.begin))
    wait_until_asleep(bench.batcher)
    bench.batcher.answering(batch)
    bench.submit(predict())
    bench.run(batch)
    assert isinstance(bench.next(), Batch)
    assert not other.returned
    bench.submit(predict())
    assert isinstance(other.result(), Batch)


def test_a_batch_is_alone_while_nothing_else_runs_or_waits() -> None:
    bench = Bench(threads=2)
    bench.submit(predict())
    first = bench.batcher.next(bench.begin)
    bench.submit(predict())
    second = bench.batcher.next(bench.begin)
    assert first is not None
    assert second is not None
    assert (first.alone, second.alone) == (True, False)
    bench.batcher.finish(first, 0, [])
    bench.batcher.finish(second, 0, [])
    bench.submit(predict())
    bench.submit(score())
    both = bench.batcher.next(bench.begin)
    assert both is not None
    assert not both.alone
