"""fairseq's ``dict.txt``."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.importers.base import CheckpointError
from models.importers.fairseq.dictionary import Dictionary, read_dictionary


def read(folder: Path, text: str | bytes) -> Dictionary:
    file = folder / "dict.txt"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_dictionary(file)


def test_words_come_behind_the_four_special_ones(tmp_path: Path) -> None:
    found = read(tmp_path, "the 10\n, 7\nwork 3\n")
    assert found.words == ("<s>", "<pad>", "</s>", "<unk>", "the", ",", "work")
    assert found.special == ("<s>", "<pad>")
    assert (found.start, found.end, found.unknown) == ("<s>", "</s>", "<unk>")
    assert len(found) == 7
    assert "," in found


def test_padding_is_special_where_it_was_never_seen(tmp_path: Path) -> None:
    found = read(tmp_path, "the 10\nmadeupword0000 0\nmadeupword0001 0\nmadeupword0002 4\nrare 0\n")
    assert found.special == ("<s>", "<pad>", "madeupword0000", "madeupword0001")


def test_a_word_may_hold_spaces_and_odd_characters(tmp_path: Path) -> None:
    # Split at the last space; U+2028 and U+0085 end no line.
    assert read(tmp_path, "New York 3\na\u2028b\u0085c 2\n#fairseq 1\n").words[4:] == (
        "New York",
        "a\u2028b\u0085c",
        "#fairseq",
    )


def test_any_line_ends(tmp_path: Path) -> None:
    assert read(tmp_path, b"the 10\r\nof 7\rin 3").words[4:] == ("the", "of", "in")


def test_a_later_line_may_take_a_word_over(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "the 10\nof 5\nthe 3 #fairseq:overwrite\n</s> 2 #fairseq:overwrite\nin 1 #fairseq:overwrite\n",
    )
    assert found.words == (*("<s>", "<pad>", "</s>@2", "<unk>", "the@4", "of", "the", "</s>", "in"),)
    assert found.special == ("<s>", "<pad>", "the@4")
    assert found.end == "</s>@2"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("the 10\nof\n", "dict.txt:2: not a word, a space and its count"),
        ("the ten\n", "dict.txt:1: not a word"),
        ("the 1_0\n", "dict.txt:1: not a word"),
        ("the 1.5\n", "dict.txt:1: not a word"),
        ("\n", "dict.txt:1: not a word"),
        (" 5\n", "dict.txt:1: not a word"),
        ("the 5\nof 4\nthe 3\n", "dict.txt:3: 'the' for the second time"),
        ("<unk> 5\n", "dict.txt:1: '<unk>' for the second time"),
        (b"caf\xe9 5\n", "can't decode"),
    ],
)
def test_what_is_no_dictionary(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        read(tmp_path, text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_that_is_another_words(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="another one's name"):
        read(tmp_path, "the 1\nthe@4 1\nthe 1 #fairseq:overwrite\n")


def test_a_directory_is_no_dictionary(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="directory"):
        read_dictionary(tmp_path)
