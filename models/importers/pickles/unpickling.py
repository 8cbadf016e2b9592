"""A restricted unpickler: tensors are rebuilt, every class and function that is named becomes inert.

A pickle is a program: it names callables and has them called. Here the names that torch gives its tensors
lead to functions of this file, a few plain containers are themselves, and any other name, ``os.system``
included, leads to a `Stub`, which keeps what it is called with and does nothing.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterable
from math import prod
from typing import IO, Any, Final

import torch
from torch import Tensor

_DTYPES: Final = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "UntypedStorage": torch.uint8,
}
_CONTAINERS: Final[dict[tuple[str, str], Any]] = {
    # Types that are built in: a pickle cannot change their attributes.
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("builtins", "dict"): dict,
    ("builtins", "list"): list,
    ("builtins", "tuple"): tuple,
    ("builtins", "complex"): complex,
    ("builtins", "slice"): slice,
    ("torch", "Size"): torch.Size,
    ("__builtin__", "set"): set,
}


class Stub:
    """Stands for an object of an unknown class: its constructor's arguments, and its state.

    A class of its own for each name, so that ``type(stub).__name__`` is the original's.
    """

    __slots__ = ("_args", "_entries", "_items", "_kwargs", "_state")

    _path = ""
    _args: tuple[object, ...]
    _kwargs: dict[str, object]
    _state: object
    _items: list[object]
    _entries: dict[object, object]

    def __new__(cls, *args: object, **kwargs: object) -> Stub:  # noqa: D102
        self = object.__new__(cls)
        for name, value in (
            ("_args", args), ("_kwargs", kwargs), ("_state", None), ("_items", []), ("_entries", {}),
        ):  # fmt: skip
            object.__setattr__(self, name, value)
        return self

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __call__(self, *args: object, **kwargs: object) -> Stub:  # noqa: D102
        return self

    def __setstate__(self, state: object) -> None:
        object.__setattr__(self, "_state", state)

    def __setattr__(self, name: str, value: object) -> None:
        raise pickle.UnpicklingError("attributes of a stub do not change")

    def append(self, item: object) -> None:
        """A list's."""
        self._items.append(item)

    def extend(self, items: Iterable[object]) -> None:
        """A list's."""
        self._items.extend(items)

    def add(self, item: object) -> None:
        """A set's."""
        self._items.append(item)

    def __setitem__(self, key: object, value: object) -> None:
        self._entries[key] = value

    @property
    def path(self) -> str:
        """The name of the class in the pickle, with its module."""
        return type(self)._path

    def attributes(self) -> dict[str, Any]:
        """The object's attributes, and where it is a kind of dict, its entries."""
        state = self._state if isinstance(self._state, tuple) else (self._state,)
        found = [part for part in (self._entries, *self._args, *state) if isinstance(part, dict)]
        return {name: value for part in found for name, value in part.items() if isinstance(name, str)}

    def parts(self) -> list[object]:
        """All objects that it holds."""
        return [*self._args, *self._kwargs.values(), self._state, *self._items, *self._entries.values()]


class _Callable:
    """A function that a pickle may call but, unlike one, not change."""

    __slots__ = ("_function",)

    _function: Callable[..., object]

    def __init__(self, function: Callable[..., object]) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *args: object) -> object:
        return self._function(*args)

    def __setattr__(self, name: str, value: object) -> None:
        raise pickle.UnpicklingError("a function's attributes do not change")


class _Storage:
    """A flat tensor that a file's bytes fill; its length is checked against the file's."""

    __slots__ = ("flat",)

    flat: Tensor

    def __init__(self, flat: Tensor) -> None:
        object.__setattr__(self, "flat", flat)

    def __setattr__(self, name: str, value: object) -> None:
        raise pickle.UnpicklingError("a storage's attributes do not change")


class Unpickler(pickle.Unpickler):
    """Reads one pickle from `file`. `storage` finds the data of a tensor by (type, key, elements)."""

    def __init__(
        self, file: IO[bytes], storage: Callable[[torch.dtype, str, int], Tensor] | None = None
    ) -> None:
        super().__init__(file, encoding="utf-8")
        self._storage = storage
        self._found: dict[str, Tensor] = {}
        self._stubs: dict[str, type[Stub]] = {}
        self._functions: dict[tuple[str, str], object] = {
            ("torch._utils", "_rebuild_tensor"): _Callable(_rebuild),
            ("torch._utils", "_rebuild_tensor_v2"): _Callable(_rebuild),
            ("torch._utils", "_rebuild_parameter"): _Callable(_first),
            ("torch._utils", "_rebuild_parameter_with_state"): _Callable(_first),
            ("torch.nn.parameter", "Parameter"): _Callable(_first),
            ("_codecs", "encode"): _Callable(_encode),
        }

    def find_class(self, module: str, name: str) -> Any:
        """The object for a name in the pickle: a container, a function of ours, a type of numbers, a stub."""
        known = _CONTAINERS.get((module, name)) or self._functions.get((module, name))
        if known is not None:
            return known
        if module in ("torch", "torch.cuda", "torch.storage"):
            if name in _DTYPES:
                return _Dtype(_DTYPES[name])
            if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
                return getattr(torch, name)
        path = f"{module}.{name}"
        if path not in self._stubs:
            self._stubs[path] = type(name, (Stub,), {"_path": path, "__slots__": ()})
        return self._stubs[path]

    def persistent_load(self, pid: Any) -> Any:
        """Data outside the pickle: a storage, or in old files a module's class with its source."""
        if isinstance(pid, tuple) and len(pid) > 1 and pid[0] == "module":
            return pid[1]
        if self._storage is None or not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
            raise pickle.UnpicklingError("it refers to data that it does not hold")
        kind, key, elements = pid[1], pid[2], pid[4]
        view = pid[5] if len(pid) > 5 else None
        if not isinstance(kind, _Dtype) or not isinstance(key, str) or not isinstance(elements, int):
            raise pickle.UnpicklingError("it refers to data of an unknown type")
        if key not in self._found:
            self._found[key] = self._storage(kind.dtype, key, elements)
        flat = self._found[key]
        if view is not None:  # (key, offset, size): very old files only
            _, offset, size = view
            flat = flat[offset : offset + size]
        return _Storage(flat)


class _Dtype:
    """A class of storages, as good as its type of numbers."""

    __slots__ = ("dtype",)

    dtype: torch.dtype

    def __init__(self, dtype: torch.dtype) -> None:
        object.__setattr__(self, "dtype", dtype)

    def __setattr__(self, name: str, value: object) -> None:
        raise pickle.UnpicklingError("a type's attributes do not change")


def _rebuild(storage: object, offset: object, size: object, stride: object, *_: object) -> Tensor:
    if not isinstance(storage, _Storage) or not isinstance(offset, int):
        raise pickle.UnpicklingError("a tensor has no data")
    sizes, strides = _naturals(size), _naturals(stride)
    if len(sizes) != len(strides) or len(sizes) > 16:
        raise pickle.UnpicklingError("a tensor's size and stride do not fit")
    last = offset + sum((n - 1) * step for n, step in zip(sizes, strides, strict=True))
    if prod(sizes) and not (offset >= 0 and last < len(storage.flat) and prod(sizes) <= len(storage.flat)):
        raise pickle.UnpicklingError(f"a tensor of shape {list(sizes)} is larger than its data")
    if not prod(sizes):
        return storage.flat[:0].reshape(sizes)
    return storage.flat.as_strided(sizes, strides, offset)


def _naturals(values: object) -> tuple[int, ...]:
    if not isinstance(values, tuple) or any(not isinstance(n, int) or n < 0 for n in values):
        raise pickle.UnpicklingError("a tensor's size is not a tuple of numbers")
    return tuple(values)


def _first(value: object = None, *_: object) -> object:
    return value


def _encode(text: object, encoding: object = "latin1") -> bytes:
    """How protocol 2 writes bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("bytes are not written so")
    return text.encode("latin1")
