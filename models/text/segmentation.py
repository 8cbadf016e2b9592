"""Text -> words and their places, for the tokenizations that ``tokenizer.json`` cannot express."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

from models.config.tokenization import Jieba, Moses, Ours, Tokenization, Whitespace
from models.text import joining, words
from models.text.alignment import align
from models.text.folding import Folded, compose, fold
from models.text.spacing import join, join_moses
from models.text.words import Piece

_CONTROL: Final = re.compile("[\u200b\u2060\ufeff\x00-\x1f\x7f-\x9f]")
_NUMBER_MARK: Final = re.compile(r"(?<=\d)[,.](?=\d)")
_MARKS: Final = [r"@[-,.]@"]
_HAN: Final = re.compile("[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]")
_WORD: Final = re.compile(r"\S+")
_LAST_ACCENT: Final = re.compile(r"(?<=[^\W\d_])[`\u00b4]$")


class Segmenter(Protocol):
    """One tokenization of a text."""

    def words(self, text: str) -> list[str]:
        """The words of `text`, as the vocabulary has them."""

    def pieces(self, text: str) -> Iterator[Piece]:
        """The same words and their places in `text`."""

    def folded(self, typed: str) -> str:
        """What is typed of a word, as the vocabulary's words have it."""

    def join(self, words: Sequence[str]) -> str:
        """Words as running text that a person would type."""


def segmenter(tokenization: Tokenization) -> Segmenter | None:
    """What segments text so; None where ``tokenizer.json`` does.

    Raises:
        ValueError: a library that it needs is not installed, or does not know the language.
    """
    match tokenization:
        case Ours():
            return None if tokenization.version == 1 else OurSegmenter()
        case Whitespace():
            return WhitespaceSegmenter(tokenization.lowercase)
        case Moses():
            return MosesSegmenter(tokenization)
        case Jieba():
            return JiebaSegmenter()


class OurSegmenter:
    """Our own tokenization, second version: `models.text.words`."""

    def words(self, text: str) -> list[str]:
        """See `Segmenter`."""
        return words.words(text)

    def pieces(self, text: str) -> Iterator[Piece]:
        """See `Segmenter`."""
        return words.pieces(text)

    def folded(self, typed: str) -> str:
        """See `Segmenter`. An accent at the end may be an apostrophe: a letter may follow."""
        typed = _LAST_ACCENT.sub("'", typed)
        return " ".join(
            # A hyphen that stands alone may yet have a letter after it.
            "-" if fold(chunk).text == "-" else "".join(words.words(chunk))
            for chunk in typed.split()
        )

    def join(self, words: Sequence[str]) -> str:
        """See `Segmenter`."""
        return joining.join(words)


class WhitespaceSegmenter:
    """Tokens between white space; as running text they get the spacing of English, ``@-@`` being a hyphen."""

    def __init__(self, lowercase: bool = False) -> None:
        self._key: Callable[[str], str] = str.lower if lowercase else str

    def words(self, text: str) -> list[str]:
        """See `Segmenter`."""
        return [self._key(word) for word in text.split()]

    def pieces(self, text: str) -> Iterator[Piece]:
        """See `Segmenter`."""
        return (Piece(self._key(match[0]), *match.span()) for match in _WORD.finditer(text))

    def folded(self, typed: str) -> str:
        """See `Segmenter`."""
        return self._key(typed)

    def join(self, words: Sequence[str]) -> str:
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
        self._key: Callable[[str], str] = str.lower if options.lowercase else str

    def words(self, text: str) -> list[str]:
        """See `Segmenter`."""
        return [self._key(token) for token in self._tokens(text)]

    def pieces(self, text: str) -> Iterator[Piece]:
        """See `Segmenter`."""
        return (Piece(self._key(word), start, end) for word, start, end in align(text, self._tokens(text)))

    def folded(self, typed: str) -> str:
        """See `Segmenter`."""
        return self._key(typed)

    def join(self, words: Sequence[str]) -> str:
        """See `Segmenter`."""
        text: str = self._detokenizer.detokenize(list(words), unescape=False)
        return text.replace(" @,@ ", ",").replace(" @.@ ", ".")

    def _tokens(self, text: str) -> list[str]:
        tokens: list[str] = self._tokenizer.tokenize(
            text, aggressive_dash_splits=self._split_dashes, escape=False, protected_patterns=_MARKS
        )
        if self._split_numbers:
            return _NUMBER_MARK.sub(r" @\g<0>@ ", " ".join(tokens)).split()
        return tokens


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

    def words(self, text: str) -> list[str]:
        """See `Segmenter`."""
        return [word for word in self._cut(_plain(text).text) if not word.isspace()]

    def pieces(self, text: str) -> Iterator[Piece]:
        """See `Segmenter`."""
        plain = _plain(text)
        at = 0
        for word in self._cut(plain.text):
            first, at = at, at + len(word)
            if not word.isspace():
                yield Piece(word, plain.starts[first], plain.ends[at - 1])

    def folded(self, typed: str) -> str:
        """See `Segmenter`."""
        return _plain(typed).text

    def join(self, words: Sequence[str]) -> str:
        """Without spaces beside Chinese, with the spacing of English elsewhere."""
        text = ""
        run: list[str] = []
        for word in words:
            if _HAN.search(word):
                text, run = text + join(run) + word, []
            else:
                run.append(word)
        return text + join(run)


def _plain(text: str) -> Folded:
    """Without control characters, in NFC."""
    return compose(_CONTROL.sub(" ", text))
