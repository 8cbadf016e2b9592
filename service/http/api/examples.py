"""The answers on the OpenAPI page: what the served model really says, asked before the engine has it."""

from collections.abc import Sequence
from typing import Any

import torch
from pydantic_core import from_json, to_json

from models.bundle import Bundle
from service.contract.messages import Predict, Predicted, Timing
from service.http.api import predict, score
from service.http.request.parsing import parse
from service.http.schemas.native import PredictRequest, ScoreRequest
from service.scoring.scored_text import ScoredText
from service.scoring.sentences import sentences
from service.scoring.unknown_words import UnknownWords

_TIMING = Timing(queue_seconds=0.0, engine_seconds=0.0, batch_size=1, cached_tokens=0)


def describe(bundle: Bundle) -> dict[str, dict[str, Any]]:
    """The model's answer to the first example of a request, by path."""
    return {predict.PATH: _predict(bundle), score.PATH: _score(bundle)}


def _predict(bundle: Bundle) -> dict[str, Any]:
    request, _ = parse(PredictRequest, to_json(PredictRequest.EXAMPLES[0]))
    ids = bundle.vocabulary.encode_batch(request.inputs)
    messages = [Predict("", tuple(tokens), request.k, None, None) for tokens in ids]
    answers = [_predicted(bundle, message) for message in messages]
    answer: dict[str, Any] = from_json(b"".join(predict.pieces(bundle.vocabulary, messages, answers)))
    return answer


def _score(bundle: Bundle) -> dict[str, Any]:
    request, _ = parse(ScoreRequest, to_json(ScoreRequest.EXAMPLES[0]))
    unknown = UnknownWords.of(bundle, None, None)
    texts = []
    for text, [tokens] in zip(request.inputs, sentences(bundle.vocabulary, request.inputs), strict=True):
        logprobs = _scored(bundle, [token.id for token in tokens])
        texts.append(ScoredText.of(text, [tokens], [logprobs], unknown))
    answer: dict[str, Any] = from_json(b"".join(score.pieces(texts, [None] * len(texts))))
    return answer


@torch.inference_mode()
def _predicted(bundle: Bundle, message: Predict) -> Predicted:
    hidden = bundle.model.read([bundle.vocabulary.start_id, *message.tokens])
    top = bundle.model.topk(hidden[-1:], message.k)
    return Predicted(tuple(top.ids[0].tolist()), tuple(top.logprobs[0].tolist()), (), _TIMING)


@torch.inference_mode()
def _scored(bundle: Bundle, targets: Sequence[int]) -> list[float]:
    """The log-probability of each of `targets`, from the start of a sentence."""
    wanted = torch.tensor(targets, device=bundle.device)
    hidden = bundle.model.read([bundle.vocabulary.start_id, *targets[:-1]])
    logprobs: list[float] = bundle.model.target_logprobs(hidden, wanted).tolist()
    return logprobs
