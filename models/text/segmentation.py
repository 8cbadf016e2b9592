"""Text -> tokens, for the tokenizations that ``tokenizer.json`` cannot express.

Each gives the tokens as they stand in the text; `key` is what the vocabulary calls one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from models.config.tokenization import Jieba, Moses, Ours, Tokenization, Whitespace
from models.text.spacing import join, join_moses

_CONTROL: Final = re.compile("[\u200b\u2060\ufeff\x00-\x1f\x7f-\x9f]")
_NUMBER_MARK: Final = re.compile(r"(?<=\d)[,.](?=\d)")
_MARKS: Final = [r"@[-,.]@"]
_HAN: Final = re.compile("[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]")


class Segmenter(Protocol):
    """One tokenization of a text."""

    def words(self, text: str) -> list[str]:
        """The tokens of `text`, as they stand there."""

    def key(self, word: str) -> str:
        """What the vocabulary calls a token."""

    def join(self, words: Iterable[str]) -> str:
        """Tokens as running text that a person would type."""


def segmenter(tokenization: Tokenization) -> Segmenter | None:
    """What segments text so; None where ``tokenizer.json`` does.

    Raises:
        ValueError: a library that it needs is not installed, or does not know the language.
    """
    match tokenization:
        case Ours():
            return None
        case Whitespace():
            return WhitespaceSegmenter(tokenization.lowercase)
        case Moses():
            return MosesSegmenter(tokenization)
        case Jieba():
            return JiebaSegmenter()


class WhitespaceSegmenter:
    """Tokens between white space; as running text they get the spacing of English, ``@-@`` being a hyphen."""

    def __init__(self, lowercase: bool = False) -> None:
        self.key: Callable[[str], str] = str.lower if lowercase else str

    def words(self, text: str) -> list[str]:
        """See `Segmenter`."""
        return text.split()

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

    def words(self, text: str) -> list[str]:
        """See `Segmenter`."""
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

    def words(self, text: str) -> list[str]:
        """See `Segmenter`."""
        plain = _CONTROL.sub(" ", unicodedata.normalize("NFC", text))
        return [word for word in self._cut(plain) if not word.isspace()]

    def key(self, word: str) -> str:
        """See `Segmenter`."""
        return word

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
