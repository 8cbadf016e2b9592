"""Words and their ids.

A text becomes word tokens in two steps that `tokenizer.json` records: it is normalized (NFC; typographic
quotes, dashes and ellipses to ASCII; control characters to white space), then split into words, numbers,
abbreviations and single punctuation marks. Spacing carries no information, so ``"much ."`` and ``"much."``
are the same two tokens and `Vocabulary.decode` puts natural spacing back. The one exception is the dash:
`` - `` between spaces is the token ``--`` and a hyphen inside a compound is ``-``.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from tokenizers import Encoding, Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import NFC, Normalizer, Replace
from tokenizers.normalizers import Sequence as NormalizerSequence
from tokenizers.pre_tokenizers import Split

from models.spacing import join

UNKNOWN = "<unk>"
END = "</s>"

_GAP = r"(?<!\s)\s+"
_LETTER_OR_DIGIT = r"[\p{L}\p{M}\p{N}]"
_WORD = "|".join(
    [
        r"--",  # a dash, after normalization
        r"\.\.\.",
        r"(?:\p{L}\.){2,}(?!\p{L})",  # U.S., e.g., p.m.
        rf"\p{{L}}(?:\+\+|#)(?!{_LETTER_OR_DIGIT})",  # C++, F#
        # don't, rock'n'roll, AT&T, Node.js; 3.5, 1,000, 12:30
        rf"{_LETTER_OR_DIGIT}+(?:['.&]{_LETTER_OR_DIGIT}+|(?<=\p{{N}})[,:](?=\p{{N}}){_LETTER_OR_DIGIT}+)*",
        r"\S",  # any other mark, one at a time
    ]
)


class Token(NamedTuple):
    """One token of a text: its vocabulary `id`, and its `surface`, the characters that were typed."""

    id: int
    surface: str


def _normalizer() -> Normalizer:
    return NormalizerSequence(
        [
            NFC(),
            Replace(Regex(r"[\p{Cc}\x{200B}\x{2060}\x{FEFF}]"), " "),
            Replace("\u00ad", ""),  # soft hyphen
            Replace(Regex("[\u2018\u2019\u02bc]"), "'"),
            Replace(Regex("[\u201c\u201d]"), '"'),
            Replace("\u2026", "..."),
            # White space is matched from its first character only: linear in the length of a text.
            Replace(Regex(rf"(?:{_GAP})?(?:[\x{{2013}}\x{{2014}}]|--+)\s*|{_GAP}-+\s+"), " -- "),
        ]
    )


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"not valid Unicode: lone surrogate at character {error.start}") from None


def new_tokenizer(words: Iterable[str]) -> Tokenizer:
    """The tokenizer for `words` (most frequent first; `UNKNOWN` must be among them), ids in that order."""
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token=UNKNOWN))
    tokenizer.normalizer = _normalizer()
    tokenizer.pre_tokenizer = Split(Regex(_WORD), behavior="removed", invert=True)
    return tokenizer


class Vocabulary:
    """Words <-> ids, with a sorted view for prefix look-up.

    Attributes:
        unknown_id: the id of the unknown word, ``<unk>``.
        end_id: the id of the end of sentence, ``</s>``; every sequence starts after it, too.
        special_ids: ids that are never predicted (``</s>`` is not one of them).
    """

    def __init__(self, tokenizer: Tokenizer, unknown: str = UNKNOWN, end: str = END) -> None:
        self._tokenizer = tokenizer
        words = tokenizer.get_vocab(with_added_tokens=False)
        self._words = [word for word, _ in sorted(words.items(), key=lambda item: item[1])]
        if sorted(words.values()) != list(range(len(words))):
            raise ValueError("vocabulary ids must be 0, 1, 2, ... without a gap")
        for special in (unknown, end):
            if special not in words:
                raise ValueError(f"vocabulary has no {special!r}")
        if tokenizer.get_vocab_size() != len(words):
            raise ValueError("tokenizer has added tokens beside its vocabulary")
        if getattr(tokenizer.model, "unk_token", None) != unknown:
            raise ValueError(f"tokenizer does not give {unknown!r} for unknown words")
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self.unknown_id: int = words[unknown]
        self.end_id: int = words[end]
        self.special_ids: frozenset[int] = frozenset({self.unknown_id})
        hidden = self.special_ids | {self.end_id}
        by_word = sorted(set(range(len(self._words))) - hidden, key=self._words.__getitem__)
        self._sorted_words = [self._words[i] for i in by_word]
        self._sorted_ids = torch.tensor(by_word, dtype=torch.int64)

    @classmethod
    def from_words(cls, words: Sequence[str]) -> Vocabulary:
        """A vocabulary of `words`, ids in their order (frequency order, most frequent first)."""
        if len(set(words)) != len(words):
            raise ValueError("vocabulary words must be distinct")
        return cls(new_tokenizer(words))

    @classmethod
    def load(cls, path: Path | str, unknown: str = UNKNOWN, end: str = END) -> Vocabulary:
        """Read a ``tokenizer.json``. Raises ValueError, in one line, if it is not one."""
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception for everything
            raise ValueError(f"{Path(path).name}: {error}".splitlines()[0]) from None
        return cls(tokenizer, unknown, end)

    def save(self, path: Path | str) -> None:
        """Write ``tokenizer.json``."""
        self._tokenizer.save(str(path), pretty=False)

    def __len__(self) -> int:
        return len(self._words)

    def tokenize(self, text: str) -> list[Token]:
        """The tokens of `text`; [] for white space. Raises ValueError for lone surrogates."""
        return self.tokenize_batch([text])[0]

    def tokenize_batch(self, texts: Sequence[str]) -> list[list[Token]]:
        """The tokens of each of `texts`. Raises ValueError for lone surrogates."""
        encodings = self._encode(texts)
        return [
            [
                # Only a dash, which normalization makes of white space, can have an empty span.
                Token(i, (text[start:end].strip() or "--") if i == self.unknown_id else self._words[i])
                for i, (start, end) in zip(encoding.ids, encoding.offsets, strict=True)
            ]
            for text, encoding in zip(texts, encodings, strict=True)
        ]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each of `texts`, without surfaces. Raises ValueError for lone surrogates."""
        return [encoding.ids for encoding in self._encode(texts)]

    def _encode(self, texts: Sequence[str]) -> list[Encoding]:
        for text in texts:
            _check_unicode(text)
        return self._tokenizer.encode_batch(list(texts), add_special_tokens=False)

    def word(self, word_id: int) -> str:
        """The word with this id, as a person types it; distinct for every id. Raises IndexError for no id."""
        if word_id < 0:  # such as the id that pads `TopK`
            raise IndexError(f"no word has the id {word_id}")
        return self._words[word_id]

    def decode(self, ids: Sequence[int]) -> str:
        """Running text for `ids`, with natural spacing; ``</s>`` ends a sentence and is left out."""
        return join(self.word(i) for i in ids if i != self.end_id)

    def starting_with(self, prefix: str) -> torch.Tensor:
        """Sorted ids (int64) of the predictable words that start with `prefix`, case-sensitive.

        ``</s>`` and the special words are never among them; the empty prefix gives all others.
        """
        _check_unicode(prefix)
        if self._tokenizer.normalizer is not None:
            prefix = self._tokenizer.normalizer.normalize_str(prefix).strip()
        low = bisect_left(self._sorted_words, prefix)
        high = bisect_right(self._sorted_words, prefix, lo=low, key=lambda word: word[: len(prefix)])
        return self._sorted_ids[low:high].sort().values
