"""Anyone's own model: `torch.nn.AdaptiveLogSoftmaxWithLoss` after `torch.nn.LSTM` after `torch.nn.Embedding`.

SOURCE is a TOML file, or a directory with one, that names the files and the modules in them::

    [files]
    weights = "model.pt"         # a state dictionary; or a list of files, whose entries are put together
    vocabulary = "words.txt"     # one word a line, line i being id i; or a JSON list of words

    [modules]                    # their names in the state dictionary
    embedding = "embedding"
    lstm = "lstm"                # or a list of LSTM modules, one after another
    softmax = "softmax"
    # output = "output"          # a Linear between the LSTM and the softmax
    # root = "model"             # where the state dictionary is within the file
    # ignore = ["criterion.*"]   # what else there is

    [words]
    unknown = "<unk>"
    end = "<eos>"
    # start, special, tokenization ("whitespace", "moses", "jieba", "ours"), lowercase

    [sizes]                      # optional; what is named is checked
    vocabulary = 10000           # also: embedding, units, layers, projection, cutoffs, div_value
    # embedding_scale = 8.0      # by which the script multiplies the embedding's vectors

torch's head has its cluster columns in natural order and an optional bias; its tails have none.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from itertools import count
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from models.config.model import Band, InputBand, ModelConfig
from models.importers.base import CheckpointError, Converted, Weights
from models.importers.lstm import take_lstm
from models.importers.pickles.checkpoint import attributes, load, load_safetensors
from models.importers.torch_adaptive.description import Modules, Sizes, beside, describe, find
from models.importers.words import read_words
from models.text.tokenizer import SpecialWords
from models.text.vocabulary import Vocabulary


def convert(source: Path) -> Converted:
    """See the module. Raises CheckpointError."""
    toml = find(source)
    described = describe(toml)
    files = [beside(toml, name) for name in (*described.files.weights, described.files.vocabulary)]
    *weight_files, word_file = files
    weights = Weights(_state(weight_files, described.modules), weight_files[0].name)
    words = read_words(word_file)
    embedding = weights.take(f"{described.modules.embedding}.weight", len(words), None)
    sizes, softmax = _softmax(weights, described.modules.softmax)
    body, lstm = take_lstm(
        weights,
        [f"{prefix}." if prefix else "" for prefix in described.modules.lstm],
        embedding.shape[1],
        sizes["hidden_size"],
        None if described.modules.output is None else f"{described.modules.output}.",
    )
    for name in weights:
        if any(fnmatchcase(name, pattern) for pattern in described.modules.ignore):
            weights.drop(name)
    weights.finish()
    named = SpecialWords(
        described.words.unknown,
        described.words.end,
        described.words.start,
        tuple(described.words.special),
        described.words.kind(),
    )
    try:
        config = ModelConfig(
            **sizes,
            factor=described.sizes.div_value,
            tied=False,
            embedding_size=embedding.shape[1],
            embedding_scale=described.sizes.embedding_scale,
            input_bands=(InputBand(words=len(words), width=embedding.shape[1]),),
            body=body,
            unknown_word=named.unknown,
            end_word=named.end,
            start_word=named.start,
            special_words=named.special,
            tokenization=named.tokenization,
        )
        vocabulary = Vocabulary.from_words(words, named)
    except ValidationError as error:
        raise CheckpointError(f"{toml}: {error.errors()[0]['msg']}") from None
    except ValueError as error:
        raise CheckpointError(f"{word_file}: {error}") from None
    _check_sizes(described.sizes, config, toml)
    return Converted(
        config,
        {"embedding.head": embedding, **lstm, **softmax},
        vocabulary,
        (toml, *files),
        "natural",
    )


def _state(files: list[Path], modules: Modules) -> dict[str, Any]:
    state: dict[str, Any] = {}
    for file in files:
        found = load_safetensors(file) if file.suffix == ".safetensors" else load(file)
        for step in modules.root.split(".") if modules.root else []:
            found = attributes(found).get(step)
        if not isinstance(found, dict):
            raise CheckpointError(f"{file}: holds no state dictionary" + _at(modules.root))
        state |= found
    return state


def _at(root: str | None) -> str:
    return f" at {root!r}" if root else ""


def _softmax(weights: Weights, prefix: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The parts of `ModelConfig` and the weights that `torch.nn.AdaptiveLogSoftmaxWithLoss` tells."""
    head = weights.take(f"{prefix}.head.weight", None, None)
    hidden_size = head.shape[1]
    softmax = {"softmax.head": head}
    tails: list[tuple[int, int]] = []
    for i in count():
        if f"{prefix}.tail.{i}.0.weight" not in weights:
            break
        projection = weights.take(f"{prefix}.tail.{i}.0.weight", None, hidden_size)
        words = weights.take(f"{prefix}.tail.{i}.1.weight", None, projection.shape[0])
        softmax[f"softmax.projections.{i}"], softmax[f"softmax.tails.{i}"] = projection, words
        tails.append((words.shape[0], words.shape[1]))
    shortlist = head.shape[0] - len(tails)
    if shortlist < 1:
        raise CheckpointError(f"{prefix}.head.weight has {head.shape[0]} rows for {len(tails)} clusters")
    biased = f"{prefix}.head.bias" in weights
    if biased:
        softmax["softmax.head_bias"] = weights.take(f"{prefix}.head.bias", head.shape[0])
    cutoffs = [shortlist]
    for size, _ in tails:
        cutoffs.append(cutoffs[-1] + size)
    sizes = {
        "vocabulary_size": cutoffs[-1],
        "hidden_size": hidden_size,
        "cutoffs": tuple(cutoffs),
        "bands": tuple(Band(clusters=1, width=width) for _, width in tails),
        "head_bias": biased,
    }
    return sizes, softmax


def _check_sizes(said: Sizes, config: ModelConfig, toml: Path) -> None:
    body = config.body
    assert body.type == "lstm"  # noqa: S101 -- `take_lstm` made it
    for name, want, got in (
        ("vocabulary", said.vocabulary, config.vocabulary_size),
        ("embedding", said.embedding, config.input_size),
        ("units", said.units, body.units),
        ("layers", said.layers, body.layers),
        ("projection", said.projection, body.projection),
    ):
        if want is not None and want != got:
            raise CheckpointError(f"{toml}: sizes.{name} is {want}, the weights have {got}")
    # torch's own `cutoffs` argument leaves out the vocabulary's size.
    if said.cutoffs is not None and said.cutoffs not in ([*config.cutoffs[:-1]], [*config.cutoffs]):
        raise CheckpointError(
            f"{toml}: sizes.cutoffs is {said.cutoffs}, the weights have {[*config.cutoffs[:-1]]}"
        )
