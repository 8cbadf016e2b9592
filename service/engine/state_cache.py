"""Prefix -> body state, bounded in bytes, least recently used first out."""

from collections import OrderedDict
from collections.abc import Iterable
from itertools import accumulate
from threading import Lock
from typing import NamedTuple

from torch import Tensor

TOKEN_BYTES = 8
ENTRY_BYTES = 512
"""What an entry costs beside its tensors' data and its tokens: dict slot, tuples, tensor objects."""


class Entry(NamedTuple):
    """The body after `tokens` (the start word before them is understood).

    `state` holds one row's tensors without a batch dimension; `hidden` (d,) is the row from which the next
    word is predicted, so that the same context asked again runs no body at all.
    """

    tokens: tuple[int, ...]
    state: tuple[Tensor, ...]
    hidden: Tensor

    @property
    def nbytes(self) -> int:
        """Memory that this entry holds, in bytes, what it shares with others included."""
        tensors = sum([tensor.nbytes for tensor in self.state]) + self.hidden.nbytes
        return tensors + TOKEN_BYTES * len(self.tokens) + ENTRY_BYTES


def _extend(key: int, token: int) -> int:
    return hash((key, token))


def prefix_keys(tokens: Iterable[int]) -> list[int]:
    """The rolling hash of every prefix of `tokens`, from the empty one on: one more than there are tokens."""
    return list(accumulate(tokens, _extend, initial=0))


class StateCache:
    """Body states by token prefix. Used by all threads of one engine; each method is one step to the others.

    A look-up costs one hash step a token. Each word that a client types adds the state after it, so that
    the next word costs one step and backspacing finds the earlier state. States that grow with the text
    (`models.bodies.transformer`) share tensors between prefixes; each tensor is counted once.

    Args:
        capacity: bytes that all entries together may hold; 0 keeps nothing.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.nbytes = 0
        self._entries: OrderedDict[int, Entry] = OrderedDict()
        self._holders: dict[int, int] = {}  # Of each tensor, by its identity: how many entries hold it.
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, tokens: tuple[int, ...], keys: list[int] | None = None) -> Entry | None:
        """The entry of the longest cached prefix of `tokens` with at least one token; None if there is
        none. `keys` are their `prefix_keys`, if they are known."""
        if not self._entries:
            return None
        if keys is None:
            keys = prefix_keys(tokens)
        with self._lock:
            for length in range(len(tokens), 0, -1):
                entry = self._entries.get(keys[length])
                # Hashes only point the way: two prefixes may share one.
                if entry is not None and entry.tokens == tokens[:length]:
                    self._entries.move_to_end(keys[length])
                    return entry
        return None

    def put(
        self, tokens: tuple[int, ...], state: tuple[Tensor, ...], hidden: Tensor, key: int | None = None
    ) -> None:
        """Keeps the body after `tokens`, and drops the least recently used until all fit.

        The tensors must own their memory: a view would keep its whole batch alive. An entry that is larger
        than the capacity is not kept. `key` is the last of the tokens' `prefix_keys`, if it is known.
        """
        entry = Entry(tokens, state, hidden)
        if not tokens or entry.nbytes > self.capacity:
            return
        if key is None:
            key = prefix_keys(tokens)[-1]
        with self._lock:
            replaced = self._entries.pop(key, None)
            if replaced is not None:
                self._drop(replaced)
            self._entries[key] = entry
            self._hold(entry)
            while self.nbytes > self.capacity:
                _, oldest = self._entries.popitem(last=False)
                self._drop(oldest)

    def clear(self) -> None:
        """Drops everything: states of one model mean nothing to another."""
        with self._lock:
            self._entries.clear()
            self._holders.clear()
            self.nbytes = 0

    def _hold(self, entry: Entry) -> None:
        holders = self._holders
        size = TOKEN_BYTES * len(entry.tokens) + ENTRY_BYTES
        for tensor in (*entry.state, entry.hidden):
            others = holders.get(id(tensor), 0)
            holders[id(tensor)] = others + 1
            if not others:
                size += tensor.nbytes
        self.nbytes += size

    def _drop(self, entry: Entry) -> None:
        holders = self._holders
        size = TOKEN_BYTES * len(entry.tokens) + ENTRY_BYTES
        for tensor in (*entry.state, entry.hidden):
            others = holders[id(tensor)] - 1
            if others:
                holders[id(tensor)] = others
            else:
                del holders[id(tensor)]
                size += tensor.nbytes
        self.nbytes -= size
