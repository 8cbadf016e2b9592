"""Make the cases of NVIDIA's Transformer-XL: ``python make_nvidia.py SOURCE`` with torch and numpy.

SOURCE is ``PyTorch/LanguageModeling/Transformer-XL/pytorch`` of github.com/NVIDIA/DeepLearningExamples, which
is run as it is on the CPU; packages for its logs and its cards are replaced by empty ones. The checkpoint has
the entries of its `save_checkpoint`, the vocabulary is of its own class. Expected are its own negative
log-likelihoods of every word, the text fed in segments of `tgt_len` as its `eval.py` does.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import types
from typing import Any

import torch
from common import DATA, VOCABULARY, redraw, save, texts, words
from torch import Tensor

SIZES = {"n_token": VOCABULARY, "d_model": 16, "n_head": 2, "d_head": 5, "d_inner": 12, "n_layer": 2}
CLUSTERS = {"cutoffs": [14, 27, 45], "tie_projs": [False, True, True, True]}
OTHERS = {
    "dropout": 0.1, "dropatt": 0.0, "dtype": None, "tie_weight": True, "pre_lnorm": False, "ext_len": 0,
    "same_length": False, "attn_type": 0, "clamp_len": -1, "sample_softmax": -1,
}  # fmt: skip

CASES: dict[str, dict[str, Any]] = {
    "nvidia-large": {
        **CLUSTERS, "div_val": 4, "d_embed": 64, "tgt_len": 4, "mem_len": 6, "clamp_len": 5,
        "same_length": True,
    },
    "nvidia-base": {**CLUSTERS, "div_val": 1, "d_embed": 16, "tgt_len": 5, "mem_len": 5},
    "nvidia-untied": {
        "cutoffs": [20], "tie_projs": [False, False], "div_val": 2, "d_embed": 16, "tgt_len": 4, "mem_len": 9,
        "pre_lnorm": True, "tie_weight": False,
    },
}  # fmt: skip


def logprobs(model: Any, text: Tensor, segment: int) -> Tensor:
    """Log-probabilities (T, V) of `text` in segments of `segment` words."""
    parts, mems = [], model.init_mems()
    for piece in text.split(segment):
        hidden, mems = model._forward(piece[:, None], mems=mems)
        rows = hidden[:, 0].repeat_interleave(VOCABULARY, 0)
        targets = torch.arange(VOCABULARY).repeat(len(piece))
        parts.append(-model.crit(rows, targets, keep_order=True).view(len(piece), VOCABULARY))
    return torch.cat(parts)


def main() -> None:
    """Every case."""
    sys.path.insert(0, sys.argv[1])
    for absent in ("dllogger", "pynvml"):
        sys.modules[absent] = types.ModuleType(absent)
        sys.modules[absent].nvmlInit = lambda: None
    from mem_transformer import MemTransformerLM
    from utils.vocabulary import Vocab

    for case, options in CASES.items():
        shutil.rmtree(DATA / case, ignore_errors=True)
        (DATA / case).mkdir(parents=True)
        config = {**SIZES, **OTHERS, **options}
        model = MemTransformerLM(**config).eval()
        redraw(model)
        with torch.no_grad():
            expected = [logprobs(model, text, model.tgt_len) for text in texts()]
            if model.same_length:
                for text, segments in zip(texts(), expected, strict=True):
                    assert torch.allclose(logprobs(model, text, len(text)), segments, atol=2e-5)
        vocab = Vocab(special=["<eos>"], lower_case=False)
        for i, word in enumerate(words()[1:]):
            vocab.counter[word] = 1000 - i
        vocab.build_vocab()
        assert vocab.idx2sym == words()
        arguments = argparse.Namespace(dataset="wt103", vocab="word", fp16=False, adaptive=True, **config)
        state = {
            "args": arguments,
            "model_config": config,
            "model_state": model.state_dict(),
            "optimizer_state": torch.optim.Adam(model.parameters()).state_dict(),
            "scheduler_state": {"last_epoch": 1},
            "rng_states": [torch.random.get_rng_state()[:8]],
            "memory": [[memory] for memory in model.init_mems()],
            "vocab": vocab,
            "amp_state": None,
            "epoch": 1,
            "batch": 1,
            "last_iter": 1,
            "train_step": 1,
            "best_val_loss": 1.0,
        }
        torch.save(state, DATA / case / "checkpoint_best.pt")
        count = sum(parameter.numel() for parameter in model.parameters())
        save(case, expected, {"library": "NVIDIA/DeepLearningExamples", "parameters": count})


if __name__ == "__main__":
    main()
