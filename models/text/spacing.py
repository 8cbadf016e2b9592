"""Natural spacing: word tokens joined into text a person would type."""

from __future__ import annotations

from collections.abc import Iterable

ATTACH_LEFT = frozenset(". , ; : ! ? ) ] } % ... \u00b0 \u2122 \u00ae \u00a9".split())
ATTACH_RIGHT = frozenset("( [ { $ # @ ~ \u00a3 \u20ac \u00a5 \u00bf \u00a1".split())
ATTACH_BOTH = frozenset("- / _ \\".split())
QUOTES = frozenset("\" ' `".split())
_CLITICS = frozenset("n't 's 're 've 'll 'd 'm 't N'T 'S 'RE 'VE 'LL 'D 'M 'T".split())
_MARKS = {"@-@": "-", "@,@": ",", "@.@": "."}  # within a word or a number, as in WikiText-103
DISPLAY = {"--": "-"}  # a dash is typed as a hyphen between spaces


def join(words: Iterable[str]) -> str:
    """`words` as running text: ``["(", "Hi", "!", ")"]`` becomes ``"(Hi!)"``.

    Quotation marks open and close by turns, so a text with unbalanced quotes may get a space on the
    other side of one.
    """
    parts: list[str] = []
    space = False
    open_quotes: set[str] = set()
    for word in words:
        opening = word in QUOTES and word not in open_quotes
        closing = word in QUOTES and not opening
        if space and not (word in ATTACH_LEFT or word in ATTACH_BOTH or closing):
            parts.append(" ")
        parts.append(DISPLAY.get(word, word))
        space = not (word in ATTACH_RIGHT or word in ATTACH_BOTH or opening)
        if opening:
            open_quotes.add(word)
        elif closing:
            open_quotes.discard(word)
    return "".join(parts)


def join_moses(words: Iterable[str]) -> str:
    """`join` for words split as the Moses tokenizer does: ``["It", "'s", "well", "@-@", "known"]`` becomes
    ``"It's well-known"``."""
    parts: list[str] = []
    attach = False
    for word in words:
        text = _MARKS.get(word, word)
        if parts and (attach or word in _MARKS or word in _CLITICS):
            parts[-1] += text
        else:
            parts.append(text)
        attach = word in _MARKS
    return join(parts)
