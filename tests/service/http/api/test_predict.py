"""The JSON of a prediction: escaped words are kept for as long as their vocabulary, and no longer."""

import gc
import json
import weakref

from models.text.vocabulary import Vocabulary
from service.contract.messages import Predict, Predicted
from service.http.api import predict
from tests.support.engines import TIMING

WORDS = ["<unk>", "</s>", 'say "so"', "a\\b", "\u4f60", "fine"]


def answered(vocabulary: Vocabulary, ids: tuple[int, ...]) -> list[str]:
    answer = Predicted(ids, tuple(-0.5 * (i + 1) for i in range(len(ids))), (0,), TIMING)
    message = Predict("", (vocabulary.unknown_id, 3), len(ids), None, None)
    body = b"".join(predict.pieces(vocabulary, [message], [answer], explain=True))
    (result,) = json.loads(body)["results"]
    assert result["unknown_words"] == 1
    assert result["explain"] == {"clusters": [0]}
    assert [word["logprob"] for word in result["words"]] == list(answer.logprobs)
    return [word["word"] for word in result["words"]]


def test_known_and_new_words_are_mixed() -> None:
    vocabulary = Vocabulary.from_words(WORDS)
    for ids in ((2, 3), (3, 4), (4, 2, 5), ()):
        assert answered(vocabulary, ids) == [WORDS[i] for i in ids]


def test_escaped_words_go_with_their_vocabulary() -> None:
    vocabulary = Vocabulary.from_words(WORDS)
    answered(vocabulary, (2, 3))
    words = weakref.ref(predict.WORDS[vocabulary])
    assert words() is not None
    del vocabulary
    gc.collect()
    assert words() is None
