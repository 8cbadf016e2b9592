"""Perplexity of a model on text files: ``python -m benchmarks.perplexity FILE... [--wikitext]``.

Every line is scored on its own from the start state, as the server does. Two figures, because word
models with different tokenizations can't be compared by the perplexity of their own tokens alone:
per token of the model, and per word of running text, where the words are those between the white space of
the file and one end a line, and the whole text's log-probability is shared out over them. And bits per
character, the figure that depends on no vocabulary: with unknown words as a class, and, where the model has
a spelling model, with every character of theirs paid for.

``--wikitext`` undoes the tokenization of the WikiText files: ``@-@``, ``@,@`` and ``@.@`` become the bare
mark, and their ``<unk>`` is scored as the model's unknown word.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections import Counter
from pathlib import Path

import numpy as np

from models.bundle import DEFAULT, Bundle
from models.text.vocabulary import Vocabulary
from models.training.corpus import Tokens, characters, lines
from models.training.evaluation import BitsPerCharacter, evaluate


def plain(line: str, wikitext: bool) -> list[str]:
    """The text of a line; with `wikitext` its parts, between which an unknown word stands."""
    return re.sub(r" @([-,.])@ ", r"\1", line).split("<unk>") if wikitext else [line]


def tokens(parts: list[str], vocabulary: Vocabulary) -> Tokens:
    """The ids of a line's parts and its ``</s>``."""
    ids: list[int] = []
    for i, part in enumerate(vocabulary.encode_batch(parts)):
        ids += [vocabulary.unknown_id] * (i > 0) + part
    return np.array([*ids, vocabulary.end_id], dtype=np.uint32)


def main() -> None:
    """Print one JSON object a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--model", type=Path, default=DEFAULT)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--wikitext", action="store_true")
    args = parser.parse_args()
    bundle = Bundle.load(args.model, args.device)
    vocabulary = bundle.vocabulary
    for file in args.files:
        text = list(lines(file))
        parts = [plain(line, args.wikitext) for line in text]
        result = evaluate(
            bundle.model,
            [tokens(line, vocabulary) for line in parts],
            vocabulary.end_id,
            vocabulary.unknown_id,
        )
        length = sum(characters("<unk>".join(line), bundle.config.tokenization) for line in parts)
        unknown = Counter(
            word
            for line in parts
            for part in line
            for word in vocabulary.normalized(part)
            if word not in vocabulary
        )
        bits = BitsPerCharacter.of(result, length, unknown, bundle.spelling)
        words = sum(len(line.split()) + 1 for line in text)
        print(
            json.dumps(
                {
                    "file": file.name,
                    "lines": result.lines,
                    "tokens": result.words,
                    "unknown_rate": round(result.unknown_rate, 5),
                    "perplexity_per_token": round(result.perplexity, 2),
                    "running_words": words,
                    "logprob_per_running_word": round(result.log_probability / words, 4),
                    "perplexity_per_running_word": round(math.exp(-result.log_probability / words), 2),
                    "characters": length,
                    "bits_per_character": {
                        "class": round(bits.with_class, 4),
                        "spelled": None if bits.spelled is None else round(bits.spelled, 4),
                    },
                }
            )
        )


if __name__ == "__main__":
    main()
