"""Requests, answers and errors of /v1; `service.http.request.parsing` makes a body one of them."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, JsonValue, WithJsonSchema
from pydantic_core import PydanticCustomError

from service.contract.answers import PredictResult, ScoreResult
from service.contract.model_card import ModelCard
from service.http.schemas.first_fault import RequestFields

MAX_PREFIX_CHARS = 200
MAX_EXCLUDED = 1000

Excluded = Annotated[list[Annotated[str, Field(max_length=MAX_PREFIX_CHARS)]], Field(max_length=MAX_EXCLUDED)]
"""Words that are not answered."""

Inputs = Annotated[
    list[str],
    FailFast(),
    WithJsonSchema(
        {
            "title": "Inputs",
            "description": "One text or a list of texts; `results` has one entry for each, in this order.",
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
            ],
        }
    ),
]
"""`service.http.request.parsing.parse` makes a list of a single text."""


def _check_context(value: Any) -> Any:
    if isinstance(value, str) or (isinstance(value, list) and all(isinstance(one, str) for one in value)):
        return value
    raise PydanticCustomError("texts_type", "a string or a list of strings")


Contexts = Annotated[str | list[str], BeforeValidator(_check_context)]
"""One text, or one for each input."""

Regions = Annotated[
    JsonValue,
    WithJsonSchema(
        {
            "title": "Regions",
            "anyOf": [
                {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
                {
                    "type": "array",
                    "items": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
                },
            ],
        }
    ),
]
"""`service.http.request.scoring.read_regions` reads them."""


class ModelRequest(BaseModel):
    """What every request to the model has."""

    model_config = ConfigDict(
        extra="forbid", strict=True, protected_namespaces=(), use_attribute_docstrings=True
    )

    inputs: Inputs
    pretokenized: bool = False
    """Whether texts are words of the vocabulary between white space, special words by their own names; they
    are then taken as they are, not tokenized as the model's text was."""
    model: str | None = None
    """Name of a served model; null means the first one of /v1/models."""
    timeout_ms: int | None = Field(None, ge=1)
    """Milliseconds after which the answer is 504; the server has a default and an upper limit."""
    mode: Literal["exact", "fast"] | None = None
    """`exact`, or `fast`: the same words in the same order sooner, their log-probabilities within
    `logprob_error`; where the server has nothing faster, it answers exactly. Null: as the server is set."""


class PredictRequest(ModelRequest):
    """Which words come next after each text?"""

    EXAMPLES: ClassVar[list[JsonValue]] = [
        {"inputs": "Thank you very", "k": 3},
        {"inputs": ["", "I would like"], "prefix": "t"},
        {"inputs": "I live in New", "prefix": "y", "ignore_case": True},
        {"inputs": "Thank you very", "words_only": True, "exclude": ["much"]},
    ]
    model_config = ConfigDict(json_schema_extra={"examples": EXAMPLES})

    k: int = Field(10, ge=1)
    """How many words; the server limits it (1000 unless set otherwise)."""
    prefix: str | None = Field(None, max_length=MAX_PREFIX_CHARS)
    """What is typed since the last space: its finished words and marks follow the input, the last one is
    completed. After a hyphen, a dash, an opening quotation mark or bracket any word may follow. Null or
    empty: any word, or the end of the sentence."""
    ignore_case: bool = False
    """Whether words may begin with the prefix in another case; each is answered as the model writes it."""
    words_only: bool = False
    """Only words that have a letter or digit: no marks, no `</s>`."""
    exclude: Excluded = Field([])
    """Words that are not answered, `</s>` among them if wanted; the k best of all others are. Words that the
    model does not know change nothing."""
    explain: bool = False
    """Whether each result tells which tail clusters were opened to find its words."""


class ScoreRequest(ModelRequest):
    """How probable is each text?"""

    EXAMPLES: ClassVar[list[JsonValue]] = [
        {"inputs": "Thank you very much."},
        {"inputs": ["much.", "well."], "context": "Thank you very"},
        {"inputs": "He didn't see the well-known man.", "group": "space"},
        {"inputs": "The old man the boat.", "regions": [[0, 7], [8, 20]]},
        {"inputs": "Thank you.\nSee you.", "lines": True},
    ]
    model_config = ConfigDict(json_schema_extra={"examples": EXAMPLES})

    context: Contexts = ""
    """Text that the inputs follow, one for all or a list as long as `inputs`; it is read but not scored."""
    end_of_sentence: bool = True
    """Whether the end of the sentence, `</s>`, is scored after each text."""
    per_word: bool = True
    """Whether each result lists its words."""
    group: Literal["token", "space"] = "token"
    """What `words` lists: tokens, or words between white space, whose log-probability is the sum of their
    tokens'."""
    regions: Regions = None
    """Instead of `group`, the places that `words` lists: `[start, end]` in code points each; a list of them
    for a single text, a list of such lists for several. They may overlap and leave gaps; none may cut a
    token, and `</s>` is in none."""
    unknown: Literal["spelled", "class"] | None = None
    """What a word outside the vocabulary costs: that of any such word (`class`), and with `spelled` also
    its spelling. Null: `spelled` where the model can, unless the server is set otherwise."""
    unknown_penalty: float | None = Field(None, ge=0, allow_inf_nan=False)
    """Nats that are subtracted from the class's log-probability; not with `spelled`."""
    lines: bool = False
    """Whether each line of a text is a sentence of its own; not with `context`. Blank lines are skipped."""
    ignore_case: bool = False
    """Whether a word has the probability of all words together that differ from it in case alone, as for
    transcripts in capitals."""


class PredictAnswer(BaseModel):
    """Answer of /v1/predict."""

    results: list[PredictResult]


class ScoreAnswer(BaseModel):
    """Answer of /v1/score."""

    results: list[ScoreResult]


class ModelList(BaseModel):
    """Answer of /v1/models; also in the shape that OpenAI clients read."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class ReloadRequest(RequestFields):
    """Which models to load again, each from where it was loaded first."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)

    model: str | None = None
    """Name of a served model; null means all of them."""


class ReloadedModel(BaseModel):
    """A model that was loaded again."""

    model: str
    changed: bool = Field(description="Whether the bundle was another one than before.")
    old: str = Field(description="Digest of what was served before, as in /v1/models.")
    new: str = Field(description="Digest of what is served now.")


class ReloadAnswer(BaseModel):
    """Answer of /admin/reload: requests that came after it are answered by these."""

    models: list[ReloadedModel]


class Health(BaseModel):
    """Answer of the health paths; a 503 has the error shape, with the reason as its code."""

    status: Literal["ok"] = "ok"


class ErrorDetail(BaseModel):
    """What is wrong."""

    message: str = Field(description="For a person.")
    type: str = Field(description="The family of errors.")
    param: str | None = Field(description="The field at fault, e.g. `k` or `inputs[3]`.")
    code: str = Field(description="The precise reason, for a program.")


class ErrorAnswer(BaseModel):
    """Every error has this shape."""

    error: ErrorDetail
