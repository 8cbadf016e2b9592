"""awd-lstm-lm (Merity et al., "Regularizing and Optimizing LSTM Language Models", ICLR 2018).

SOURCE is a directory with the ``.pt`` file that ``main.py --save`` writes, ``[model, criterion, optimizer]``
pickled whole (or the model alone), and with its vocabulary: the ``corpus.*.data`` that ``main.py`` caches, or
the ``train.txt``, ``valid.txt`` and ``test.txt`` from which it numbers words as they appear.

Above 75,000 words its ``SplitCrossEntropyLoss`` is an adaptive softmax: one matrix, cut at the splits, no
projections, its clusters' columns last to first (``[:, -i]``), everything with biases. Ids follow the text,
not the frequency. Dropout, of weights too, does nothing when a model answers: the weights are those that
training calls ``weight_hh_l0_raw``.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.config.model import Band, ModelConfig
from models.config.tokenization import Whitespace
from models.importers.base import CheckpointError, Converted, Weights, faults_named, only_file
from models.importers.lstm import take_lstm
from models.importers.one_table import encoder_of, one_table
from models.importers.pickles.checkpoint import attributes, load, module_state
from models.importers.words import TEXTS, dictionary_words, words_of_texts
from models.text.tokenizer import SpecialWords
from models.text.vocabulary import Vocabulary

WORDS = SpecialWords(unknown="<unk>", end="<eos>", tokenization=Whitespace())
_RAW = "weight_hh_l0_raw"


def convert(source: Path) -> Converted:
    """See the module. Raises CheckpointError."""
    file = source if source.is_file() else only_file(source, "*.pt")
    found = load(file)
    model, criterion = found[:2] if isinstance(found, list) and len(found) > 1 else (found, None)
    kind = attributes(model).get("rnn_type", "LSTM")
    if kind != "LSTM":
        raise CheckpointError(f"{file}: its layers are {kind}; LSTM alone can be imported")
    weights = Weights(_state(model), file.name)
    words, word_files = _words(file.parent)
    encoder = encoder_of(weights, file, words, word_files[0])
    decoder = weights.take("decoder.weight", len(words), None)
    tied = decoder.shape == encoder.shape and torch.equal(decoder, encoder)
    hidden_size = decoder.shape[1]
    layers = 1 + max((int(name.split(".")[1]) for name in weights if _is_layer(name)), default=-1)
    if not layers:
        raise CheckpointError(f"{file}: weight rnns.0.weight_ih_l0 is missing")
    body, lstm = take_lstm(weights, [f"rnns.{i}." for i in range(layers)], encoder.shape[1], hidden_size)
    splits = _splits(criterion, len(words), file)
    bias = weights.take("decoder.bias", len(words))
    weights.finish()
    softmax = _softmax(decoder, bias, splits, criterion, file)
    if not tied:
        softmax["embedding.head"] = encoder
    with faults_named(file, word_files[0]):
        vocabulary = Vocabulary.from_words(words, WORDS)
        config = ModelConfig(
            vocabulary_size=len(words),
            hidden_size=hidden_size,
            cutoffs=splits,
            bands=tuple(Band(clusters=1, width=hidden_size) for _ in splits[1:]),
            factor=1.0 if splits[1:] else None,
            head_bias=True,
            tail_bias=len(splits) > 1,
            **one_table(encoder, tied),
            body=body,
            unknown_word=WORDS.unknown,
            end_word=WORDS.end,
            tokenization=WORDS.tokenization,
        )
    return Converted(config, {**softmax, **lstm}, vocabulary, (file, *word_files), "reversed")


def _is_layer(name: str) -> bool:
    parts = name.split(".")
    return len(parts) == 3 and parts[0] == "rnns" and parts[1].isdecimal() and parts[2] == "weight_ih_l0"


def _state(model: object) -> dict[str, Tensor]:
    """The model's weights, those under weight dropout by the names that they have without."""
    state: dict[str, Tensor] = {}
    found = module_state(model)
    raw = {name for name in found if name.endswith(_RAW)}
    for name, tensor in found.items():
        if f"{name}_raw" in raw:  # what dropout left of it in the last step
            continue
        state[name.replace(".module.", ".").removesuffix("_raw")] = tensor
    return state


def _words(directory: Path) -> tuple[list[str], tuple[Path, ...]]:
    cached = sorted(directory.glob("corpus.*.data"))
    if cached:
        (file, *others) = cached
        if others:
            raise CheckpointError(f"{directory}: holds {len(cached)} files corpus.*.data; leave the model's")
        return dictionary_words(attributes(load(file)).get("dictionary"), file), (file,)
    files = tuple(directory / name for name in TEXTS)
    if not all(file.is_file() for file in files):
        raise CheckpointError(f"{directory}: needs corpus.*.data, or {', '.join(TEXTS)}, for the vocabulary")
    return words_of_texts(files, WORDS.end), files


def _splits(criterion: object, vocabulary_size: int, file: Path) -> tuple[int, ...]:
    """The ends of the short-list and of each cluster."""
    if criterion is None:
        return (vocabulary_size,)
    splits = attributes(criterion).get("splits")
    if not isinstance(splits, list) or len(splits) < 2 or not all(isinstance(n, int) for n in splits):
        raise CheckpointError(f"{file}: its criterion has no splits")
    edges = (*splits[1:-1], vocabulary_size)  # the last split is a number beyond all vocabularies
    if splits[0] != 0 or edges[0] < 1 or any(low >= high for low, high in pairwise(edges)):
        raise CheckpointError(f"{file}: its splits {splits[:-1]} do not cut {vocabulary_size} words")
    return edges


def _softmax(
    weight: Tensor, bias: Tensor, edges: tuple[int, ...], criterion: Any, file: Path
) -> dict[str, Tensor]:
    shortlist, n_clusters = edges[0], len(edges) - 1
    softmax = {"softmax.head": weight, "softmax.head_bias": bias}
    if not n_clusters:
        return softmax
    clusters = Weights(_parameters(criterion), f"{file.name}, criterion")
    vectors = clusters.take("tail_vectors", n_clusters, weight.shape[1])
    biases = clusters.take("tail_bias", n_clusters)
    # Cluster i, from 1, has the column -i.
    softmax["softmax.head"] = torch.cat([weight[:shortlist], vectors.flip(0)])
    softmax["softmax.head_bias"] = torch.cat([bias[:shortlist], biases.flip(0)])
    for i, (low, high) in enumerate(pairwise(edges)):
        softmax[f"softmax.tails.{i}"] = weight[low:high]
        softmax[f"softmax.tail_biases.{i}"] = bias[low:high]
    return softmax


def _parameters(criterion: object) -> dict[str, Any]:
    return dict(module_state(criterion))
