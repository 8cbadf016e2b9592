"""Text -> tokens, for the tokenizations that ``tokenizer.json`` cannot express."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol

from models.config.tokenization import Jieba, Moses, Ours, Tokenization, Whitespace
from models.text import words as second_version
from models.text.alignment import align
from models.text.folding import compose, fold
from models.text.spacing import join, join_moses
from models.text.words import Word
from models.text.writing import write

_CONTROL: Final = re.compile("[\u200b\u2060\ufeff\x00-\x1f\x7f-\x9f]")
_NUMBER_MARK: Final = re.compile(r"(?<=\d)[,.](?=\d)")
_MARKS: Final = [r"@[-,.]@"]
_PIECES: Final = re.compile(r"\S+").finditer
_HAN: Final = re.compile("[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]")


class Segmenter(Protocol):
    """One tokenization of a text."""

    def words(self, text: str) -> Iterable[Word]:
        """The tokens of `text` in order: what the vocabulary calls them, and where they stand."""

    def key(self, text: str) -> str:
        """A word, or the beginning of one, as the vocabulary writes it."""

    def join(self, words: Iterable[str]) -> str:
        """Tokens as running text that a person would type."""


def segmenter(tokenization: Tokenization) -> Segmenter | None:
    """What segments text so; None where ``tokenizer.json`` does.

    Raises:
        ValueError: a library that it needs is not installed, or does not know the language.
    """
    match tokenization:
        case Ours(version=1):
            return None
        case Ours():
            return SecondVersion()
        case Whitespace():
            return WhitespaceSegmenter(tokenization.lowercase)
        case Moses():
            return MosesSegmenter(tokenization)
        case Jieba():
            return JiebaSegmenter()


def between_spaces(text: str, key: Callable[[str], str] = str) -> Iterator[Word]:
    """What stands between white space, as `key` writes it."""
    for found in _PIECES(text):
        yield Word(key(found[0]), found.start(), found.end())


class SecondVersion:
    """Our own rules, second version; see `models.text.words`."""

    def words(self, text: str) -> Iterator[Word]:
        """See `Segmenter`."""
        return second_version.words(text)

    def key(self, text: str) -> str:
        """See `Segmenter`."""
        return " ".join(
            # A hyphen that stands alone may yet have a letter after it.
            "-" if fold(piece).text == "-" else "".join(word for word, _, _ in second_version.split(piece))
            for piece in text.split()
        )

    def join(self, words: Iterable[str]) -> str:
        """See `Segmenter`."""
        return write(words)


class WhitespaceSegmenter:
    """Tokens between white space; as running text they get the spacing of English, ``@-@`` being a hyphen."""

    def __init__(self, lowercase: bool = False) -> None:
        self.key: Callable[[str], str] = str.lower if lowercase else str

    def words(self, text: str) -> Iterator[Word]:
        """See `Segmenter`."""
        return between_spaces(text, self.key)

    def join(self, words: Iterable[str]) -> str:
        """See `Segmenter`."""
        return join_moses(words)


class MosesSegmenter:
    """The Moses tokenizer in Python, `sacremoses`, by default set as the makers of WikiText-103 set it."""

    def __init__(self, options: Moses) -> None:
        try:
            from sacremoses import MosesDetokenizer, MosesTokenizer
        except ImportError:
            raise ValueError(
                "this model's text is split by the Moses tokenizer, which needs sacremoses:"
                " pip install 'headfirst[moses]'"
            ) from None
        self._tokenizer = MosesTokenizer(options.language)
        self._detokenizer = MosesDetokenizer(options.language)
        self._split_dashes, self._split_numbers = options.split_dashes, options.split_numbers
        self.key: Callable[[str], str] = str.lower if options.lowercase else str

    def words(self, text: str) -> Iterator[Word]:
        """See `Segmenter`."""
        for word, start, end in align(text, self._split(text)):
            yield Word(self.key(word), start, end)

    def _split(self, text: str) -> list[str]:
        tokens: list[str] = self._tokenizer.tokenize(
            text, aggressive_dash_splits=self._split_dashes, escape=False, protected_patterns=_MARKS
        )
        if self._split_numbers:
            return _NUMBER_MARK.sub(r" @\g<0>@ ", " ".join(tokens)).split()
        return tokens

    def join(self, words: Iterable[str]) -> str:
        """See `Segmenter`."""
        text: str = self._detokenizer.detokenize(list(words), unescape=False)
        return text.replace(" @,@ ", ",").replace(" @.@ ", ".")


class JiebaSegmenter:
    """Chinese words by `rjieba`, jieba's method and dictionary in Rust; marks and Latin words as they are."""

    def __init__(self) -> None:
        try:
            import rjieba
        except ImportError:
            raise ValueError(
                "this model's text is split into Chinese words, which needs rjieba:"
                " pip install 'headfirst[chinese]'"
            ) from None
        self._cut: Callable[[str], list[str]] = rjieba.cut

    def words(self, text: str) -> Iterator[Word]:
        """See `Segmenter`."""
        plain, starts, ends = compose(text)
        at = end = 0
        for word in self._cut(_CONTROL.sub(" ", plain)):
            if not word.isspace():
                start, end = max(end, starts[at]), ends[at + len(word) - 1]
                yield Word(word, start, end)
            at += len(word)

    def key(self, text: str) -> str:
        """See `Segmenter`."""
        return unicodedata.normalize("NFC", text)

    def join(self, words: Iterable[str]) -> str:
        """Without spaces beside Chinese, with the spacing of English elsewhere."""
        text = ""
        run: list[str] = []
        for word in words:
            if _HAN.search(word):
                text, run = text + join(run) + word, []
            else:
                run.append(word)
        return text + join(run)
