"""Plain text, tokenized by `re` and by the tokenizer: the same words."""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import Whitespace

from benchmarks.serving.texts import CONTEXTS
from models.text import plain_text
from models.text.tokenizer import UNKNOWN, SpecialWords, new_tokenizer
from models.text.vocabulary import Vocabulary

PRINTABLE = "".join(chr(code) for code in range(32, 127))
# Marks that the pattern knows by name are frequent here, as is what stands beside them.
MARKS = "ab1 .,'&:+#C\"!-"

tokenizer = new_tokenizer([UNKNOWN])


def by_tokenizer(text: str) -> list[str]:
    (encoding,) = tokenizer.encode_batch([text])
    return [text[start:end] for start, end in encoding.offsets]


@given(st.text(PRINTABLE, max_size=60) | st.text(MARKS, max_size=30))
@example("U.S. C++ F# e.g. don't rock'n'roll AT&T Node.js 3.5 1,000 12:30 ... a.b.c. a.b.cd")
@example("C++x C#1 1,a a,1 1.,2 'tis a'' &c. ....")
@example("  ")
def test_the_same_words(text: str) -> None:
    words = plain_text.split(text)
    assert (words is None) == ("-" in text)
    assert words is None or words == by_tokenizer(text)


def test_the_same_ids_of_real_text() -> None:
    lines = CONTEXTS.read_text("utf-8").splitlines()
    words = sorted({word for line in lines for word in by_tokenizer(line)})
    vocabulary = Vocabulary.from_words([UNKNOWN, "</s>", *words[::2]])
    expected = [encoding.ids for encoding in vocabulary._encode(lines)]
    assert vocabulary.encode_batch(lines) == expected
    assert sum(plain_text.split(line) is not None for line in lines) > len(lines) / 2


@pytest.mark.parametrize("text", ["naïve", "a\tb", "a\u200bb", "a\n", "\x7f", "a - b", "“a”", "x" * 5000])
def test_what_is_not_plain(text: str) -> None:
    assert plain_text.split(text) is None


def test_another_tokenizer_is_asked(tmp_path: Path) -> None:
    other = new_tokenizer([UNKNOWN, "</s>", "don", "don't", "t", "'"])
    other.pre_tokenizer = Whitespace()
    path = tmp_path / "tokenizer.json"
    other.save(str(path))
    assert Tokenizer.from_file(str(path)).encode("don't").ids == [2, 5, 4]
    assert Vocabulary.load(path, SpecialWords()).encode_batch(["don't"]) == [[2, 5, 4]]
