"""Lines of files and pipes: order, windows, limits."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.offline import lines as module
from service.offline.lines import Lines, LinesError, Window


def read(data: bytes, **limits: int) -> list[Window]:
    return list(Lines(io.BytesIO(data), "text", **limits).windows())


@given(
    st.lists(st.text(st.sampled_from("ab\r\t\u20ac")), max_size=30),
    st.booleans(),
    st.integers(1, 9),
    st.integers(1, 20),
    st.integers(1, 5),
)
def test_windows_hold_every_line_once_and_in_order(
    texts: list[str], ended: bool, chunk: int, room: int, most: int
) -> None:
    data = ("\n".join(texts) + "\n" * ended).encode()
    expected = data.decode().removesuffix("\n").split("\n") if data else []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK_BYTES", chunk)
        patch.setattr(module, "FIRST_WINDOW_BYTES", room)
        patch.setattr(module, "WINDOW_BYTES", 2 * room)
        patch.setattr(module, "WINDOW_LINES", most)
        windows = read(data)
    assert [text for window in windows for text in window.texts] == expected
    assert all(0 < len(window.texts) <= most for window in windows)
    at = 1
    for window in windows:
        assert window.first == at
        at += len(window.texts)


def test_windows_grow() -> None:
    windows = read((b"y" * 1023 + b"\n") * 2000)
    sizes = [sum(len(text) + 1 for text in window.texts) for window in windows]
    assert sizes[:5] == [1 << 14, 1 << 15, 1 << 16, 1 << 17, 1 << 18]
    assert max(sizes) == module.WINDOW_BYTES


class Endless(io.RawIOBase):
    """A line that never ends."""

    served = 0

    def read(self, size: int = -1) -> bytes:
        self.served += size
        return b"a" * size


def test_a_line_without_end_is_refused_before_it_is_held() -> None:
    stream = Endless()
    with pytest.raises(LinesError, match="text: line 1 is longer than 1,048,576 bytes"):
        list(Lines(stream, "text").windows())  # type: ignore[arg-type]
    assert stream.served <= module.MAX_LINE_BYTES + module.CHUNK_BYTES


def test_the_limit_counts_bytes_without_the_line_end() -> None:
    assert read("ab\u20ac\n".encode(), max_line_bytes=5)[0].texts == ["ab\u20ac"]
    assert read("ab\u20ac".encode(), max_line_bytes=5)[0].texts == ["ab\u20ac"]
    for data, line in ((b"abcdef\n", 1), (b"abcdef", 1), (b"a\n\nabcdef", 3)):
        with pytest.raises(LinesError, match=f"line {line} is longer than 5 bytes"):
            read(data, max_line_bytes=5)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"\xff", "line 1 is not valid UTF-8 (byte 1 of the line)"),
        (b"a\nb\xe2\x82\nc", "line 2 is not valid UTF-8 (byte 2 of the line)"),
        (b"a\n\n\xed\xa0\x80", "line 3 is not valid UTF-8 (byte 1 of the line)"),
    ],
)
def test_invalid_utf8_names_the_line_after_the_good_ones(data: bytes, fault: str) -> None:
    windows = Lines(io.BytesIO(data), "text").windows()
    good = data.split(b"\n")[: int(fault[5]) - 1]
    if good:
        assert next(windows) == Window(1, [line.decode() for line in good])
    with pytest.raises(LinesError) as caught:
        next(windows)
    assert str(caught.value) == f"text: {fault}"


def test_a_silent_pipe_is_answered_with_what_came() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", 0) as source, os.fdopen(writing, "wb", 0) as sink:
        windows = Lines(source, "pipe").windows()  # type: ignore[arg-type]
        sink.write(b"one\ntwo\nthr")
        assert next(windows) == Window(1, ["one", "two"])
        sink.write(b"ee\n")
        assert next(windows) == Window(3, ["three"])
        sink.write(b"four")
        sink.close()
        assert next(windows) == Window(4, ["four"])
        assert next(windows, None) is None


def test_a_pipe_that_does_not_block_is_waited_for() -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with os.fdopen(reading, "rb", 0) as source, os.fdopen(writing, "wb", 0) as sink:
        windows = Lines(source, "pipe").windows()  # type: ignore[arg-type]
        sink.write(b"one\n")
        assert next(windows) == Window(1, ["one"])
        sink.close()
        assert next(windows, None) is None


def test_size_and_position(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"a\n" * 100_000)
    with Lines.open(str(path)) as lines:
        positions = [lines.position() for _ in lines.windows()]
        assert lines.size == positions[-1] == 200_000
        assert positions == sorted(positions)
    reading, writing = os.pipe()
    os.close(writing)
    with os.fdopen(reading, "rb", 0) as source:
        lines = Lines(source, "pipe")  # type: ignore[arg-type]
        assert (lines.size, lines.position()) == (None, 0)
