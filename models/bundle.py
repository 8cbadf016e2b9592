"""A model on disk: ``config.json``, ``model.safetensors``, ``tokenizer.json``, ``README.md``. No pickle.

A bundle of format version 2 may have a spelling model, ``spelling.safetensors``, and weights of 8 bits.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from pydantic import ValidationError

from models.bodies.recurrent import RecurrentBody
from models.config.model import ModelConfig
from models.language_model import LanguageModel
from models.spelling.spelling_model import SPELLING, SpellingModel
from models.storage.weights_file import WeightsError, read_weights, write_weights
from models.text.tokenizer import SpecialWords
from models.text.vocabulary import Vocabulary
from models.weightless import weightless

CONFIG: Final = "config.json"
WEIGHTS: Final = "model.safetensors"
TOKENIZER: Final = "tokenizer.json"
CARD: Final = "README.md"
CONTENT: Final = (CONFIG, TOKENIZER, WEIGHTS)
"""The files whose `digest` tells one bundle from another."""

DEFAULT: Final = Path(__file__).parent / "default"


class BundleError(ValueError):
    """What is wrong with a bundle, in one line."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


@dataclass(frozen=True, slots=True)
class Bundle:
    """A loaded model: its weights on `device`, in float32 but for those that are multiplied in 8 bits, ready
    to answer. `dtype` is that on disk.

    `spelling` is None where an unknown word has the probability of its class alone.
    """

    name: str
    path: Path
    config: ModelConfig
    vocabulary: Vocabulary
    model: LanguageModel
    dtype: str
    device: torch.device
    spelling: SpellingModel | None = None

    @classmethod
    def load(cls, path: Path | str = DEFAULT, device: str = "auto", name: str | None = None) -> Bundle:
        """Read and verify the bundle at `path`.

        Names, shapes, types and finiteness of all weights are checked, and that configuration, vocabulary
        and weights fit each other.

        Args:
            path: the bundle's directory.
            device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:<i>``.
            name: what to call it; the directory's name by default.

        Raises:
            BundleError: one line that names the fault.
        """
        path = Path(path)
        if not path.is_dir():
            raise BundleError(f"{path}: no such directory")
        for file in (CONFIG, WEIGHTS, TOKENIZER):
            if not (path / file).is_file():
                raise BundleError(f"{path}: {file} is missing")
        config = _read_config(path / CONFIG)
        vocabulary = _read_vocabulary(path / TOKENIZER, config)
        spelling = _read_spelling(path, config, vocabulary)
        target = resolve_device(device)
        try:
            model = weightless(config, vocabulary.special_ids)
        except RuntimeError as error:  # sizes that no tensor can have
            raise BundleError(f"{path / CONFIG}: {error}") from None
        try:
            weights, dtype = read_weights(path / WEIGHTS, model.state_dict(), target, config.quantization)
        except WeightsError as error:
            raise BundleError(f"{path / WEIGHTS}: {error}") from None
        model.load_state_dict(weights, assign=True)
        # Made on "meta" with the model, and not among the weights.
        model.softmax.exclude(vocabulary.special_ids)
        model.eval().requires_grad_(False)
        if target.type == "cuda":
            # cuDNN's default, TF32, has a mantissa of 10 bits: too coarse for our 1e-4.
            torch.backends.cudnn.allow_tf32 = False
            if isinstance(model.body, RecurrentBody):
                model.body.flatten_parameters()
        model.accelerate()
        return cls(name or path.resolve().name, path, config, vocabulary, model, dtype, target, spelling)

    @staticmethod
    def save(
        path: Path | str,
        model: LanguageModel,
        vocabulary: Vocabulary,
        card: str = "",
        dtype: torch.dtype = torch.float16,
        spelling: SpellingModel | None = None,
    ) -> None:
        """Write `model`, `vocabulary` and `spelling` as a bundle, the weights as `dtype`.

        Raises:
            BundleError: a weight that is not finite in `dtype`.
        """
        path = Path(path)
        path.mkdir(parents=True, exist_ok=True)
        try:
            write_weights(path / WEIGHTS, model.state_dict(), dtype, model.config.quantization)
        except WeightsError as error:
            raise BundleError(str(error)) from None
        vocabulary.save(path / TOKENIZER)
        (path / CARD).write_text(card)
        write_spelling(path, model.config, spelling)


def write_spelling(path: Path, config: ModelConfig, spelling: SpellingModel | None) -> None:
    """Write `spelling` (None: take it out) into the bundle at `path`; `config` is that of its other parts.

    Interrupted at any point, it leaves a bundle that loads: with the earlier spelling model, none, or this.
    """
    if (path / SPELLING).exists() or spelling is None:
        write_config(path, config.with_spelling(None))
        (path / SPELLING).unlink(missing_ok=True)
    if spelling is not None:
        spelling.save(path)
        write_config(path, config.with_spelling(spelling.config))


def write_config(path: Path, config: ModelConfig) -> None:
    """Write `config` into the bundle at `path`, in one step."""
    unfinished = path / (CONFIG + ".tmp")
    unfinished.write_text(config.to_json())
    unfinished.replace(path / CONFIG)


def digest(*files: Path) -> str:
    """SHA-256 over the SHA-256s of files, in hexadecimal. Raises OSError if a file cannot be read."""
    whole = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            whole.update(hashlib.file_digest(opened, "sha256").digest())
    return whole.hexdigest()


def resolve_device(device: str) -> torch.device:
    """The torch device of a ``--device`` value. Raises BundleError if it does not exist here."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        target = torch.device(device)
    except RuntimeError:
        target = torch.device("meta")
    if target.type not in ("cpu", "cuda"):
        raise BundleError(f"device {device!r} is not one of auto, cpu, cuda, cuda:<i>")
    if target.type == "cuda" and (target.index or 0) >= torch.cuda.device_count():
        raise BundleError(
            f"device {device!r} is not there: this machine has {torch.cuda.device_count()} CUDA devices"
        )
    return target


def _read_config(file: Path) -> ModelConfig:
    try:
        return ModelConfig.model_validate_json(file.read_bytes())
    except OSError as error:
        raise BundleError(str(error)) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise BundleError(f"{file}: {place + ': ' if place else ''}{first['msg']}") from None


def _read_vocabulary(file: Path, config: ModelConfig) -> Vocabulary:
    try:
        vocabulary = Vocabulary.load(file, SpecialWords.of(config))
    except ValueError as error:
        raise BundleError(f"{file}: {error}") from None
    if len(vocabulary) != config.vocabulary_size:
        raise BundleError(
            f"{file}: holds {len(vocabulary)} words, {CONFIG} says vocabulary_size {config.vocabulary_size}"
        )
    return vocabulary


def _read_spelling(path: Path, config: ModelConfig, vocabulary: Vocabulary) -> SpellingModel | None:
    if config.spelling is None:
        return None
    try:
        return SpellingModel.load(path, config.spelling, vocabulary)
    except ValueError as error:
        raise BundleError(str(error)) from None
