"""`headfirst predict` in this process: exact words, tables, JSON, errors."""

from __future__ import annotations

import math
import re
from pathlib import Path

import httpx
import pytest
import torch

from models.bundle import Bundle
from tests.support.commands import json_rows, refusal, run

TEXTS = ["Thank you very", "", "zzz and", "that was it for you and " * 150, " ", "the"]


def best(bundle: Bundle, text: str, k: int, prefix: str = "") -> list[tuple[str, float]]:
    """The k best words by brute force over the whole distribution."""
    vocabulary = bundle.vocabulary
    ids = [vocabulary.end_id, *(token.id for token in vocabulary.tokenize(text))]
    with torch.inference_mode():
        start = bundle.model.initial_state(1)
        hidden, _ = bundle.model.encode(torch.tensor([ids]), torch.tensor([len(ids)]), start)
        logprobs = bundle.model.softmax.log_prob(hidden[0, -1:])[0].tolist()
    words = [
        (vocabulary.word(i), value)
        for i, value in enumerate(logprobs)
        if i not in vocabulary.special_ids and vocabulary.word(i).startswith(prefix)
    ]
    return sorted(words, key=lambda word: -word[1])[:k]


@pytest.mark.parametrize(
    ("k", "prefix"), [(1, ""), (10, ""), (5, "b"), (40, "ba"), (1000, ""), (3, "zzz"), (2, "The")]
)
def test_words_are_the_best_by_brute_force(bundle_path: Path, bundle: Bundle, k: int, prefix: str) -> None:
    options = ("--model", bundle_path, "-k", k, "--prefix", prefix, "--json")
    rows = json_rows(run("predict", "-", *options, stdin="\n".join(TEXTS).encode()))
    assert len(rows) == len(TEXTS)
    for row, text in zip(rows, TEXTS, strict=True):
        expected = best(bundle, text, k, prefix)
        assert [word["word"] for word in row["words"]] == [word for word, _ in expected]
        assert [word["logprob"] for word in row["words"]] == pytest.approx(
            [value for _, value in expected], abs=1e-4
        )
        tokens = bundle.vocabulary.tokenize(text)
        assert row["context_words"] == len(tokens)
        assert row["unknown_words"] == sum(token.id == bundle.vocabulary.unknown_id for token in tokens)


def test_what_is_left_out_and_what_is_completed(bundle_path: Path, bundle: Bundle) -> None:
    every = best(bundle, "the", 300)
    options = ("--model", bundle_path, "-k", 5, "--json", "--exclude", every[0][0], "--exclude", "nonsense")
    (row,) = json_rows(run("predict", "the", *options))
    assert [word["word"] for word in row["words"]] == [word for word, _ in every[1:6]]
    (row,) = json_rows(run("predict", "the", *options, "--words-only"))
    words = [word for word, _ in every[1:] if word != "</s>" and any(map(str.isalnum, word))]
    assert [word["word"] for word in row["words"]] == words[:5]
    (row,) = json_rows(run("predict", "the", *options, "--prefix", '"BA', "--ignore-case"))
    assert all(word["completion"] == f'"{word["word"]}' for word in row["words"])
    assert row["context_words"] == 2
    table = run("predict", "the", "--model", bundle_path, "--prefix", '"ba').stdout
    assert "completion" in table
    assert '"ba' in table
    assert "completion" not in run("predict", "the", "--model", bundle_path).stdout
    assert "surrogate" in refusal(run("predict", "the", "--model", bundle_path, "--exclude", "\udcff"))


def test_many_texts_with_many_words_each(bundle_path: Path, bundle: Bundle) -> None:
    texts = [f"{word} {other}" for word in ("the", "of", "was") for other in TEXTS[0].split() * 20]
    rows = json_rows(
        run("predict", "-", "--model", bundle_path, "-k", 300, "--json", stdin="\n".join(texts).encode())
    )
    assert len(rows) == len(texts)
    for row, text in zip(rows, texts, strict=True):
        # Not the order of the whole vocabulary: another batch rounds otherwise, and near-ties change places.
        found = {word["word"]: word["logprob"] for word in row["words"]}
        assert len(found) == len(row["words"])
        assert found == pytest.approx(dict(best(bundle, text, 300)), abs=1e-5)
        assert list(found.values()) == sorted(found.values(), reverse=True)
        assert math.fsum(map(math.exp, found.values())) <= 1 + 1e-4


def test_one_text(bundle_path: Path) -> None:
    one = run("predict", TEXTS[0], "--model", bundle_path, "--json").stdout
    assert one == run("predict", "-", "--model", bundle_path, "--json", stdin=TEXTS[0].encode()).stdout


def test_rows_are_what_the_server_answers(bundle_path: Path, client: httpx.Client) -> None:
    texts = TEXTS[:3]
    rows = json_rows(run("predict", "-", "--model", bundle_path, "--json", stdin="\n".join(texts).encode()))
    answer = client.post("/v1/predict", json={"inputs": texts}).raise_for_status().json()
    for row, result in zip(rows, answer["results"], strict=True):
        assert list(row) == list(result)
        assert row["context_words"] == result["context_words"]
        assert row["unknown_words"] == result["unknown_words"]
        assert [word["word"] for word in row["words"]] == [word["word"] for word in result["words"]]
        assert [word["logprob"] for word in row["words"]] == pytest.approx(
            [word["logprob"] for word in result["words"]], abs=1e-4
        )


def test_table(bundle_path: Path, bundle: Bundle) -> None:
    result = run("predict", "[the] zzz", "--model", bundle_path, "-k", 279)
    assert result.exit_code == 0
    assert result.stderr == ""
    title, *lines = result.stdout.split("\n")
    assert title.strip() == "[the] zzz"
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│")]
    expected = best(bundle, "[the] zzz", 279)
    assert [row[0] for row in rows] == [word for word, _ in expected]
    for (word, probability, logprob, origin), (_, value) in zip(rows, expected, strict=True):
        assert float(probability) == pytest.approx(math.exp(value), abs=1e-4)
        assert float(logprob) == pytest.approx(value, abs=2e-4)
        word_id = bundle.vocabulary.tokenize(word)[0].id if word != "</s>" else bundle.vocabulary.end_id
        low, high = (0, *bundle.config.cutoffs), bundle.config.cutoffs
        section = next(i for i in range(len(high)) if low[i] <= word_id < high[i])
        assert origin == ("head" if section == 0 else f"cluster {section - 1}")
    assert "words read: 4 (3 unknown); clusters opened: 6 of 6 (0, 1, 2, 3, 4, 5)" in result.stdout


def test_the_table_tells_which_clusters_were_opened(bundle_path: Path, bundle: Bundle) -> None:
    for text in ("Thank you very", "for that"):
        printed = run("predict", text, "--model", bundle_path, "-k", 3).stdout
        ids = [bundle.vocabulary.end_id, *(token.id for token in bundle.vocabulary.tokenize(text))]
        with torch.inference_mode():
            start = bundle.model.initial_state(1)
            hidden, _ = bundle.model.encode(torch.tensor([ids]), torch.tensor([len(ids)]), start)
            opened = bundle.model.topk(hidden[:, -1], 3).expanded[0].nonzero()[:, 0].tolist()
        found = re.search(r"clusters opened: (\d) of 6(?: \((.*)\))?", printed)
        assert found is not None
        assert int(found[1]) == len(opened)
        assert (found[2] or "") == ", ".join(map(str, opened))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("the", "--model", "missing"), "missing: no such directory"),
        (("the", "--device", "gpu"), "device 'gpu' is not one of auto, cpu, cuda, cuda:<i>"),
        (("\udcff",), "not valid Unicode: lone surrogate at character 0"),
        (("a", "--prefix", "b\udcff"), "not valid Unicode: lone surrogate at character 1"),
        (("-",), "standard input: line 2 is not valid UTF-8 (byte 1 of the line)"),
    ],
)
def test_user_errors_are_one_line(
    bundle_path: Path, here: Path, arguments: tuple[str, ...], message: str
) -> None:
    model = () if "--model" in arguments else ("--model", bundle_path)
    result = run("predict", *arguments, *model, stdin=b"the\n\xff\n")
    assert refusal(result) == f"headfirst predict: {message}"


def test_k_is_at_least_one(bundle_path: Path) -> None:
    result = run("predict", "the", "--model", bundle_path, "-k", 0)
    assert result.exit_code == 2
    assert "-k" in result.stderr
