"""How text becomes words: our own rules, as ``tokenizer.json`` records them, or those that a model brings.

A text becomes word tokens in two steps that ``tokenizer.json`` records: it is normalized (NFC; typographic
quotes, dashes and ellipses to ASCII; control characters to white space), then split into words, numbers,
abbreviations and single punctuation marks. Spacing carries no information, so ``"much ."`` and ``"much."``
are the same two tokens and `Vocabulary.decode` puts natural spacing back. The one exception is the dash:
`` - `` between spaces is the token ``--`` and a hyphen inside a compound is ``-``.

That is our own tokenization. Models trained elsewhere bring another (`models.config.tokenization`): their
``tokenizer.json`` holds the words and splits at white space, and `models.text.segmentation` does the rest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import NFC, Normalizer, Replace
from tokenizers.normalizers import Sequence as NormalizerSequence
from tokenizers.pre_tokenizers import Split, WhitespaceSplit

from models.config.model import ModelConfig
from models.config.tokenization import Ours, Tokenization
from models.text.segmentation import segmenter

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


def rules(tokenizer: Tokenizer) -> tuple[object, object]:
    """How a tokenizer finds its words."""
    state = json.loads(tokenizer.to_str())
    return state["normalizer"], state["pre_tokenizer"]


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


def new_tokenizer(
    words: Iterable[str], unknown: str = UNKNOWN, tokenization: Tokenization | None = None
) -> Tokenizer:
    """The tokenizer for `words` (`unknown` must be among them), ids in their order."""
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token=unknown))
    if (tokenization or Ours()) == Ours():
        tokenizer.normalizer = _normalizer()
        tokenizer.pre_tokenizer = Split(Regex(_WORD), behavior="removed", invert=True)
    else:
        tokenizer.pre_tokenizer = WhitespaceSplit()
    return tokenizer


def splitter(tokenization: Tokenization) -> Callable[[str], list[str]]:
    """What splits a text into the words that a vocabulary of it would have, without one.

    Raises:
        ValueError: a library that it needs is not installed.
    """
    segments = segmenter(tokenization)
    if segments is not None:
        return segments.words
    tokenizer = new_tokenizer([UNKNOWN])
    normalize, split = tokenizer.normalizer.normalize_str, tokenizer.pre_tokenizer.pre_tokenize_str
    return lambda text: [word for word, _ in split(normalize(text))]


@dataclass(frozen=True, slots=True)
class SpecialWords:
    """What sets some of a vocabulary's words apart, and how text becomes words.

    `start` None means that texts start after `end`; `special` words are never predicted.
    """

    unknown: str = UNKNOWN
    end: str = END
    start: str | None = None
    special: tuple[str, ...] = ()
    tokenization: Tokenization = field(default_factory=Ours)

    @classmethod
    def of(cls, config: ModelConfig) -> SpecialWords:
        """Those that a configuration names."""
        return cls(
            config.unknown_word,
            config.end_word,
            config.start_word,
            config.special_words,
            config.tokenization,
        )
