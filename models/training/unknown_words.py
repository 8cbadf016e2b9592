"""The words of a text that a vocabulary lacks, counted: what a spelling model is trained and measured on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class UnknownWords:
    """Unknown words and how often each came: in the lines to train on, and in those held out.

    `characters` is the length of the held-out lines; see `models.training.corpus.characters`.
    """

    train: dict[str, int]
    heldout: dict[str, int]
    characters: int

    def save(self, file: Path) -> None:
        """Write JSON, in one step."""
        unfinished = file.with_suffix(".tmp")
        unfinished.write_text(json.dumps(asdict(self), ensure_ascii=False), encoding="utf-8")
        unfinished.replace(file)

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read what `save` wrote. Raises ValueError, in one line, if it is not that."""
        try:
            return cls(**json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{file}: {error}") from None
