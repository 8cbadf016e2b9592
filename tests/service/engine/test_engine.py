"""Answers: the same as one sequence computed alone, whatever else is in the batch and in the cache."""

import gc
import random
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from models.bundle import Bundle
from service.contract.messages import Message, Predict, Scored
from service.engine.engine import set_threads
from service.engine.scheduler import SCORE_SLICE_TOKENS
from tests.support.engines import compute
from tests.support.mixture import mixture, words
from tests.support.spy import Make, check, predict, running_engines, score

# -- right answers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cache", [0, 2**20])
@pytest.mark.parametrize("budget", [7, 100, 4096])
def test_mixed_lengths_are_answered_as_if_alone(make: Make, bundle: Bundle, cache: int, budget: int) -> None:
    watched = make(state_cache_bytes=cache, max_batch_tokens=budget)
    messages = mixture(budget)
    for _ in range(2):  # The second time, what can be cached is.
        for message, answer in zip(messages, watched.ask(*messages), strict=True):
            check(bundle, message, answer)


def test_many_clients_at_once(make: Make, bundle: Bundle) -> None:
    watched = make()
    failures: list[BaseException] = []

    def client(seed: int) -> None:
        try:
            messages = mixture(seed % 3, longest=80)
            for start in range(0, len(messages), 4):
                some = messages[start : start + 4]
                for message, answer in zip(some, watched.ask(*some), strict=True):
                    check(bundle, message, answer)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    assert watched.sample("queue_depth") == watched.sample("queue_tokens") == 0


def test_a_prefix_without_words_gets_none(make: Make) -> None:
    (answer,) = make().ask(predict([5], prefix="zzz"))
    assert answer.ids == answer.logprobs == ()


def test_k_over_the_vocabulary_gets_all_words(make: Make) -> None:
    (answer,) = make().ask(predict([5], k=100_000))
    assert sorted(answer.ids) == list(range(1, 280))


def test_rows_of_large_k_are_searched_in_parts(
    make: Make, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.engine.head.TOPK_ELEMENTS", 600)
    messages = [predict([i], k=280) for i in range(5)]
    for message, answer in zip(messages, make().ask(*messages), strict=True):
        check(bundle, message, answer)


def test_a_long_text_is_run_in_slices(make: Make, bundle: Bundle) -> None:
    watched = make()
    message = score(words(1000))
    check(bundle, message, watched.ask(message)[0])
    assert max(len(row) for rows in watched.spy.steps for row in rows) == SCORE_SLICE_TOKENS
    assert watched.spy.tokens == 999


def test_a_batch_of_very_different_lengths_is_split(make: Make, bundle: Bundle) -> None:
    watched = make(max_batch_tokens=4096)
    messages = [predict(words(64, 1)), *(predict([i]) for i in range(279))]
    for message, answer in zip(messages, watched.ask(*messages), strict=True):
        check(bundle, message, answer)
    cells = sum(len(rows) * max(map(len, rows)) for rows in watched.spy.steps)
    assert cells <= 2 * (64 + 279) + 512 + 64
    assert watched.sample("batch_padding_tokens_total") == cells - (64 + 279)


@pytest.fixture
def make_spelled(spelled: Bundle) -> Iterator[Make]:
    yield from running_engines(spelled)


@pytest.mark.parametrize("fast", [False, True])
def test_case_variants_together(make_spelled: Make, spelled: Bundle, fast: bool) -> None:
    """Beside messages about the same tokens that take each case by itself."""
    ids = spelled.vocabulary.encode_batch(["it is that It is for you", "It was in it"])
    apart = [replace(score(one), fast=fast) for one in ids]
    together = [replace(message, ignore_case=True) for message in apart]
    long = replace(score(words(400), words(3)), ignore_case=True)
    messages = [*apart, *together, long]
    answers = make_spelled().ask(*messages)
    for message, answer in zip(messages, answers, strict=True):
        expected = compute(spelled, replace(message, fast=False))
        assert isinstance(expected, Scored)
        assert answer.logprobs == pytest.approx(expected.logprobs, abs=1e-4 + answer.error)
    gained = [b - a for a, b in zip(answers[0].logprobs, answers[2].logprobs, strict=True)]
    assert gained[0] > 1e-4
    assert gained[1] == pytest.approx(0, abs=1e-5 + answers[0].error + answers[2].error)


# -- prefix trees -------------------------------------------------------------------------------------------


def n_best(count: int, length: int) -> list[Message]:
    """Hypotheses that differ in a word or two."""
    dice = random.Random(0)
    best = words(length)
    hypotheses = {tuple(best)}
    while len(hypotheses) < count:
        other = list(best)
        for _ in range(dice.choice([1, 2])):
            other[dice.randrange(length // 2, length)] = dice.randrange(2, 280)
        hypotheses.add(tuple(other))
    return [score([*hypothesis, 1]) for hypothesis in hypotheses]


def test_an_n_best_list_is_scored_as_a_tree(make: Make, bundle: Bundle) -> None:
    watched = make()
    messages = n_best(50, 20)
    for message, answer in zip(messages, watched.ask(*messages), strict=True):
        check(bundle, message, answer)
    assert watched.spy.tokens < 0.4 * 50 * 20


def test_messages_that_are_prefixes_of_each_other(make: Make, bundle: Bundle) -> None:
    text = words(40)
    context = words(5, 1)
    messages = [score(text[:n], context) for n in range(41)] + [
        score(text, context),
        score(text[:9], context),
    ]
    watched = make()
    for message, answer in zip(messages, watched.ask(*messages), strict=True):
        check(bundle, message, answer)


# -- times and numbers --------------------------------------------------------------------------------------


def test_timing(make: Make) -> None:
    answers = make().ask(predict([1]), predict([2]), predict([3]))
    for answer in answers:
        assert answer.timing.batch_size == 3
        assert answer.timing.queue_seconds >= 0
        assert answer.timing.engine_seconds > 0


def test_metrics_count_what_was_asked_and_no_warm_up(make: Make) -> None:
    watched = make()
    for name in (
        "cluster_rows_total",
        "state_cache_misses_total",
        "batch_size_count",
        "queue_duration_seconds_count",
    ):
        assert watched.sample(name) == 0
    messages = [predict(words(5, i), k=280) for i in range(10)]
    watched.ask(*messages)
    watched.ask(*(score(words(5, i)) for i in range(10)))
    watched.wait_idle()
    assert watched.sample("batch_size_count") == 2
    assert watched.sample("batch_size_sum") == 20
    assert watched.sample("batch_tokens_sum") == 50 + 40
    assert watched.sample("queue_duration_seconds_count") == 20
    assert watched.sample("cluster_rows_total") == 10
    for cluster in range(6):  # k = V opens all.
        assert watched.sample("cluster_expansions_total", cluster=str(cluster)) == 10
    for stage, steps in {"prepare": 2, "body": 2, "topk": 1, "score": 1, "answer": 2}.items():
        assert watched.sample("step_duration_seconds_count", stage=stage) == steps
    assert watched.sample("engine_ready") == 1


def test_threads_are_set_where_they_hold(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[int, str]] = []

    def set_num_threads(number: int) -> None:
        called.append((number, threading.current_thread().name))

    monkeypatch.setattr("torch.set_num_threads", set_num_threads)
    make(threads=1)
    assert called == [(1, "headfirst-engine")]


@pytest.mark.parametrize(
    "messages", [[predict([5, 6, 7])], [score([5, 6, 7])], [score([*range(5, 15), i, 1]) for i in range(9)]]
)
def test_what_is_answered_leaves_nothing_to_the_garbage_collector(
    make: Make, messages: list[Message]
) -> None:
    watched = make()
    watched.ask(*messages)
    gc.collect()
    gc.disable()
    try:
        for _ in range(50):
            watched.ask(*messages)
        assert gc.collect() < 50
    finally:
        gc.enable()


def test_messages_are_predictions_or_scores(make: Make, bundle: Bundle) -> None:
    messages: list[Message] = [predict([1]), score([2]), predict([3])]
    answers = make().ask(*messages)
    for message, answer in zip(messages, answers, strict=True):
        check(bundle, message, answer)
    assert [isinstance(message, Predict) for message in messages] == [hasattr(a, "ids") for a in answers]


def test_a_lone_batch_has_all_threads(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    set_to: list[int] = []
    monkeypatch.setattr("torch.set_num_threads", set_to.append)
    watched = make(threads=4, engine_threads=2)
    watched.ask(predict([1], deadline=None))
    assert set(set_to) == {2, 4}  # Each of two threads began with its part.
    assert set_to.count(4) == 1


def test_a_thread_keeps_its_number_of_kernel_threads() -> None:
    before = torch.get_num_threads()
    found: list[int] = []
    other_is_set, look = threading.Event(), threading.Event()

    def helper() -> None:
        set_threads(1)
        other_is_set.set()
        look.wait(30)
        torch.ones(1).sum()
        found.append(torch.get_num_threads())

    thread = threading.Thread(target=helper)
    thread.start()
    assert other_is_set.wait(30)
    try:
        set_threads(before + 1)
        look.set()
        thread.join()
    finally:
        torch.set_num_threads(before)
    assert found == [1]
