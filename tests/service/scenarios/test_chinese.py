# ruff: noqa: RUF001 -- Chinese has full-width marks
"""A language without spaces, from text to answers: docs/chinese.md in small."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from models.bundle import Bundle
from tests.support.commands import json_rows, run

SENTENCES = [
    "我来到北京清华大学。",
    "他在北京大学学习。",
    "我们喜欢学习中文，你们呢？",
    "今天的天气很好。",
    "他们明天去上海工作。",
    "你喜欢 iPhone 吗？",
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model trained on these sentences."""
    path = tmp_path_factory.mktemp("chinese")
    draw = random.Random(1)
    (path / "text.txt").write_text("\n".join(draw.choice(SENTENCES) for _ in range(400)))
    sizes = ("--vocabulary-size", 31, "--shortlist", 8, "--clusters", 3, "--bands", "8:16,4")
    body = ("--hidden-size", 16, "--units", 32, "--projection", 16, "--rows", 4, "--window", 8)
    steps = ("--steps", 120, "--warmup", 10, "--learning-rate", 0.02, "--holdout-every", 20)
    result = run("train", path / "text.txt", path / "model", "--tokenization", "jieba", *sizes, *body, *steps)
    assert result.exit_code == 0, result.stderr
    return path / "model"


def test_the_bundle_says_how_its_text_is_split(model: Path) -> None:
    bundle = Bundle.load(model, "cpu")
    assert bundle.config.tokenization.type == "jieba"
    assert {bundle.vocabulary.word(i) for i in range(31)} >= {"清华大学", "北京", "喜欢", "iPhone", "。"}
    assert "第二次世界大战" in (model / "README.md").read_text()
    assert json.loads(run("inspect", model, "--json").stdout)["tokenization"] == {"type": "jieba"}


def test_predict(model: Path) -> None:
    (found,) = json_rows(run("predict", "我来到", "--model", model, "--json", "-k", 3))
    assert found["words"][0]["word"] == "北京"
    assert found["context_words"] == 2


def test_predict_what_starts_so(model: Path) -> None:
    (found,) = json_rows(run("predict", "我来到北京", "--model", model, "--json", "--prefix", "清华"))
    assert [word["word"] for word in found["words"]] == ["清华大学"]
    (found,) = json_rows(run("predict", "我", "--model", model, "--json", "--prefix", "你"))
    assert {word["word"] for word in found["words"]} == {"你", "你们"}


def test_score(model: Path) -> None:
    likely, unlikely = json_rows(
        run("score", "-", "--model", model, stdin="我来到北京清华大学。\n北京来到我。清华大学\n".encode())
    )
    assert [word["word"] for word in likely["words"]] == ["我", "来到", "北京", "清华大学", "。", "</s>"]
    assert likely["unknown_words"] == 0
    assert likely["perplexity"] < 0.2 * unlikely["perplexity"]


def test_words_between_spaces(model: Path) -> None:
    text = "我 来到 北京 清华大学 。\n"
    (given,) = json_rows(run("score", "-", "--model", model, "--pretokenized", stdin=text.encode()))
    (split,) = json_rows(run("score", "-", "--model", model, stdin=text.replace(" ", "").encode()))
    for row in (given, split):
        for word in row["words"]:
            del word["start"], word["end"]  # One text has spaces, the other none.
    assert given == split
