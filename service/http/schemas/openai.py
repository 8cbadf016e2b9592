"""What is on the wire of the OpenAI-compatible completions, and of the tokenizer beside them.

Fields and defaults are those of OpenAI's `POST /v1/completions`. What a word-level model cannot do (`suffix`)
is refused, as are fields that do not exist. Ignored are `user`, which only names the caller, and the values
of fields of other servers that change nothing (`NEUTRAL`).
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    JsonValue,
    WithJsonSchema,
    model_validator,
)

from service.http.schemas.first_fault import RequestFields, first_fault

MAX_STOPS = 4
MAX_TOP = 5

Prompt = Annotated[
    JsonValue,
    WithJsonSchema(
        {
            "title": "Prompt",
            "description": "A text, a list of texts, a list of token ids, or a list of such lists.",
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
                {"type": "array", "items": {"type": "integer"}, "minItems": 1},
                {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}, "minItems": 1},
            ],
        }
    ),
]


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else [] if value is None else value


Stops = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=200)]],
    Field(max_length=MAX_STOPS),
    BeforeValidator(_as_list),
    WithJsonSchema(
        {
            "title": "Stop",
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "maxItems": MAX_STOPS},
                {"type": "null"},
            ],
        }
    ),
]


MAX_BIAS = 100


def _is_bias(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_BIAS


Bias = Annotated[
    dict[str, Annotated[float, Field(ge=-MAX_BIAS, le=MAX_BIAS)]], BeforeValidator(first_fault(_is_bias))
]

NEUTRAL: dict[str, tuple[object, ...]] = {
    "repetition_penalty": (1.0,),
    "top_k": (-1,),
    "min_p": (0.0,),
    "ignore_eos": (False,),
    "metadata": ({}, None),
    "service_tier": ("auto", None),
}
"""Fields that other servers have and clients send always, with the values that change nothing."""

NULLABLE = frozenset(
    ("echo", "frequency_penalty", "n", "presence_penalty", "prompt", "stream", "temperature", "top_p")
)
"""Fields of which OpenAI's schema says that null is their default, and that have no null here."""


def _is_neutral(name: str, value: object) -> bool:
    return any(
        value == each and isinstance(value, bool) == isinstance(each, bool) for each in NEUTRAL.get(name, ())
    )


COMPLETION_EXAMPLES: list[JsonValue] = [
    {"prompt": "Thank you very", "max_tokens": 5, "temperature": 0},
    {"prompt": "Thank you very much.", "max_tokens": 0, "echo": True, "logprobs": 1},
]


def _document(schema: dict[str, Any]) -> None:
    """Adds the examples, and says of the nullable fields that they are."""
    schema["examples"] = COMPLETION_EXAMPLES
    fields = schema["properties"]
    for name in sorted(NULLABLE):
        field = fields[name]
        about = {key: field.pop(key) for key in ("title", "description", "default") if key in field}
        choices = field.get("anyOf", [field])
        fields[name] = {"anyOf": [*choices, {"type": "null"}], **about}


class StreamOptions(RequestFields):
    """What a stream brings beside the text."""

    model_config = ConfigDict(extra="forbid", strict=True)

    include_usage: bool = False
    include_obfuscation: bool = True
    """Has no effect: events are not padded."""


class CompletionRequest(RequestFields):
    """How does each prompt go on?"""

    EXAMPLES: ClassVar[list[JsonValue]] = COMPLETION_EXAMPLES
    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        protected_namespaces=(),
        use_attribute_docstrings=True,
        json_schema_extra=_document,
    )

    model: str | None = None
    """Name of the served model; null means the first that is served."""
    prompt: Prompt = ""
    best_of: int | None = Field(None, ge=1, le=128)
    """Generate so many and return the `n` of the highest log-probability a token; null means `n`."""
    echo: bool = False
    """Whether the answer begins with the prompt; with `logprobs`, the prompt is scored."""
    frequency_penalty: float = Field(0.0, ge=-2, le=2)
    """Taken from a word's log-probability for each time that it was generated before."""
    logit_bias: Bias | None = None
    """Token ids (as strings) and what is added to their log-probabilities."""
    logprobs: int | None = Field(None, ge=0, le=MAX_TOP)
    """How many of the most probable tokens to tell in each place, beside the one that is there."""
    max_tokens: int | None = Field(16, ge=0)
    """Words generated at most; the server limits it. Null means 16."""
    n: int = Field(1, ge=1, le=128)
    """Completions of each prompt."""
    presence_penalty: float = Field(0.0, ge=-2, le=2)
    """Taken from the log-probability of every word that was generated before."""
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    """The same seed, prompt and settings give the same completion; null draws one."""
    stop: Stops = Field([])
    """Up to four strings; the text ends before the first of them."""
    stream: bool = False
    """Whether words are sent as they come, as server-sent events."""
    stream_options: StreamOptions | None = None
    suffix: str | None = None
    """Not supported: must be null or empty."""
    temperature: float = Field(1.0, ge=0, le=2)
    """0 takes the most probable word each time."""
    top_p: float = Field(1.0, ge=0, le=1)
    """Draw among the most probable words that together have this probability; 0 takes the most probable."""
    user: str | None = None
    """Who asks; has no effect."""
    unknown: Literal["spelled", "class"] | None = None
    """With `echo`, what a word of the prompt outside the vocabulary costs: as in /v1/score."""
    unknown_penalty: float | None = Field(None, ge=0, allow_inf_nan=False)
    """As in /v1/score."""
    timeout_ms: int | None = Field(None, ge=1)
    """Milliseconds after which the answer is 504; the server has a default and an upper limit."""

    @model_validator(mode="before")
    @classmethod
    def _drop_defaults(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        # Looked up by the few known names: a body may have very many others.
        kept = value.copy()
        for name in NULLABLE & kept.keys():
            if kept[name] is None:
                del kept[name]
        for name in NEUTRAL.keys() & kept.keys():
            if _is_neutral(name, kept[name]):
                del kept[name]
        return kept


class Logprobs(BaseModel):
    """Tokens and their natural log-probabilities; the four lists are of one length."""

    tokens: list[str] = Field(description="As they stand in the text, with the space before them.")
    token_logprobs: list[float | None] = Field(description="null for a start word in the prompt.")
    top_logprobs: list[dict[str, float] | None] | None = Field(
        description="null unless `logprobs` is over 0."
    )
    text_offset: list[int] = Field(description="Where in `text` each token begins, in characters.")


FinishReason = Literal["stop", "length"]


class CompletionChoice(BaseModel):
    """One completion, or in a stream the next piece of one."""

    index: int
    text: str
    logprobs: Logprobs | None
    finish_reason: FinishReason | None = Field(
        description="`stop`: the sentence, or a stop string, ended it; `length`: `max_tokens` did."
    )


class Usage(BaseModel):
    """What was read and generated, in words."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Completion(BaseModel):
    """Answer of /v1/completions; in a stream, of each event."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int = Field(description="Seconds since 1970.")
    model: str
    choices: list[CompletionChoice]
    usage: Usage | None


class TokenizeRequest(RequestFields):
    """Which tokens is this text?"""

    EXAMPLES: ClassVar[list[JsonValue]] = [{"prompt": "Thank you very much."}]
    model_config = ConfigDict(
        extra="forbid", strict=True, use_attribute_docstrings=True, json_schema_extra={"examples": EXAMPLES}
    )

    model: str | None = None
    prompt: str
    """A text; `</s>` or another special word's name, alone, is that word."""
    add_special_tokens: bool = False
    """Whether the start word comes first."""
    return_token_strs: bool = False
    """Whether the tokens are told as words, too."""
    timeout_ms: int | None = Field(None, ge=1)
    """Milliseconds after which the answer is 504."""


class Tokenized(BaseModel):
    """Answer of /tokenize."""

    count: int
    max_model_len: int = Field(description="Words in one text at most.")
    tokens: list[int]
    token_strs: list[str] | None = Field(None, description="Absent unless asked for.")


class DetokenizeRequest(RequestFields):
    """Which text are these tokens?"""

    EXAMPLES: ClassVar[list[JsonValue]] = [{"tokens": [5, 6]}]
    model_config = ConfigDict(
        extra="forbid", strict=True, use_attribute_docstrings=True, json_schema_extra={"examples": EXAMPLES}
    )

    model: str | None = None
    tokens: Annotated[list[int], FailFast()]
    timeout_ms: int | None = Field(None, ge=1)
    """Milliseconds after which the answer is 504."""


class Detokenized(BaseModel):
    """Answer of /detokenize."""

    prompt: str


class TokenizerInfo(BaseModel):
    """Answer of /tokenizer_info: what clients that count tokens themselves want to know."""

    tokenizer_class: Literal["HeadfirstVocabulary"] = "HeadfirstVocabulary"
    vocab_size: int
    bos_token: str
    eos_token: str
    unk_token: str
    pad_token: None = None
    chat_template: None = None
