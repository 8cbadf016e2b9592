"""Text files to tokens on disk: by frequency, held out by rule, done once."""

from __future__ import annotations

import gzip
import lzma
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from models.text.tokenizer import END, UNKNOWN
from models.training.corpus import Corpus, CorpusError, CorpusOptions, lines, prepare, text_files
from models.training.evaluation import split_lines

TEXT = """It is a test, a small one.

  The test is "small" \u2014 isn\u2019t it?
a b a
The rare word: aardvark
""".splitlines(keepends=True)

LINES = [line.strip() for line in TEXT if line.strip()]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """A directory with two files of 20 lines each, every line telling its file and number."""
    directory = tmp_path / "text"
    directory.mkdir()
    for name in ("one", "two"):
        content = "".join(f"{name} line {i} it is it\n" for i in range(20))
        (directory / f"{name}.txt").write_text(content)
    return directory


def build(text: Path, directory: Path, **options: int) -> Corpus:
    values = {"vocabulary_size": 20, "holdout_every": 5} | options
    return prepare(text_files(text), directory, CorpusOptions(**values))


def words_of(corpus: Corpus, tokens: np.ndarray) -> list[str]:
    end = corpus.vocabulary.end_id
    return [" ".join(corpus.vocabulary.word(i) for i in line[:-1]) for line in split_lines(tokens, end)]


# -- files ---------------------------------------------------------------------------------------------


def write(path: Path, text: str) -> Path:
    if path.suffix == ".xz":
        with lzma.open(path, "wt", encoding="utf-8") as file:
            file.write(text)
    elif path.suffix == ".gz":
        with gzip.open(path, "wt", encoding="utf-8") as file:
            file.write(text)
    else:
        path.write_text(text, encoding="utf-8")
    return path


def test_text_files_of_a_directory(tmp_path: Path) -> None:
    names = ["b.txt", "a.txt.xz", "c.txt.gz", "notes.md", "d.xz", ".txt.bak"]
    for name in names:
        (tmp_path / name).touch()
    assert [file.name for file in text_files(tmp_path)] == ["a.txt.xz", "b.txt", "c.txt.gz"]
    assert text_files(tmp_path / "notes.md") == [tmp_path / "notes.md"]


def test_no_text_files(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"holds no \.txt, \.txt\.xz or \.txt\.gz file$"):
        text_files(tmp_path)
    with pytest.raises(CorpusError, match=r"nowhere: no such file or directory$"):
        text_files(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["a.txt", "a.txt.xz", "a.txt.gz", "a"])
def test_lines_are_decompressed_stripped_and_not_empty(tmp_path: Path, name: str) -> None:
    assert list(lines(write(tmp_path / name, "".join(TEXT)))) == LINES


def damage(path: Path, change: str) -> Path:
    content = bytearray(path.read_bytes())
    if change == "truncated":
        del content[len(content) // 2 :]
    elif change == "flipped":
        for i in range(24, 44):
            content[i] ^= 0xFF
    else:
        content = bytearray(b"this was never compressed")
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("a.txt.xz", "truncated"),
        ("a.txt.xz", "flipped"),
        ("a.txt.xz", "other"),
        ("a.txt.gz", "truncated"),
        ("a.txt.gz", "flipped"),
        ("a.txt.gz", "other"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, name: str, change: str) -> None:
    draw = np.random.default_rng(1)
    path = damage(write(tmp_path / name, str(draw.integers(0, 10**9, 2000).tolist())), change)
    with pytest.raises(CorpusError) as raised:
        list(lines(path))
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_text_in_another_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("caf\u00e9".encode("latin-1"))
    with pytest.raises(CorpusError, match=r"a\.txt: 'utf-8' codec can't decode"):
        list(lines(tmp_path / "a.txt"))


# -- tokens --------------------------------------------------------------------------------------------


def test_ids_are_by_frequency_in_the_training_part(text: Path, tmp_path: Path) -> None:
    corpus = build(text, tmp_path / "out", vocabulary_size=10)
    words = [corpus.vocabulary.word(i) for i in range(10)]
    assert words[:2] == [UNKNOWN, END]
    assert words[2] == "it"  # twice a line
    assert set(words[3:5]) == {"line", "is"}
    assert set(words[5:7]) == {"one", "two"}
    counts = corpus.counts[2:].tolist()
    assert counts == sorted(counts, reverse=True)
    assert corpus.counts.tolist() == np.bincount(corpus.train, minlength=10).tolist()


def test_every_fifth_line_of_each_file_is_held_out(text: Path, tmp_path: Path) -> None:
    corpus = build(text, tmp_path / "out", vocabulary_size=23)
    heldout = [f"{name} line {i} it is it" for name in ("one", "two") for i in (2, 7, 12, 17)]
    plain = [line.replace(str(i), UNKNOWN) for line in heldout for i in (line.split()[2],)]
    # Numbers 0..19 that are held out in both files never occur in training: unknown words.
    assert words_of(corpus, corpus.heldout) == plain
    assert len(words_of(corpus, corpus.train)) == 32
    assert not set(heldout) & set(words_of(corpus, corpus.train))


def test_training_lines_are_all_there_shuffled_by_the_seed(text: Path, tmp_path: Path) -> None:
    one = words_of(build(text, tmp_path / "1"), build(text, tmp_path / "1").train)
    again = words_of(build(text, tmp_path / "2"), build(text, tmp_path / "2").train)
    other = words_of(build(text, tmp_path / "3", seed=2), build(text, tmp_path / "3", seed=2).train)
    assert one == again
    assert one != other
    assert Counter(one) == Counter(other)
    assert one != sorted(one)


def test_tokens_are_those_the_vocabulary_gives(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt.xz", "".join(TEXT * 10))
    corpus = build(path, tmp_path / "out")
    wanted = {(*ids, corpus.vocabulary.end_id) for ids in corpus.vocabulary.encode_batch(LINES)}
    found = {tuple(line.tolist()) for line in split_lines(corpus.train, corpus.vocabulary.end_id)}
    assert found == wanted
    assert isinstance(corpus.train, np.memmap)


def test_words_beyond_the_vocabulary_are_unknown(text: Path, tmp_path: Path) -> None:
    corpus = build(text, tmp_path / "out", vocabulary_size=3)
    assert len(corpus.vocabulary) == 3
    # Of "one line 3 it is it" only "it" is known; the counts say so, too.
    assert corpus.counts.tolist() == [32 * 4, 32, 32 * 2]


# -- once ----------------------------------------------------------------------------------------------


def test_a_second_call_reads_no_text(text: Path, tmp_path: Path) -> None:
    files, options = text_files(text), CorpusOptions(vocabulary_size=20, holdout_every=5)
    heard: list[int] = []
    first = prepare(files, tmp_path / "out", options, heard.append)
    assert len(heard) == 40
    assert sum(heard) > 0
    second = prepare(files, tmp_path / "out", options, heard.append)
    assert len(heard) == 40
    assert np.array_equal(first.train, second.train)
    assert np.array_equal(first.heldout, second.heldout)
    assert np.array_equal(first.counts, second.counts)


def test_changed_text_or_options_are_read_again(text: Path, tmp_path: Path) -> None:
    def heard(**options: int) -> int:
        calls: list[int] = []
        values = {"vocabulary_size": 20, "holdout_every": 5} | options
        prepare(text_files(text), tmp_path / "out", CorpusOptions(**values), calls.append)
        return len(calls)

    assert heard() == 40
    assert heard(vocabulary_size=15) == 40
    assert heard(vocabulary_size=15) == 0
    assert heard(vocabulary_size=15, seed=9) == 40
    assert heard(vocabulary_size=15, holdout_every=4) == 40
    one = text / "one.txt"
    one.write_text(one.read_text() + "one more line\n")
    assert heard(vocabulary_size=15, holdout_every=4) == 41
    os.utime(one, ns=(1, 1))  # same size, another time
    assert heard(vocabulary_size=15, holdout_every=4) == 41
    (text / "two.txt").unlink()
    assert heard(vocabulary_size=15, holdout_every=4) == 21


def test_what_an_interrupted_call_left_is_not_used(text: Path, tmp_path: Path) -> None:
    build(text, tmp_path / "out")
    (tmp_path / "out" / "corpus.json").unlink()
    (tmp_path / "out" / "train.u32").write_bytes(b"")
    assert len(build(text, tmp_path / "out").train) == 32 * 7


# -- too little ----------------------------------------------------------------------------------------


def test_too_few_words(text: Path, tmp_path: Path) -> None:
    with pytest.raises(
        CorpusError, match=r"^the text has 23 distinct words, fewer than the vocabulary's 24$"
    ):
        build(text, tmp_path / "out", vocabulary_size=24)
    assert not (tmp_path / "out" / "corpus.json").exists()


def test_no_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", " \n\n")
    with pytest.raises(CorpusError, match=r"^no text to train on$"):
        build(path, tmp_path / "out")


def test_no_held_out_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "only two lines of text\nand not a third\n")
    with pytest.raises(CorpusError, match=r"^no text is held out"):
        build(path, tmp_path / "out", vocabulary_size=5)
