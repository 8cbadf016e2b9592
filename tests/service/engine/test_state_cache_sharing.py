"""States that share tensors, as those of a transformer do, are counted by what they really hold."""

import random

import torch
from torch import Tensor

from service.engine.state_cache import ENTRY_BYTES, TOKEN_BYTES, StateCache

SIZE = 1000


def tensor() -> Tensor:
    return torch.zeros(SIZE // 4)


def held(cache: StateCache) -> int:
    """What the entries hold, counted anew."""
    entries = list(cache._entries.values())
    tensors = {id(t): t.numel() * 4 for entry in entries for t in (*entry.state, entry.hidden)}
    return sum(tensors.values()) + sum(TOKEN_BYTES * len(entry.tokens) + ENTRY_BYTES for entry in entries)


def test_a_shared_tensor_is_counted_once() -> None:
    cache, shared = StateCache(1 << 20), tensor()
    for length in range(1, 6):
        cache.put(tuple(range(length)), (shared, tensor()), tensor())
    assert cache.nbytes == held(cache) == SIZE * (1 + 2 * 5) + 5 * ENTRY_BYTES + 15 * TOKEN_BYTES


def test_it_stays_until_its_last_entry_goes() -> None:
    shared = tensor()
    cache = StateCache(2 * (ENTRY_BYTES + TOKEN_BYTES) + 3 * SIZE)
    cache.put((1,), (shared,), tensor())
    cache.put((2,), (shared,), tensor())
    assert len(cache) == 2
    cache.put((3,), (shared,), tensor())  # (1,) goes, what it shared stays
    assert len(cache) == 2
    assert cache.nbytes == held(cache) == cache.capacity
    cache.put((4,), (tensor(),), tensor())
    assert cache.nbytes == held(cache) <= cache.capacity


def test_a_tensor_twice_in_one_entry() -> None:
    cache, shared = StateCache(1 << 20), tensor()
    cache.put((1,), (shared, shared), shared)
    assert cache.nbytes == held(cache) == SIZE + ENTRY_BYTES + TOKEN_BYTES
    cache.put((1,), (shared,), tensor())
    assert cache.nbytes == held(cache)
    cache.clear()
    assert cache.nbytes == 0


def test_any_order_of_coming_and_going() -> None:
    draw = random.Random(3)
    pool = [tensor() for _ in range(8)]
    cache = StateCache(9 * SIZE + 3 * ENTRY_BYTES)
    for _ in range(500):
        tokens = tuple(draw.choices(range(3), k=draw.randint(1, 3)))
        cache.put(tokens, tuple(draw.choices(pool, k=draw.randint(0, 4))), draw.choice([*pool, tensor()]))
        assert cache.nbytes == held(cache) <= cache.capacity
    assert len(cache) > 1
