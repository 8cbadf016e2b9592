"""Words joined to running text have the same words again, whatever the text and whatever goes before."""

from __future__ import annotations

from difflib import SequenceMatcher

from hypothesis import given
from hypothesis import strategies as st

from models.text.folding import fold
from models.text.joining import Joiner, join
from models.text.words import words
from tests.support.renderings import sample_lines

LINES = sample_lines()
MARKS = "ab'\u2019.-\u2014\u2013  \"\u201csS,5AB\u2026\u200b\u0301\u00ad\ufb01"
EMOJI = "\U0001f468\u200d\U0001f469\ufe0f"
texts = st.text() | st.text(alphabet=MARKS + EMOJI)


def test_words_joined_are_the_same_words_again() -> None:
    same = total = 0
    for line in LINES:
        joined = join(words(line))
        assert words(joined) == words(line)
        plain = " ".join(fold(line).text.replace("\u2014", "-").replace("\u2026", "...").split())
        blocks = SequenceMatcher(None, plain, joined, autojunk=False).get_matching_blocks()
        same, total = same + sum(block.size for block in blocks), total + len(plain)
    assert same >= 0.98 * total


@given(texts)
def test_any_text_is_joined_again(text: str) -> None:
    assert words(join(words(text))) == words(text)


PROMPTS = ["", " ", 'He said "', "(", "well-", "it", "the dogs'", "a -", "U.S.", "\u201cHi", "[", "end."]


@given(st.sampled_from(PROMPTS), texts)
def test_a_continuation_appended_is_read_as_it_was_made(prompt: str, text: str) -> None:
    joiner = Joiner(prompt)
    wanted = words(text)
    made = prompt + "".join([joiner.add(word) for word in wanted])
    # A hyphen at the end that nothing touches yet is one only with what comes next.
    if wanted[:1] != ["-"]:
        assert words(made) == words(prompt) + wanted
