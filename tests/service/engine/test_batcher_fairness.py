"""Nobody starves: clients take turns, predictions and scoring share the time."""

from collections import Counter, defaultdict

import pytest

from service.contract.messages import Predict, Score
from service.engine.scheduler import PREDICT_SHARE, PREDICT_SLICE_TOKENS, SCORE_SLICE_TOKENS
from tests.support.batcher_bench import Bench, messages_of, predict, score


def test_clients_share_a_batch_evenly() -> None:
    bench = Bench(score_tokens=128)
    bench.submit(*(score(11, name="many", first=i) for i in range(1000)))
    bench.submit(*(score(11, name="fewer", first=i) for i in range(100)))
    cost: Counter[str] = Counter()
    for _ in range(10):
        for piece in bench.step().slices:
            cost[piece.node.jobs[0].message.id] += piece.cost
    assert cost == {"many": 600, "fewer": 600}


def test_what_a_long_text_cannot_use_the_others_do() -> None:
    bench = Bench(score_tokens=256)
    bench.submit(*(score(11, name="many", first=i) for i in range(1000)))
    bench.submit(score(1000, name="text"))
    for _ in range(10):
        cost: Counter[str] = Counter()
        for piece in bench.step().slices:
            cost[piece.node.jobs[0].message.id] += piece.cost
        assert cost["text"] == SCORE_SLICE_TOKENS
        assert cost["many"] > 256 - SCORE_SLICE_TOKENS - 20


def test_a_single_sentence_overtakes_ten_thousand() -> None:
    bench = Bench(max_inputs=10_001)
    bench.submit(*(score(20, first=i) for i in range(10_000)))
    bench.step()
    (job,) = bench.submit(score(20, name="single"))
    steps = 0
    while not bench.answered[job]:
        bench.step()
        steps += 1
    assert steps <= 2


def test_what_one_leaves_of_its_share_others_use() -> None:
    bench = Bench(score_tokens=128)
    bench.submit(score(5))
    bench.submit(*(score(11, first=i) for i in range(100)))
    assert bench.step().tokens > 100


def test_more_clients_than_a_batch_has_turns_rotate() -> None:
    bench = Bench(batch_tokens=PREDICT_SLICE_TOKENS * 2)
    for name in "abcde":
        bench.submit(predict(PREDICT_SLICE_TOKENS * 2, name=name))
    order = ["".join(message.id for message in messages_of(bench.step())) for _ in range(5)]
    assert order == ["ab", "cd", "ea", "bc", "de"]


def test_neither_kind_starves_when_both_saturate() -> None:
    bench = Bench()
    seconds: dict[type, float] = defaultdict(float)
    for _ in range(1000):
        bench.submit(predict(10))
        bench.submit(score(10))
        batch = bench.next()
        kind = type(messages_of(batch)[0])
        took = 0.003 if kind is Predict else 0.02
        bench.run(batch, took)
        seconds[kind] += took
    assert seconds[Predict] / sum(seconds.values()) == pytest.approx(PREDICT_SHARE, abs=0.01)


def test_a_kind_that_had_nothing_to_do_has_no_claim_on_the_past() -> None:
    bench = Bench()
    for _ in range(1000):
        bench.submit(score())
        bench.step(seconds=1)
    kinds = []
    for _ in range(8):
        bench.submit(predict())
        bench.submit(score())
        batch = bench.next()
        kinds.append(type(messages_of(batch)[0]))
        bench.run(batch, 1)
    # The last slice of scoring counts, the 999 before it don't.
    assert kinds.count(Score) == 2


def test_threads_leave_each_other_something_to_do() -> None:
    bench = Bench(batch_tokens=4096, threads=2)
    for _ in range(64):
        bench.submit(predict(11))
    first, second = bench.next(), bench.next()
    assert len(first.slices) + len(second.slices) == 64
    assert abs(len(first.slices) - len(second.slices)) <= 4


def test_a_keystroke_beside_bulk_finds_a_thread_soon() -> None:
    """While one thread scores, the other is not given a second bulk step before the predictions."""
    bench = Bench(score_tokens=128, threads=2)
    bench.submit(*(score(20, first=i) for i in range(1000)))
    for _ in range(4):  # It learns how long a step takes.
        bench.step(seconds=1.0)
    bench.submit(*(predict(11) for _ in range(2)))
    kinds = [type(messages_of(bench.next())[0]) for _ in range(2)]
    assert Predict in kinds
