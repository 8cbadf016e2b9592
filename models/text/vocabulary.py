"""Words and their ids; how text becomes words is told in `models.text.tokenizer`."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from tokenizers import Encoding, Tokenizer

from models.config.tokenization import Ours
from models.text import plain_text
from models.text.segmentation import Segmenter, segmenter
from models.text.spacing import join
from models.text.tokenizer import UNKNOWN, SpecialWords, new_tokenizer, rules


class Token(NamedTuple):
    """One token of a text: its vocabulary `id`, and its `surface`, the characters that were typed."""

    id: int
    surface: str


def _check_unicode(text: str) -> None:
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
        self.unknown_id: int = ids[named.unknown]
        self.end_id: int = ids[named.end]
        self.start_id: int = ids[start]
        never = {self.unknown_id, self.start_id, *(ids[word] for word in named.special)}
        self.special_ids: frozenset[int] = frozenset(never - {self.end_id})
        hidden = self.special_ids | {self.end_id}
        by_word = sorted(set(range(len(self._words))) - hidden, key=self._words.__getitem__)
        self._sorted_words = [self._words[i] for i in by_word]
        self._sorted_ids = torch.tensor(by_word, dtype=torch.int64)

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
        if pretokenized or self.segmenter is not None:
            # What `Token` stands for where the vocabulary has the word: the word itself.
            unknown = self.unknown_id
            return [
                [Token(i, surface if i == unknown else self._words[i]) for surface, i in pairs]
                for pairs in self._look_up(texts, pretokenized)
            ]
        return [
            [
                # Only a dash, which normalization makes of white space, can have an empty span.
                Token(i, (text[start:end].strip() or "--") if i == self.unknown_id else self._words[i])
                for i, (start, end) in zip(encoding.ids, encoding.offsets, strict=True)
            ]
            for text, encoding in zip(texts, self._encode(texts), strict=True)
        ]

    def encode_batch(self, texts: Sequence[str], pretokenized: bool = False) -> list[list[int]]:
        """The ids of each of `texts`, without surfaces; see `tokenize_batch`."""
        if pretokenized or self.segmenter is not None:
            return [[i for _, i in pairs] for pairs in self._look_up(texts, pretokenized)]
        if not self._ours:
            return [encoding.ids for encoding in self._encode(texts)]
        ids, unknown = self._ids, self.unknown_id
        plain = [plain_text.split(text) for text in texts]
        others = [text for text, words in zip(texts, plain, strict=True) if words is None]
        encodings = iter(self._encode(others) if others else ())
        return [
            next(encodings).ids if words is None else [ids.get(word, unknown) for word in words]
            for words in plain
        ]

    def normalized(self, text: str) -> list[str]:
        """The words of `text` in the vocabulary's form, unknown ones too: one for each id that it has."""
        if self.segmenter is not None:
            return [self.segmenter.key(word) for word in self.segmenter.words(text)]
        normalizer, splitting = self._tokenizer.normalizer, self._tokenizer.pre_tokenizer
        plain = text if normalizer is None else normalizer.normalize_str(text)
        return [plain] if splitting is None else [word for word, _ in splitting.pre_tokenize_str(plain)]

    def _encode(self, texts: Sequence[str]) -> list[Encoding]:
        for text in texts:
            _check_unicode(text)
        return self._tokenizer.encode_batch(list(texts), add_special_tokens=False)

    def _look_up(self, texts: Sequence[str], pretokenized: bool) -> Iterator[list[tuple[str, int]]]:
        """Words and their ids, without ``tokenizer.json``."""
        ids, unknown = self._ids, self.unknown_id
        for text in texts:
            _check_unicode(text)
        for text in texts:
            if pretokenized or self.segmenter is None:
                yield [(word, ids.get(word, unknown)) for word in text.split()]
            else:
                key = self.segmenter.key
                yield [(word, ids.get(key(word), unknown)) for word in self.segmenter.words(text)]

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
        words = (self.word(i) for i in ids if i != self.end_id)
        return join(words) if self.segmenter is None else self.segmenter.join(words)

    def starting_with(self, prefix: str) -> torch.Tensor:
        """Sorted ids (int64) of the predictable words that start with `prefix`, case-sensitive.

        ``</s>`` and the special words are never among them; the empty prefix gives all others.
        """
        _check_unicode(prefix)
        if self.segmenter is not None:
            prefix = self.segmenter.key(prefix.strip())
        elif self._tokenizer.normalizer is not None:
            prefix = self._tokenizer.normalizer.normalize_str(prefix).strip()
        low = bisect_left(self._sorted_words, prefix)
        high = bisect_right(self._sorted_words, prefix, lo=low, key=lambda word: word[: len(prefix)])
        return self._sorted_ids[low:high].sort().values
