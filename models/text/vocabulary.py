"""Words and their ids; how text becomes words is told in `models.text.tokenizer`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from tokenizers import Encoding, Tokenizer

from models.config.tokenization import Ours
from models.text import plain_text
from models.text.alignment import place_dashes
from models.text.joining import Joiner, Rendered
from models.text.prefixes import Prefix, PrefixIndex, read
from models.text.segmentation import OurSegmenter, Segmenter, segmenter
from models.text.spacing import join
from models.text.tokenizer import UNKNOWN, SpecialWords, new_tokenizer, rules
from models.text.words import LONGEST_REMEMBERED, REMEMBERED, Piece, split_once

_WORD = re.compile(r"\S+").finditer


class Token(NamedTuple):
    """One token of a text.

    `id` is the vocabulary's; ``start .. end`` are the places of its characters in the text, in code points;
    `surface` is that slice, as it was typed; `word` is what the tokenization makes of it, which is the
    vocabulary's word where that has it.
    """

    id: int
    surface: str
    start: int
    end: int
    word: str


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
        self._ours = named.tokenization == Ours() and rules(tokenizer) == rules(new_tokenizer([UNKNOWN]))
        self.segmenter: Segmenter | None = segmenter(named.tokenization)
        if self.segmenter is not None and tokenizer.normalizer is not None:
            raise ValueError("tokenizer has rules of its own, and the model's tokenization is another")
        self.unknown_id: int = ids[named.unknown]
        self.end_id: int = ids[named.end]
        self.start_id: int = ids[start]
        never = {self.unknown_id, self.start_id, *(ids[word] for word in named.special)}
        self.special_ids: frozenset[int] = frozenset(never - {self.end_id})
        self._known = lru_cache(REMEMBERED)(self._find_ids)
        hidden = self.special_ids | {self.end_id}
        self._prefixes = PrefixIndex(self._words, set(range(len(self._words))) - hidden)

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
        if pretokenized:
            return [
                [self._token(text, Piece(match[0], *match.span())) for match in _WORD(text)] for text in texts
            ]
        if self.segmenter is not None:
            return [[self._token(text, piece) for piece in self.segmenter.pieces(text)] for text in texts]
        return [
            list(self._tokens_of(text, encoding))
            for text, encoding in zip(texts, self._encode(texts), strict=True)
        ]

    def encode_batch(self, texts: Sequence[str], pretokenized: bool = False) -> list[list[int]]:
        """The ids of each of `texts`, without their places; see `tokenize_batch`."""
        ids, unknown = self._ids, self.unknown_id
        if pretokenized or self.segmenter is not None:
            for text in texts:
                _check_unicode(text)
            if not pretokenized and isinstance(self.segmenter, OurSegmenter):
                return [list(self._ids_of_chunks(text)) for text in texts]
            words = str.split if pretokenized or self.segmenter is None else self.segmenter.words
            return [[ids.get(word, unknown) for word in words(text)] for text in texts]
        if not self._ours:
            return [encoding.ids for encoding in self._encode(texts)]
        plain = [plain_text.split(text) for text in texts]
        others = [text for text, words in zip(texts, plain, strict=True) if words is None]
        encodings = iter(self._encode(others) if others else ())
        return [
            next(encodings).ids if words is None else [ids.get(word, unknown) for word in words]
            for words in plain
        ]

    def _ids_of_chunks(self, text: str) -> Iterator[int]:
        """Nothing looks across white space, so that what stands between two spaces can be remembered."""
        for chunk in text.split():
            yield from (self._known if len(chunk) <= LONGEST_REMEMBERED else self._find_ids)(chunk)

    def _find_ids(self, chunk: str) -> tuple[int, ...]:
        return tuple([self._ids.get(word, self.unknown_id) for word, _, _ in split_once(chunk)])

    def normalized(self, text: str) -> list[str]:
        """The words of `text` in the vocabulary's form, unknown ones too: one for each id that it has."""
        if self.segmenter is not None:
            return self.segmenter.words(text)
        normalizer, splitting = self._tokenizer.normalizer, self._tokenizer.pre_tokenizer
        plain = text if normalizer is None else normalizer.normalize_str(text)
        return [plain] if splitting is None else [word for word, _ in splitting.pre_tokenize_str(plain)]

    def _encode(self, texts: Sequence[str]) -> list[Encoding]:
        for text in texts:
            _check_unicode(text)
        return self._tokenizer.encode_batch(list(texts), add_special_tokens=False)

    def _token(self, text: str, piece: Piece) -> Token:
        word, start, end = piece
        return Token(self._ids.get(word, self.unknown_id), text[start:end], start, end, word)

    def _tokens_of(self, text: str, encoding: Encoding) -> Iterator[Token]:
        """By ``tokenizer.json``, whose places may have white space at their ends, or nothing for a dash."""
        ids = encoding.ids
        words = self.normalized(text) if self.unknown_id in ids else [self._words[i] for i in ids]
        found = [Piece(word, *place) for word, place in zip(words, encoding.offsets, strict=True)]
        return (self._token(text, piece) for piece in place_dashes(text, found))

    def end_of(self, text: str) -> Token:
        """The end of sentence after `text`: a token of no characters."""
        word = self.word(self.end_id)
        return Token(self.end_id, word, len(text), len(text), word)

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
        return self._join([self.word(i) for i in ids if i != self.end_id])

    def joiner(self, text: str, ids: Sequence[int]) -> Joiner | Rendered:
        """What goes on with `text`, whose tokens are `ids`, by one word after another."""
        if isinstance(self.segmenter, OurSegmenter):
            return Joiner(text)
        words = [self.word(i) for i in ids if i != self.end_id]
        return Rendered(self._join, words, glue=text[-1:].isspace())

    @property
    def _join(self) -> Callable[[Sequence[str]], str]:
        return join if self.segmenter is None else self.segmenter.join

    # -- words by their beginning -----------------------------------------------------------------------

    def starting_with(self, prefix: str, ignore_case: bool = False, words_only: bool = False) -> torch.Tensor:
        """Sorted ids (int64) of the predictable words that start with `prefix`; with `words_only`, of those
        that have a letter or digit.

        ``</s>`` and the special words are never among them; the empty prefix gives all others.
        """
        _check_unicode(prefix)
        ids = self._prefixes.find(self._folded(prefix), ignore_case)
        return ids[~torch.isin(ids, self.marks)] if words_only else ids

    def prefix(self, typed: str, ignore_case: bool = False) -> Prefix:
        """What of `typed`, the characters since the last space, is finished, and what is to be completed.

        The latter is what follows the earliest start of a token from which on it begins a word of the
        vocabulary; where no word begins so, it is the last token. After a hyphen, a dash, an opening
        quotation mark or an opening bracket and after white space, nothing is typed of
        a word yet. Raises ValueError for lone surrogates.
        """
        _check_unicode(typed)
        if typed[-1:].isspace():
            return Prefix([token.id for token in self.tokenize(typed)], typed, "", "")
        finished, kept, rest = read(
            typed,
            lambda text: [Piece(token.word, token.start, token.end) for token in self.tokenize(text)],
            self._folded,
            lambda begun: self._prefixes.has(begun, ignore_case),
        )
        before = [self._ids.get(word, self.unknown_id) for word in finished]
        return Prefix(before, kept, rest, typed[len(kept) :] if rest else "")

    def case_variants(self, word_id: int) -> list[int]:
        """The ids of the words that differ from a word in case alone, itself among them."""
        return self.variants(self._words[word_id]) or [word_id]

    def variants(self, word: str) -> list[int]:
        """The ids of the words that differ from `word`, in the vocabulary's form, in case at most."""
        return self._prefixes.variants(word)

    def ids_of(self, words: Iterable[str]) -> list[int]:
        """Sorted ids of those of `words` that the vocabulary has, in its form or as they are typed.

        Raises ValueError for lone surrogates.
        """
        found: set[int] = set()
        for word in words:
            _check_unicode(word)
            forms = [word] if word in self._ids else self.normalized(word)
            if len(forms) == 1 and forms[0] in self._ids:
                found.add(self._ids[forms[0]])
        return sorted(found)

    @cached_property
    def marks(self) -> torch.Tensor:
        """Sorted ids (int64) of the words without a letter or digit, ``</s>`` among them."""
        marks = [
            i for i, word in enumerate(self._words) if not (word.isalpha() or any(map(str.isalnum, word)))
        ]
        return torch.tensor(sorted({*marks, self.end_id}), dtype=torch.int64)

    def _folded(self, typed: str) -> str:
        if self.segmenter is not None:
            return self.segmenter.folded(typed).strip()
        if self._tokenizer.normalizer is None:
            return typed
        folded: str = self._tokenizer.normalizer.normalize_str(typed)
        return folded.strip()
