"""A text that is to be scored as sentences, each from the start state: itself, or each of its lines."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from models.text.vocabulary import Token, Vocabulary
from service.contract.errors import InvalidRequest

MAX_NAMED_CHARS: Final = 40
"""A token is named in an error by so many of its characters."""

_LINE: Final = re.compile(r"[^\r\n]+")


def sentences(
    vocabulary: Vocabulary,
    texts: Sequence[str],
    *,
    pretokenized: bool = False,
    end_of_sentence: bool = True,
    lines: bool = False,
    ignore_case: bool = False,
) -> list[list[list[Token]]]:
    r"""For each of `texts` its sentences: their tokens, with ``</s>`` after each if `end_of_sentence`.

    With `lines` each line is a sentence; lines end in ``\n``, ``\r\n`` or ``\r``, and those without words are
    skipped. A text without words is one empty sentence. Places are those in the whole text. For
    `ignore_case` see `tokens_of`.

    Raises:
        ValueError: a text is not valid Unicode.
    """
    if not lines:
        tokenized = tokens_of(vocabulary, texts, pretokenized, ignore_case)
        return [
            [_ended(vocabulary, text, tokens) if end_of_sentence else tokens]
            for text, tokens in zip(texts, tokenized, strict=True)
        ]
    parts = [[(match.start(), match[0]) for match in _LINE.finditer(text)] for text in texts]
    every = [line for part in parts for _, line in part]
    left = iter(tokens_of(vocabulary, every, pretokenized, ignore_case))
    found = []
    for part in parts:
        kept = [(start, line, tokens) for start, line in part if (tokens := next(left))]
        if end_of_sentence:
            kept = [(start, line, _ended(vocabulary, line, tokens)) for start, line, tokens in kept]
        found.append([_moved(tokens, start) for start, _, tokens in kept])
    empty = [vocabulary.end_of("")] if end_of_sentence else []
    return [
        one or [[token._replace(start=len(text), end=len(text)) for token in empty]]
        for text, one in zip(texts, found, strict=True)
    ]


def tokens_of(
    vocabulary: Vocabulary, texts: Sequence[str], pretokenized: bool, ignore_case: bool
) -> list[list[Token]]:
    """The tokens of each text. With `ignore_case` an unknown word that the vocabulary has in another case is
    that one, of several the most frequent: `THE` is `the`. Raises ValueError for what is not Unicode."""
    tokenized = vocabulary.tokenize_batch(texts, pretokenized)
    if not ignore_case:
        return tokenized
    return [[_in_any_case(vocabulary, token) for token in tokens] for tokens in tokenized]


def _in_any_case(vocabulary: Vocabulary, token: Token) -> Token:
    if token.id != vocabulary.unknown_id:
        return token
    variants = vocabulary.variants(token.word)
    return token._replace(id=variants[0], word=vocabulary.word(variants[0])) if variants else token


def check_lines(lines: bool, context: bool, param: str = "lines") -> None:
    """Raises InvalidRequest if each line is to be a sentence and there is a context, which none follows."""
    if lines and context:
        message = "Each line starts anew with lines: there can be no context."
        raise InvalidRequest(message, param=param)


def is_end(token: Token) -> bool:
    """Whether a token is the end of a sentence, after its text; not one that is written in the text."""
    return token.start == token.end and bool(token.surface)


def check_regions(text: str, tokens: Sequence[Token], regions: Sequence[tuple[int, int]], name: str) -> None:
    """Raises InvalidRequest for one of `regions` that is outside `text` or cuts a token; `name` is theirs."""
    starts = [token.start for token in tokens]
    for index, (start, end) in enumerate(regions):
        param = f"{name}[{index}]"
        if not 0 <= start <= end <= len(text):
            message = (
                f"{param} must be [start, end] with 0 <= start <= end <= {len(text)}, the text's length."
            )
            raise InvalidRequest(message, param=param)
        for edge in (start, end):
            token = tokens[at - 1] if (at := bisect_left(starts, edge)) else None
            if token is not None and token.end > edge:
                typed = f"{token.surface[:MAX_NAMED_CHARS]!r} at [{token.start}, {token.end}]"
                raise InvalidRequest(f"{param} cuts the token {typed}, at {edge}.", param=param)


def _ended(vocabulary: Vocabulary, text: str, tokens: list[Token]) -> list[Token]:
    return [*tokens, vocabulary.end_of(text)]


def _moved(tokens: Sequence[Token], by: int) -> list[Token]:
    return [token._replace(start=token.start + by, end=token.end + by) for token in tokens]
