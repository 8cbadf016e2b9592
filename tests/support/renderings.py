"""Lines as phones, word processors and web pages render them: other characters, the same words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from random import Random

from models.benchmarking.text import SAMPLE


def sample_lines() -> list[str]:
    """Real lines, which ship with the benchmarks."""
    return [line for line in SAMPLE.read_text("utf-8").splitlines() if line.strip()]


def curly(line: str) -> str:
    """A phone's smart punctuation."""
    line = re.sub(r"(^|[\s(\[-])\"", "\\1\u201c", line).replace('"', "\u201d")
    line = re.sub(r"(^|[\s(\[\u201c-])'", "\\1\u2018", line).replace("'", "\u2019")
    return line.replace("...", "\u2026").replace(" - ", " \u2014 ")


def guillemets(line: str) -> str:
    """French and German quotation marks."""
    return re.sub(r"(^|\s)\"", "\\1\u00ab", line).replace('"', "\u00bb").replace("'", "\u02bc")


def low_quotes(line: str) -> str:
    """Low opening quotation marks, hyphens that are characters of their own."""
    line = re.sub(r"(^|\s)\"", "\\1\u201e", line).replace('"', "\u201c")
    return re.sub(r"(?<=\w)-(?=\w)", "\u2010", line)


def accents(line: str) -> str:
    """Accents for apostrophes."""
    return re.sub(r"(?<=[A-Za-z])'(?=[A-Za-z])", lambda found: "\u00b4`"[found.start() % 2], line)


def spaces(line: str) -> str:
    """A word processor's spaces: no-break, thin, ideographic."""
    return re.sub(" ", lambda found: "\u00a0\u2009\u202f\u3000 "[found.start() % 5], line)


def ligatures(line: str) -> str:
    """Text copied from a PDF file."""
    for plain, one in (("ffi", "\ufb03"), ("fi", "\ufb01"), ("fl", "\ufb02"), ("ff", "\ufb00")):
        line = line.replace(plain, one)
    return line


def full_width(line: str) -> str:
    """An input method for Chinese or Japanese: letters, digits and marks as wide as its own."""
    return "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in line)


def fancy(line: str) -> str:
    """Bold mathematical letters, as in social media."""
    return "".join(
        chr(0x1D400 + ord(char) - 65) if "A" <= char <= "Z"
        else chr(0x1D41A + ord(char) - 97) if "a" <= char <= "z" else char
        for char in line
    )  # fmt: skip


def decomposed(line: str) -> str:
    """As some file systems and browsers write letters with accents."""
    return unicodedata.normalize("NFD", line)


def invisible(line: str) -> str:
    """Characters that show nothing, anywhere: of right-to-left text, of web pages, of copies."""
    draw = Random(len(line))
    kinds = "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u00ad\ufe0f\u2066\u2069\u202a\u202c\u034f\U000e0061"
    return "".join(char + (draw.choice(kinds) if draw.random() < 0.2 else "") for char in line)


RENDERINGS: tuple[Callable[[str], str], ...] = (
    curly, guillemets, low_quotes, accents, spaces, ligatures, full_width, fancy, decomposed, invisible
)  # fmt: skip
