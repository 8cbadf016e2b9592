"""What was run is not run again: states of texts that grow, shrink, or are asked for in another way."""

import random

from models.bundle import Bundle
from service.engine.scheduler import PREDICT_SLICE_TOKENS
from tests.support.spy import Make, check, predict, score


def words(count: int, seed: int = 0) -> list[int]:
    return random.Random(seed).choices(range(280), k=count)


def test_a_typing_session_runs_each_word_once(make: Make, bundle: Bundle) -> None:
    watched = make()
    text = words(30)
    for length in range(1, 31):
        message = predict(text[:length])
        (answer,) = watched.ask(message)
        check(bundle, message, answer)
        assert answer.timing.cached_tokens == length - 1
    assert watched.spy.tokens == 30
    assert watched.sample("state_cache_hits_total") == 29
    assert watched.sample("state_cache_misses_total") == 1
    assert watched.sample("state_cache_bytes") > 30 * 100


def test_backspacing_and_growing_prefixes_run_no_body(make: Make, bundle: Bundle) -> None:
    watched = make()
    text = words(6)
    for length in range(1, 7):
        watched.ask(predict(text[:length]))
    watched.spy.forget()
    for message in [
        predict(text[:4]),
        predict(text, k=3),
        predict(text, prefix="b"),
        predict(text[:1]),
        predict([]),
    ]:
        (answer,) = watched.ask(message)
        check(bundle, message, answer)
        assert answer.timing.cached_tokens == len(message.tokens)
    assert watched.spy.tokens == 0


def test_another_word_after_a_known_context_runs_one_token(make: Make, bundle: Bundle) -> None:
    watched = make()
    watched.ask(predict([5, 6, 7]))
    watched.spy.forget()
    message = predict([5, 6, 7, 8])
    check(bundle, message, watched.ask(message)[0])
    assert watched.spy.steps == [[[8]]]


def test_a_long_text_with_another_end_is_not_run_again(make: Make, bundle: Bundle) -> None:
    watched = make()
    text = words(150)
    watched.ask(predict(text))
    watched.spy.forget()
    message = predict([*text[:140], 5, 6])
    (answer,) = watched.ask(message)
    check(bundle, message, answer)
    assert answer.timing.cached_tokens == 4 * PREDICT_SLICE_TOKENS
    assert watched.spy.tokens == 142 - 128


def test_a_score_s_context_uses_what_predictions_left(make: Make, bundle: Bundle) -> None:
    watched = make()
    watched.ask(predict([5, 6, 7]))
    watched.spy.forget()
    for message in [score([9], [5, 6, 7]), score([], [5, 6, 7]), score([9, 8], [5, 6, 7, 4])]:
        (answer,) = watched.ask(message)
        check(bundle, message, answer)
        assert answer.timing.cached_tokens == 3
    assert watched.spy.steps == [[[4, 9]]]


def test_without_a_cache_all_is_run_again(make: Make) -> None:
    watched = make(state_cache_bytes=0)
    for _ in range(2):
        watched.ask(predict([5, 6, 7]))
    assert watched.spy.tokens == 6
    assert watched.sample("state_cache_misses_total") == 2
    assert watched.sample("state_cache_bytes") == 0
