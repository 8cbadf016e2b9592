"""Which words may be answered after a text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from models.text.prefixes import Prefix
from models.text.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Candidates:
    """Which words may be answered after a text; without arguments all of them.

    Args:
        typed: what is typed of the word, where anything was sent.
        before: ids of the tokens that are typed without a space before it; the context goes on with them.
        prefix: only words that start so, in the vocabulary's form; None means any.
        ignore_case: whether they may do so in another case.
        words_only: only words that have a letter or digit.
        exclude: ids of words that are not answered.
    """

    typed: Prefix | None = None
    before: tuple[int, ...] = ()
    prefix: str | None = None
    ignore_case: bool = False
    words_only: bool = False
    exclude: tuple[int, ...] = ()

    @classmethod
    def of(
        cls,
        vocabulary: Vocabulary,
        prefix: str | None = None,
        ignore_case: bool = False,
        words_only: bool = False,
        exclude: Iterable[str] = (),
        pretokenized: bool = False,
    ) -> Self:
        """Those that a request asks for.

        Args:
            prefix: the characters since the last space, or, with `pretokenized`, of a word of the vocabulary;
                None or "" means any word, ``</s>`` among them.
            exclude: words; those that the vocabulary lacks change nothing.

        Raises:
            ValueError: `prefix` or a word of `exclude` is not valid Unicode.
        """
        excluded = vocabulary.ids_of(exclude)
        if not prefix:
            return cls(words_only=words_only, exclude=tuple(excluded))
        typed = Prefix([], "", prefix, prefix) if pretokenized else vocabulary.prefix(prefix, ignore_case)
        if not typed.rest:
            # A word is to be completed, so that the end of the sentence is none of the candidates.
            excluded = sorted({*excluded, vocabulary.end_id})
        return cls(
            typed,
            tuple(typed.before),
            typed.rest or None,
            ignore_case and bool(typed.rest),
            words_only,
            tuple(excluded),
        )


ANY: Final = Candidates()
