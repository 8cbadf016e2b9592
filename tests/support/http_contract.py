"""What every way to serve must answer: tests for any server, given as `client`, with the tiny model."""

import concurrent.futures
import json
import math
from collections.abc import Iterator

import httpx
import pytest

from tests.support.http import WORDS, assert_same, predict, score, sentences
from tests.support.load import Load, load

MIXED = sentences(64, seed=1)
"""Texts of mixed lengths."""


class HttpContract:
    """Base of a test class; its module has the fixture `client`."""

    @pytest.fixture
    def fifty_clients(self, client: httpx.Client) -> Iterator[Load]:
        """Fifty other clients that ask all the time."""
        requests = [("/v1/predict", json.dumps({"inputs": text, "k": 7})) for text in sentences(20, seed=100)]
        requests += [
            ("/v1/score", json.dumps({"inputs": [text, text[:9]]})) for text in sentences(20, seed=101)
        ]
        with load(str(client.base_url).rstrip("/"), 50, requests=requests) as running:
            yield running

    def test_many_inputs_equal_single_requests(self, client: httpx.Client) -> None:
        together = predict(client, inputs=MIXED, k=5)
        assert_same(together, [predict(client, inputs=text, k=5)[0] for text in MIXED])
        scored = score(client, inputs=MIXED)
        assert_same(scored, [score(client, inputs=text)[0] for text in MIXED])

    def test_the_same_answers_among_fifty_clients(self, client: httpx.Client, fifty_clients: Load) -> None:
        together = predict(client, inputs=MIXED, k=5)
        scored = score(client, inputs=MIXED)
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            assert_same(together, list(pool.map(lambda text: predict(client, inputs=text, k=5)[0], MIXED)))
            assert_same(scored, list(pool.map(lambda text: score(client, inputs=text)[0], MIXED)))
        fifty_clients.end()
        assert fifty_clients.unsent == fifty_clients.broken == []
        assert len(fifty_clients.answers) >= 50
        assert set(fifty_clients.statuses) == {200}

    def test_words_add_up(self, client: httpx.Client) -> None:
        for result in score(client, inputs=[*sentences(20, seed=3), "unheardof words"]):
            assert result["logprob"] == pytest.approx(
                sum(word["logprob"] for word in result["words"]), abs=1e-4
            )
            assert result["word_count"] == len(result["words"])
            assert result["unknown_words"] == sum(not word["known"] for word in result["words"])
            assert result["perplexity"] == pytest.approx(
                math.exp(-result["logprob"] / result["word_count"]), rel=1e-4
            )

    def test_score_agrees_with_predict_word_by_word(self, client: httpx.Client) -> None:
        words = sentences(1, seed=4)[0].split()[:12]
        (scored,) = score(client, inputs=" ".join(words))
        contexts = [" ".join(words[:count]) for count in range(len(words) + 1)]
        for word, predicted in zip(
            scored["words"], predict(client, inputs=contexts, k=len(WORDS) + 2), strict=True
        ):
            logprobs = {entry["word"]: entry["logprob"] for entry in predicted["words"]}
            assert len(logprobs) == len(WORDS) + 1
            assert logprobs[word["word"]] == pytest.approx(word["logprob"], abs=1e-4)

    def test_context_is_what_comes_before(self, client: httpx.Client) -> None:
        (whole,) = score(client, inputs="Thank you very much .")
        (rest,) = score(client, inputs="very much .", context="Thank you")
        places = dict.fromkeys(("start", "end"), 0)  # Each is in its own text.
        assert_same(*([word | places for word in words] for words in (rest["words"], whole["words"][2:])))

    def test_predictions_are_sorted_and_a_prefix_keeps_their_numbers(self, client: httpx.Client) -> None:
        (everything,) = predict(client, inputs="Thank you", k=280)
        logprobs = [word["logprob"] for word in everything["words"]]
        assert logprobs == sorted(logprobs, reverse=True)
        (some,) = predict(client, inputs="Thank you", k=280, prefix="ba")
        assert [word.pop("completion") for word in some["words"]] == [word["word"] for word in some["words"]]
        assert_same(some["words"], [word for word in everything["words"] if word["word"].startswith("ba")])

    def test_the_best_of_what_is_left(self, client: httpx.Client) -> None:
        (everything,) = predict(client, inputs="Thank you", k=280)
        every = everything["words"]
        exclude = [word["word"] for word in every[1:40:2]] + ["nonsense"]
        (left,) = predict(client, inputs="Thank you", k=30, words_only=True, exclude=exclude)
        words = [word for word in every if word["word"] != "</s>" and any(map(str.isalnum, word["word"]))]
        assert_same(left["words"], [word for word in words if word["word"] not in exclude][:30])
        (typed,) = predict(client, inputs="Thank you", prefix="VE", ignore_case=True)
        for word in typed["words"]:
            assert word.pop("completion") == word["word"]
        assert_same(typed["words"], [word for word in every if word["word"].startswith("ve")])

    def test_a_text_longer_than_a_batch(self, client: httpx.Client) -> None:
        text = " ".join(WORDS * 40)
        (result,) = score(client, inputs=text)
        assert result["word_count"] == len(result["words"]) > 10_000
        (short,) = predict(client, inputs=text)
        assert 256 <= short["context_words"] <= 512
