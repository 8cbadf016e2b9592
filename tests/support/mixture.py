"""Messages of all kinds and lengths for an engine of the tiny model."""

from __future__ import annotations

import random

from service.contract.messages import Message
from tests.support.spy import predict, score


def words(count: int, seed: int = 0) -> list[int]:
    """`count` ids of the tiny vocabulary."""
    return random.Random(seed).choices(range(280), k=count)


def mixture(seed: int, longest: int = 140) -> list[Message]:
    """Messages of all kinds and lengths."""
    dice = random.Random(seed)
    messages: list[Message] = []
    for i, length in enumerate([0, 1, 2, 3, 7, 20, 63, 64, 65, longest]):
        k, prefix = dice.choice([1, 10, 17, 280, 1000]), dice.choice([None, None, "", "b", "ta", "zzz"])
        messages.append(predict(words(length, seed + i), k, prefix))
        messages.append(score(words(length, seed + i), words(dice.choice([0, 0, 3]), seed)))
    dice.shuffle(messages)
    return messages
