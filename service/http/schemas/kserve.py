"""What is on the wire of the Open Inference Protocol, version 2 (KServe's REST form, JSON tensors)."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, FailFast, Field, Json, JsonValue

from service.http.schemas.first_fault import RequestFields
from service.http.schemas.native import MAX_PREFIX_CHARS, Excluded

Datatype = Literal["BYTES", "FP32", "FP64", "INT64"]


class ServerMetadata(BaseModel):
    """Answer of GET /v2."""

    name: Literal["headfirst"] = "headfirst"
    version: str
    extensions: list[str] = []


class TensorMetadata(BaseModel):
    """A tensor that a model takes or gives; -1 is any size."""

    name: str
    datatype: Datatype
    shape: list[int]


class ModelMetadata(BaseModel):
    """Answer of GET /v2/models/{model}."""

    name: str
    versions: list[str] = ["1"]
    platform: Literal["headfirst"] = "headfirst"
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class Live(BaseModel):
    """Answer of GET /v2/health/live."""

    live: Literal[True] = True


class Ready(BaseModel):
    """Answer of GET /v2/health/ready."""

    ready: Literal[True] = True


class ModelReady(BaseModel):
    """Answer of GET /v2/models/{model}/ready."""

    name: str
    ready: Literal[True] = True


class Tensor(RequestFields):
    """A tensor as JSON: its elements in `data`, row by row, flat or nested."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    shape: Annotated[list[int], FailFast()]
    datatype: str
    parameters: dict[str, JsonValue] = Field({})
    data: list[Any]


class RequestedOutput(RequestFields):
    """An output that is asked for."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    parameters: dict[str, JsonValue] = Field({})


class InferParameters(RequestFields):
    """What is asked of the texts: the fields of /v1/predict and /v1/score."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)

    task: Literal["predict", "score"] = "predict"
    """Which words come next, or how probable the texts are."""
    k: int = Field(10, ge=1)
    """predict: how many words."""
    prefix: str | None = Field(None, max_length=MAX_PREFIX_CHARS)
    """predict: as in /v1/predict; the output `completions` then has what replaces it."""
    words_only: bool = False
    """predict: as in /v1/predict."""
    exclude: Json[Excluded] = Field("[]", validate_default=True)
    """predict: as in /v1/predict, a list as a string of JSON: parameters are scalars."""
    context: str = ""
    """score: text that the inputs follow; a string that is a JSON list of strings is one for each."""
    end_of_sentence: bool = True
    """score: whether `</s>` is scored after each text."""
    per_word: bool = True
    """score: whether there is the output `word_scores`: for each text the `words` of /v1/score, as JSON."""
    group: Literal["token", "space"] = "token"
    """score: as in /v1/score."""
    regions: str | None = None
    """score: as in /v1/score, a list for each text, as JSON in a string."""
    unknown: Literal["spelled", "class"] | None = None
    """score: as in /v1/score."""
    unknown_penalty: float | None = Field(None, ge=0, allow_inf_nan=False)
    """score: as in /v1/score."""
    lines: bool = False
    """score: as in /v1/score; the output `line_scores` has for each text the `lines`, as JSON."""
    ignore_case: bool = False
    """As in /v1/predict and /v1/score."""
    mode: Literal["exact", "fast"] | None = None
    """As in /v1/predict."""
    timeout_ms: int | None = Field(None, ge=1)
    """As in /v1/predict."""


class InferRequest(RequestFields):
    """POST /v2/models/{model}/infer: the input `text`, a BYTES tensor of shape [n] or [n, 1]."""

    EXAMPLES: ClassVar[list[JsonValue]] = [
        {
            "inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["Thank you very"]}],
            "parameters": {"task": "predict", "k": 3},
        }
    ]
    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": EXAMPLES})

    id: str | None = None
    parameters: InferParameters = InferParameters.model_validate({})
    inputs: list[Tensor] = Field(min_length=1, max_length=1)
    outputs: list[RequestedOutput] | None = Field(None, fail_fast=True)


class OutputTensor(BaseModel):
    """A tensor of the answer, its elements row by row."""

    name: str
    shape: list[int]
    datatype: Datatype
    data: list[Any]


class InferAnswer(BaseModel):
    """Answer of POST /v2/models/{model}/infer."""

    model_name: str
    model_version: str = "1"
    id: str | None = None
    outputs: list[OutputTensor]
