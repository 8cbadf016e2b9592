"""What is asked: beginnings of sentences, from `contexts.txt` (public domain; see README.md)."""

from __future__ import annotations

import json
from pathlib import Path

CONTEXTS = Path(__file__).with_name("contexts.txt")
N_FIRST = 997  # a prime: every pass over the contexts begins them with other words


def contexts() -> list[str]:
    """The distinct beginnings of sentences, 2 to 20 words each."""
    return CONTEXTS.read_text("utf-8").splitlines()


def first_words() -> list[str]:
    """Distinct words of the contexts, in the order of their first occurrence."""
    words = (word for line in contexts() for word in line.split() if word.isalpha())
    return list(dict.fromkeys(words))[:N_FIRST]


class Texts:
    """An endless sequence of texts: cold ones, or the contexts themselves again and again.

    A cold text is a context after a word that changes: no two of the first two million are the same, and
    none begins as an earlier one ends, so that no server can answer from what it knows of another.
    """

    def __init__(self, cold: bool = True) -> None:
        self.contexts = contexts()
        self.firsts = [f"{word} " for word in first_words()] if cold else [""]

    def __getitem__(self, index: int) -> str:
        """The text at `index`, 0 or more. Text i of the Lua script in closed_loop is the same."""
        lap, place = divmod(index, len(self.contexts))
        return self.firsts[(lap + place) % len(self.firsts)] + self.contexts[place]


def body(text: str) -> bytes:
    """The request for one text, as every server here accepts it: a list, k left at 10."""
    return json.dumps({"inputs": [text]}).encode()


def write_for_lua(folder: Path, cold: bool) -> tuple[Path, Path]:
    """Files of first words and contexts, escaped as JSON, a line each, for `predict.lua`."""
    texts = Texts(cold)
    paths = folder / f"firsts-{cold}.txt", folder / f"contexts-{cold}.txt"
    for path, lines in zip(paths, (texts.firsts, texts.contexts), strict=True):
        path.write_text("".join(json.dumps(line)[1:-1] + "\n" for line in lines))
    return paths
