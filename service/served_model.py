"""What HTTP workers know of the bundle that the engine process has: everything but the weights."""

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import torch

from models.bundle import TOKENIZER, Bundle, BundleError
from models.config import ModelConfig
from models.vocabulary import Vocabulary, Words
from models.weightless import weightless
from service.routes import predict, score
from service.routes.models import card


class ServedModel(msgspec.Struct, frozen=True):
    """Crosses from the engine process to the supervisor, as msgpack.

    Args:
        card: a `ModelCard` as JSON.
        config: the content of config.json.
        vocabulary: SHA-256 of tokenizer.json.
        examples: the model's own answers for the OpenAPI page, by path.
    """

    name: str
    path: str
    dtype: str
    device: str
    card: str
    config: str
    vocabulary: bytes
    examples: dict[str, dict[str, Any]]

    @classmethod
    def of(cls, bundle: Bundle) -> "ServedModel":
        """Describes a loaded bundle; the engine must not have it yet, because the model is asked."""
        return cls(
            name=bundle.name,
            path=str(bundle.path),
            dtype=bundle.dtype,
            device=str(bundle.device),
            card=card(bundle).model_dump_json(),
            config=bundle.config.model_dump_json(),
            vocabulary=_digest(bundle.path),
            examples={predict.PATH: predict.example(bundle), score.PATH: score.example(bundle)},
        )

    def same(self, other: "ServedModel") -> bool:
        """Whether workers that know one can ask an engine that has the other."""
        return (self.name, self.config, self.vocabulary) == (other.name, other.config, other.vocabulary)

    def bundle(self) -> Bundle:
        """The bundle without weights: its model has shapes only (torch's "meta" device) and cannot run.

        Raises:
            BundleError: tokenizer.json is not the one any more that the engine process has.
        """
        path = Path(self.path)
        config = ModelConfig.model_validate_json(self.config)
        try:
            if _digest(path) != self.vocabulary:
                raise BundleError(f"{path}: {TOKENIZER} changed while it was being loaded")
            vocabulary = Vocabulary.load(path / TOKENIZER, Words.of(config))
        except (OSError, ValueError) as error:
            raise BundleError(str(error)) from error
        model = weightless(config, vocabulary.special_ids)
        return Bundle(self.name, path, config, vocabulary, model, self.dtype, torch.device(self.device))


def _digest(path: Path) -> bytes:
    return hashlib.sha256((path / TOKENIZER).read_bytes()).digest()
