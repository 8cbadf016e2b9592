"""Tokenizations that models bring along: what text becomes, and what words become again."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from models.bundle import Bundle, BundleError
from models.config.tokenization import Jieba, Kind, Moses, Ours, Tokenization, Whitespace
from models.text.spacing import join_moses
from models.text.tokenizer import SpecialWords, splitter
from models.text.vocabulary import Vocabulary
from tests.support.tiny import tiny_words, tokenized_bundle

SPECIAL = ("<unk>", "</s>")


def vocabulary(words: str, tokenization: Tokenization, **named: object) -> Vocabulary:
    known = list(dict.fromkeys([*SPECIAL, *words.split()]))
    return Vocabulary.from_words(known, SpecialWords(tokenization=tokenization, **named))  # type: ignore[arg-type]


def surfaces(found: Vocabulary, text: str, pretokenized: bool = False) -> list[str]:
    return [token.surface for token in found.tokenize_batch([text], pretokenized)[0]]


def known(found: Vocabulary, text: str, pretokenized: bool = False) -> list[str]:
    return [found.word(i) for i in found.encode_batch([text], pretokenized)[0]]


WIKI = "The state @-@ of the art , 1 @,@ 000 @.@ 5 isn 't it 's ( 2019 ) \" \" said"


def test_white_space() -> None:
    found = vocabulary("a b Ünïcode a,b", Whitespace())
    assert known(found, "  a,b\tb \u3000 c Ünïcode\n") == ["a,b", "b", "<unk>", "Ünïcode"]
    assert surfaces(found, "c <unk> </s> a") == ["c", "<unk>", "</s>", "a"]
    assert known(found, "</s> <unk>") == ["</s>", "<unk>"]
    assert known(found, "") == []


def test_lower_case_is_looked_up_and_typed_case_is_shown() -> None:
    found = vocabulary("hello", Whitespace(lowercase=True))
    assert known(found, "Hello HELLO Bye") == ["hello", "hello", "<unk>"]
    assert surfaces(found, "Hello Bye") == ["Hello", "Bye"]
    assert [token.word for token in found.tokenize("Hello Bye")] == ["hello", "bye"]
    assert found.starting_with("HEL").tolist() == [2]


def test_moses_as_wikitext_has_it() -> None:
    found = vocabulary(WIKI, Moses())
    text = "The state-of-the art, 1,000.5 (2019) \"it's\" isn't"
    tokens = found.tokenize(text)
    assert "".join(token.surface for token in tokens) == text.replace(" ", "")
    assert [token.word for token in tokens] == (
        "The state @-@ of @-@ the art , 1 @,@ 000 @.@ 5 ( 2019 ) \" it 's \" isn 't".split()
    )
    assert surfaces(vocabulary(WIKI, Moses(split_numbers=False)), "1,000.5") == ["1,000.5"]
    assert surfaces(found, "state @-@ of") == ["state", "@-@", "of"]
    assert known(found, "<unk>") != ["<unk>"]  # typed text holds no special words
    assert known(found, "<unk> @-@", pretokenized=True) == ["<unk>", "@-@"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            '"We don\'t know," said Dr. Smith of Wal-Mart (U.S.).',
            '" We don \'t know , " said Dr. Smith of Wal-Mart ( U.S. ) .',
        ),
        ("It's 1,000.5 -- it isn't $5?", "It 's 1,000.5 -- it isn 't $ 5 ?"),
        ("The boys' e-mail; they've read it!", "The boys ' e-mail ; they 've read it !"),
    ],
)
def test_plain_moses_as_the_one_billion_words_have_it(text: str, words: str) -> None:
    plain = Moses(split_dashes=False, split_numbers=False)
    assert surfaces(vocabulary(words, plain), text) == words.split()
    assert splitter(plain)(text) == words.split()


@pytest.mark.parametrize(
    "text", ["Dr. Smith of Wal-Mart (U.S.) isn't here, I've read.", "It's $5, isn't it?"]
)
def test_plain_moses_becomes_text_again(text: str) -> None:
    plain = Moses(split_dashes=False, split_numbers=False)
    found = vocabulary(" ".join(splitter(plain)(text)), plain)
    assert found.decode(found.encode_batch([text])[0]) == text


@pytest.mark.parametrize("tokenization", [Moses(), Whitespace()], ids=["moses", "whitespace"])
@pytest.mark.parametrize(
    "text",
    [
        "The state-of-the-art costs 1,000.5 dollars (2019).",
        "It's well-known, isn't it?",
        'He said "the end" twice; nobody heard.',
    ],
)
def test_words_become_text_again(tokenization: Tokenization, text: str) -> None:
    words = splitter(Moses())(text)
    found = vocabulary(" ".join(dict.fromkeys(words)), tokenization)
    ids = found.encode_batch([" ".join(words)], pretokenized=True)[0]
    assert found.decode([*ids, found.end_id]) == text


def test_marks_within_words() -> None:
    assert join_moses(["@-@", "a", "@-@", "b", "n't", "@.@"]) == "-a-bn't."
    assert join_moses([]) == ""


def test_chinese() -> None:
    found = vocabulary("我 来到 北京 清华大学 。 iPhone 喜欢 你 北", Jieba())
    text = "我来到北京清华大学。"
    assert surfaces(found, text) == ["我", "来到", "北京", "清华大学", "。"]
    assert found.decode(found.encode_batch([text])[0]) == text
    assert surfaces(found, " 我喜欢 iPhone \u200b吗\n") == ["我", "喜欢", "iPhone", "吗"]
    assert [found.word(i) for i in found.starting_with("北").tolist()] == ["北京", "北"]
    assert known(found, "我 iPhone 北京", pretokenized=True) == ["我", "iPhone", "北京"]
    words = ["我", "喜欢", "the", "iPhone", ",", "你"]
    other = vocabulary(" ".join(words), Jieba())
    assert other.decode(other.encode_batch([" ".join(words)], True)[0]) == "我喜欢the iPhone,你"


def test_start_and_special_words_are_never_predicted() -> None:
    found = vocabulary("<s> <pad> a ab", Whitespace(), start="<s>", special=("<pad>",))
    assert (found.start_id, found.end_id) == (2, 1)
    assert found.special_ids == {0, 2, 3}
    assert [found.word(i) for i in found.starting_with("").tolist()] == ["a", "ab"]
    again = vocabulary("a", Ours())
    assert again.start_id == again.end_id == 1
    with pytest.raises(ValueError, match="vocabulary has no '<pad>'"):
        vocabulary("a", Whitespace(), special=("<pad>",))
    with pytest.raises(ValueError, match="vocabulary has no '<s>'"):
        vocabulary("a", Whitespace(), start="<s>")


def test_pretokenized_text_of_our_own_models() -> None:
    """Taken as it is: no other quotation marks, no case, no marks cut off."""
    found = vocabulary("don't you .", Ours())
    assert known(found, "don\u2019t you.") == ["don't", "you", "."]
    assert known(found, "don\u2019t you.", pretokenized=True) == ["<unk>", "<unk>"]
    assert surfaces(found, "don't you . </s> zzz", pretokenized=True) == ["don't", "you", ".", "</s>", "zzz"]
    assert known(found, "<unk> </s>", pretokenized=True) == ["<unk>", "</s>"]


@pytest.mark.parametrize("tokenization", [Ours(), Whitespace(), Moses(), Jieba()], ids=lambda t: t.type)
@pytest.mark.parametrize("pretokenized", [False, True])
def test_what_is_no_text(tokenization: Tokenization, pretokenized: bool) -> None:
    found = vocabulary("a", tokenization)
    with pytest.raises(ValueError, match="lone surrogate at character 1"):
        found.tokenize_batch(["a", "a\ud800"], pretokenized)
    with pytest.raises(ValueError, match="lone surrogate"):
        found.starting_with("\ud800")


@pytest.mark.parametrize("tokenization", [Whitespace(), Moses(lowercase=True), Jieba()], ids=lambda t: t.type)
def test_a_bundle_carries_its_tokenization(tmp_path: Path, tokenization: Tokenization) -> None:
    loaded = Bundle.load(tokenized_bundle(tmp_path / "b", tokenization), "cpu")
    assert loaded.config.tokenization == tokenization
    text = "The cat isn't here."
    assert loaded.vocabulary.tokenize(text) == Vocabulary.from_words(
        tiny_words(), SpecialWords.of(loaded.config)
    ).tokenize(text)
    thank = tiny_words().index("Thank")
    hidden = loaded.model.softmax.head_weight()[thank][None] * 9
    assert loaded.model.topk(hidden, 3).ids[0].tolist().count(thank) == 0
    assert loaded.model.softmax.log_prob(hidden)[0].argmax() == thank


@pytest.mark.parametrize(
    ("kind", "module", "message"),
    [
        ("moses", "sacremoses", r"needs sacremoses: pip install 'headfirst\[moses\]'"),
        ("jieba", "rjieba", r"needs rjieba: pip install 'headfirst\[chinese\]'"),
    ],
)
def test_a_library_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, module: str, message: str
) -> None:
    path = tokenized_bundle(tmp_path / "b", Kind(kind).tokenization())
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BundleError, match=message) as raised:
        Bundle.load(path, "cpu")
    assert "\n" not in str(raised.value)


def test_every_kind_has_its_name() -> None:
    assert [kind.tokenization().type for kind in Kind] == [*Kind]
