"""Words drawn by the engine, and the best words in the places of scored ones."""

import random
from itertools import islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.bundle import Bundle
from service.contract.messages import Predict, Predicted, Sampling, Score, Scored, Timing
from service.engine.drawing import uniforms
from service.link import wire
from tests.support.spy import Make, predict


def sample(tokens: list[int], sampling: Sampling, k: int = 0) -> Predict:
    return Predict("s", tuple(tokens), k, None, None, sampling=sampling)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**20))
def test_each_seed_and_step_has_a_stream_of_its_own(seed: int, step: int) -> None:
    first = list(islice(uniforms(seed, step), 8))
    assert first == list(islice(uniforms(seed, step), 8))
    assert all(0 <= number < 1 for number in first)
    assert not set(first) & set(islice(uniforms(seed, step + 1), 8))
    assert not set(first) & set(islice(uniforms(seed ^ 1, step), 8))


def test_no_temperature_takes_the_best_word(make: Make) -> None:
    engine = make()
    for tokens in ([], [5], [7, 8, 9]):
        (drawn,) = engine.ask(sample(tokens, Sampling(0, 1, 1, 0)))
        (best,) = engine.ask(predict(tokens, 1))
        assert drawn.ids == ()
        assert drawn.drawn == (best.ids[0], pytest.approx(best.logprobs[0], abs=1e-5))


def test_the_same_seed_draws_the_same_whatever_else_is_asked(make: Make) -> None:
    engine = make()
    asked = [
        sample([seed % 7], Sampling(*options, seed, 3))
        for seed in range(12)
        for options in ((0.7, 1.0), (1.0, 1.0), (1.0, 0.8), (1.5, 0.9), (0.0, 1.0))
    ]
    together = [answer.drawn for answer in engine.ask(*asked, *(predict([5], 10) for _ in range(9)))][
        : len(asked)
    ]
    apart = [engine.ask(one)[0].drawn for one in asked]
    assert [word for word, _ in together] == [word for word, _ in apart]
    assert len({word for word, _ in together}) > 10


def test_a_word_is_drawn_beside_the_best_ones(make: Make, bundle: Bundle) -> None:
    engine = make()
    (both,) = engine.ask(sample([5, 6], Sampling(1, 1, 4, 0), k=3))
    (best,) = engine.ask(predict([5, 6], 3))
    assert both.ids == best.ids
    word, logprob = both.drawn
    (everything,) = engine.ask(predict([5, 6], len(bundle.vocabulary)))
    assert logprob == pytest.approx(
        dict(zip(everything.ids, everything.logprobs, strict=True))[word], abs=1e-5
    )


def test_a_bias_decides(make: Make) -> None:
    engine = make()
    for temperature in (0.0, 1.0):
        for word in (3, 150, 270):
            (forced,) = engine.ask(sample([5], Sampling(temperature, 1, 1, 0, ((word, 100.0),))))
            assert forced.drawn[0] == word


def test_the_unknown_word_is_never_drawn(make: Make, bundle: Bundle) -> None:
    unknown = bundle.vocabulary.unknown_id
    engine = make()
    answers = engine.ask(*(sample([5], Sampling(2, 1, seed, 0, ((unknown, 50.0),))) for seed in range(20)))
    assert all(answer.drawn[0] != unknown for answer in answers)


def test_opened_clusters_are_counted(make: Make, bundle: Bundle) -> None:
    engine = make()
    answers = engine.ask(*(sample([5], Sampling(1, 1, seed, 0)) for seed in range(60)))
    tail = [answer for answer in answers if answer.drawn[0] >= bundle.config.cutoffs[0]]
    assert tail
    assert all(len(answer.clusters) == (answer in tail) for answer in answers)


@pytest.mark.parametrize("budget", [5, 4096])
def test_score_tells_the_best_words_in_each_place(make: Make, budget: int) -> None:
    dice = random.Random(1)
    engine = make(max_batch_tokens=budget, score_step_tokens=budget)
    shared = tuple(dice.choices(range(280), k=20))
    asked = [
        Score("s", (1, 2), (*shared, *dice.choices(range(280), k=4)), None, top=top) for top in (0, 2, 2, 5)
    ]
    plain = engine.ask(*(Score("s", one.context, one.targets, None) for one in asked))
    for message, answer, expected in zip(asked, engine.ask(*asked), plain, strict=True):
        assert answer.logprobs == pytest.approx(expected.logprobs, abs=1e-5)
        assert len(answer.tops) == (len(message.targets) if message.top else 0)
        for at, (ids, logprobs) in enumerate(answer.tops):
            (best,) = engine.ask(predict([*message.context, *message.targets[:at]], message.top))
            assert ids == best.ids
            assert logprobs == pytest.approx(best.logprobs, abs=1e-4)


def test_the_wire_carries_them() -> None:
    asked = sample([1], Sampling(0.5, 0.9, 2**63, 7, ((3, -1.5),)), k=2)
    frame = wire.encode_ask(1, 2, [asked])
    (body,) = wire.Splitter().feed(frame)
    assert wire.decode_question(body) == wire.AskPredict(1, 2, (asked,))
    timing = Timing(0, 0, 1, 0)
    for reply in (
        wire.PredictedOne(1, 0, Predicted((), (), (2,), timing, drawn=(4, -0.5))),
        wire.ScoredOne(1, 0, Scored((-1.0,), timing, tops=(((1, 2), (-0.1, -2.0)),))),
    ):
        (body,) = wire.Splitter().feed(wire.encode(reply))
        assert wire.decode_reply(body) == reply


def test_a_model_on_float_weights_alone_draws_too(bundle: Bundle) -> None:
    """Without an engine: the door that `service.engine.drawing` uses."""
    hidden = torch.zeros(1, bundle.config.hidden_size)
    word, logprob = bundle.model.greedy(hidden, {})
    assert (word, logprob) == (
        int(bundle.model.topk(hidden, 1).ids),
        pytest.approx(float(bundle.model.topk(hidden, 1).logprobs), abs=1e-6),
    )
