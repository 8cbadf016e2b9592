"""The three ways in which torch and Python put a pickle into a file, read by the restricted `Unpickler`.

No data is copied from a zip archive: its tensors are views of the mapped file.
"""

from __future__ import annotations

import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.importers.pickles.unpickling import Unpickler


def load_plain(path: Path) -> Any:
    """The object of a plain pickle."""
    with path.open("rb") as file:
        return Unpickler(file).load()


def load_zip(path: Path) -> Any:
    """The object of a torch checkpoint in a zip archive, whose parts are stored as they are."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        pickles = [name for name in names if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise pickle.UnpicklingError("it holds no data.pkl")
        root = pickles[0].removesuffix("data.pkl")
        order = f"{root}byteorder"
        if order in names and archive.read(order) != b"little":
            raise pickle.UnpicklingError("its numbers are not little-endian")
        whole = torch.UntypedStorage.from_file(str(path), False, path.stat().st_size)

        def storage(dtype: torch.dtype, key: str, elements: int) -> Tensor:
            member = archive.getinfo(f"{root}data/{key}")
            size = elements * dtype.itemsize
            if elements < 0 or member.file_size < size:
                raise pickle.UnpicklingError(f"{member.filename} is shorter than the tensors in it")
            start = _data_offset(path, member)
            part = whole[start : start + size]
            return torch.empty(0, dtype=dtype).set_(part, 0, (elements,))  # type: ignore[no-any-return, call-overload]

        with archive.open(pickles[0]) as file:
            return Unpickler(file, storage).load()


def load_legacy(path: Path) -> Any:
    """The object of a torch checkpoint of the time before zip archives (torch < 1.6)."""
    room = path.stat().st_size
    storages: dict[str, Tensor] = {}

    def storage(dtype: torch.dtype, key: str, elements: int) -> Tensor:
        nonlocal room
        room -= elements * dtype.itemsize
        if elements < 0 or room < 0:
            raise pickle.UnpicklingError("its tensors are larger than the file")
        storages[key] = torch.zeros(elements, dtype=dtype)
        return storages[key]

    with path.open("rb") as file:
        for _ in range(2):  # the magic number and the version
            Unpickler(file).load()
        system = Unpickler(file).load()
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise pickle.UnpicklingError("its numbers are not little-endian")
        found = Unpickler(file, storage).load()
        keys = Unpickler(file).load()
        if not isinstance(keys, list) or set(keys) != storages.keys():
            raise pickle.UnpicklingError("its list of tensors does not fit")
        for key in keys:
            flat = storages[key]
            (elements,) = struct.unpack("<q", file.read(8))
            if elements != len(flat):
                raise pickle.UnpicklingError("a tensor's data do not have its length")
            target = flat.view(torch.uint8).numpy()
            if file.readinto(target.data) != len(target):
                raise EOFError("it ends in the middle of a tensor")
    return found


def _data_offset(path: Path, member: zipfile.ZipInfo) -> int:
    """Where a member's bytes begin: after its own header, whose extra field may differ from the index's."""
    with path.open("rb") as file:
        file.seek(member.header_offset)
        header = file.read(30)
    if len(header) != 30 or header[:4] != b"PK\x03\x04":
        raise pickle.UnpicklingError(f"{member.filename} is not where the index says")
    name, extra = struct.unpack("<HH", header[26:30])
    return int(member.header_offset + 30 + name + extra)
