"""Hidden rows of a text: what the output layer gets from the model that ships."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from models.bundle import Bundle
from models.training.corpus import lines

SAMPLE: Final = Path(__file__).with_name("sample.txt")
"""11,000 words that the model that ships was not trained on: held-out lines (of each file the non-empty line
i with i mod 500 = 250) of those of its training texts that are in the public domain or under CC0: fiction, US
government websites, addresses on the State of the Union. See its card."""


@torch.inference_mode()
def hidden_rows(bundle: Bundle, file: Path, count: int) -> tuple[Tensor, Tensor]:
    """Hidden rows (N, d) before each word of a text's lines, each line from the start state, and the words
    (N,) that follow, the end of each line among them; shuffled.

    N is `count`, or what the text has.
    """
    model, parts, words = bundle.model, [], []
    start, end = bundle.vocabulary.start_id, bundle.vocabulary.end_id
    for line in lines(file):
        line_words = bundle.vocabulary.encode_batch([line])[0]
        words += [*line_words, end]
        parts.append(model.read([start, *line_words]))
        if sum(map(len, parts)) >= count:
            break
    rows = torch.cat(parts)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(1))[:count]
    return rows[order], torch.tensor(words)[order]
