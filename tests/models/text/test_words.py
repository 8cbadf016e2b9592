"""Our tokenization, second version: rules by example, and what holds for every text."""

from __future__ import annotations

import re
import time
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.text.folding import compose, fold, invisible
from models.text.words import Piece, pieces, split
from tests.support.renderings import RENDERINGS, sample_lines

LINES = sample_lines()
MARKS = (
    " .,'\u2019\u00b4`\"\u201c-\u2013\u2014\u2026sSaBI15:&+#"
    "\u00ad\u200b\u200d\ufe0fe\u0301\u00e9\ufb01\uff21\u00bd"
)
EMOJI = "\U0001f469\U0001f680\U0001f3fd\U0001f1e9\U0001f1ea\u20e3\u2764\ufe0f\u200d1"

texts = st.text(max_size=40) | st.text(MARKS, max_size=20) | st.text(MARKS + EMOJI, max_size=12)


def tokens(text: str) -> list[str]:
    return [word for word, _, _ in pieces(text)]


# -- by example ----------------------------------------------------------------------------------------

SENTENCES = [
    ("He left.She stayed.", "He left . She stayed ."),
    ("until 5 pm.Is it", "until 5 pm . Is it"),
    ("it was good.I said", "it was good . I said"),
    ("in 1990.The end", "in 1990 . The end"),
    ("at 5 p.m.Is it p.m.I", "at 5 p.m. Is it p.m. I"),
    ("the USA.We OK.I", "the USA . We OK . I"),
    ("J.Smith J.R.R.Tolkien U.K.The", "J . Smith J.R.R. Tolkien U.K. The"),
    ("No.5 fig.3", "No . 5 fig . 3"),
    ("left!She why?No \u201cyes.\u201dShe", 'left ! She why ? No " yes . " She'),
    ("\u00e9t\u00e9.\u00c9mile left.\u00c9mile", "\u00e9t\u00e9 . \u00c9mile left . \u00c9mile"),
    ("left\u2026She left...She", "left ... She left ... She"),
]
NAMES = [
    ("Node.js example.com www.example.org ASP.NET", "Node.js example.com www.example.org ASP.NET"),
    ("U.S. U.S U.S.A. e.g. a.k.a. p.m. S.p.A.", "U.S. U.S U.S.A. e.g. a.k.a. p.m. S.p.A."),
    ("Ph.D. Ph.D M.Sc. B.Sc.", "Ph.D. Ph.D M.Sc. B.Sc."),
    ("3.5 1,000.50 192.168.0.1 12:30 v1.2 X.509", "3.5 1,000.50 192.168.0.1 12:30 v1.2 X.509"),
    ("C++ C# AT&T rock'n'roll", "C++ C# AT&T rock'n'roll"),
    ("me@example.com #tag @you a_b", "me @ example.com # tag @ you a _ b"),
]
CLITICS = [
    ("plumber's plumber\u2019s IT'S", "plumber 's plumber 's IT 'S"),
    ("it's let's who's y'all's 1980's U.S.'s", "it 's let 's who 's y'all 's 1980 's U.S. 's"),
    ("I don't, I'm, we've, he'd, they're, I'll", "I don't , I'm , we've , he'd , they're , I'll"),
    ("dogs' goin' 'tis '80s", "dogs ' goin ' ' tis ' 80s"),
    ("O'Sullivan don'ts o'clock d'\u00e9tat", "O'Sullivan don'ts o'clock d'\u00e9tat"),
    ("'s 'yes'", "'s ' yes '"),
    ("\"Moby-Dick\"'s (it)'s \U0001f600's", "\" Moby - Dick \" 's ( it ) 's \U0001f600 's"),
]
DASHES = [
    ("well-known well - known well\u2014known", "well - known well -- known well -- known"),
    ("-5 \u22125 5- (-a", "- 5 - 5 5 - ( - a"),
    ("- a - \u2014 b -- c", "-- a -- -- b -- c"),
    ("a--b a\u2013b a----b ---- \u2014\u2014", "a -- b a -- b a -- b -- --"),
    ("5\u20137 5\u20127 5\u20147 $5\u2013$7", "5 - 7 5 - 7 5 -- 7 $ 5 -- $ 7"),
    ("e\u2010mail e\u2011mail e\ufe63mail", "e - mail e - mail e - mail"),
]
LOOK_ALIKES = [
    ("don\u2019t don\u02bct don\u2032t don\u00b4t don`t don\uff07t don\u2018t", " ".join(["don't"] * 7)),
    ("`code` \u00b4tis", "` code ` ' tis"),
    ("\u201ea\u201c \u00aba\u00bb \u300ca\u300d \u301da\u301f", " ".join(['" a "'] * 4)),
    ("\u201aa\u2018 \u2039a\u203a \u300ea\u300f \u275ba\u275c", " ".join(["' a '"] * 4)),
    ("5\u203210\u2033", "5'10 \""),
    ("\ufb01ne \uff28\uff45\uff4c\uff0c \U0001d407\U0001d422 \u2163 \u01c6", "fine Hel , Hi IV d\u017e"),
    ("x\u00b2 H\u2082O \u00bd \u2122 \u2116 \u2460", "x\u00b2 H\u2082O \u00bd \u2122 \u2116 \u2460"),
    ("wait\u2026 wait.... a..b\u2025", "wait ... wait ... a ... b ..."),
    ("cafe\u0301 \u212b \u1100\u1161\u11a8", "caf\u00e9 \u00c5 \uac01"),
    ("\u3131\u314b \u0e19\u0e49\u0e33", "\u3131\u314b \u0e19\u0e49\u0e33"),
    ("!\u0301 a", "!\u0301 a"),
]  # fmt: skip
INVISIBLE = [
    ("wo\u200brd wo\u00adrd \ufeffword word\u200e \u2066word\u2069 word\ufe0f", " ".join(["word"] * 6)),
    ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0645\u06cc\u062e\u0648\u0627\u0647\u0645"),
    ("\u200b \ufe0f \u200d a \u3164", "a"),
    ("a -\u200b b", "a -- b"),
    ("the\x00of \x1bthe\x07", "the of the"),
]
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"
ENGLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
EMOJIS = [
    ("\u2764\ufe0f \u2764 \u263a\ufe0e", "\u2764 \u2764 \u263a"),
    ("ok\U0001f44d\U0001f3fdok", "ok \U0001f44d\U0001f3fd ok"),
    ("\U0001f469\u200d\U0001f680\U0001f600", "\U0001f469\u200d\U0001f680 \U0001f600"),
    (f"{FAMILY}!", f"{FAMILY} !"),
    ("\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7", "\U0001f1e9\U0001f1ea \U0001f1eb\U0001f1f7"),
    ("5\ufe0f\u20e3 #\u20e3", "5\u20e3 #\u20e3"),
    (f"{ENGLAND}.", f"{ENGLAND} ."),
    ("\U0001f3f3\ufe0f\u200d\U0001f308", "\U0001f3f3\u200d\U0001f308"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [*SENTENCES, *NAMES, *CLITICS, *DASHES, *LOOK_ALIKES, *INVISIBLE, *EMOJIS],
    ids=ascii,
)
def test_words_of_a_text(text: str, expected: str) -> None:
    assert tokens(text) == expected.split()


# -- for every text ------------------------------------------------------------------------------------


def is_nothing(char: str) -> bool:
    return char.isspace() or char in invisible or unicodedata.category(char) == "Cc"


@given(texts)
def test_places_are_in_order_and_leave_out_nothing_that_shows(text: str) -> None:
    end = 0
    for word, start, stop in pieces(text):
        assert word
        assert end <= start < stop <= len(text)
        assert all(map(is_nothing, text[end:start]))
        assert not is_nothing(text[start])
        assert not text[stop - 1].isspace()
        end = stop
    assert all(map(is_nothing, text[end:]))


def test_a_character_that_folds_to_several_is_in_one_token() -> None:
    """Of all characters there are."""
    several = [
        char
        for char in map(chr, range(0x110000))
        if not 0xD800 <= ord(char) < 0xE000 and len(fold(char).text) > 1
    ]
    assert len(several) > 400
    for char in several:
        assert len(split(char)) == 1
        assert [one.start for one in split("a" + char + "b")] == sorted(
            {one.start for one in split("a" + char + "b")}
        )


@given(texts, st.sampled_from(" \t\n\u00a0\u2003\u3000\u2028"), texts)
def test_nothing_looks_across_white_space(one: str, space: str, other: str) -> None:
    assert tokens(one + space + other) == tokens(one) + tokens(other)
    assert tokens(space + one + space) == tokens(one)


def test_real_lines_cut_at_every_space() -> None:
    for line in LINES[:200]:
        whole = tokens(line)
        for cut in (found.start() for found in re.finditer(" ", line)):
            assert tokens(line[:cut]) + tokens(line[cut:]) == whole
            assert tokens(line[: cut + 1]) + tokens(line[cut + 1 :]) == whole


@pytest.mark.parametrize("rendering", RENDERINGS, ids=lambda one: one.__name__)
def test_a_rendering_of_a_line_has_the_same_words(rendering: Callable[[str], str]) -> None:
    changed = 0
    for line in LINES:
        rendered = rendering(line)
        changed += rendered != line
        assert tokens(rendered) == tokens(line)
        for (_, start, end), (plain, _, _) in zip(pieces(rendered), pieces(line), strict=True):
            # By itself a hyphen is a dash, and a grave accent no apostrophe.
            assert tokens(rendered[start:end]) in ([plain], ["--"], ["`", "s"])
    assert changed > 20 or rendering.__name__ in ("decomposed", "accents")


@given(texts)
def test_a_token_by_itself_is_the_same_token(text: str) -> None:
    for word in tokens(text):
        assert tokens(word) == [word] or word == "-"


@given(texts)
def test_normal_forms_have_the_same_words(text: str) -> None:
    assert tokens(unicodedata.normalize("NFD", text)) == tokens(text)
    assert tokens(unicodedata.normalize("NFC", text)) == tokens(text)


@given(texts, st.sampled_from(sorted(invisible - {"\u200d", "\ufe0f", "\ufe0e"})), st.integers(0, 40))
def test_invisible_characters_change_nothing(text: str, char: str, place: int) -> None:
    plain = "".join(one for one in text if one not in invisible and unicodedata.category(one) != "So")
    assert tokens(plain[:place] + char + plain[place:]) == tokens(plain)


@given(
    st.text(max_size=30) | st.text("aeA\u0301\u0323\u0308\u1100\u1161\u11a8\u0bc6\u0bbe!=\u0338", max_size=12)
)
def test_composition_is_that_of_unicode(text: str) -> None:
    composed = compose(text)
    assert composed.text == unicodedata.normalize("NFC", text)
    assert composed.starts == sorted(composed.starts)
    assert all(
        unicodedata.normalize("NFC", text[start:end]).startswith(char) or end - start > 1
        for char, start, end in zip(*composed, strict=True)
    )
    assert fold(fold(text).text).text == fold(text).text


def test_letters_that_compose_are_told_by_their_kind() -> None:
    """`folding` takes marks, and parts of Korean syllables, for what may join the letter before."""
    for code in range(0x110000):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            second = chr(int(parts[1], 16))
            assert unicodedata.category(second)[0] == "M"


def test_ascii_and_other_text_follow_the_same_rules() -> None:
    """A letter from beyond ASCII at the end of a line sends it the other way."""
    for line in LINES:
        for piece in line.split():
            if piece.isascii():
                assert [*split(piece), Piece("\u6f22", len(piece) + 1, len(piece) + 2)] == list(
                    pieces(piece + " \u6f22")
                )
                assert [tuple(one) for one in split(piece + "\ufeff")] == [tuple(one) for one in split(piece)]


@pytest.mark.parametrize(
    "part",
    ["-", "--", "a", "1,", "a.", "A.", "\u0301", "\u2014", "'", "\u2019", ".", "`", "a'",
     "\U0001f469\u200d", "\u200b", "a&", "Ab.", "\u1161", "\ufb01", "5\u2013", "\U0001f1e9"],
    ids=ascii,
)  # fmt: skip
def test_very_long_pieces_take_linear_time(part: str) -> None:
    text = part * (40_000 // len(part))
    before = time.process_time()
    assert len(split(text)) <= len(text)
    assert time.process_time() - before < 3  # a rule that is quadratic in the length needs minutes
