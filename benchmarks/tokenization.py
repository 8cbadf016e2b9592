"""How well words become text again, and how fast text becomes words: our tokenization, second version.

    python -m benchmarks.tokenization CORPUS [--lines 10000] [--seed 1]

CORPUS is a text file, or a directory of .txt, .txt.xz, .txt.gz files. Lines are drawn evenly from all of it.
Printed are the share of lines whose text, written from their words, reads as the same words again; the share
of characters, and of lines, that are equal after folding; and the speed, for short texts and for all of the
drawn lines at once, of the second version and of the first.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from models.config.tokenization import Ours
from models.text.tokenizer import END, UNKNOWN, SpecialWords
from models.text.vocabulary import Vocabulary
from models.text.words import words
from models.training.corpus import lines, text_files

SHORT = 60
"""Characters of a short text."""


def main() -> None:
    """Reads the command line and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--lines", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    drawn = draw(text_files(args.corpus), args.lines, args.seed)
    vocabularies = {version: vocabulary(drawn, version) for version in (2, 1)}
    report(round_trips(drawn, vocabularies[2]))
    for version, known in vocabularies.items():
        for what, texts in (("short texts", [line[:SHORT] for line in drawn]), ("lines", drawn)):
            for _ in range(2):  # the second time, pieces are remembered
                seconds = timed(known.encode_batch, texts)
            size = sum(map(len, texts))
            print(
                f"version {version}, {what}: {size / seconds / 1e6:.1f} million characters a second,"
                f" {seconds / len(texts) * 1e6:.1f} us a text"
            )


def draw(files: Sequence[Path], count: int, seed: int) -> list[str]:
    """As many lines, evenly from all files."""
    chance = random.Random(seed)  # noqa: S311 -- no secret
    kept: list[str] = []
    for seen, line in enumerate(line for file in files for line in lines(file)):
        if len(kept) < count:
            kept.append(line)
        elif (place := chance.randrange(seen + 1)) < count:
            kept[place] = line
    return kept


def vocabulary(texts: Sequence[str], version: int) -> Vocabulary:
    """Of all words of the texts."""
    named = SpecialWords(tokenization=Ours.model_validate({"version": version}))
    empty = Vocabulary.from_words([UNKNOWN, END], named)
    found = Counter(word for text in texts for word in empty.normalized(text))
    return Vocabulary.from_words([UNKNOWN, END, *(word for word, _ in found.most_common())], named)


def folded(text: str) -> str:
    """The text with its look-alikes folded and one space between its pieces."""
    chunks = ("".join(words(chunk)).replace("--", "-") for chunk in text.split())
    return " ".join(filter(None, chunks))


def round_trips(texts: Sequence[str], known: Vocabulary) -> dict[str, float]:
    """Shares of the lines, and of the characters, that come back."""
    counts: Counter[str] = Counter()
    for text, ids in zip(texts, known.encode_batch(texts), strict=True):
        written = known.decode(ids)
        counts["the same tokens"] += known.encode_batch([written])[0] == ids
        before, after = folded(text), folded(written)
        counts["equal lines"] += before == after
        counts["characters"] += len(before)
        counts["wrong spaces"] += len(spaces(before) ^ spaces(after))
    return {
        "lines that read as the same tokens": counts["the same tokens"] / len(texts),
        "characters equal after folding": 1 - counts["wrong spaces"] / counts["characters"],
        "lines equal after folding": counts["equal lines"] / len(texts),
    }


def spaces(text: str) -> set[int]:
    """After how many other characters a space stands."""
    return {at - i for i, at in enumerate(at for at, char in enumerate(text) if char == " ")}


def report(shares: dict[str, float]) -> None:
    """Prints shares as percentages."""
    for name, share in shares.items():
        print(f"{name}: {share:.2%}")


def timed(call: Callable[[Sequence[str]], object], texts: Sequence[str]) -> float:
    """CPU seconds of a call."""
    before = time.process_time()
    call(texts)
    return time.process_time() - before


if __name__ == "__main__":
    main()
