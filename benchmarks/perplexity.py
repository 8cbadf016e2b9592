"""Perplexity of a model on text files: ``python -m benchmarks.perplexity FILE... [--wikitext]``.

Every line is scored on its own from the start state, as the server does. Two figures, because word
models with different tokenizations can't be compared by the perplexity of their own tokens alone:
per token of the model, and per word of running text, where the words are those between the white space of
the file and one end a line, and the whole text's log-probability is shared out over them.

``--wikitext`` undoes the tokenization of the WikiText files: ``@-@``, ``@,@`` and ``@.@`` become the bare
mark, and their ``<unk>`` is scored as the model's unknown word.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from pathlib import Path

import numpy as np

from models.bundle import DEFAULT, Bundle
from models.text.vocabulary import Vocabulary
from models.training.corpus import Tokens, lines
from models.training.evaluation import evaluate


def tokens(line: str, vocabulary: Vocabulary, wikitext: bool) -> Tokens:
    """The ids of a line and its ``</s>``."""
    parts = [line]
    if wikitext:
        parts = re.sub(r" @([-,.])@ ", r"\1", line).split("<unk>")
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
        result = evaluate(
            bundle.model,
            [tokens(line, vocabulary, args.wikitext) for line in text],
            vocabulary.end_id,
            vocabulary.unknown_id,
        )
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
                }
            )
        )


if __name__ == "__main__":
    main()
