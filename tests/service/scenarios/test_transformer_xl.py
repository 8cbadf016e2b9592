"""An engine serves imported Transformer-XLs, whose states grow with the text, as it does our own models."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from models.bundle import Bundle
from service.contract.messages import Message
from tests.support.spy import Make, check, predict, score
from tests.support.transfo_xl_models import expected, imported

WORDS = 60


@pytest.fixture(params=["hf-published", "pytorch-wt103"])
def case(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def bundle(case: str, tmp_path: Path) -> Bundle:
    return imported(case, tmp_path)


def words(dice: random.Random, count: int) -> list[int]:
    return dice.choices(range(WORDS), k=count)


def typing(dice: random.Random) -> list[Message]:
    """Texts as they are typed: word after word, a word taken back, another one; longer than the memory."""
    messages: list[Message] = []
    for _ in range(2):
        text = words(dice, 16)
        messages += [predict(text[:n], 7) for n in range(len(text))]
        messages += [predict(text[:n] + words(dice, 1), 7, dice.choice([None, "w"])) for n in (3, 9, 15)]
    return messages


@pytest.mark.parametrize(("cache", "budget"), [(0, 4096), (2**12, 9), (2**20, 4096)])
def test_cached_states_answer_as_texts_run_alone(make: Make, bundle: Bundle, cache: int, budget: int) -> None:
    """With no cache, one so small that states fall out, one for all; and with texts cut into slices."""
    watched, messages = make(state_cache_bytes=cache, max_batch_tokens=budget), typing(random.Random(cache))
    for answers in (watched.ask(*messages), [watched.ask(message)[0] for message in messages]):
        for message, answer in zip(messages, answers, strict=True):
            check(bundle, message, answer)
    if cache == 2**20:  # the second time no word is run
        watched.spy.forget()
        watched.ask(*messages)
        assert watched.spy.tokens == 0


def test_sentences_that_share_their_beginnings_are_scored_as_one_by_one(make: Make, bundle: Bundle) -> None:
    dice = random.Random(5)
    shared = words(dice, 11)
    sentences = [shared[:n] + words(dice, m) for n in (11, 11, 7, 2, 0) for m in (1, 4, 13)]
    messages = [score(sentence, context) for sentence in sentences for context in ([], shared[:5])]
    watched = make()
    together = watched.ask(*messages)
    run = watched.spy.tokens
    assert run < sum(len(message.targets) + len(message.context) for message in messages)
    for message, answer in zip(messages, together, strict=True):
        check(bundle, message, answer)
        (alone,) = watched.ask(message)
        torch.testing.assert_close(
            torch.tensor(answer.logprobs), torch.tensor(alone.logprobs), atol=1e-5, rtol=0
        )


def test_scores_and_best_words_are_the_librarys(make: Make, case: str) -> None:
    """Through the engine, against what the library said."""
    want = expected(case)
    text, logprobs = want.texts[0], want.logprobs[0]
    messages: list[Message] = [score(text[1:].tolist())]
    messages += [predict(text[1 : n + 1].tolist(), 1) for n in range(len(text))]
    answers: list[Any] = make().ask(*messages)
    gathered = logprobs[:-1].gather(1, text[1:, None])[:, 0]
    torch.testing.assert_close(torch.tensor(answers[0].logprobs), gathered, atol=1e-4, rtol=0)
    for row, answer in zip(logprobs, answers[1:], strict=True):
        row[1] = -torch.inf  # <unk> is never predicted
        torch.testing.assert_close(torch.tensor(answer.logprobs[0]), row.max(), atol=1e-4, rtol=0)
