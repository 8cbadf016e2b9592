"""Text files -> a word vocabulary by frequency -> tokens on disk.

With our own tokenization, accidents of typing are no words of a vocabulary, however often they occur; see
`models.training.accidents`.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import lzma
import zlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Final

import numpy as np
import numpy.typing as npt

from models.config.tokenization import Jieba, Kind, Tokenization
from models.text.tokenizer import END, UNKNOWN, SpecialWords, new_tokenizer, splitter
from models.text.vocabulary import Vocabulary
from models.training.accidents import accidents
from models.training.unknown_words import UnknownWords

Tokens = npt.NDArray[np.uint32]
Counts = npt.NDArray[np.int64]

UNKNOWN_WORDS: Final = "unknown_words.json"
"""What `prepare` leaves of the words that the vocabulary lacks: `UnknownWords`."""

_OPENERS: dict[str, Callable[..., IO[str]]] = {".xz": lzma.open, ".gz": gzip.open}


class CorpusError(ValueError):
    """What is wrong with the text given, in one line."""


@dataclass(frozen=True, slots=True)
class CorpusOptions:
    """How text becomes tokens.

    `vocabulary_size` counts ``<unk>`` and ``</s>``. The non-empty line i of a file, from 0, is held out when
    ``i % holdout_every == holdout_every // 2``. Training lines are shuffled with `seed`.
    """

    vocabulary_size: int
    holdout_every: int = 500
    seed: int = 1
    tokenization: Kind = Kind.OURS


@dataclass(frozen=True, slots=True)
class Corpus:
    """Tokens of both parts, each line followed by ``</s>``, and their vocabulary."""

    train: Tokens
    heldout: Tokens
    vocabulary: Vocabulary
    counts: Counts  # occurrences of each id in `train`


def text_files(path: Path) -> list[Path]:
    """The text files (.txt, .txt.xz, .txt.gz) at or directly under `path`, sorted."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise CorpusError(f"{path}: no such file or directory")
    files = sorted(p for p in path.iterdir() if p.name.endswith((".txt", ".txt.xz", ".txt.gz")))
    if not files:
        raise CorpusError(f"{path}: holds no .txt, .txt.xz or .txt.gz file")
    return files


def is_held_out(line: int, every: int) -> bool:
    """Whether training leaves a file's line, counted from 0, for validation: one of `every`."""
    return line % every == every // 2


def characters(line: str, tokenization: Tokenization) -> int:
    """The length of a line of text, its end included, for figures a character.

    White space counts where it is part of how a text is written, and so not in Chinese.
    """
    return 1 + (len("".join(line.split())) if isinstance(tokenization, Jieba) else len(line))


def lines(path: Path) -> Iterator[str]:
    """The non-empty lines of a text file, decompressed by its suffix."""
    opener = _OPENERS.get(path.suffix, io.open)
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            yield from (line for line in map(str.strip, file) if line)
    except (OSError, EOFError, lzma.LZMAError, zlib.error, UnicodeDecodeError) as error:
        raise CorpusError(f"{path}: {error}") from None


def prepare(
    files: Sequence[Path],
    directory: Path,
    options: CorpusOptions,
    on_line: Callable[[int], None] = lambda _: None,
) -> Corpus:
    """Tokenize `files` into `directory`, or take the result of an earlier call with the same input.

    `on_line` is told the number of characters of each line read, for progress.
    """
    stamp = _stamp(files, options)
    done = directory / "corpus.json"
    # A directory of an earlier version has no unknown words yet; the tokens will be the same again.
    complete = done.exists() and (directory / UNKNOWN_WORDS).exists()
    if not (complete and json.loads(done.read_text())["stamp"] == stamp):
        directory.mkdir(parents=True, exist_ok=True)
        done.unlink(missing_ok=True)
        _build(files, directory, options, on_line)
        unfinished = done.with_suffix(".tmp")
        unfinished.write_text(json.dumps({"stamp": stamp, **asdict(options)}))
        unfinished.replace(done)
    return Corpus(
        train=np.memmap(directory / "train.u32", dtype=np.uint32, mode="r"),
        heldout=np.memmap(directory / "heldout.u32", dtype=np.uint32, mode="r"),
        vocabulary=Vocabulary.load(
            directory / "tokenizer.json", SpecialWords(tokenization=options.tokenization.tokenization())
        ),
        counts=np.load(directory / "counts.npy"),
    )


def word_counts(
    files: Sequence[Path],
    vocabulary_size: int,
    on_line: Callable[[int], None] = lambda _: None,
    tokenization: Kind = Kind.OURS,
) -> Counts:
    """(V,) occurrences by id of the vocabulary that `prepare` would make of all lines: ``<unk>``, ``</s>``,
    then the words, most frequent first.

    Raises:
        CorpusError: the text has fewer distinct words.
    """
    words: Counter[str] = Counter()
    total = 0
    split = splitter(tokenization.tokenization())
    for file in files:
        for line in lines(file):
            words.update(split(line))
            total += 1
            on_line(len(line))
    never = accidents(words) if tokenization is Kind.OURS else set()
    counts = np.array(sorted((n for word, n in words.items() if word not in never), reverse=True), np.int64)
    if len(counts) < vocabulary_size - 2:
        raise CorpusError(
            f"the text has {len(counts) + 2} distinct words, fewer than the vocabulary's {vocabulary_size}"
        )
    kept = counts[: vocabulary_size - 2]
    return np.concatenate([[words.total() - kept.sum(), total], kept])


def _stamp(files: Sequence[Path], options: CorpusOptions) -> str:
    facts = [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    rules = new_tokenizer([UNKNOWN]).to_str()
    asked = asdict(options)
    if options.tokenization is Kind.OURS:
        rules = options.tokenization.tokenization().model_dump_json()
    return hashlib.sha256(json.dumps([facts, asked, rules]).encode()).hexdigest()


def _build(
    files: Sequence[Path], directory: Path, options: CorpusOptions, on_line: Callable[[int], None]
) -> None:
    # One pass: words get provisional ids in order of appearance, then ids by frequency.
    provisional: dict[str, int] = {UNKNOWN: 0, END: 1}
    parts = {True: array("I"), False: array("I")}
    ends = {True: array("Q"), False: array("Q")}
    tokenization = options.tokenization.tokenization()
    split = splitter(tokenization)
    heldout_characters = 0
    for file in files:
        for i, line in enumerate(lines(file)):
            heldout = is_held_out(i, options.holdout_every)
            part = parts[heldout]
            part.extend(provisional.setdefault(word, len(provisional)) for word in split(line))
            part.append(1)
            ends[heldout].append(len(part))
            heldout_characters += characters(line, tokenization) if heldout else 0
            on_line(len(line))
    train = np.frombuffer(parts[False], dtype=np.uint32)
    if len(train) == 0:
        raise CorpusError("no text to train on")
    if len(parts[True]) == 0:
        raise CorpusError(f"no text is held out: no file has more than {options.holdout_every // 2} lines")
    counts = np.bincount(train, minlength=len(provisional))
    words = list(provisional)
    # Words that only held-out lines have are not counted, and are not part of the vocabulary.
    counted = {word: int(counts[i]) for i, word in enumerate(words) if i > 1 and counts[i] > 0}
    never = accidents(counted) if options.tokenization is Kind.OURS else set()
    by_frequency = [
        i
        for i in np.argsort(-counts, kind="stable").tolist()
        if words[i] in counted and words[i] not in never
    ]
    kept = [0, 1, *by_frequency[: options.vocabulary_size - 2]]
    if len(kept) < options.vocabulary_size:
        raise CorpusError(
            f"the text has {len(kept)} distinct words, fewer than the vocabulary's {options.vocabulary_size}"
        )
    new_id = np.zeros(len(words), dtype=np.uint32)
    new_id[kept] = np.arange(len(kept))
    named = SpecialWords(tokenization=tokenization)
    Vocabulary.from_words([words[i] for i in kept], named).save(directory / "tokenizer.json")
    order = np.random.default_rng(options.seed).permutation(len(ends[False]))
    shuffled = _reorder(new_id[train], np.frombuffer(ends[False], dtype=np.uint64), order)
    shuffled.tofile(directory / "train.u32")
    new_id[np.frombuffer(parts[True], dtype=np.uint32)].tofile(directory / "heldout.u32")
    np.save(directory / "counts.npy", np.bincount(shuffled, minlength=len(kept)))
    heldout_counts = np.bincount(np.frombuffer(parts[True], dtype=np.uint32), minlength=len(words))
    unknown = np.setdiff1d(np.arange(len(words)), kept, assume_unique=True)
    UnknownWords(
        train={words[i]: int(counts[i]) for i in unknown if counts[i]},
        heldout={words[i]: int(heldout_counts[i]) for i in unknown if heldout_counts[i]},
        characters=heldout_characters,
    ).save(directory / UNKNOWN_WORDS)


def _reorder(tokens: Tokens, ends: npt.NDArray[np.uint64], order: npt.NDArray[np.int64]) -> Tokens:
    starts = np.concatenate(([0], ends[:-1])).astype(np.int64)
    stops = ends.astype(np.int64)
    return np.concatenate([tokens[starts[i] : stops[i]] for i in order])
