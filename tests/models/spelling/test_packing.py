"""N-grams as compressed tensors, and what is refused when they are read."""

from __future__ import annotations

import lzma
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from models.spelling.kneser_ney import KneserNey
from models.spelling.packing import MOST_BYTES, pack, unpack

Tensors = dict[str, Any]
ORDER = 3


@pytest.fixture
def tensors() -> Tensors:
    return dict(pack(KneserNey({"plain": 3, "plane": 2, "的": 1}, ORDER).pruned(40)))


def compressed(values: list[int], kind: str) -> np.ndarray[Any, Any]:
    return np.frombuffer(lzma.compress(np.array(values, kind).tobytes()), np.uint8)


def test_what_was_packed_is_unpacked() -> None:
    for kept in (0, 30, 1000):
        ngrams = KneserNey({"plain": 3, "plane": 2, "的": 1, "\U0001d518": 1}, 4).pruned(kept)
        again = unpack(pack(ngrams), 4)
        assert again.alphabet.characters == ngrams.alphabet.characters
        for one, other in zip(ngrams.levels, again.levels, strict=True):
            assert np.array_equal(one.keys, other.keys)
            assert np.array_equal(one.codes, other.codes)


def test_too_many_characters() -> None:
    many = {"".join(map(chr, range(0x20000, 0x31000))): 1}
    with pytest.raises(ValueError, match="too many for 16 bits"):
        pack(KneserNey(many, 1).pruned(0))


def zeros(size: int) -> np.ndarray[Any, Any]:
    return np.frombuffer(lzma.compress(bytes(size), preset=0), np.uint8)


def put(name: str, values: list[int], kind: str) -> Callable[[Tensors], object]:
    return lambda tensors: tensors.update({name: compressed(values, kind)})


BROKEN: dict[str, tuple[Callable[[Tensors], object], str]] = {
    "missing": (lambda tensors: tensors.pop("codes.2"), "missing tensor codes.2"),
    "unknown": (lambda tensors: tensors.update(codes=np.ones(1, np.uint8)), "unknown tensor codes"),
    "floats": (lambda tensors: tensors.update({"codes.1": np.ones(3, np.float32)}), "codes.1 is float32"),
    "a table": (
        lambda tensors: tensors.update({"codes.1": np.ones((3, 1), np.uint8)}),
        "not one row of bytes",
    ),
    "not compressed": (
        lambda tensors: tensors.update({"codes.1": np.ones(9, np.uint8)}),
        "codes.1.*(: |cut off)",
    ),
    "cut off": (lambda tensors: tensors.update({"codes.2": tensors["codes.2"][:-4]}), "codes.2 is cut off"),
    "longer": (
        lambda tensors: tensors.update({"codes.2": np.append(tensors["codes.2"], np.uint8(1))}),
        "codes.2 is cut off, too long",
    ),
    "odd": (put("children.1", [1, 2, 3], "<u1"), "children.1 is cut off"),
    "a bomb": (
        lambda tensors: tensors.update({"codes.2": zeros(MOST_BYTES + 1)}),
        "codes.2 is cut off, too long",
    ),
    "not ascending": (put("characters.0", [98, 97], "<u4"), "characters.0 does not hold ascending"),
    "no code point": (put("characters.0", [97, 0x110000], "<u4"), "characters.0 does not hold ascending"),
    "white space": (put("characters.0", [32, 97], "<u4"), "white space"),
    "other alphabet": (put("characters.0", [97], "<u4"), "codes.1 has .* entries, not 3"),
    "children": (put("children.1", [1], "<u2"), "children.1 has 1 entries"),
    "characters": (put("characters.2", [1], "<u2"), "children.1 and characters.2 do not agree"),
    "no character": (
        lambda tensors: tensors.update({"characters.3": compressed([999] * 14, "<u2")}),
        "characters.3 has a character outside|do not agree",
    ),
    "codes": (put("codes.3", [1], "<u1"), "codes.3 has 1 entries"),
}


@pytest.mark.parametrize(("break_it", "fault"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_tensors(tensors: Tensors, break_it: Callable[[Tensors], object], fault: str) -> None:
    break_it(tensors)
    with pytest.raises(ValueError, match=fault):
        unpack(tensors, ORDER)


def test_shares_of_more_than_one(tensors: Tensors) -> None:
    size = len(set("plainplane的")) + 2
    tensors["codes.1"] = compressed([0, *[2] * (size - 1)], "<u1")
    with pytest.raises(ValueError, match="1-grams leave no probability"):
        unpack(tensors, ORDER)


def test_the_order_is_asked_for(tensors: Tensors) -> None:
    with pytest.raises(ValueError, match=r"missing tensor characters\.4"):
        unpack(tensors, 4)
