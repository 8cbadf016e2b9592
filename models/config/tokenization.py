"""How a model's own text was made into words: what ``config.json`` says of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from models.config.strict import Strict


class Ours(Strict):
    """Our own rules: those of `models.text.words`, or in the first version those of ``tokenizer.json``."""

    type: Literal["ours"] = "ours"
    version: Literal[1, 2] = 1


class Whitespace(Strict):
    """Tokens stand between white space, as in fairseq's dictionaries and awd-lstm's text files."""

    type: Literal["whitespace"] = "whitespace"
    lowercase: bool = False


class Moses(Strict):
    """The Moses tokenizer: ``isn 't``, ``( 2019 )``. Needs `sacremoses`.

    As WikiText-103 has it, with `split_dashes` ``well-known`` is ``well @-@ known``, and with `split_numbers`
    ``1,000.5`` is ``1 @,@ 000 @.@ 5``. Without both it is the plain tokenizer, by which the One Billion Word
    Benchmark was made (Chelba et al. 2013, section 2).
    """

    type: Literal["moses"] = "moses"
    language: Annotated[str, Field(min_length=1)] = "en"
    lowercase: bool = False
    split_dashes: bool = True
    split_numbers: bool = True


class Jieba(Strict):
    """Chinese, segmented by jieba's method; marks and Latin words are tokens of their own. Needs `rjieba`."""

    type: Literal["jieba"] = "jieba"


Tokenization = Annotated[Ours | Whitespace | Moses | Jieba, Field(discriminator="type")]


class Kind(StrEnum):
    """The tokenizations by name, for those who train a model."""

    OURS = "ours"
    WHITESPACE = "whitespace"
    MOSES = "moses"
    JIEBA = "jieba"

    def tokenization(self) -> Tokenization:
        """The tokenization of this name, as it is where nothing else is said."""
        match self:
            case Kind.OURS:
                return Ours(version=2)
            case Kind.WHITESPACE:
                return Whitespace()
            case Kind.MOSES:
                return Moses()
            case Kind.JIEBA:
                return Jieba()
