"""Makes tiny fairseq checkpoints and what fairseq itself says of them: the test data in ``data/``.

Run once, outside the tests' environment; no network. The environment (Python 3.11)::

    python -m venv venv
    venv/bin/pip install torch safetensors "numpy<2" cython wheel "setuptools<81"
    venv/bin/pip install --no-build-isolation fairseq-fixed==0.12.3.1 "numpy<2"
    venv/bin/python tests/oracles/fairseq/make.py  # or some cases by name

``new-*`` and ``fconv-*`` are written by ``fairseq-train`` (one update), all parameters then drawn anew so
that predictions are peaked. ``old-*`` have the form of releases before 2021, which cannot be installed any
more: `args` from fairseq's own parser, the model built, loaded and upgraded by fairseq's own code.

Each case holds the checkpoint, ``dict.txt`` and ``expected.safetensors``: ``ids.<i>`` (T + 1,) a text behind
its start word and ``logprobs.<i>`` (T + 1, V) the log-probabilities of the words after each of its tokens
(``get_normalized_probs(.., log_probs=True, sample=None)``); ``long`` (T + 1,) the ids of a text longer than
the model's window and its end of sentence, ``long.context_<c>`` (T + 1,) what the code of ``fairseq-eval-lm``
gives for them with ``--context-window c``.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from fairseq import checkpoint_utils, options, tasks
from fairseq.models.fconv_lm import FConvLanguageModel
from fairseq.models.fconv_lm import base_lm_architecture as base_fconv_architecture
from fairseq.models.transformer import TransformerDecoder
from fairseq.models.transformer_lm import TransformerLanguageModel, base_lm_architecture
from fairseq.modules import AdaptiveInput
from fairseq.sequence_scorer import SequenceScorer
from safetensors.torch import save_file

DATA = Path(__file__).parent / "data"
WINDOW = 16
LENGTHS = (0, 1, 6, 15)
LONG = 45
SMALL = "--decoder-layers 2 --decoder-embed-dim 16 --decoder-ffn-embed-dim 24 --decoder-attention-heads 2"
ADAPTIVE = "--criterion adaptive_loss --adaptive-softmax-cutoff"
PLAIN = "--criterion cross_entropy"

NEW = {
    # name: (options of fairseq-train, context windows of eval_lm)
    "new-wiki103": (
        f"--arch transformer_lm_wiki103 {SMALL} {ADAPTIVE} 24,48 --adaptive-input-cutoff 24,48"
        " --adaptive-softmax-factor 2 --adaptive-input-factor 2",
        (0, 8, 12),
    ),
    "new-post-norm": (
        f"--arch transformer_lm {SMALL} {ADAPTIVE} 30 --adaptive-softmax-factor 4 --activation-fn gelu"
        " --decoder-learned-pos --layernorm-embedding --decoder-input-dim 16 --decoder-output-dim 16",
        (0, 8),
    ),
    "new-untied": (
        f"--arch transformer_lm_big {SMALL} {ADAPTIVE} 16,32,48 --adaptive-softmax-factor 1 --adaptive-input"
        " --adaptive-input-cutoff 20,40 --adaptive-input-factor 2 --decoder-input-dim 12"
        " --decoder-output-dim 20 --no-scale-embedding --add-bos-token --activation-fn gelu_fast",
        (),
    ),
    "new-tied-weights": (
        f"--arch transformer_lm_big {SMALL} {ADAPTIVE} 16,32,48 --adaptive-softmax-factor 1 --adaptive-input"
        " --adaptive-input-cutoff 16,32,48 --adaptive-input-factor 1 --tie-adaptive-weights"
        " --no-token-positional-embeddings --no-decoder-final-norm",
        (),
    ),
    "new-gpt": (
        f"--arch transformer_lm_gpt {SMALL} {PLAIN} --share-decoder-input-output-embed --decoder-learned-pos"
        " --decoder-input-dim 12 --decoder-output-dim 12",
        (),
    ),
    "new-plain": (f"--arch transformer_lm_big {SMALL} {PLAIN} --activation-fn gelu_accurate", ()),
    "fconv-adaptive": (
        f"--arch fconv_lm {ADAPTIVE} 24,48 --decoder-embed-dim 12"
        " --decoder-layers=[(16,3)]*2+[(12,1,0),(24,2,2)]",
        (),
    ),
    "fconv-plain": (f"--arch fconv_lm {PLAIN} --decoder-embed-dim 12 --decoder-layers=[(16,4)]*2", ()),
}


def main() -> None:
    torch.serialization.add_safe_globals([argparse.Namespace])
    chosen = sys.argv[1:] or [*NEW, *OLD]
    for name in chosen:
        shutil.rmtree(DATA / name, ignore_errors=True)
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        make_corpus()
        for name in chosen:
            if name in NEW:
                make_new(name, *NEW[name])
            else:
                make_old(name, OLD[name])


def make_corpus() -> None:
    """``corpus/``: 66 words and padding to 72, training text by Zipf's law."""
    draw = random.Random(5)
    syllables = [a + b for a in "bdfgklmnprst" for b in "aeiou"]
    words: list[str] = []
    while len(words) < 62:
        word = draw.choice(syllables) + draw.choice(syllables)
        if word not in words:
            words.append(word)
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    lines = [" ".join(draw.choices(words, weights, k=draw.randint(3, 12))) for _ in range(60)]
    Path("train.txt").write_text("\n".join([*lines, " ".join(words)]) + "\n")
    Path("long.txt").write_text(" ".join(draw.choices(words, k=LONG)) + "\n")
    program(
        "fairseq-preprocess", "--only-source", "--trainpref", "train.txt", "--validpref", "long.txt",
        "--destdir", "corpus", "--workers", "1",
    )  # fmt: skip


def program(name: str, *arguments: str) -> None:
    subprocess.run([Path(sys.executable).parent / name, *arguments], check=True, stdout=subprocess.DEVNULL)


def make_new(name: str, flags: str, contexts: tuple[int, ...]) -> None:
    program("fairseq-train", *training_flags(flags), "--save-dir", name)
    state = torch.load(f"{name}/checkpoint_last.pt", weights_only=True)
    redraw(state["model"])
    target = DATA / name
    target.mkdir(parents=True)
    file = target / "model.pt"
    checkpoint_utils.torch_persistent_save(state, str(file))
    shutil.copy("corpus/dict.txt", target)
    (model,), _, task = checkpoint_utils.load_model_ensemble_and_task([str(file)], {"data": "corpus"})
    expect(target, model, task, contexts)


def training_flags(flags: str) -> list[str]:
    return [
        "corpus",
        *("--task language_modeling --batch-size 2 --max-update 1 --optimizer adam --lr 0.001 --cpu").split(),
        *("--no-progress-bar --num-workers 0 --no-save-optimizer-state --no-epoch-checkpoints").split(),
        *("--seed 1 --ddp-backend legacy_ddp --disable-validation").split(),
        *f"--tokens-per-sample {WINDOW} {flags}".split(),
    ]


def redraw(state: dict[str, torch.Tensor]) -> None:
    """New values for all parameters; what shares its memory goes on doing so."""
    torch.manual_seed(7)
    seen = set()
    for key, value in sorted(state.items()):
        if key.endswith("version") or "_float_tensor" in key or value.data_ptr() in seen:
            continue
        seen.add(value.data_ptr())
        if "norm" in key and key.endswith("weight"):
            value.normal_(1, 0.2)
        elif key.endswith("bias"):
            value.normal_(0, 0.3)
        elif key.endswith("weight_g"):
            value.uniform_(1.0, 2.5)
        elif "embed" in key or "adaptive_softmax" in key or "output_projection" in key:
            value.normal_(0, 0.6)
        else:
            value.normal_(0, 0.35)


def expect(
    target: Path, model: torch.nn.Module, task: tasks.FairseqTask, contexts: tuple[int, ...] = ()
) -> None:
    model.eval()
    dictionary = task.source_dictionary
    draw = random.Random(11)
    expected = {}
    begin = dictionary.bos() if task.args.add_bos_token else dictionary.eos()
    with torch.no_grad():
        for index, length in enumerate(LENGTHS):
            # Words from all over the vocabulary, the unknown one among them; not the padding.
            ids = [begin, *(draw.choice(range(3, 66)) for _ in range(length))]
            output = model(torch.tensor([ids]))
            logprobs = model.get_normalized_probs(output, log_probs=True, sample=None)[0]
            assert torch.allclose(logprobs.exp().sum(-1), torch.ones(length + 1), atol=1e-5)
            expected[f"ids.{index}"] = torch.tensor(ids)
            expected[f"logprobs.{index}"] = logprobs.contiguous()
    print(target.name, "entropy", -(logprobs.exp() * logprobs).sum(-1).mean().item(), "nats")
    for context in contexts:
        expected["long"], expected[f"long.context_{context}"] = evaluate(model, task, context)
    save_file(expected, target / "expected.safetensors")
    (target / "expected.safetensors").chmod(0o644)


def evaluate(
    model: torch.nn.Module, task: tasks.FairseqTask, context: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The targets of ``long.txt`` and their log-probabilities, as ``fairseq-eval-lm`` finds them."""
    whole = task.args.tokens_per_sample
    task.args.tokens_per_sample = whole - context
    task.load_dataset("valid")
    batches = task.eval_lm_dataloader(
        task.dataset("valid"), max_tokens=None, batch_size=1, num_workers=0, context_window=context
    )
    task.args.tokens_per_sample = whole
    scorer = SequenceScorer(task.target_dictionary)
    found = {}  # by block: without a context they come in any order
    for sample in batches:
        ((hypothesis,),) = scorer.generate([model], sample)
        found[int(sample["id"])] = (hypothesis["tokens"].long(), hypothesis["positional_scores"])
    tokens, scores = zip(*(found[block] for block in sorted(found)), strict=True)
    return torch.cat(tokens), torch.cat(scores).contiguous()


# -- the older form ------------------------------------------------------------------------------------


def namespace(flags: str) -> argparse.Namespace:
    args = options.parse_args_and_arch(options.get_training_parser(), training_flags(flags))
    for name in ("scale_fc", "scale_attn", "scale_heads", "scale_resids", "decoder_xformers_att_config"):
        vars(args).pop(name, None)  # came later
    return args


def two_thousand_nineteen() -> tuple[argparse.Namespace, torch.nn.Module, dict[str, torch.Tensor]]:
    """As the published wiki103 model was: all tied, three tails, no final norm."""
    args = namespace(
        f"--arch transformer_lm_wiki103 {SMALL} {ADAPTIVE} 16,32,48 --adaptive-input-cutoff 16,32,48"
        " --adaptive-softmax-factor 2 --adaptive-input-factor 2"
    )
    for name in ("no_decoder_final_norm", "tie_adaptive_proj", "decoder_normalize_before"):
        delattr(args, name)
    args.no_tie_adaptive_proj = False
    return args, *build(args)


def two_thousand_eighteen() -> tuple[argparse.Namespace, torch.nn.Module, dict[str, torch.Tensor]]:
    """One weight for queries, keys and values, numbered norms, decoder version 2: no norm at the end."""
    args = namespace(f"--arch transformer_lm_gbw {SMALL} {ADAPTIVE} 30")
    args.no_decoder_final_norm = False
    model, state = build(args, version=2)
    old = {}
    for key, value in state.items():
        layer, _, rest = key.partition(".self_attn.")
        if rest.endswith(("k_proj.weight", "v_proj.weight", "k_proj.bias", "v_proj.bias")):
            continue
        if rest.startswith("q_proj."):
            part = rest.removeprefix("q_proj.")
            parts = [state[f"{layer}.self_attn.{x}_proj.{part}"] for x in "qkv"]
            old[f"{layer}.self_attn.in_proj_{part}"] = torch.cat(parts)
            continue
        key = key.replace("self_attn_layer_norm", "layer_norms.0")
        old[key.replace("final_layer_norm", "layer_norms.2")] = value
    reloaded, _ = build(args, version=2, state=dict(old))
    ids = torch.tensor([[2, 5, 6]])
    assert torch.equal(reloaded(ids)[0], model(ids)[0])
    return args, reloaded, old


def projected_head() -> tuple[argparse.Namespace, torch.nn.Module, dict[str, torch.Tensor]]:
    """The tied short-list narrower than the hidden row: `head.word_proj` is a projection and the words."""
    args = namespace(
        f"--arch transformer_lm_big {SMALL} {ADAPTIVE} 24,48 --adaptive-input --adaptive-input-cutoff 24,48"
        " --adaptive-softmax-factor 2 --adaptive-input-factor 2 --tie-adaptive-weights --tie-adaptive-proj"
        " --decoder-input-dim 12 --decoder-output-dim 16"
    )
    args.decoder_final_norm = True
    return args, *build(args)


# wav2letter's models of words: 221,452 words, cutoffs 10000, 50000, 200000; here the same shares of 72.
WAV2LETTER = f"{ADAPTIVE} 4,16,64"


def wav2letter_transformer() -> tuple[argparse.Namespace, torch.nn.Module, dict[str, torch.Tensor]]:
    """A ``transformer_lm_gbw``, input and output adaptive and tied, three tails."""
    args = namespace(
        f"--arch transformer_lm_gbw {WAV2LETTER} --adaptive-input --adaptive-input-cutoff 4,16,64"
        " --tie-adaptive-weights --decoder-layers 1 --decoder-embed-dim 64 --decoder-ffn-embed-dim 32"
        " --decoder-attention-heads 2"
    )
    args.no_decoder_final_norm = False
    return args, *build(args)


def wav2letter_convolutions() -> tuple[argparse.Namespace, torch.nn.Module, dict[str, torch.Tensor]]:
    """An ``fconv_lm_dauphin_gbw`` in small: blocks of three layers that a residual spans, three tails."""
    blocks = "[(16,5)]+[(8,1,0),(8,5,0),(16,1,3)]*2+[(16,1,0),(16,5,0),(64,1,3)]"
    args = namespace(f"--arch fconv_lm {WAV2LETTER} --decoder-embed-dim 16 --decoder-layers={blocks}")
    whole = argparse.Namespace(**vars(args))
    base_fconv_architecture(whole)
    task = tasks.setup_task(whole)
    whole.max_target_positions = whole.tokens_per_sample
    model = FConvLanguageModel.build_model(whole, task)
    state = model.state_dict()
    redraw(state)
    for key, value in state.items():
        if "adaptive_softmax" in key and key.endswith("weight"):
            value.mul_(0.3)  # of 64 dimensions: else a word is 1e-45 probable, which float32 can hardly tell
    model.load_state_dict(state)
    return args, model.eval(), dict(state)


def build(
    args: argparse.Namespace, version: int = 3, state: dict[str, torch.Tensor] | None = None
) -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    """The model of `args`, with new weights or with `state`, loaded as fairseq loads it."""
    args = argparse.Namespace(**vars(args))
    base_lm_architecture(args)
    task = tasks.setup_task(args)
    if args.decoder_input_dim == args.decoder_output_dim:
        model = TransformerLanguageModel.build_model(args, task)
    else:  # which build_model refuses, and its decoder does not
        args.max_target_positions = args.tokens_per_sample
        embed = AdaptiveInput(
            len(task.dictionary), 1, args.decoder_input_dim, args.adaptive_input_factor,
            args.decoder_embed_dim, [24, 48],
        )  # fmt: skip
        decoder = TransformerDecoder(args, task.target_dictionary, embed, no_encoder_attn=True)
        model = TransformerLanguageModel(decoder)
    if state is None:
        state = model.state_dict()
        redraw(state)
        if version <= 2:
            state = {key: value for key, value in state.items() if not key.startswith("decoder.layer_norm.")}
            state["decoder.version"] = torch.tensor([float(version)])
    saved = dict(state)
    model.load_state_dict(state, strict=True, model_cfg=args)
    return model.eval(), saved


def make_old(name: str, make) -> None:
    args, model, state = make()
    target = DATA / name
    target.mkdir(parents=True)
    history = [{"criterion_name": "AdaptiveLoss", "optimizer_name": "FairseqNAG", "num_updates": 1}]
    torch.save(
        {
            "args": args,
            "model": state,
            "optimizer_history": history,
            "extra_state": {"epoch": 1, "val_loss": 1.0},
            "last_optimizer_state": None,
        },
        target / "checkpoint_best.pt",
        # As torch wrote before 1.6.
        _use_new_zipfile_serialization=name != "old-2018",
    )
    shutil.copy("corpus/dict.txt", target)
    expect(target, model, tasks.setup_task(args))


OLD = {
    "old-2019": two_thousand_nineteen,
    "old-2018": two_thousand_eighteen,
    "old-projected-head": projected_head,
    "old-wav2letter": wav2letter_transformer,
    "fconv-wav2letter": wav2letter_convolutions,
}

if __name__ == "__main__":
    main()
