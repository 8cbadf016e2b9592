"""What is put into a batch, what is let in, and what leaves uncomputed."""

from service.contract.messages import Predict, Predicted, Score
from service.engine.queue import MIN_SLICE_TOKENS
from service.engine.scheduler import PREDICT_SLICE_TOKENS, SCORE_SLICE_TOKENS
from service.engine.work import Node
from tests.support.batcher_bench import HIDDEN, Bench, messages_of, predict, score

# -- batches ---------------------------------------------------------------------------------------------


def test_what_waits_is_one_batch() -> None:
    bench = Bench()
    for _ in range(5):
        bench.submit(predict())
    batch = bench.step()
    assert len(batch.slices) == 5
    assert batch.tokens == 15
    assert not bench.batcher.has_work()
    assert sum(bench.answered.values()) == 5


def test_an_empty_call_is_nothing() -> None:
    bench = Bench()
    assert bench.submit() == []
    assert not bench.batcher.has_work()


def test_a_message_without_tokens_costs_one() -> None:
    bench = Bench()
    bench.submit(predict(0))
    bench.submit(score(0))
    for _ in range(2):
        batch = bench.step()
        assert batch.tokens == 1
        assert batch.slices[0].count == 0
    assert len(bench.answered) == 2


def test_a_batch_is_of_one_kind_and_predictions_go_first() -> None:
    bench = Bench()
    bench.submit(score())
    bench.submit(predict(), score(first=7))
    assert [type(message) for message in messages_of(bench.step())] == [Predict]
    assert [type(message) for message in messages_of(bench.step())] == [Score, Score]


def test_the_budget_bounds_a_batch() -> None:
    bench = Bench(batch_tokens=100)
    for _ in range(9):
        bench.submit(predict(30))
    batches = bench.run_all()
    assert [batch.tokens for batch in batches] == [90, 90, 90]


def test_a_message_over_the_budget_is_cut() -> None:
    bench = Bench(batch_tokens=10)
    (job,) = bench.submit(predict(35))
    assert [batch.tokens for batch in bench.run_all()] == [10, 10, 10, 5]
    assert bench.answered[job] == 1


def test_a_long_text_is_cut_in_slices() -> None:
    bench = Bench(batch_tokens=4096, score_tokens=1024)
    for message, slice_tokens in ((score(1000), SCORE_SLICE_TOKENS), (predict(999), PREDICT_SLICE_TOKENS)):
        bench.submit(message)
        batches = bench.run_all()
        assert {piece.count for batch in batches[:-1] for piece in batch.slices} == {slice_tokens}
        assert sum(batch.tokens for batch in batches) == 999


def test_many_texts_are_run_in_shorter_slices_side_by_side() -> None:
    bench = Bench(batch_tokens=4096, score_tokens=256)
    bench.submit(*(score(100, first=i) for i in range(50)))
    batch = bench.step()
    assert [piece.count for piece in batch.slices] == [MIN_SLICE_TOKENS] * (256 // MIN_SLICE_TOKENS)
    bench.submit(score(100, first=99))
    assert SCORE_SLICE_TOKENS in [piece.count for piece in bench.step().slices]


def test_what_only_the_budget_would_cut_waits_for_the_next_batch() -> None:
    bench = Bench(batch_tokens=40)
    bench.submit(predict(30))
    bench.submit(predict(30))
    assert [batch.tokens for batch in bench.run_all()] == [30, 30]


def test_the_first_left_out_is_the_next_batch_s_first() -> None:
    bench = Bench(batch_tokens=40)
    for name in "abc":
        bench.submit(predict(30, name=name))
    assert ["".join(message.id for message in messages_of(batch)) for batch in bench.run_all()] == [
        "a",
        "b",
        "c",
    ]


def test_a_sequence_gets_its_state_once_and_before_its_cost() -> None:
    bench = Bench(batch_tokens=10)
    bench.submit(predict(8))
    bench.submit(predict(8))

    def begin(node: Node) -> None:
        assert node.hidden is None
        node.hidden, node.position = HIDDEN, 7

    batch = bench.batcher.next(begin)
    assert batch is not None
    assert [piece.count for piece in batch.slices] == [1, 1]


def test_times_are_noted_when_a_message_first_leaves_the_queue() -> None:
    bench = Bench(batch_tokens=10)
    (job,) = bench.submit(predict(25))
    bench.now = 2.0
    batch = bench.next()
    assert batch.begun == [job]
    assert batch.started == job.taken == 2.0
    bench.run(batch, seconds=1)
    assert bench.next().begun == []
    timing = job.timing(5.0, 7)
    assert (timing.queue_seconds, timing.engine_seconds, timing.batch_size) == (2.0, 3.0, 7)


# -- prefix trees ----------------------------------------------------------------------------------------


def test_shared_prefixes_are_run_once() -> None:
    bench = Bench()
    bench.submit(*(Score("n", (), (*range(10), 100 + i, 200), None) for i in range(4)))
    batches = bench.run_all()
    assert [batch.tokens for batch in batches] == [10, 4]
    assert sum(bench.answered.values()) == 4


def test_a_tree_s_leaves_are_run_together_after_its_inner_nodes() -> None:
    bench = Bench()
    start = tuple(range(10))
    branches = [(*start, *range(50, 58)), (*start, *range(60, 68))]
    hypotheses = [(*branch, last, 1) for branch in branches for last in (71, 72, 73)] + [(*start, 80, 1)]
    bench.submit(*(Score("n", (), hypothesis, None) for hypothesis in hypotheses))
    bench.submit(score(3, first=99, name="other"))
    batches = bench.run_all()
    assert [[piece.count for piece in batch.slices] for batch in batches] == [[10, 2], [8, 8], [1] * 7]
    assert sum(bench.answered.values()) == 8


def test_children_of_a_tree_for_which_nobody_waits_are_not_run() -> None:
    bench = Bench()
    jobs = bench.submit(*(Score("n", (), (*range(10), 100 + i, 200), None) for i in range(4)))
    bench.step()
    jobs[0].cancel()
    jobs[2].cancel()
    assert bench.step().tokens == 2


# -- leaving ---------------------------------------------------------------------------------------------


def test_the_cancelled_leave_before_they_are_computed() -> None:
    bench = Bench()
    jobs = bench.submit(predict(name="a"), predict(name="b"))
    jobs += bench.submit(predict(name="c"))
    assert jobs[0].cancel()
    assert jobs[2].cancel()
    assert bench.batcher.depth == 1
    assert bench.rejected == {"cancelled": 2}
    assert [message.id for message in messages_of(bench.step())] == ["b"]


def test_cancelling_what_is_being_computed() -> None:
    bench = Bench(batch_tokens=10)
    (job,) = bench.submit(predict(35))
    batch = bench.next()
    job.cancel()
    bench.run(batch)
    assert not bench.batcher.has_work()
    assert not bench.answered
    assert bench.batcher.depth == bench.batcher.tokens == 0


def test_the_overdue_leave_and_are_not_computed() -> None:
    bench = Bench()
    jobs = bench.submit(predict(deadline=5, name="late"), predict(deadline=9, name="good"))
    bench.now = 5.0
    assert bench.batcher.overdue() == [jobs[0]]
    assert bench.rejected == {"expired": 1}
    assert [message.id for message in messages_of(bench.step())] == ["good"]


def test_the_overdue_are_not_computed_even_before_the_timer_sees_them() -> None:
    bench = Bench()
    (late,) = bench.submit(score(deadline=5))
    bench.submit(score(name="good", first=1))
    bench.now = 5.0
    assert [message.id for message in messages_of(bench.step())] == ["good"]
    assert bench.batcher.overdue() == [late]


def test_a_cancel_that_comes_because_it_is_too_late_counts_as_that() -> None:
    bench = Bench()
    (job,) = bench.submit(predict(deadline=5))
    bench.now = 6.0
    job.cancel()
    assert bench.rejected == {"expired": 1}


def test_a_future_may_be_cancelled_inside_another_s_callback() -> None:
    bench = Bench()
    first, second = bench.submit(predict(), predict())
    first.add_done_callback(lambda _: second.cancel())
    first.cancel()
    assert bench.rejected == {"cancelled": 2}
    assert not bench.batcher.has_work()


def test_what_was_released_is_its_taker_s_to_answer() -> None:
    bench = Bench()
    answered, cancelled = bench.submit(predict(), predict())
    bench.next()
    assert bench.batcher.release(answered)
    assert bench.batcher.release(cancelled)
    assert not bench.batcher.release(answered)
    cancelled.cancel()
    answer = Predicted((), (), (), answered.timing(1, 1))
    answered.resolve(answer)
    cancelled.resolve(answer)
    assert answered.result() is answer
    assert cancelled.cancelled()
    assert not bench.rejected


def test_abandon_takes_everything() -> None:
    bench = Bench()
    jobs = bench.submit(predict(), score())
    bench.next()
    assert set(bench.batcher.abandon()) == set(jobs)
    assert bench.batcher.abandon() == []
    assert bench.batcher.tokens == bench.batcher.depth == 0
    assert not any(bench.batcher.release(job) for job in jobs)
