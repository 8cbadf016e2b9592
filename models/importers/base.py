"""The result of every importer, and how importers take weights by name and shape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import ValidationError
from torch import Tensor

from models.config.model import ModelConfig
from models.language_model import LanguageModel
from models.text.vocabulary import Vocabulary
from models.weightless import weightless


class CheckpointError(ValueError):
    """What is wrong with a checkpoint, in one line."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


@contextmanager
def faults_named(weights: Path, words: Path) -> Iterator[None]:
    """What is wrong with a configuration is told of `weights`, what with a vocabulary of `words`."""
    try:
        yield
    except ValidationError as error:
        raise CheckpointError(f"{weights}: {error.errors()[0]['msg']}") from None
    except ValueError as error:
        raise CheckpointError(f"{words}: {error}") from None


@dataclass(frozen=True, slots=True)
class Converted:
    """A checkpoint in our terms.

    Attributes:
        config: its architecture.
        weights: by the names of `LanguageModel`'s state; any floating type.
        vocabulary: its words.
        files: those that were read, for the card.
        column_order: how the source orders the head's cluster columns. `weights` have the natural order.
        notes: lines for the card: statements of the source, omissions and their reasons.
    """

    config: ModelConfig
    weights: dict[str, Tensor]
    vocabulary: Vocabulary
    files: tuple[Path, ...]
    column_order: Literal["natural", "reversed"]
    notes: tuple[str, ...] = ()

    def model(self, dtype: torch.dtype = torch.float32) -> LanguageModel:
        """The model with these weights as `dtype`, on the CPU.

        Raises:
            CheckpointError: a weight is missing, unknown, of another shape or not finite.
        """
        model = weightless(self.config, self.vocabulary.special_ids)
        expected = model.state_dict()
        for name in sorted(expected.keys() ^ self.weights.keys()):
            problem = "lacks" if name in expected else "has no place for"
            raise CheckpointError(f"the model {problem} the weight {name}")
        for name, want in expected.items():
            got = self.weights[name]
            if got.shape != want.shape:
                raise CheckpointError(
                    f"{name} has shape {list(got.shape)}, the configuration asks for {list(want.shape)}"
                )
            if not bool(got.isfinite().all()):
                raise CheckpointError(f"{name} holds values that are not finite")
        weights = {name: weight.to(dtype) for name, weight in self.weights.items()}
        model.load_state_dict(weights, assign=True)
        model.softmax.exclude(self.vocabulary.special_ids)
        return model.eval().requires_grad_(False)


class Weights:
    """A checkpoint's tensors by name; each is taken once, and none may be left over.

    Args:
        tensors: as loaded; a value that is not a tensor is refused when it is taken.
        file: what errors call it.
    """

    def __init__(self, tensors: Mapping[str, object], file: Path | str) -> None:
        self._left = dict(tensors)
        self._file = file

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def __iter__(self) -> Iterator[str]:
        """The names that are left."""
        return iter(tuple(self._left))

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor that stays. Raises CheckpointError as `take` does."""
        return tuple(self._find(name).shape)

    def take(self, name: str, *shape: int | None) -> Tensor:
        """The tensor, which is then gone from here.

        Args:
            name: its name.
            shape: what each dimension must be; None is any. Without any, all shapes are taken.

        Raises:
            CheckpointError: it is missing, not a floating-point tensor, or of another shape.
        """
        tensor = self._find(name)
        fits = len(shape) == tensor.dim() and all(
            want in (None, got) for want, got in zip(shape, tensor.shape, strict=True)
        )
        if shape and not fits:
            wanted = ", ".join("any" if want is None else str(want) for want in shape)
            raise CheckpointError(f"{self._file}: {name} has shape {list(tensor.shape)}, expected [{wanted}]")
        del self._left[name]
        return tensor

    def rename(self, old: str, new: str) -> None:
        """Call a tensor by another name from now on, such as the one that later versions have for it."""
        self._left[new] = self._left.pop(old)

    def drop(self, *names: str) -> None:
        """Leave these out, where they are: buffers and copies that say nothing new."""
        for name in names:
            self._left.pop(name, None)

    def finish(self) -> None:
        """Raises CheckpointError if a tensor is left over: then this is another architecture."""
        if self._left:
            others = f" and {len(self._left) - 1} others" if len(self._left) > 1 else ""
            raise CheckpointError(f"{self._file}: unknown weight {min(self._left)}{others}")

    def _find(self, name: str) -> Tensor:
        if name not in self._left:
            raise CheckpointError(f"{self._file}: weight {name} is missing")
        tensor = self._left[name]
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            raise CheckpointError(f"{self._file}: {name} is not a floating-point tensor")
        return tensor


def only_file(directory: Path, pattern: str) -> Path:
    """The one file of `directory` that fits `pattern`. Raises CheckpointError for none and for several."""
    found = sorted(directory.glob(pattern))
    if len(found) != 1:
        raise CheckpointError(f"{directory}: holds {len(found)} files {pattern}; name the model as SOURCE")
    return found[0]
