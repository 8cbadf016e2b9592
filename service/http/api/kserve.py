"""/v2: the Open Inference Protocol, for clients and platforms that speak KServe.

`task` in the request's `parameters` says what is asked of the BYTES tensor `text`. `predict` answers `words`
and `logprobs` (n, k), with a prefix also `completions`, rows with fewer words ending in empty ones of the
lowest float; `score` answers
`logprob`, `perplexity`, `known_perplexity`, `word_count` and `unknown_words` (n), and as JSON in strings
`word_scores` and `line_scores` (n), where they are asked for. Errors have our one shape.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, JsonValue
from pydantic_core import from_json, to_json
from starlette.responses import Response

import service
from models.text.candidates import Candidates
from service.contract.errors import HeadfirstError, InvalidRequest, ModelNotFound, Unauthorized
from service.contract.messages import Predict
from service.contract.numbers import DIGITS
from service.http.request.call import Call
from service.http.request.context import Context
from service.http.request.parsing import parse_object
from service.http.request.questions import candidates, cost, predictions
from service.http.request.routing import UNREADY, Answering, Request, add_model_route, add_route
from service.http.request.scoring import Scoring, TextsToScore, read_contexts, read_regions
from service.http.schemas.kserve import (
    Datatype,
    InferAnswer,
    InferParameters,
    InferRequest,
    Live,
    ModelMetadata,
    ModelReady,
    OutputTensor,
    Ready,
    ServerMetadata,
    Tensor,
    TensorMetadata,
)

INFER = "/v2/models/{model}/infer"

_NO_LOGPROB = -3.4028234663852886e38
"""The lowest float32: JSON has no infinity."""
_OUTPUTS: dict[str, tuple[tuple[str, Datatype], ...]] = {
    "predict": (("words", "BYTES"), ("logprobs", "FP32"), ("completions", "BYTES")),
    "score": (
        ("logprob", "FP64"),
        ("perplexity", "FP64"),
        ("known_perplexity", "FP64"),
        ("word_count", "INT64"),
        ("unknown_words", "INT64"),
        ("word_scores", "BYTES"),
        ("line_scores", "BYTES"),
    ),
}
_FIELDS = {"word_scores": "words", "line_scores": "lines"}
"""Lists of a result by their outputs, in which they are JSON."""

_SCORE_ALONE = (
    "context",
    "end_of_sentence",
    "per_word",
    "group",
    "regions",
    "unknown",
    "unknown_penalty",
    "lines",
)
"""Parameters of the task score."""


@dataclass(frozen=True, slots=True)
class Inference:
    """A request, and the model that its path names."""

    model: str | None
    request: InferRequest

    @property
    def timeout_ms(self) -> int | None:
        """Of the request."""
        return self.request.parameters.timeout_ms


def add(app: FastAPI, context: Context) -> None:
    """Adds the routes to `app`."""

    async def infer(request: Request) -> Response:
        model = request.path_params["model"]
        call = await Call.read_object(
            request, lambda raw: Inference(model, parse_object(InferRequest, raw)), context
        )
        body = call.body.request
        texts = _texts(body.inputs[0])
        context.limits.check_inputs(texts, single=False)
        call.exchange.inputs = len(texts)
        _check_task(body.parameters)
        wanted = _wanted(body)
        work = _predict if body.parameters.task == "predict" else _score
        outputs = await work(call, context, texts, body.parameters)
        answer = InferAnswer(
            model_name=call.served.name,
            id=body.id,
            outputs=[one for one in outputs if one.name in wanted],
        )
        return call.json(answer.model_dump_json(exclude_none=True).encode())

    async def server(request: Request) -> Response:
        return _json(ServerMetadata(version=service.__version__))

    async def live(request: Request) -> Response:
        context.check_live()
        return _json(Live())

    async def ready(request: Request) -> Response:
        context.check_ready()
        return _json(Ready())

    async def model_ready(request: Request) -> Response:
        served = context.models.get(request.path_params["model"])
        context.check_ready()
        return _json(ModelReady(name=served.name))

    async def metadata(request: Request) -> Response:
        served = context.models.get(request.path_params["model"])
        outputs = [
            TensorMetadata(name=name, datatype=kind, shape=[-1, -1] if task == "predict" else [-1])
            for task, tensors in _OUTPUTS.items()
            for name, kind in tensors
        ]
        inputs = [TensorMetadata(name="text", datatype="BYTES", shape=[-1])]
        return _json(ModelMetadata(name=served.name, inputs=inputs, outputs=outputs))

    for path in (INFER, "/v2/models/{model}/versions/{version}/infer"):
        add_model_route(
            app,
            path,
            _version_checked(infer),
            request=InferRequest,
            answer=InferAnswer,
            example=None,
            summary="Open Inference Protocol: predict or score.",
        )
    protocol: list[tuple[str, Answering, type[BaseModel], tuple[HeadfirstError, ...]]] = [
        ("/v2", server, ServerMetadata, ()),
        ("/v2/health/live", live, Live, UNREADY),
        ("/v2/health/ready", ready, Ready, UNREADY),
    ]
    for middle in ("", "/versions/{version}"):
        protocol += [
            (f"/v2/models/{{model}}{middle}", metadata, ModelMetadata, (Unauthorized(), ModelNotFound())),
            (
                f"/v2/models/{{model}}{middle}/ready",
                model_ready,
                ModelReady,
                (Unauthorized(), ModelNotFound(), *UNREADY),
            ),
        ]
    for path, endpoint, answer, errors in protocol:
        add_route(
            app,
            path,
            _version_checked(endpoint),
            errors=errors,
            response_model=answer,
            summary=f"Open Inference Protocol: {answer.__name__}.",
            tags=["kserve"],
        )


def _version_checked(endpoint: Answering) -> Answering:
    """Models have one version, 1."""

    async def checked(request: Request) -> Response:
        if request.path_params.get("version", "1") != "1":
            raise ModelNotFound("The model has no version but 1.", param="version")
        return await endpoint(request)

    return checked


def _texts(tensor: Tensor) -> list[str]:
    """The elements of the input. Raises InvalidRequest if it is another tensor, or not as it says."""
    param = "inputs[0]"
    if tensor.name != "text":
        raise InvalidRequest("The one input is called text.", param=f"{param}.name", code="invalid_value")
    if tensor.datatype != "BYTES":
        raise InvalidRequest("text must be BYTES.", param=f"{param}.datatype", code="invalid_value")
    if tensor.parameters:
        message = "Tensors have no parameters here: elements are strings in data."
        raise InvalidRequest(message, param=f"{param}.parameters", code="unsupported")
    if len(tensor.shape) not in (1, 2) or (len(tensor.shape) == 2 and tensor.shape[1] != 1):
        raise InvalidRequest("text must be [n] or [n, 1].", param=f"{param}.shape", code="invalid_value")
    data = [one[0] if isinstance(one, list) and len(one) == 1 else one for one in tensor.data]
    for index, one in enumerate(data):
        if not isinstance(one, str):
            name = _place(index)
            raise InvalidRequest(f"{name} must be a valid string.", param=name, code="invalid_type")
    texts: list[str] = data
    if len(texts) != tensor.shape[0]:
        message = f"data has {len(texts)} element{'s' * (len(texts) != 1)}, shape says {tensor.shape[0]}."
        raise InvalidRequest(message, param=f"{param}.data", code="invalid_value")
    return texts


def _check_task(parameters: InferParameters) -> None:
    """Raises InvalidRequest for a parameter of the other task, which would change nothing."""
    task = parameters.task
    other = {"predict": _SCORE_ALONE, "score": ("k", "prefix", "words_only", "exclude")}[task]
    for name in other:
        if name in parameters.model_fields_set:
            message = f"{name} means nothing to the task {task}."
            raise InvalidRequest(message, param=f"parameters.{name}", code="invalid_value")


def _wanted(body: InferRequest) -> set[str]:
    """The names of the outputs to answer. Raises InvalidRequest for one that the task has not."""
    task = body.parameters.task
    there = {name for name, _ in _OUTPUTS[task]}
    if not body.parameters.prefix:
        there.discard("completions")
    if body.outputs is None:
        return there
    for index, output in enumerate(body.outputs):
        if output.name not in there:
            message = f"The task {task} gives {', '.join(sorted(there))}."
            raise InvalidRequest(message, param=f"outputs[{index}].name", code="invalid_value")
        if output.parameters.get("binary_data"):
            message = "Binary tensors are not supported: call for JSON."
            raise InvalidRequest(message, param=f"outputs[{index}].parameters", code="unsupported")
    return {output.name for output in body.outputs}


async def _predict(
    call: Call[Inference], context: Context, texts: list[str], parameters: InferParameters
) -> list[OutputTensor]:
    k, vocabulary = parameters.k, call.served.bundle.vocabulary
    context.limits.check_k(k, "parameters.k")

    def prepare() -> tuple[Candidates, list[Predict]]:
        among = candidates(vocabulary, parameters)
        ids = vocabulary.encode_batch(texts)
        return among, predictions(call, ids, k, among, parameters.mode, _place, "parameters.k")

    among, messages = await call.work(prepare, cost(parameters))
    answers = await call.of(messages)
    words: list[str] = []
    logprobs: list[float] = []
    completions: list[str] = []
    for answer in answers:
        missing = k - len(answer.ids)
        found = [vocabulary.word(one) for one in answer.ids]
        words += found + [""] * missing
        logprobs += [round(value, DIGITS) for value in answer.logprobs] + [_NO_LOGPROB] * missing
        if among.typed is not None:
            completions += [among.typed.completion(word) for word in found] + [""] * missing
    return _tensors("predict", [len(texts), k], words, logprobs, completions)


async def _score(
    call: Call[Inference], context: Context, texts: list[str], parameters: InferParameters
) -> list[OutputTensor]:
    prefix = "parameters."
    regions = None if parameters.regions is None else _json_value(parameters.regions, f"{prefix}regions")
    asked = Scoring(
        texts=texts,
        contexts=read_contexts(_contexts(parameters.context), texts, call, prefix),
        end_of_sentence=parameters.end_of_sentence,
        pretokenized=False,
        mode=parameters.mode,
        group=parameters.group,
        regions=read_regions(regions, len(texts), False, prefix),
        unknown=parameters.unknown,
        unknown_penalty=parameters.unknown_penalty,
        lines=parameters.lines,
        ignore_case=parameters.ignore_case,
        single=False,
        place=_place,
        prefix=prefix,
    )
    asking = await call.work(lambda: TextsToScore(call, asked))
    answers = await asking.ask()
    results = await call.work(lambda: asking.results(answers, parameters.per_word))
    fields = [(name, _FIELDS.get(name, name)) for name, _ in _OUTPUTS["score"]]
    columns = [
        [
            to_json(result.get(field), inf_nan_mode="null").decode() if field != name else result[field]
            for result in results
        ]
        for name, field in fields
    ]
    outputs = _tensors("score", [len(texts)], *columns)
    absent = {"word_scores": not parameters.per_word, "line_scores": not parameters.lines}
    return [one for one in outputs if not absent.get(one.name)]


def _contexts(value: str) -> str | list[str]:
    """One context for all texts, or a list of them, which travels as JSON."""
    if not value.startswith("["):
        return value
    try:
        found = from_json(value)
    except ValueError:
        return value
    return found if isinstance(found, list) and all(isinstance(one, str) for one in found) else value


def _json_value(value: str, param: str) -> JsonValue:
    try:
        found: JsonValue = from_json(value)
    except ValueError:
        raise InvalidRequest(f"{param} must be JSON in a string.", param=param) from None
    return found


def _place(index: int) -> str:
    """What `param` calls a text."""
    return f"inputs[0].data[{index}]"


def _tensors(task: str, shape: list[int], *columns: Sequence[Any]) -> list[OutputTensor]:
    return [
        OutputTensor(name=name, shape=shape, datatype=kind, data=list(data))
        for (name, kind), data in zip(_OUTPUTS[task], columns, strict=True)
    ]


def _json(answer: BaseModel) -> Response:
    return Response(answer.model_dump_json(), media_type="application/json")
