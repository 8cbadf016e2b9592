"""Make the Hugging Face cases: ``python make_hf.py`` with transformers==4.35.2, sacremoses and torch.

The parameters are random, the files are those that the library writes. Expected are `prediction_scores` of
one call a text, checked against calls word by word with memories.
"""

from __future__ import annotations

import json
import pickle
import shutil

import torch
from common import DATA, redraw, save, texts, words
from torch import Tensor
from transformers import TransfoXLConfig, TransfoXLLMHeadModel, TransfoXLTokenizer, __version__

SIZES = {"d_model": 16, "n_head": 2, "d_head": 5, "d_inner": 12, "n_layer": 2, "vocab_size": 60}
THREE, ONE = [14, 27, 45], [20]

# Options, safe tensors or not, the vocabulary's file.
CASES: dict[str, tuple[dict[str, object], bool, str]] = {
    # As the published model: all projections tied but the first, the same length for all, clamped.
    "hf-published": (
        {"cutoffs": THREE, "div_val": 4, "d_embed": 64, "mem_len": 6, "clamp_len": 4},
        False,
        "vocab.pkl",
    ),
    "hf-published-safetensors": (
        {"cutoffs": THREE, "div_val": 4, "d_embed": 64, "mem_len": 6, "clamp_len": 4},
        True,
        "vocab.bin",
    ),
    # As lm1b: no projection tied; pre-norm, shared biases, one call attends all of the text.
    "hf-untied-projections": (
        {
            "cutoffs": ONE, "div_val": 2, "d_embed": 16, "mem_len": 5, "clamp_len": -1, "same_length": False,
            "proj_share_all_but_first": False, "pre_lnorm": True, "untie_r": False,
        },
        False,
        "vocab.json",
    ),
    # One table for all words, no projections.
    "hf-factor-1": (
        {"cutoffs": THREE, "div_val": 1, "d_embed": 16, "mem_len": 9, "clamp_len": 7, "same_length": False},
        True,
        "vocab.pkl",
    ),
    # One table with a projection shared by all; the output's weights are its own.
    "hf-factor-1-projected": (
        {
            "cutoffs": THREE, "div_val": 1, "d_embed": 8, "mem_len": 7, "clamp_len": -1, "pre_lnorm": True,
            "tie_word_embeddings": False,
        },
        False,
        "vocab.bin",
    ),
    # A plain softmax.
    "hf-no-tails": (
        {"cutoffs": [], "div_val": 1, "d_embed": 16, "mem_len": 3, "clamp_len": -1},
        True,
        "vocab.json",
    ),
}  # fmt: skip


def scores(model: TransfoXLLMHeadModel, text: Tensor, step: int) -> Tensor:
    """Log-probabilities (T, V) of `text` fed `step` words at a time."""
    parts, mems = [], None
    for piece in text.split(step):
        out = model(piece[None], mems=mems)
        parts.append(out.prediction_scores[0])
        mems = out.mems
    return torch.cat(parts)


def write_vocabulary(case: str, name: str) -> None:
    """The words as `name`: the tokenizer's own pickle, a torch file or JSON."""
    tokenizer = TransfoXLTokenizer()
    tokenizer.idx2sym = words()
    tokenizer.sym2idx = {word: i for i, word in enumerate(tokenizer.idx2sym)}
    tokenizer.counter.update(tokenizer.idx2sym)
    path = DATA / case / name
    if name == "vocab.pkl":
        tokenizer.unk_idx, tokenizer.eos_idx = 1, 0
        # What the library's `save_vocabulary` does, without this machine's own paths and caches.
        with path.open("wb") as file:
            pickle.dump(tokenizer.__dict__, file)
    elif name == "vocab.bin":
        kept = {key: getattr(tokenizer, key) for key in ("counter", "special", "idx2sym", "sym2idx")}
        torch.save(kept, path)
    else:
        path.write_text(json.dumps(tokenizer.sym2idx))


def main() -> None:
    """Every case."""
    for case, (options, safe, vocabulary) in CASES.items():
        shutil.rmtree(DATA / case, ignore_errors=True)
        model = TransfoXLLMHeadModel(TransfoXLConfig(**SIZES, **options)).eval()
        redraw(model)
        with torch.no_grad():
            expected = [scores(model, text, len(text)) for text in texts()]
            # Without `same_length` the library's answer depends on how a text is cut into calls.
            if model.config.same_length:
                for text, one_call in zip(texts(), expected, strict=True):
                    assert torch.allclose(scores(model, text, 1), one_call, atol=2e-5)
        model.save_pretrained(DATA / case, safe_serialization=safe)
        (DATA / case / "generation_config.json").unlink(missing_ok=True)
        write_vocabulary(case, vocabulary)
        count = sum(parameter.numel() for parameter in model.parameters())
        save(case, expected, {"library": f"transformers {__version__}", "parameters": count})


if __name__ == "__main__":
    main()
