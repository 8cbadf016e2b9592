"""Our tokenization, second version: its rules by examples, and what holds for every text."""

# ruff: noqa: RUF001 -- look-alikes are what this is about

from __future__ import annotations

import unicodedata
from difflib import SequenceMatcher

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from models.benchmarking.text import SAMPLE
from models.text.folding import compose, fold
from models.text.joining import Joiner, join
from models.text.words import pieces, words

LINES = SAMPLE.read_text("utf-8").splitlines()
NOTHING = regex.compile(r"[\s\p{Cc}\p{Default_Ignorable_Code_Point}\ufff9-\ufffb]*")

SCOTLAND = "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"

RULES = {
    # Clitics: 's alone is a word of its own.
    "plumber's": "plumber 's",
    "plumber’s": "plumber 's",
    "IT'S": "IT 'S",
    "it's": "it 's",
    "U.S.'s": "U.S. 's",
    "1980's": "1980 's",
    "boss's": "boss 's",
    "dogs' bones": "dogs ' bones",
    "don't": "don't",
    "I'm we'll they've you're he'd": "I'm we'll they've you're he'd",
    "rock'n'roll o'clock": "rock'n'roll o'clock",
    "'so' 's'": "' so ' ' s '",
    "it 's": "it 's",
    # Full stops.
    "He left.She stayed.": "He left . She stayed .",
    "at 3 pm.Is it good.I": "at 3 pm . Is it good . I",
    "OK.I know.": "OK . I know .",
    "Node.js, example.com": "Node.js , example.com",
    "U.S. U.S.A e.g. p.m.": "U.S. U.S.A e.g. p.m.",
    "p.m.She": "p.m. She",
    "ASP.NET 3.5 v2.0": "ASP.NET 3.5 v2.0",
    "ушёл.Она": "ушёл . Она",
    "no?Yes!No": "no ? Yes ! No",
    "more....": "more ... .",
    "more…": "more ...",
    # Hyphens and dashes.
    "well-known well‐known well‑known": "well - known well - known well - known",
    "well - known": "well -- known",
    "wait-- so": "wait -- so",
    "wait—so a–b 5–7": "wait -- so a -- b 5 -- 7",
    "-5 −5": "- 5 - 5",
    "semi- and": "semi - and",
    "- item": "-- item",
    "end -": "end --",
    "a ---- b": "a -- b",
    # Look-alikes.
    "I don´t know. I don`t": "I don't know . I don't",
    "“much” „much“ «much»": '" much " " much " " much "',
    "ﬁne ﬂow Ｈｅｌｌｏ！ 𝐇𝐞𝐥𝐥𝐨": "fine flow Hello ! Hello",
    "x² ½ ™ H₂O": "x² ½ ™ H₂O",
    "e\u0301te\u0301": "été",
    "a\u00a0b\u3000c\u2009d": "a b c d",
    # Invisible characters.
    "wo\u200brd \ufeffx\u200e \u2066y\u2069 mo\u00adther a\ufe0fb": "word x y mother ab",
    # Emoji.
    "❤️ ❤": "❤ ❤",
    "👨‍👩‍👧‍👦👍🏽🇩🇪🇫🇷1️⃣": "👨‍👩‍👧‍👦 👍🏽 🇩🇪 🇫🇷 1⃣",
    f"{SCOTLAND}!": f"{SCOTLAND} !",
    # Numbers and marks.
    "1,000 12:30 C++, F# AT&T (a/b)": "1,000 12:30 C++ , F# AT&T ( a / b )",
    "你好，世界": "你好 , 世界",
}


@pytest.mark.parametrize(("text", "expected"), RULES.items())
def test_the_rules(text: str, expected: str) -> None:
    assert words(text) == expected.split()


def phone(line: str) -> str:
    """As a phone's keyboard types it."""
    return line.replace("'", "’").replace("...", "…").replace(" - ", " — ")


def processor(line: str) -> str:
    """As a word processor writes it: quotes that open and close, ligatures, spaces that do not break."""
    opened = regex.sub(r'"([^"]*)"', r"“\1”", line.replace("'", "’"))
    return opened.replace("fi", "ﬁ").replace("fl", "ﬂ").replace(" - ", "\u00a0– ").replace("e", "e\u200b", 1)


@pytest.mark.parametrize("render", [phone, processor])
def test_devices_type_the_same_words(render: object) -> None:
    assert callable(render)
    for line in LINES:
        assert words(render(line)) == words(line)


texts = st.text() | st.text(alphabet="ab'’.-—–  \"“sS,5\u200b\u0301\u00adﬁ🇩👨\u200d👩\ufe0fAB…")


@given(texts)
def test_pieces_are_slices_that_leave_nothing_out(text: str) -> None:
    found = list(pieces(text))
    assert [piece.word for piece in found] == words(text)
    end = 0
    for piece in found:
        assert end <= piece.start < piece.end
        assert NOTHING.fullmatch(text, end, piece.start)
        end = piece.end
    assert NOTHING.fullmatch(text, end)


@given(texts, texts, st.sampled_from([" ", "\n", "\t", "\u3000", "\x00", "  "]))
def test_a_text_may_be_cut_at_white_space(before: str, after: str, space: str) -> None:
    assert words(before + space + after) == words(before) + words(after)
    assert words(before + space) == words(before)


def test_real_lines_may_be_cut_between_any_two_words() -> None:
    for line in LINES:
        cuts = [at for at, character in enumerate(line) if character == " "]
        for at in cuts:
            assert words(line[:at]) + words(line[at:]) == words(line)
            assert words(line[: at + 1]) + words(line[at + 1 :]) == words(line)


@given(texts)
def test_folding_is_done_once_and_leads_back(text: str) -> None:
    folded = fold(text)
    assert len(folded.text) == len(folded.starts) == len(folded.ends)
    assert all(0 <= start < end <= len(text) for start, end in zip(folded.starts, folded.ends, strict=True))
    assert list(folded.starts) == sorted(folded.starts)
    assert unicodedata.is_normalized("NFC", folded.text)


@given(st.text())
def test_composing_is_nfc(text: str) -> None:
    assert compose(text).text == unicodedata.normalize("NFC", text)


def test_words_joined_are_the_same_words_again() -> None:
    same = total = 0
    for line in LINES:
        joined = join(words(line))
        assert words(joined) == words(line)
        plain = " ".join(fold(line).text.replace("—", "-").replace("…", "...").split())
        blocks = SequenceMatcher(None, plain, joined, autojunk=False).get_matching_blocks()
        same, total = same + sum(block.size for block in blocks), total + len(plain)
    assert same >= 0.98 * total


@given(texts)
def test_any_text_is_joined_again(text: str) -> None:
    assert words(join(words(text))) == words(text)


PROMPTS = ["", " ", 'He said "', "(", "well-", "it", "the dogs'", "a -", "U.S.", "“Hi", "[", "end."]


@given(st.sampled_from(PROMPTS), texts)
def test_a_continuation_appended_is_read_as_it_was_made(prompt: str, text: str) -> None:
    joiner = Joiner(prompt)
    wanted = words(text)
    made = prompt + "".join([joiner.add(word) for word in wanted])
    # A hyphen at the end that nothing touches yet is one only with what comes next.
    if wanted[:1] != ["-"]:
        assert words(made) == words(prompt) + wanted
