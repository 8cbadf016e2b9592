"""Body states by prefix: found, verified, bounded."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import service.engine.state_cache as module
from service.engine.state_cache import ENTRY_BYTES, TOKEN_BYTES, StateCache, prefix_keys

Tokens = tuple[int, ...]


def row(value: float, size: int = 4) -> torch.Tensor:
    return torch.full((size,), float(value))


def put(cache: StateCache, tokens: Tokens) -> None:
    cache.put(tokens, (row(len(tokens)), row(sum(tokens))), row(1))


def found(cache: StateCache, tokens: Tokens) -> Tokens | None:
    entry = cache.find(tokens)
    return None if entry is None else entry.tokens


ENTRY = 3 * 16 + ENTRY_BYTES


def test_nothing_is_found_in_an_empty_cache() -> None:
    assert StateCache(10_000).find((1, 2)) is None


def test_the_longest_prefix_is_found() -> None:
    cache = StateCache(100_000)
    for tokens in [(1,), (1, 2, 3), (1, 2), (2, 3, 4, 5)]:
        put(cache, tokens)
    assert found(cache, (1, 2, 3, 4)) == (1, 2, 3)
    assert found(cache, (1, 2, 3)) == (1, 2, 3)
    assert found(cache, (1, 2)) == (1, 2)  # backspace
    assert found(cache, (1, 9)) == (1,)
    assert found(cache, (2, 3, 4)) is None
    assert found(cache, ()) is None


def test_an_entry_has_what_was_put() -> None:
    cache = StateCache(10_000)
    cache.put((5, 6), (row(1), row(2)), row(3))
    entry = cache.find((5, 6, 7))
    assert entry is not None
    assert [float(part[0]) for part in entry.state] == [1, 2]
    assert float(entry.hidden[0]) == 3


def test_the_start_needs_no_entry() -> None:
    cache = StateCache(10_000)
    put(cache, ())
    assert len(cache) == cache.nbytes == 0


def test_bytes_are_counted() -> None:
    cache = StateCache(10_000)
    put(cache, (1, 2, 3))
    assert cache.nbytes == ENTRY + 3 * TOKEN_BYTES
    put(cache, (1, 2, 3))  # again: replaced
    assert cache.nbytes == ENTRY + 3 * TOKEN_BYTES
    cache.clear()
    assert len(cache) == cache.nbytes == 0
    assert cache.find((1, 2, 3)) is None


def test_the_least_recently_used_goes_first() -> None:
    cache = StateCache(2 * (ENTRY + TOKEN_BYTES))
    put(cache, (1,))
    put(cache, (2,))
    assert found(cache, (1,)) == (1,)
    put(cache, (3,))
    assert [found(cache, (i,)) for i in (1, 2, 3)] == [(1,), None, (3,)]
    assert len(cache) == 2


@pytest.mark.parametrize("capacity", [0, ENTRY])
def test_what_is_larger_than_the_cache_is_not_kept(capacity: int) -> None:
    cache = StateCache(capacity)
    put(cache, (1,))
    assert len(cache) == cache.nbytes == 0


def test_a_prefix_with_the_same_hash_is_not_taken_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_extend", lambda key, token: key + 1)
    cache = StateCache(10_000)
    put(cache, (1, 2))
    assert found(cache, (1, 3)) is None
    assert found(cache, (1, 2)) == (1, 2)
    put(cache, (1, 3))  # takes the other's place
    assert found(cache, (1, 2)) is None
    assert cache.nbytes == ENTRY + 2 * TOKEN_BYTES


def test_keys_are_those_of_the_prefixes() -> None:
    keys = prefix_keys((4, 5, 6))
    assert keys[:3] == prefix_keys((4, 5))
    assert len(set(keys)) == 4
    assert prefix_keys((5, 4, 6))[3] != keys[3]


TOKENS = st.lists(st.integers(0, 2), max_size=5).map(tuple)


@given(st.lists(st.tuples(st.booleans(), TOKENS)), st.integers(0, 5 * ENTRY))
def test_like_a_list_that_is_searched(events: list[tuple[bool, Tokens]], capacity: int) -> None:
    cache = StateCache(capacity)
    kept: list[Tokens] = []  # least recently used first

    def size() -> int:
        return sum(ENTRY + TOKEN_BYTES * len(tokens) for tokens in kept)

    for is_put, tokens in events:
        if is_put:
            put(cache, tokens)
            if tokens and ENTRY + TOKEN_BYTES * len(tokens) <= capacity:
                kept = [other for other in kept if other != tokens] + [tokens]
            while size() > capacity:
                del kept[0]
        else:
            prefixes = [tokens[:n] for n in range(len(tokens), 0, -1)]
            expected = next((prefix for prefix in prefixes if prefix in kept), None)
            assert found(cache, tokens) == expected
            if expected is not None:
                kept.remove(expected)
                kept.append(expected)
        assert cache.nbytes == size() <= max(capacity, 0)
        assert len(cache) == len(kept)
