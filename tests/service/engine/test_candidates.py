"""The k best of the words that a request leaves, against a look at the whole distribution."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.bundle import DEFAULT, Bundle
from models.softmax.topk import TopK
from models.text.candidates import Candidates
from service.contract.messages import Predict, Predicted
from service.offline.predictor import Predictor
from tests.support.engines import words_for
from tests.support.softmaxes import check, true_logprobs
from tests.support.spy import Watched, hidden_rows, running_engines
from tests.support.tiny import marked_bundle

FORMATS = {"ignore_case": st.booleans(), "words_only": st.booleans(), "fast": st.booleans()}


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.load(marked_bundle(tmp_path_factory.mktemp("marked")), "cpu")


@pytest.fixture(scope="module")
def engine(marked: Bundle) -> Iterator[Watched]:
    engines = running_engines_of(marked)
    yield next(engines)
    next(engines, None)


def running_engines_of(bundle: Bundle) -> Iterator[Watched]:
    for make in running_engines(bundle):
        yield make(max_batch_tokens=200)


def same_as_by_brute_force(bundle: Bundle, message: Predict, answer: Predicted) -> None:
    softmax = bundle.model.softmax
    with torch.inference_mode():
        row = hidden_rows(bundle, message.tokens)[-1:]
        truth = true_logprobs(softmax, row, [words_for(bundle, message)])
    k = min(message.k, len(bundle.vocabulary))
    missing = k - len(answer.ids)
    ids = torch.tensor([[*answer.ids, *[-1] * missing]], dtype=torch.int64)
    logprobs = torch.tensor([[*answer.logprobs, *[-torch.inf] * missing]])
    check(TopK(ids, logprobs, torch.zeros(1, 1)), truth, [k], answer.error)
    assert message.fast or answer.error == 0


def messages(words: int) -> st.SearchStrategy[Predict]:
    ids = st.integers(0, words - 1)
    return st.builds(
        Predict,
        id=st.just("p"),
        tokens=st.lists(ids, max_size=4).map(tuple),
        k=st.sampled_from([1, 2, 10, 17, 130, 279, 280, 1000]),
        prefix=st.sampled_from([None, None, "b", "B", "BA", "don", "'", "t", "zz", '"', "-", "bast"]),
        deadline=st.none(),
        exclude=st.one_of(
            st.just(()),
            st.sets(ids, max_size=5).map(tuple),
            st.sets(ids, min_size=100, max_size=280).map(tuple),
            st.just(tuple(range(words))),
        ),
        **FORMATS,
    )


@given(st.lists(messages(280), min_size=1, max_size=6))
def test_the_engine_answers_the_best_of_what_is_left(
    marked: Bundle, engine: Watched, asked: list[Predict]
) -> None:
    for message, answer in zip(asked, engine.ask(*asked), strict=True):
        same_as_by_brute_force(marked, message, answer)


@given(
    st.text(st.sampled_from("the don'B\"-( "), max_size=6),
    st.sampled_from([None, "", '"b', "ban-", "don\u2019", "B", "(", "the", "zz"]),
    st.sampled_from([1, 5, 300]),
    st.lists(st.sampled_from(["</s>", "the", ".", "Don\u2019t", "nonsense", "ban", "Ban"]), max_size=4),
    st.fixed_dictionaries(FORMATS),
)
def test_the_command_answers_as_the_engine(
    marked: Bundle, engine: Watched, text: str, prefix: str | None, k: int, exclude: list[str], how: Any
) -> None:
    vocabulary, fast = marked.vocabulary, how["fast"]
    among = Candidates.of(vocabulary, prefix, how["ignore_case"], how["words_only"], exclude)
    (found,) = Predictor(marked, k, among, fast).predict([text])
    tokens = (*vocabulary.encode_batch([text])[0], *among.before)
    assert found.context_words == len(tokens)
    message = Predict(
        "p", tokens, k, among.prefix, None, fast, None, among.ignore_case, among.words_only, among.exclude
    )
    answer = Predicted(tuple(found.ids), tuple(found.logprobs), (), None, found.error)  # type: ignore[arg-type]
    same_as_by_brute_force(marked, message, answer)
    assert found.ids == list(engine.ask(message)[0].ids)
    assert found.words == [vocabulary.word(i) for i in found.ids]
    assert (found.completions is None) == (not prefix)
    for word, completion in zip(found.words, found.completions or (), strict=bool(prefix)):
        assert completion.replace("\u2019", "'").endswith(word)
    if prefix or how["words_only"]:
        assert "</s>" not in found.words
    assert not {vocabulary.word(i) for i in vocabulary.ids_of(exclude)} & set(found.words)


def test_equal_words_are_in_the_order_of_their_ids_without_the_excluded(
    marked: Bundle, engine: Watched
) -> None:
    every = tuple(range(280))
    for same in ([30, 31, 32, 33], [45, 46, 47, 48]):
        others = tuple(i for i in every if i not in same)
        (answer,) = engine.ask(Predict("p", (), 3, None, None, exclude=others))
        assert list(answer.ids) == same[:3]
        (answer,) = engine.ask(Predict("p", (), 3, None, None, exclude=(*others, same[1])))
        assert list(answer.ids) == [same[0], *same[2:]]


@pytest.mark.skipif(not (DEFAULT / "model.safetensors").is_file(), reason="no trained model here")
def test_the_model_that_ships() -> None:
    bundle = Bundle.load(DEFAULT, "cpu")
    vocabulary = bundle.vocabulary
    text = "Thank you very much for the letter that I had from you in New"
    tokens = tuple(vocabulary.encode_batch([text])[0])
    best = tuple(range(2, 900, 3))
    asked = [
        Predict("p", tokens[:n], k, prefix, None, fast, None, folded, words_only, exclude)
        for fast in (False, True)
        for n, k, prefix, folded, words_only, exclude in [
            (14, 10, "y", True, False, ()),
            (14, 10, "Y", False, True, best),
            (3, 1000, None, False, True, best),
            (3, 1000, None, False, False, best),
            (0, 1, None, False, True, ()),
            (7, 5, "'", True, True, (vocabulary.end_id,)),
        ]
    ]
    for make in running_engines(bundle):
        for message, answer in zip(asked, make().ask(*asked), strict=True):
            same_as_by_brute_force(bundle, message, answer)
            if (message.prefix, message.ignore_case) == ("y", True):
                assert vocabulary.word(answer.ids[0]) == "York"
