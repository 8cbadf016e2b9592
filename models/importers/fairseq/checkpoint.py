"""fairseq's language models: ``model.pt`` and ``dict.txt`` of the ``transformer_lm`` family and ``fconv_lm``.

A checkpoint is a dict whose `model` holds the weights. What they mean stands in `args`, an
`argparse.Namespace` (before 2021), or in `cfg`, a nested dict. Cluster columns have the natural order.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import ValidationError

from models.config.model import ModelConfig
from models.config.tokenization import Whitespace
from models.importers.base import CheckpointError, Converted, Weights
from models.importers.fairseq.convolution import convolution
from models.importers.fairseq.dictionary import Dictionary, read_dictionary
from models.importers.fairseq.options import FairseqOptions, read_options
from models.importers.fairseq.transformer import transformer
from models.importers.pickles.checkpoint import attributes, load
from models.text.tokenizer import SpecialWords
from models.text.vocabulary import Vocabulary

FILES: Final = ("model.pt", "checkpoint_best.pt", "checkpoint_last.pt")
"""What a checkpoint is called, in the order in which it is looked for."""
DICTIONARY: Final = "dict.txt"


def convert(source: Path) -> Converted:
    """A published or trained fairseq language model in our terms.

    Args:
        source: the checkpoint, ``dict.txt`` beside it; or the directory of both.

    Raises:
        CheckpointError: one line: a file that is missing, damaged or does not fit the other, or an option of
            the model that has no counterpart here, by its name.
    """
    file = _find(source)
    words_file = file.parent / DICTIONARY
    if not words_file.is_file():
        raise CheckpointError(
            f"{words_file}: no such file; the dictionary of the model's training data belongs there"
        )
    state = attributes(load(file))
    weights = Weights(attributes(state.get("model")), file)
    options = read_options(state, file)
    words = read_dictionary(words_file)
    try:
        if options.arch.startswith("fconv_lm"):
            config, tensors = convolution(options, weights)
        elif options.arch.startswith("transformer_lm"):
            config, tensors = transformer(options, weights)
        else:
            raise CheckpointError(
                f"{file}: its architecture {options.arch!r} is not transformer_lm or fconv_lm"
            )
    except ValidationError as error:
        raise CheckpointError(f"{file}: {error.errors()[0]['msg']}") from None
    weights.finish()
    if config.vocabulary_size != len(words):
        raise CheckpointError(
            f"{words_file}: makes {len(words)} words, {file.name} has {config.vocabulary_size}:"
            " it is another model's dictionary"
        )
    config = _with_words(config, words, options)
    vocabulary = Vocabulary.from_words(words.words, SpecialWords.of(config))
    notes = [f"Architecture {options.arch}, from fairseq."]
    if "@-@" in words:
        notes.append(
            "Its words look like those of WikiText-103, which is tokenized by Moses: `@-@`, `@,@`, `@.@`."
            " As fairseq does, this bundle only splits at white space."
        )
    return Converted(config, tensors, vocabulary, (file, words_file), "natural", tuple(notes))


def _find(source: Path) -> Path:
    if not source.is_dir():
        return source
    for name in FILES:
        if (source / name).is_file():
            return source / name
    # What the hub's archives call it.
    others = sorted(path for path in source.glob("*.pt") if path.is_file())
    if len(others) != 1:
        found = f"{len(others)} files end in .pt, none" if others else "no file"
        raise CheckpointError(f"{source}: {found} is called {', '.join(FILES[:-1])} or {FILES[-1]}")
    return others[0]


def _with_words(config: ModelConfig, words: Dictionary, options: FairseqOptions) -> ModelConfig:
    return ModelConfig.model_validate(
        {
            **config.model_dump(),
            "unknown_word": words.unknown,
            "end_word": words.end,
            "start_word": words.start if options.flag("add_bos_token") else None,
            "special_words": words.special,
            "tokenization": Whitespace().model_dump(),
        }
    )
