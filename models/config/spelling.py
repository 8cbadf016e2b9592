"""What ``config.json`` says of a bundle's spelling model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from models.config.strict import Strict


class SpellingConfig(Strict):
    """A character model of the words that the vocabulary lacks, in ``spelling.safetensors``.

    `order` is the length of its longest n-grams. `log_share` is the natural logarithm of the probability that
    it gives to all words outside the vocabulary together. `digest` is that of the vocabulary and the n-grams
    that `log_share` was computed for: hexadecimal SHA-256.
    """

    kind: Literal["ngrams"] = "ngrams"
    order: Annotated[int, Field(ge=1, le=16)]
    log_share: Annotated[float, Field(le=0)]
    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
