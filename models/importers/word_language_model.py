"""PyTorch's example ``word_language_model``, and what descends from it: neural-complexity (van Schijndel and
Linzen 2018), colorlessgreenRNNs (Gulordava et al. 2018).

SOURCE is a directory with one ``.pt`` file (or that file) and the vocabulary beside it. The ``.pt`` is an
``RNNModel`` pickled whole, as these scripts save it, by any torch since 0.3, or its state dictionary; it may
stand in a dict or list, and within a ``DataParallel``. The vocabulary is ``vocab.txt`` (or the one file
``*vocab*.txt``), one word a line, line i being id i; neural-complexity's ``*vocab*.bin``; or ``train.txt``,
``valid.txt`` and ``test.txt``, from which the example numbers words as they appear.

The model: an embedding ``encoder``; ``rnn``, a `torch.nn.LSTM`, GRU or RNN (tanh or relu) of any layers; and
a linear ``decoder``, tied to the embedding or not, whose softmax is over all words. The cell is what the
module says (``rnn_type``, or the ``mode`` of its ``rnn``), else what the shapes of its weights tell: a state
dictionary does not tell tanh from relu. Texts start after ``<eos>``, as neural-complexity has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from models.config.bodies import BodyConfig
from models.config.model import ModelConfig
from models.config.tokenization import Whitespace
from models.importers.base import CheckpointError, Converted, Weights, faults_named, only_file
from models.importers.lstm import take_lstm
from models.importers.one_table import encoder_of, one_table
from models.importers.pickles.checkpoint import attributes, load, module_state
from models.importers.rnn import Cell, take_rnn
from models.importers.words import TEXTS, dictionary_words, read_words, words_of_texts
from models.text.tokenizer import SpecialWords
from models.text.vocabulary import Vocabulary

END: Final = "<eos>"
UNKNOWN: Final = ("<unk>", "<oov>")
_CELLS: Final[dict[str, Cell]] = {"GRU": "gru", "RNN_TANH": "rnn_tanh", "RNN_RELU": "rnn_relu"}
_TYPES: Final = ("LSTM", *_CELLS)


def convert(source: Path) -> Converted:
    """See the module. Raises CheckpointError."""
    file = source if source.is_file() else only_file(source, "*.pt")
    found = _find(load(file), file)
    weights = Weights(found.state, file.name)
    words, word_files = _words(file.parent)
    encoder = encoder_of(weights, file, words, word_files[0])
    decoder = weights.take("decoder.weight", len(words), None)
    hidden_size = decoder.shape[1]
    tied = decoder.shape == encoder.shape and torch.equal(decoder, encoder)
    softmax = {"softmax.head": decoder}
    if not tied:
        softmax["embedding.head"] = encoder
    if "decoder.bias" in weights:
        softmax["softmax.head_bias"] = weights.take("decoder.bias", len(words))
    body, recurrent = _body(weights, found.rnn_type, encoder.shape[1], hidden_size, file)
    weights.finish()
    unknown = next((word for word in UNKNOWN if word in words), None)
    if unknown is None or END not in words:
        missing = END if unknown else " or ".join(UNKNOWN)
        raise CheckpointError(f"{word_files[0]}: vocabulary has no {missing}")
    named = SpecialWords(unknown=unknown, end=END, tokenization=Whitespace())
    with faults_named(file, word_files[0]):
        config = ModelConfig(
            vocabulary_size=len(words),
            hidden_size=hidden_size,
            cutoffs=(len(words),),
            head_bias="softmax.head_bias" in softmax,
            **one_table(encoder, tied),
            body=body,
            unknown_word=named.unknown,
            end_word=named.end,
            tokenization=named.tokenization,
        )
        vocabulary = Vocabulary.from_words(words, named)
    return Converted(config, {**softmax, **recurrent}, vocabulary, (file, *word_files), "natural")


@dataclass(frozen=True, slots=True)
class _Found:
    """A model in a checkpoint: its tensors by name, and what the checkpoint says of its cells, if it does."""

    state: dict[str, Any]
    rnn_type: object


def _find(found: object, file: Path) -> _Found:
    """The one model in what was loaded. Raises CheckpointError."""
    parts = [found]
    if isinstance(found, list | tuple):
        parts = [*found]
    elif isinstance(found, Mapping) and not _is_state(found):
        parts = [*found.values()]
    models = [part for part in parts if _is_module(part) or _is_state(part)]
    if len(models) != 1:
        raise CheckpointError(f"{file}: holds {len(models)} models: no RNNModel, nor its state dictionary")
    (model,) = models
    if _is_module(model):
        said = attributes(model)
        if [*said["_modules"]] == ["module"]:
            model = said["_modules"]["module"]  # torch.nn.DataParallel
            said = attributes(model)
        state: dict[str, Any] = dict(module_state(model))
        modules = attributes(said.get("_modules"))
        if attributes(modules.get("encoder")).get("max_norm") is not None:
            raise CheckpointError(f"{file}: its embedding has max_norm, which would change as it reads")
        rnn_type = said.get("rnn_type", attributes(modules.get("rnn")).get("mode"))
    else:
        assert isinstance(model, Mapping)  # noqa: S101 -- `_is_state`
        state = {str(name).removeprefix("module."): tensor for name, tensor in model.items()}
        beside = attributes(found)
        args = attributes(beside.get("args"))
        rnn_type = beside.get("rnn_type", args.get("rnn_type", args.get("model")))
    if any(name.startswith(("pos_encoder.", "input_emb.", "transformer_encoder.")) for name in state):
        raise CheckpointError(
            f"{file}: is the example's Transformer; its RNNModel alone ({', '.join(_TYPES)}) can be imported"
        )
    return _Found(state, rnn_type)


def _is_module(part: object) -> bool:
    return isinstance(attributes(part).get("_modules"), Mapping)


def _is_state(part: object) -> bool:
    return isinstance(part, Mapping) and any(
        isinstance(name, str) and name.endswith("weight") and isinstance(tensor, Tensor)
        for name, tensor in part.items()
    )


def _body(
    weights: Weights, rnn_type: object, input_size: int, hidden_size: int, file: Path
) -> tuple[BodyConfig, dict[str, Tensor]]:
    if rnn_type is None:
        rows, units = weights.shape("rnn.weight_ih_l0")[0], weights.shape("rnn.weight_hh_l0")[-1]
        rnn_type = {4 * units: "LSTM", 3 * units: "GRU"}.get(rows)
        if rnn_type is None:
            raise CheckpointError(
                f"{file}: a state dictionary does not tell RNN_TANH from RNN_RELU; save it as"
                ' {"rnn_type": "RNN_TANH", "state_dict": ...}'
            )
    if rnn_type == "LSTM":
        return take_lstm(weights, ["rnn."], input_size, hidden_size)
    if rnn_type not in _CELLS:
        raise CheckpointError(f"{file}: its layers are {rnn_type}; {', '.join(_TYPES)} can be imported")
    return take_rnn(weights, "rnn.", _CELLS[str(rnn_type)], input_size, hidden_size)


def _words(directory: Path) -> tuple[list[str], tuple[Path, ...]]:
    """Words by id, and the files that they are from. Raises CheckpointError."""
    named = directory / "vocab.txt"
    lists = [named] if named.is_file() else sorted(directory.glob("*vocab*.txt"))
    lists = lists or sorted(directory.glob("*vocab*.bin"))
    if len(lists) > 1:
        raise CheckpointError(
            f"{directory}: holds {len(lists)} vocabularies ({', '.join(file.name for file in lists)});"
            " call the model's vocab.txt"
        )
    if lists:
        (file,) = lists
        if file.suffix == ".txt":
            return read_words(file), (file,)
        found = load(file)
        if isinstance(found, tuple) and len(found) > 3:  # once, the corpus was saved with it
            found = found[3]
        return dictionary_words(found, file), (file,)
    texts = tuple(directory / name for name in TEXTS)
    if not all(text.is_file() for text in texts):
        raise CheckpointError(
            f"{directory}: needs vocab.txt, or the texts {', '.join(TEXTS)}, for the vocabulary"
        )
    return words_of_texts(texts, END), texts
