"""Reading foreign files without running the code in them.

A torch checkpoint is first read by ``torch.load(weights_only=True)``. What that refuses (a module pickled
whole, a vocabulary's own class) is read by `models.importers.pickles.unpickling`, which rebuilds tensors and
makes everything else inert. Both give the same tensors; the second gives `Stub` objects in place of the
classes.
"""

from __future__ import annotations

import argparse
import pickle
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from models.importers.base import CheckpointError
from models.importers.pickles.pickle_files import load_legacy, load_plain, load_zip
from models.importers.pickles.unpickling import Stub

ZIP_MAGIC: Final = b"PK\x03\x04"
LEGACY_MAGIC: Final = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
MAX_MODULES: Final = 10_000
MAX_NAME: Final = 1000
_FAULTS: Final = (
    pickle.UnpicklingError, zipfile.BadZipFile, struct.error, EOFError, OSError, RuntimeError, ValueError,
    TypeError, AttributeError, KeyError, IndexError, OverflowError, AssertionError, ImportError,
    NotImplementedError, RecursionError,
)  # fmt: skip
"""Errors that the two readers raise for damaged and forged files."""


def load(path: Path) -> Any:
    """The object in a torch checkpoint or in a plain pickle, tensors on the CPU.

    Raises:
        CheckpointError: one line: not there, damaged, or larger inside than outside.
    """
    magic = _magic(path)
    try:
        if magic.startswith(ZIP_MAGIC):
            _check_zip(path)
        elif magic != LEGACY_MAGIC:
            return load_plain(path)
        try:
            with torch.serialization.safe_globals([argparse.Namespace]):
                found = torch.load(
                    path, map_location="cpu", weights_only=True, mmap=magic.startswith(ZIP_MAGIC)
                )
        except pickle.UnpicklingError:
            found = load_zip(path) if magic.startswith(ZIP_MAGIC) else load_legacy(path)
        for tensor in tensors_of(found):
            if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
                raise CheckpointError(
                    f"{path}: a tensor of shape {list(tensor.shape)} is larger than its data"
                )
    except CheckpointError:
        raise
    except _FAULTS as error:
        reason = (str(error).splitlines() or [""])[0][:200] or type(error).__name__
        raise CheckpointError(f"{path}: damaged, or no checkpoint: {reason}") from None
    return found


def load_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` file. Raises CheckpointError."""
    _magic(path)
    try:
        with safe_open(path, framework="pt") as stored:
            return {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 -- no mapping
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: {error}") from None


def attributes(value: object) -> dict[str, Any]:
    """The attributes of an `argparse.Namespace`, of a `Stub`, or the entries of a dict with names."""
    if isinstance(value, Stub):
        return value.attributes()
    found = value if isinstance(value, Mapping) else getattr(value, "__dict__", {})
    return {name: item for name, item in found.items() if isinstance(name, str)}


def module_state(module: object) -> dict[str, Tensor]:
    """The state dictionary of a `torch.nn.Module` that was pickled whole.

    Raises:
        CheckpointError: `module` is not a module.
    """
    state: dict[str, Tensor] = {}
    waiting, seen = [("", module)], 0
    while waiting:
        prefix, part = waiting.pop()
        seen += 1
        if seen > MAX_MODULES or len(prefix) > MAX_NAME:  # one that contains itself has no end
            raise CheckpointError("a pickled module has parts without end")
        found = attributes(part)
        if not isinstance(found.get("_modules"), Mapping):
            raise CheckpointError(f"{prefix.rstrip('.') or 'the checkpoint'} is not a pickled module")
        for kind in ("_parameters", "_buffers"):
            for name, tensor in attributes(found.get(kind, {})).items():
                if isinstance(tensor, Tensor):
                    state[prefix + name] = tensor
        children = attributes(found["_modules"]).items()
        waiting += [(f"{prefix}{name}.", child) for name, child in children if child is not None]
    return state


def tensors_of(value: object) -> Iterator[Tensor]:
    """Every tensor in nested containers and stubs, once for each container that holds it."""
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Tensor):
            yield one
        elif isinstance(one, Mapping | list | tuple | set | Stub | argparse.Namespace):
            if id(one) in seen:
                continue
            seen.add(id(one))
            if isinstance(one, Mapping):
                waiting += one.values()
            elif isinstance(one, Stub):
                waiting += one.parts()
            elif isinstance(one, argparse.Namespace):
                waiting += vars(one).values()
            else:
                waiting += one


def _magic(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise CheckpointError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
        with path.open("rb") as file:
            magic = file.read(len(LEGACY_MAGIC))
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from None
    if not magic:
        raise CheckpointError(f"{path}: is empty")
    return magic


def _check_zip(path: Path) -> None:
    """torch stores without compression, so nothing is larger inside than the file itself."""
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
            raise CheckpointError(f"{path}: {member.filename} is compressed, which torch never does")
    if sum(member.file_size for member in members) > size:
        raise CheckpointError(f"{path}: its parts claim to be larger than the file")
