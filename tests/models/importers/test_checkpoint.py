"""Files are read as data: nothing in them is run, and what is damaged or forged is told in one line."""

from __future__ import annotations

import argparse
import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from models.importers.base import CheckpointError
from models.importers.pickles.checkpoint import attributes, load, load_safetensors, module_state, tensors_of
from models.importers.pickles.unpickling import Stub

FORMS = {"zip": True, "legacy": False}
forms = pytest.mark.parametrize("zipped", FORMS.values(), ids=FORMS.keys())


class Net(nn.Module):
    """A class that the importing process does not have."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(3, 4), nn.LSTM(4, 5, proj_size=2)])
        self.shared = self.layers[0]
        self.register_buffer("table", torch.arange(6).reshape(2, 3).T)
        self.empty = nn.Parameter(torch.empty(0, 7))
        self.n_layer = 2


class Payload:
    """What an attacker pickles: a call."""

    def __init__(self, function: Callable[..., object], *args: object) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


def save(value: object, path: Path, zipped: bool = True) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    return path


@forms
def test_a_state_dictionary(tmp_path: Path, zipped: bool) -> None:
    state = Net().state_dict()
    found = load(save(state, tmp_path / "a.pt", zipped))
    assert found.keys() == state.keys()
    for name, tensor in state.items():
        assert torch.equal(found[name], tensor)


@forms
def test_a_module_pickled_whole(tmp_path: Path, zipped: bool) -> None:
    net = Net().half()
    (found, settings_, _) = load(save([net, argparse.Namespace(d=3), set()], tmp_path / "a.pt", zipped))
    assert isinstance(found, Stub)
    assert found.path.endswith("test_checkpoint.Net")
    state = module_state(found)
    assert state.keys() == net.state_dict().keys()
    for name, tensor in net.state_dict().items():
        assert torch.equal(state[name], tensor)
    assert attributes(found)["n_layer"] == 2
    assert attributes(settings_) == {"d": 3}


def test_a_vocabulary_s_own_class(tmp_path: Path) -> None:
    """As Transformer-XL's and Hugging Face's: attributes of plain containers, counters among them."""

    vocabulary = argparse.Namespace(
        idx2sym=["a", "b"], sym2idx=OrderedDict(a=0, b=1), counter=Counter("aab"), by=defaultdict(list, k=[1])
    )
    (tmp_path / "vocab.pkl").write_bytes(pickle.dumps(vocabulary, protocol=2))
    found = attributes(load(tmp_path / "vocab.pkl"))
    assert found["idx2sym"] == ["a", "b"]
    assert found["sym2idx"] == {"a": 0, "b": 1}
    assert attributes(found["counter"]) == {"a": 2, "b": 1}
    assert attributes(found["by"]) == {"k": [1]}


CALLS: dict[str, Callable[[str], Payload]] = {
    "os.system": lambda mark: Payload(os.system, f"touch {mark}"),
    "subprocess": lambda mark: Payload(subprocess.check_output, ["touch", mark]),
    "open": lambda mark: Payload(open, mark, "w"),
    "eval": lambda mark: Payload(eval, f"open({mark!r}, 'w')"),
    "exec": lambda mark: Payload(exec, f"open({mark!r}, 'w')"),
    "import": lambda mark: Payload(__import__, "antigravity"),
    "getattr": lambda mark: Payload(getattr, mark, "upper"),
    "torch.load": lambda mark: Payload(torch.load, mark),
}


@pytest.mark.parametrize("make", CALLS.values(), ids=CALLS.keys())
@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_a_payload_does_nothing(tmp_path: Path, make: Callable[[str], Payload], form: str) -> None:
    mark, file = tmp_path / "mark", tmp_path / "a.pt"
    value = {"weight": torch.ones(2) if form != "pickle" else 1.0, "payload": make(str(mark))}
    if form == "pickle":
        file.write_bytes(pickle.dumps(value))
    else:
        save(value, file, form == "zip")
    before = set(sys.modules)
    found = load(file)
    assert isinstance(found["payload"], Stub)
    assert not mark.exists()
    assert set(sys.modules) - before == set()


def test_the_payload_would_do_something(tmp_path: Path) -> None:
    """So that the test above tests."""
    mark = tmp_path / "mark"
    pickle.loads(pickle.dumps(CALLS["os.system"](str(mark))))  # noqa: S301 -- ours
    assert mark.exists()


@pytest.mark.parametrize(
    "opcodes",
    [
        b"\x80\x02ccollections\nOrderedDict\n}X\x05\x00\x00\x00itemsK\x01sb.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x01\x00\x00\x00aK\x01sb.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}X\x09\x00\x00\x00_functionK\x01s\x86b.",
        b"\x80\x02cos\nsystem\nN}X\x05\x00\x00\x00_pathK\x01s\x86b.",
    ],
    ids=["container", "function", "its slots", "stub class"],
)
def test_what_a_name_leads_to_cannot_be_changed(tmp_path: Path, opcodes: bytes) -> None:
    (tmp_path / "a.pkl").write_bytes(opcodes)
    with pytest.raises(CheckpointError):
        load(tmp_path / "a.pkl")


@forms
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_truncated_files(tmp_path: Path, zipped: bool, share: float) -> None:
    for value in (Net(), Net().state_dict()):
        data = save(value, tmp_path / "a.pt", zipped).read_bytes()
        (tmp_path / "a.pt").write_bytes(data[: int(len(data) * share)])
        with pytest.raises(CheckpointError) as raised:
            load(tmp_path / "a.pt")
        assert "\n" not in str(raised.value)
        assert "a.pt: " in str(raised.value)


@cache
def intact(zipped: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save([Net(), {"a": torch.ones(9)}], buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


@forms
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 1 << 30), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_files_are_read_or_refused(
    tmp_path: Path, zipped: bool, changes: list[tuple[int, int]]
) -> None:
    damaged = bytearray(intact(zipped))
    for at, value in changes:
        damaged[at % len(damaged)] = value
    path = tmp_path / "a.pt"
    path.unlink(missing_ok=True)  # what was read before may still be mapped
    path.write_bytes(damaged)
    try:
        found = load(path)
    except CheckpointError as error:
        assert "\n" not in str(error)  # noqa: PT017 -- it may be raised or not
    else:
        list(tensors_of(found))


def change_zip(
    path: Path, change: Callable[[str, bytes], bytes], compression: int = zipfile.ZIP_STORED
) -> None:
    with zipfile.ZipFile(path) as archive:
        parts = [(item.filename, archive.read(item)) for item in archive.infolist()]
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in parts:
            archive.writestr(name, change(name, data))


def test_a_compressed_archive_is_refused(tmp_path: Path) -> None:
    path = save({"a": torch.zeros(100_000)}, tmp_path / "a.pt")
    change_zip(path, lambda _, data: data, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 10_000
    with pytest.raises(CheckpointError, match="is compressed, which torch never does"):
        load(path)


@pytest.mark.parametrize("whole", [True, False], ids=["restricted", "weights only"])
def test_a_tensor_that_claims_more_than_its_data(tmp_path: Path, whole: bool) -> None:
    """Two numbers expanded to ten to the tenth: tiny as a file, 40 GB when copied."""
    huge = torch.ones(1).expand(100_000, 100_000)
    path = save([Payload(os.getpid), huge] if whole else [huge], tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"tensor of shape \[100000, 100000\] is larger than its data"):
        load(path)


def test_a_storage_that_claims_more_than_the_file(tmp_path: Path) -> None:
    path = save([Payload(os.getpid), torch.ones(1000)], tmp_path / "a.pt")
    old, new = struct.pack("<H", 1000), struct.pack("<H", 60_000)
    change_zip(
        path, lambda name, data: data.replace(b"M" + old, b"M" + new) if name.endswith(".pkl") else data
    )
    with pytest.raises(CheckpointError, match="shorter than the tensors in it"):
        load(path)
    path = save([Payload(os.getpid), torch.ones(1000)], tmp_path / "b.pt", zipped=False)
    path.write_bytes(path.read_bytes().replace(b"M" + old, b"M" + new))
    with pytest.raises(CheckpointError, match="larger than the file"):
        load(path)


def test_a_module_that_contains_itself(tmp_path: Path) -> None:
    net = Net()
    net._modules["again"] = net
    with pytest.raises(CheckpointError, match="parts without end"):
        module_state(load(save(net, tmp_path / "a.pt")))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda p: None, "no such file"),
        (lambda p: p.mkdir(), "not a file"),
        (lambda p: p.write_bytes(b""), "is empty"),
        (lambda p: p.write_text("hello"), "damaged, or no checkpoint"),
        (lambda p: p.write_bytes(b"PK\x03\x04" + bytes(100)), "damaged, or no checkpoint"),
    ],
)
def test_what_is_no_checkpoint(tmp_path: Path, write: Callable[[Path], object], message: str) -> None:
    write(tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path / "a.pt")


def test_safetensors_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", 1 << 60) + b"{}")
    with pytest.raises(CheckpointError, match=r"a\.safetensors: "):
        load_safetensors(tmp_path / "a.safetensors")
