"""N-grams as tensors of bytes: the arrays of the trie, each compressed as an ``.xz`` file would be.

``characters.0``: the alphabet's code points, 32 bits each. For each n ``codes.n``: the shares, 8 bits;
``children.n`` but for the longest: how many n-grams of the next level each begins, 16 bits; ``characters.n``
from n = 2: the id of each one's last character, 16 bits. Little-endian.
"""

from __future__ import annotations

import lzma
from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from models.spelling.alphabet import Alphabet, Ids
from models.spelling.ngrams import Codes, Level, NGrams

MOST_BYTES: Final = 1 << 26
"""No array is larger when unpacked: a small file cannot fill the memory."""

_KINDS: Final = {"characters.0": "<u4", "characters": "<u2", "children": "<u2", "codes": "<u1"}


def pack(ngrams: NGrams) -> dict[str, Codes]:
    """Tensors of bytes by name. Raises ValueError for an alphabet of more than 65,536 characters."""
    size = len(ngrams.alphabet)
    if size > 1 << 16:
        raise ValueError(f"{size} distinct characters are too many for 16 bits")
    arrays: dict[str, Ids | Codes] = {"characters.0": ngrams.alphabet.code_points}
    for n, level in enumerate(ngrams.levels, 1):
        arrays[f"codes.{n}"] = level.codes
        if n > 1:
            arrays[f"characters.{n}"] = level.keys % size
            histories = len(ngrams.levels[n - 2].keys)
            arrays[f"children.{n - 1}"] = np.bincount(level.keys // size, minlength=histories)
    return {
        name: np.frombuffer(lzma.compress(array.astype(_kind(name)).tobytes()), np.uint8)
        for name, array in arrays.items()
    }


def unpack(tensors: Mapping[str, npt.NDArray[np.generic]], order: int) -> NGrams:
    """The n-grams of up to `order` characters that `pack` made `tensors` of.

    Raises:
        ValueError: one line on what is wrong with them.
    """
    longer = range(2, order + 1)
    names = {"characters.0", *(f"codes.{n}" for n in range(1, order + 1))}
    names |= {f"characters.{n}" for n in longer} | {f"children.{n - 1}" for n in longer}
    for problem, differing in (("missing", names - tensors.keys()), ("unknown", tensors.keys() - names)):
        if differing:
            raise ValueError(f"{problem} tensor {min(differing)}")
    arrays = {name: _decompressed(name, tensor) for name, tensor in tensors.items()}
    points = arrays["characters.0"]
    if (np.diff(points) <= 0).any() or (len(points) and points[-1] >= 0x110000):
        raise ValueError("characters.0 does not hold ascending code points")
    alphabet = Alphabet(map(chr, points.tolist()))
    size = len(alphabet)
    keys = np.arange(size)
    levels: list[Level] = []
    for n in range(1, order + 1):
        codes = arrays[f"codes.{n}"]
        if n > 1:
            characters, children = arrays[f"characters.{n}"], arrays[f"children.{n - 1}"]
            if len(children) != len(levels[-1].keys):
                raise ValueError(f"children.{n - 1} has {len(children)} entries, not {len(levels[-1].keys)}")
            if not int(children.sum()) == len(characters):
                raise ValueError(f"children.{n - 1} and characters.{n} do not agree")
            if len(characters) and characters.max() >= size:
                raise ValueError(f"characters.{n} has a character outside the alphabet")
            keys = np.repeat(np.arange(len(children)), children) * size + characters
        if len(codes) != len(keys):
            raise ValueError(f"codes.{n} has {len(codes)} entries, not {len(keys)}")
        levels.append(Level(keys, codes.astype(np.uint8)))
    return NGrams(alphabet, levels)


def _kind(name: str) -> str:
    return _KINDS[name if name in _KINDS else name.split(".")[0]]


def _decompressed(name: str, tensor: npt.NDArray[np.generic]) -> Ids:
    if tensor.dtype != np.uint8 or tensor.ndim != 1:
        raise ValueError(f"{name} is {tensor.dtype} {list(tensor.shape)}, not one row of bytes")
    reader = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MOST_BYTES)
    try:
        content = reader.decompress(tensor.tobytes(), MOST_BYTES)
    except lzma.LZMAError as error:
        raise ValueError(f"{name}: {error}") from None
    kind = np.dtype(_kind(name))
    if not reader.eof or reader.unused_data or len(content) % kind.itemsize:
        raise ValueError(f"{name} is cut off, too long, or not followed by its end")
    return np.frombuffer(content, kind).astype(np.int64)
