"""What completions are asked of: texts or token ids; and biases by token id."""

from collections.abc import Mapping

from pydantic import JsonValue

from models.text.vocabulary import Vocabulary
from service.contract.errors import InvalidRequest
from service.http.openai.echo import Prompt
from service.http.request.context import Context

_SHAPE = "prompt must be a string, a list of strings, a list of token ids or a list of such lists."


def read_prompts(value: JsonValue, vocabulary: Vocabulary, context: Context) -> list[Prompt]:
    """The prompts of a request, in their order.

    Raises:
        InvalidRequest: it is none of the four shapes, is empty, has too many or too long ones, or ids that
            the vocabulary has not.
    """
    if value is None:
        raise InvalidRequest(_SHAPE, param="prompt", code="invalid_type")
    single = isinstance(value, str) or (isinstance(value, list) and bool(value) and _is_id(value[0]))
    items = value if isinstance(value, list) and not single else [value]
    if not items:
        raise InvalidRequest("prompt must not be empty.", param="prompt", code="empty")
    if len(items) > context.settings.max_inputs:
        message = f"prompt must be at most {context.settings.max_inputs} texts."
        raise InvalidRequest(message, param="prompt", code="too_many_inputs")
    texts = [item for item in items if isinstance(item, str)]
    names = ["prompt" if single else f"prompt[{i}]" for i in range(len(items))]
    if len(texts) == len(items):
        for text, name in zip(texts, names, strict=True):
            context.limits.check_chars(text, name)
        prompts = [
            Prompt.of_text(text, tokens)
            for text, tokens in zip(texts, vocabulary.tokenize_batch(texts), strict=True)
        ]
    elif not texts:
        prompts = [
            Prompt.of_ids(vocabulary, read_ids(item, name, vocabulary))
            for item, name in zip(items, names, strict=True)
        ]
    else:
        raise InvalidRequest(_SHAPE, param="prompt", code="invalid_type")
    for prompt, name in zip(prompts, names, strict=True):
        context.limits.check_words(len(prompt.tokens), name)
    return prompts


def read_ids(value: JsonValue, name: str, vocabulary: Vocabulary) -> list[int]:
    """A list of ids of the vocabulary. Raises InvalidRequest for anything else."""
    if not isinstance(value, list) or not all(map(_is_id, value)):
        raise InvalidRequest(_SHAPE, param=name, code="invalid_type")
    ids = [one for one in value if isinstance(one, int)]
    for i, one in enumerate(ids):
        if not 0 <= one < len(vocabulary):
            message = f"{name}[{i}] must be a token id, 0 to {len(vocabulary) - 1}."
            raise InvalidRequest(message, param=f"{name}[{i}]", code="invalid_value")
    return ids


def read_bias(value: Mapping[str, float] | None, vocabulary: Vocabulary) -> tuple[tuple[int, float], ...]:
    """Ids and their biases. Raises InvalidRequest for a key that is not an id of the vocabulary."""
    bias = {}
    for key, amount in (value or {}).items():
        if not (key.isascii() and key.isdigit() and len(key) < 20 and int(key) < len(vocabulary)):
            message = f"logit_bias must have token ids for keys, 0 to {len(vocabulary) - 1}."
            raise InvalidRequest(message, param="logit_bias", code="invalid_value")
        bias[int(key)] = amount
    return tuple(bias.items())


def _is_id(value: JsonValue) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
