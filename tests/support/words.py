"""A small vocabulary that has every kind of word."""

from __future__ import annotations

from models.text.vocabulary import Vocabulary

WORDS = (
    "the The THE of a I don't can't rock'n'roll AT&T U.S. e.g. p.m. C++ F# Node.js 3.5 1,000 12:30 2nd "
    ". , ; : ! ? ... ( ) [ ] \" ' - -- / % $ \u00a3 # + < > unk s much more mother m well known caf\u00e9 "
    "na\u00efve na \u00fcber \u4f60\u597d very Thank you it"
).split()


def surfaces(vocabulary: Vocabulary, text: str) -> list[str]:
    return [token.surface for token in vocabulary.tokenize(text)]
