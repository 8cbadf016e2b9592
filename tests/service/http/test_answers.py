"""What the two model routes answer, around an engine that computes each message alone."""

import math

import pytest

from models.bundle import Bundle
from service.contract.messages import Predict, Predicted, Score, Scored
from service.http.request.questions import last_words
from tests.support.asgi import Local, post
from tests.support.engines import TIMING, compute

pytestmark = pytest.mark.anyio


async def test_predict(local: Local, bundle: Bundle) -> None:
    response = await post(local(), "predict", inputs=["Thank you very", "zzz you", ""], k=3)
    assert response.status_code == 200
    assert list(response.json()) == ["results"]
    first, second, third = response.json()["results"]
    assert list(first) == ["words", "context_words", "unknown_words"]
    assert [(len(r["words"]), r["context_words"], r["unknown_words"]) for r in (first, second, third)] == [
        (3, 3, 0),
        (3, 2, 1),
        (3, 0, 0),
    ]
    ids = bundle.vocabulary.encode_batch(["Thank you very"])[0]
    expected = compute(bundle, Predict("", tuple(ids), 3, None, None))
    assert isinstance(expected, Predicted)
    assert [word["word"] for word in first["words"]] == [bundle.vocabulary.word(i) for i in expected.ids]
    assert [word["logprob"] for word in first["words"]] == pytest.approx(expected.logprobs, abs=1e-6)


async def test_predict_prefix(local: Local) -> None:
    app = local()
    response = await post(app, "predict", inputs="Thank you", k=1000, prefix="ve")
    words = [word["word"] for word in response.json()["results"][0]["words"]]
    assert len(words) > 1
    assert all(word.startswith("ve") for word in words)
    response = await post(app, "predict", inputs="Thank you", prefix="zzz")
    assert response.json()["results"][0]["words"] == []
    await post(app, "predict", inputs="Thank you", prefix="")
    assert app.engine.submitted[-1].prefix is None  # type: ignore[union-attr]


async def test_the_prefix_is_what_is_typed_since_the_last_space(local: Local, bundle: Bundle) -> None:
    app = local()
    response = await post(app, "predict", inputs=["Thank you", "zzz"], k=3, prefix="very,ba")
    before = bundle.vocabulary.encode_batch(["very,"])[0]
    for result, message in zip(response.json()["results"], app.engine.submitted[-2:], strict=True):
        assert isinstance(message, Predict)
        assert (message.prefix, list(message.tokens[-2:])) == ("ba", before)
        assert result["context_words"] == len(message.tokens)
        assert len(result["words"]) == 3
        for word in result["words"]:
            assert list(word) == ["word", "logprob", "completion"]
            assert word["completion"] == f"very,{word['word']}"
    (result,) = (await post(app, "predict", inputs="Thank you", k=300, prefix="(")).json()["results"]
    assert {word["completion"] for word in result["words"]} >= {"(the", "(very"}
    assert "(</s>" not in {word["completion"] for word in result["words"]}
    response = await post(app, "predict", inputs="", prefix="VE", ignore_case=True)
    assert "very" in [word["word"] for word in response.json()["results"][0]["words"]]


async def test_excluded_words_and_marks_are_not_answered(local: Local, bundle: Bundle) -> None:
    app = local()
    (everything,) = (await post(app, "predict", inputs="Thank you", k=280)).json()["results"]
    every = [word["word"] for word in everything["words"]]
    exclude = [*every[:3], "</s>", "nonsense", "two words", ""]
    (rest,) = (await post(app, "predict", inputs="Thank you", k=10, exclude=exclude)).json()["results"]
    assert rest["words"] == [word for word in everything["words"] if word["word"] not in exclude][:10]
    (words,) = (await post(app, "predict", inputs="Thank you", k=280, words_only=True)).json()["results"]
    assert [word["word"] for word in words["words"]] == [
        word for word in every if word != "</s>" and any(map(str.isalnum, word))
    ]
    await post(app, "predict", inputs="Thank you", ignore_case=True)
    assert app.engine.submitted[-1].ignore_case is False  # type: ignore[union-attr]
    pretokenized = {"inputs": "the", "pretokenized": True, "prefix": "ba", "k": 2}
    (result,) = (await post(app, "predict", **pretokenized)).json()["results"]
    assert [word["completion"] for word in result["words"]] == [word["word"] for word in result["words"]]


async def test_predict_explains_which_clusters_were_opened(local: Local, bundle: Bundle) -> None:
    app = local()
    texts = ["Thank you very", "of the"]
    response = await post(app, "predict", inputs=texts, k=60, explain=True)
    for text, result in zip(texts, response.json()["results"], strict=True):
        ids = tuple(bundle.vocabulary.encode_batch([text])[0])
        expected = compute(bundle, Predict("", ids, 60, None, None))
        assert isinstance(expected, Predicted)
        assert expected.clusters  # k is more than the short-list has words
        assert result["explain"] == {"clusters": list(expected.clusters)}


async def test_predict_uses_the_last_words(local: Local) -> None:
    app = local(max_context_words=10)
    response = await post(app, "predict", inputs=["the " * 12 + "zzz very", "the " * 10])
    assert [result["context_words"] for result in response.json()["results"]] == [9, 10]
    assert [result["unknown_words"] for result in response.json()["results"]] == [1, 0]


@pytest.mark.parametrize("limit", [2, 3, 10, 11])
def test_the_start_of_a_long_context_moves_in_steps(limit: int) -> None:
    starts = set()
    for length in range(200):
        kept = last_words(list(range(length)), limit)
        assert kept == list(range(length))[length - len(kept) :]
        assert min(length, limit - limit // 2) <= len(kept) <= limit
        starts.add(length - len(kept))
    assert all(start % (limit // 2) == 0 for start in starts)


async def test_k_above_the_vocabulary_means_all_words(local: Local, bundle: Bundle) -> None:
    response = await post(local(), "predict", inputs="a", k=1000)
    words = [word["word"] for word in response.json()["results"][0]["words"]]
    assert len(set(words)) == len(words) == len(bundle.vocabulary) - len(bundle.vocabulary.special_ids)
    assert "</s>" in words
    assert "<unk>" not in words


async def test_score(local: Local, bundle: Bundle) -> None:
    response = await post(local(), "score", inputs=["Thank you very zzz.", ""])
    assert list(response.json()) == ["results"]
    result, empty = response.json()["results"]
    fields = ["logprob", "perplexity", "known_perplexity", "word_count", "unknown_words", "words"]
    assert list(result) == fields
    assert [list(word) for word in result["words"]] == [["word", "start", "end", "logprob", "known"]] * 6
    assert [word["word"] for word in result["words"]] == ["Thank", "you", "very", "zzz", ".", "</s>"]
    assert [word["known"] for word in result["words"]] == [True, True, True, False, True, True]
    assert (result["word_count"], result["unknown_words"]) == (6, 1)
    assert result["logprob"] == pytest.approx(sum(word["logprob"] for word in result["words"]), abs=1e-6)
    assert result["perplexity"] == pytest.approx(math.exp(-result["logprob"] / 6), rel=1e-5)
    known = [word["logprob"] for word in result["words"] if word["known"]]
    assert result["known_perplexity"] == pytest.approx(math.exp(-sum(known) / 5), rel=1e-5)
    assert [word["word"] for word in empty["words"]] == ["</s>"]
    vocabulary = bundle.vocabulary
    targets = (*vocabulary.encode_batch(["Thank you very zzz."])[0], vocabulary.end_id)
    expected = compute(bundle, Score("", (), targets, None))
    assert [word["logprob"] for word in result["words"]] == pytest.approx(expected.logprobs, abs=1e-6)


async def test_score_options(local: Local) -> None:
    app = local()
    whole = (await post(app, "score", inputs="Thank you very much")).json()["results"][0]
    rest = (await post(app, "score", inputs="very much", context="Thank you")).json()["results"][0]
    assert [word["word"] for word in rest["words"]] == ["very", "much", "</s>"]
    logprobs = [word["logprob"] for word in whole["words"]]
    assert [word["logprob"] for word in rest["words"]] == pytest.approx(logprobs[2:], abs=1e-4)
    bare = (await post(app, "score", inputs="very much", context="Thank you", end_of_sentence=False)).json()
    assert [word["word"] for word in bare["results"][0]["words"]] == ["very", "much"]
    assert bare["results"][0]["word_count"] == 2
    assert bare["results"][0]["logprob"] == pytest.approx(sum(logprobs[2:4]), abs=1e-4)
    short = (await post(app, "score", inputs="Thank you very much", per_word=False)).json()["results"][0]
    assert short == {name: value for name, value in whole.items() if name != "words"}


async def test_a_long_score_in_pieces(local: Local) -> None:
    text = "Thank you very much . " * 1200
    response = await post(local(), "score", inputs=[text, "you"])
    long, short = response.json()["results"]
    assert long["word_count"] == len(long["words"]) == 6001
    assert [word["word"] for word in long["words"]] == [*text.split(), "</s>"]
    assert short["word_count"] == 2


async def test_impossible_words_are_null(local: Local) -> None:
    app = local(answer=lambda message: Scored((-1.5, -math.inf), TIMING))
    response = await post(app, "score", inputs="you", context="Thank")
    assert "Infinity" not in response.text
    assert response.json()["results"] == [
        {
            "logprob": None,
            "perplexity": None,
            "known_perplexity": None,
            "word_count": 2,
            "unknown_words": 0,
            "words": [
                {"word": "you", "start": 0, "end": 3, "logprob": -1.5, "known": True},
                {"word": "</s>", "start": 3, "end": 3, "logprob": None, "known": True},
            ],
        }
    ]


async def test_timing_header(local: Local) -> None:
    response = await post(local(), "predict", inputs=["a", "b"])
    parts = dict(part.split(";", 1) for part in response.headers["server-timing"].split(", "))
    assert parts["queue"] == "dur=1.000"
    assert parts["engine"] == "dur=2.000"
    assert float(parts["total"].removeprefix("dur=")) > 0
    assert (parts["batch"], parts["cached"]) == ('desc="3"', 'desc="8"')
