"""What HTTP workers know of a bundle that the engine process has: everything but the weights."""

from pathlib import Path
from typing import Any

import msgspec
import torch

from models.bundle import TOKENIZER, Bundle, BundleError
from models.config.model import ModelConfig
from models.spelling.spelling_model import SpellingModel
from models.text.tokenizer import SpecialWords
from models.text.vocabulary import Vocabulary
from models.weightless import weightless
from service.contract.model_card import ModelCard
from service.fleet.served import Served


class Announcement(msgspec.Struct, frozen=True):
    """Crosses from the engine process to the supervisor and the workers, as msgpack.

    Args:
        engine: the number by which messages name its engine; another one after each loading.
        vocabulary: a folder with copies of tokenizer.json and the spelling model, named after their content.
        card: a `ModelCard` as JSON.
        config: the content of config.json.
        examples: the model's own answers for the OpenAPI page, by path.
    """

    engine: int
    name: str
    path: str
    vocabulary: str
    dtype: str
    device: str
    card: str
    config: str
    examples: dict[str, dict[str, Any]]

    @classmethod
    def of(cls, served: Served, engine: int) -> "Announcement":
        """Describes a model that was loaded with copies for workers."""
        bundle = served.bundle
        return cls(
            engine=engine,
            name=bundle.name,
            path=str(bundle.path),
            vocabulary=str(served.vocabulary),
            dtype=bundle.dtype,
            device=str(bundle.device),
            card=served.card.model_dump_json(),
            config=bundle.config.model_dump_json(),
            examples=dict(served.examples),
        )

    def model_card(self) -> ModelCard:
        """What there is to tell about it."""
        return ModelCard.model_validate_json(self.card)

    def tokenizes_as(self, other: "Announcement") -> bool:
        """Whether `bundle` would be the same for both."""
        return (self.name, self.vocabulary, self.config) == (other.name, other.vocabulary, other.config)

    def bundle(self) -> Bundle:
        """The bundle without weights: its model has shapes only (torch's "meta" device) and cannot run.

        Raises:
            BundleError: a copy is gone, or is not what it should be.
        """
        config = ModelConfig.model_validate_json(self.config)
        try:
            folder = Path(self.vocabulary)
            vocabulary = Vocabulary.load(folder / TOKENIZER, SpecialWords.of(config))
            spelling = (
                None if config.spelling is None else SpellingModel.load(folder, config.spelling, vocabulary)
            )
        except (OSError, ValueError) as error:
            raise BundleError(str(error)) from error
        model = weightless(config, vocabulary.special_ids)
        device = torch.device(self.device)
        return Bundle(self.name, Path(self.path), config, vocabulary, model, self.dtype, device, spelling)
