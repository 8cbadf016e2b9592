"""Words joined as a person would type them."""

from __future__ import annotations

import pytest

from models.text.spacing import join


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("", ""),
        ("much", "much"),
        ("Thank you very much .", "Thank you very much."),
        ("( Hi ! )", "(Hi!)"),
        ("a , b ; c : d ?", "a, b; c: d?"),
        ('he said " yes " .', 'he said "yes".'),
        ('" a " " b "', '"a" "b"'),
        ("the ' it ' of", "the 'it' of"),
        ("` code ` here", "`code` here"),
        ("\" the ' it ' \"", "\"the 'it'\""),
        ("well - known", "well-known"),
        ("a -- b", "a - b"),
        ("and / or", "and/or"),
        ("$ 5 # 1 @ home", "$5 #1 @home"),
        ("\u00a3 5 \u20ac 6 \u00a5 7", "\u00a35 \u20ac6 \u00a57"),
        ("\u00bf qu\u00e9 ?", "\u00bfqu\u00e9?"),
        ("10 % of 5 \u00b0", "10% of 5\u00b0"),
        ("wait ... what", "wait... what"),
        ("[ a ] { b }", "[a] {b}"),
        ("a_b _ c \\ d", "a_b_c\\d"),
        ('an " open quote', 'an "open quote'),
    ],
)
def test_join(words: str, text: str) -> None:
    assert join(words.split()) == text


def test_join_takes_any_iterable() -> None:
    assert join(word for word in ("a", ".")) == "a."
