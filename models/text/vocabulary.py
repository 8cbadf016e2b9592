"""Words and their ids; how text becomes words is told in `models.text.tokenizer`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Final, NamedTuple

import torch
from tokenizers import Tokenizer

from models.text.first_version import FirstVersion
from models.text.prefixes import Prefix, read_prefix
from models.text.segmentation import SecondVersion, Segmenter, between_spaces, segmenter
from models.text.tokenizer import SpecialWords, new_tokenizer
from models.text.word_index import WordIndex
from models.text.words import LONGEST_REMEMBERED, Word, split
from models.text.writing import Appender, JoiningAppender, Writer

REMEMBERED: Final = 1 << 15
"""Pieces of text between white space whose ids a vocabulary remembers."""


class Token(NamedTuple):
    """One token of a text.

    Attributes:
        id: the word's, or the unknown word's.
        surface: the characters that were typed, ``text[start:end]``.
        start, end: its place in the text as it was sent, in code points.
        form: as a vocabulary writes it: the word with this id, or what the unknown word is normalized to.
    """

    id: int
    surface: str
    start: int = 0
    end: int = 0
    form: str = ""


def _check_unicode(text: str) -> None:
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"not valid Unicode: lone surrogate at character {error.start}") from None


class Vocabulary:
    """Words <-> ids, with a sorted view for prefix look-up.

    Attributes:
        unknown_id: the id of the unknown word, ``<unk>``.
        end_id: the id of the end of sentence, ``</s>``.
        start_id: the id of the word after which every text starts; most often the end of sentence.
        special_ids: ids that are never predicted (the end of sentence is not one of them).

    Raises:
        ValueError: one line on what is wrong with the words, or on what is not installed.
    """

    def __init__(self, tokenizer: Tokenizer, words: SpecialWords | None = None) -> None:
        named = words or SpecialWords()
        self._tokenizer = tokenizer
        ids: dict[str, int] = tokenizer.get_vocab(with_added_tokens=False)
        self._words = [word for word, _ in sorted(ids.items(), key=lambda item: item[1])]
        if sorted(ids.values()) != list(range(len(ids))):
            raise ValueError("vocabulary ids must be 0, 1, 2, ... without a gap")
        start = named.end if named.start is None else named.start
        for special in (named.unknown, named.end, start, *named.special):
            if special not in ids:
                raise ValueError(f"vocabulary has no {special!r}")
        if tokenizer.get_vocab_size() != len(ids):
            raise ValueError("tokenizer has added tokens beside its vocabulary")
        if getattr(tokenizer.model, "unk_token", None) != named.unknown:
            raise ValueError(f"tokenizer does not give {named.unknown!r} for unknown words")
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._ids = ids
        self.unknown_id: int = ids[named.unknown]
        other = segmenter(named.tokenization)
        if other is not None and tokenizer.normalizer is not None:
            raise ValueError("tokenizer has rules of its own, and the model's tokenization is another")
        self.segmenter: Segmenter = other or FirstVersion(tokenizer, self.unknown_id)
        self._local = isinstance(self.segmenter, SecondVersion)
        self._ids_of_piece = lru_cache(REMEMBERED)(self._find_ids_of_piece)
        self.end_id: int = ids[named.end]
        self.start_id: int = ids[start]
        never = {self.unknown_id, self.start_id, *(ids[word] for word in named.special)}
        self.special_ids: frozenset[int] = frozenset(never - {self.end_id})
        self._index = WordIndex(self._words, self.special_ids | {self.end_id})

    @classmethod
    def from_words(cls, words: Sequence[str], named: SpecialWords | None = None) -> Vocabulary:
        """A vocabulary of `words`, ids in their order (our own: most frequent first)."""
        named = named or SpecialWords()
        if len(set(words)) != len(words):
            raise ValueError("vocabulary words must be distinct")
        return cls(new_tokenizer(words, named.unknown, named.tokenization), named)

    @classmethod
    def load(cls, path: Path | str, words: SpecialWords | None = None) -> Vocabulary:
        """Read a ``tokenizer.json``. Raises ValueError, in one line, if it is not one."""
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception for everything
            raise ValueError(f"{Path(path).name}: {error}".splitlines()[0]) from None
        return cls(tokenizer, words)

    def save(self, path: Path | str) -> None:
        """Write ``tokenizer.json``."""
        self._tokenizer.save(str(path), pretty=False)

    def __len__(self) -> int:
        return len(self._words)

    def __contains__(self, word: object) -> bool:
        return word in self._ids

    def tokenize(self, text: str) -> list[Token]:
        """The tokens of `text`; [] for white space. Raises ValueError for lone surrogates."""
        return self.tokenize_batch([text])[0]

    def tokenize_batch(self, texts: Sequence[str], pretokenized: bool = False) -> list[list[Token]]:
        """The tokens of each of `texts`. Raises ValueError for lone surrogates.

        With `pretokenized`, a text is words of the vocabulary between white space, special words by their
        own names, and nothing else is done to it.
        """
        for text in texts:
            _check_unicode(text)
        read = between_spaces if pretokenized else self.segmenter.words
        ids, unknown = self._ids, self.unknown_id
        return [
            [
                Token(ids.get(word, unknown), text[start:end], start, end, word)
                for word, start, end in read(text)
            ]
            for text in texts
        ]

    def encode_batch(self, texts: Sequence[str], pretokenized: bool = False) -> list[list[int]]:
        """The ids of each of `texts`, without places: `tokenize_batch`, faster."""
        for text in texts:
            _check_unicode(text)
        ids, unknown = self._ids, self.unknown_id
        if pretokenized:
            return [[ids.get(word, unknown) for word in text.split()] for text in texts]
        if self._local:
            return [list(self._ids_between_spaces(text)) for text in texts]
        if isinstance(self.segmenter, FirstVersion):
            return self.segmenter.encode_batch(texts)
        return [[ids.get(word, unknown) for word, _, _ in self.segmenter.words(text)] for text in texts]

    def normalized(self, text: str) -> list[str]:
        """The words of `text` in the vocabulary's form, unknown ones too: one for each id that it has."""
        return [word for word, _, _ in self.segmenter.words(text)]

    def _ids_between_spaces(self, text: str) -> Iterator[int]:
        for piece in text.split():
            yield from (
                self._ids_of_piece(piece)
                if len(piece) <= LONGEST_REMEMBERED
                else self._find_ids_of_piece(piece)
            )

    def _find_ids_of_piece(self, piece: str) -> tuple[int, ...]:
        return tuple([self._ids.get(word, self.unknown_id) for word, _, _ in split(piece)])

    def special_word(self, name: str) -> int | None:
        """The id of the special word (or start, or end of sentence) of this name; None for any other text."""
        word_id = self._ids.get(name)
        special = self.special_ids | {self.end_id, self.start_id}
        return word_id if word_id in special else None

    def word(self, word_id: int) -> str:
        """The word with this id, as a person types it; distinct for every id. Raises IndexError for no id."""
        if word_id < 0:  # such as the id that pads `TopK`
            raise IndexError(f"no word has the id {word_id}")
        return self._words[word_id]

    def decode(self, ids: Sequence[int]) -> str:
        """Running text for `ids`, with natural spacing; ``</s>`` ends a sentence and is left out."""
        return self.segmenter.join(self.word(i) for i in ids if i != self.end_id)

    def appender(self, before: str) -> Appender:
        """What goes on with the text `before`, word by word.

        With our tokenization, second version, `before` and all that was added has the tokens of `before` and
        then the words that were added; see `models.text.writing`.
        """
        if self._local:
            return Writer(before)
        return JoiningAppender(self.segmenter.join, self.normalized(before), before[-1:].isspace())

    def starting_with(self, prefix: str, ignore_case: bool = False) -> torch.Tensor:
        """Sorted ids (int64) of the predictable words that start with `prefix`, in its case or in any.

        ``</s>`` and the special words are never among them; the empty prefix gives all others.
        """
        _check_unicode(prefix)
        return self._index.starting_with(self.segmenter.key(prefix.strip()), ignore_case)

    def read_prefix(self, prefix: str, ignore_case: bool = False) -> Prefix:
        """What of a prefix is finished, and what is to be completed; see `models.text.prefixes`.

        The words to choose from are those of ``starting_with(read.remainder, ignore_case)``; the context is
        followed by ``ids_of(read.finished)``.
        """
        _check_unicode(prefix)
        return read_prefix(
            prefix,
            lambda text: [Word(token.form, token.start, token.end) for token in self.tokenize(text)],
            self.segmenter.key,
            lambda remainder: self._index.any_starts_with(remainder, ignore_case),
        )

    def ids_of(self, forms: Iterable[str]) -> list[int]:
        """The ids of words in the vocabulary's form, that of the unknown word for others."""
        return [self._ids.get(form, self.unknown_id) for form in forms]

    def known_ids(self, words: Iterable[str]) -> frozenset[int]:
        """The ids of words as a person writes them, ``</s>`` too; others are left out."""
        found = set()
        for word in words:
            forms = [word] if word in self._ids else self.normalized(word)
            if len(forms) == 1 and forms[0] in self._ids:
                found.add(self._ids[forms[0]])
        return frozenset(found)

    @cached_property
    def with_letter_or_digit(self) -> torch.Tensor:
        """(V,) bool: words that are no marks; ``</s>`` and the special words are none either."""
        hidden = self.special_ids | {self.end_id}
        return torch.tensor(
            [any(map(str.isalnum, word)) and i not in hidden for i, word in enumerate(self._words)]
        )

    def case_variants(self, form: str) -> tuple[int, ...]:
        """Sorted ids of the words that differ from `form` in case at most; () if none does."""
        return self._index.case_variants(form)
