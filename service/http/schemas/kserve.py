"""What is on the wire of the Open Inference Protocol, version 2 (KServe's REST form, JSON tensors)."""

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, Json, JsonValue

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


class Tensor(BaseModel):
    """A tensor as JSON: its elements in `data`, row by row, flat or nested."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, JsonValue] = {}
    data: list[Any]


class RequestedOutput(BaseModel):
    """An output that is asked for."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    parameters: dict[str, JsonValue] = {}


class InferParameters(BaseModel):
    """What is asked of the texts: the fields of /v1/predict and /v1/score."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)

    task: Literal["predict", "score"] = "predict"
    """Which words come next, or how probable the texts are."""
    k: int = Field(10, ge=1)
    """predict: how many words."""
    prefix: str | None = Field(None, max_length=MAX_PREFIX_CHARS)
    """predict: as in /v1/predict; the output `completions` then has what replaces it."""
    ignore_case: bool = False
    """predict: as in /v1/predict."""
    words_only: bool = False
    """predict: as in /v1/predict."""
    exclude: Json[Excluded] = Field("[]", validate_default=True)
    """predict: as in /v1/predict, a list as a string of JSON: parameters are scalars."""
    context: str = ""
    """score: text that the inputs follow."""
    end_of_sentence: bool = True
    """score: whether `</s>` is scored after each text."""
    mode: Literal["exact", "fast"] | None = None
    """As in /v1/predict."""
    timeout_ms: int | None = Field(None, ge=1)
    """As in /v1/predict."""


class InferRequest(BaseModel):
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
    outputs: list[RequestedOutput] | None = None


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
