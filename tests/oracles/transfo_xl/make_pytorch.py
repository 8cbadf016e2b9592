"""Make the cases of the PyTorch original: ``python make_pytorch.py SOURCE`` with torch and numpy.

SOURCE is the folder ``pytorch`` of the original's repository (github.com/kimiyoung/transformer-xl, 44781ed),
which is run as it is; what today's torch lacks of the torch of 2019 is put back first. `model.pt` and
`cache.pt` are written by its own classes. Expected are its own negative log-likelihoods of every word, the
text fed in segments of `tgt_len` as its `eval.py` does.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import DATA, VOCABULARY, redraw, save, texts, words
from torch import Tensor

SIZES = {"n_token": VOCABULARY, "d_model": 16, "n_head": 2, "d_head": 5, "d_inner": 12, "n_layer": 2}
CLUSTERS = {"cutoffs": [14, 27, 45], "tie_projs": [False, True, True, True]}

# Options, the data set, whether the file is of the old format (before torch 1.6).
CASES: dict[str, tuple[dict[str, Any], str, bool]] = {
    # As the wt103 models: the large one with projections, the base one without.
    "pytorch-wt103": (
        {**CLUSTERS, "div_val": 4, "d_embed": 64, "tgt_len": 4, "mem_len": 6, "clamp_len": 5},
        "wt103",
        False,
    ),
    "pytorch-wt103-base": (
        {**CLUSTERS, "div_val": 1, "d_embed": 16, "tgt_len": 4, "mem_len": 6, "same_length": True},
        "wt103",
        True,
    ),
    # As lm1b: no projection tied.
    "pytorch-lm1b": (
        {
            "cutoffs": [20], "tie_projs": [False, False], "div_val": 2, "d_embed": 16, "tgt_len": 5,
            "mem_len": 3, "pre_lnorm": True,
        },
        "lm1b",
        False,
    ),
    # No memory, and weights of the output's own.
    "pytorch-untied": (
        {**CLUSTERS, "div_val": 1, "d_embed": 8, "tgt_len": 7, "mem_len": 0, "tie_weight": False},
        "ptb",
        False,
    ),
}  # fmt: skip


def put_back() -> None:
    """What the original needs of an older torch: masks of bytes, and a CUDA version where there is none."""
    torch.version.cuda = torch.version.cuda or "10.0"
    masked_fill: Callable[..., Tensor] = torch.Tensor.masked_fill
    torch.Tensor.masked_fill = lambda self, mask, value: masked_fill(self, mask.bool(), value)
    # The old format would hold the classes' source, which is not ours to pass on.
    torch.serialization.get_source_lines_and_file = None


def logprobs(model: Any, text: Tensor, segment: int) -> Tensor:
    """Log-probabilities (T, V) of `text` in segments of `segment` words."""
    parts, mems = [], model.init_mems()
    for piece in text.split(segment):
        hidden, mems = model._forward(piece[:, None], mems=mems)
        rows = hidden[:, 0].repeat_interleave(VOCABULARY, 0)
        targets = torch.arange(VOCABULARY).repeat(len(piece))
        parts.append(-model.crit(rows, targets, keep_order=True).view(len(piece), VOCABULARY))
    return torch.cat(parts)


def write_corpus(case: str, dataset: str) -> None:
    """`cache.pt`, made by the original of text files from which the words get their ids."""
    from data_utils import get_lm_corpus

    listed = words("<S>", "<UNK>") if dataset == "lm1b" else words()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        # Each word once more often than the next; the special word 0 comes by itself.
        lines = [" ".join(listed[1 : 1 + n]) for n in range(1, len(listed))]
        for split in ("train", "valid", "test"):
            (path / f"{split}.txt").write_text("\n".join(lines if split == "train" else lines[:1]))
        (path / "1b_word_vocab.txt").write_text("\n".join(f"{word} 1" for word in listed))
        corpus = get_lm_corpus(folder, dataset)
        if dataset == "ptb":
            listed = [word.lower() for word in listed]
        assert corpus.vocab.idx2sym == listed, corpus.vocab.idx2sym
        # Neither this machine's paths nor the text.
        if dataset == "lm1b":
            corpus.vocab.vocab_file, corpus.train = "1b_word_vocab.txt", []
        else:
            corpus.train = corpus.train[:9].clone()
        torch.save(corpus, DATA / case / "cache.pt")


def main() -> None:
    """Every case."""
    put_back()
    sys.path[:0] = [sys.argv[1], f"{sys.argv[1]}/utils"]
    from mem_transformer import MemTransformerLM

    for case, (options, dataset, old) in CASES.items():
        shutil.rmtree(DATA / case, ignore_errors=True)
        (DATA / case).mkdir(parents=True)
        model = MemTransformerLM(**SIZES, dropout=0.1, dropatt=0.0, ext_len=0, **options).eval()
        redraw(model)
        with torch.no_grad():
            expected = [logprobs(model, text, model.tgt_len) for text in texts()]
            if model.same_length:
                for text, segments in zip(texts(), expected, strict=True):
                    assert torch.allclose(logprobs(model, text, len(text)), segments, atol=2e-5)
        torch.save(model, DATA / case / "model.pt", _use_new_zipfile_serialization=not old)
        write_corpus(case, dataset)
        count = sum(parameter.numel() for parameter in model.parameters())
        save(case, expected, {"library": "kimiyoung/transformer-xl 44781ed", "parameters": count})


if __name__ == "__main__":
    main()
