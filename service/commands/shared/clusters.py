"""How the vocabulary is cut into clusters: the options ``--cutoffs`` and ``--bands``."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from service.commands.shared.progress import counting

if TYPE_CHECKING:
    import torch

    from models.config.model import Band
    from models.training.corpus import Counts

DEFAULT_CLUSTERS = 64


@dataclass(frozen=True, slots=True)
class CutoffsRequest:
    """The clusters that `headfirst train` was asked for.

    Attributes:
        cutoffs: ``geometric``, ``auto``, or the edges with commas.
        shortlist: words of the head (``auto``: at least).
        clusters: their number; None is `DEFAULT_CLUSTERS`, or for ``auto`` the planner's.
        bands: as `parse_bands` reads them.
    """

    cutoffs: str
    shortlist: int
    clusters: int | None
    bands: str
    hidden_size: int
    batch: int
    precision: str

    def edges(self, counts: Counts, device: torch.device, work: Path) -> tuple[int, ...]:
        """The cluster edges. A plan is kept in `work`, so that a resumed run has the same.

        Raises:
            ValueError: the edges are not numbers, or do not fit the vocabulary.
        """
        from models.training.clusters.cutoffs import geometric_cutoffs

        size = len(counts)
        if self.cutoffs == "geometric":
            clusters = DEFAULT_CLUSTERS if self.clusters is None else self.clusters
            return geometric_cutoffs(size, self.shortlist, clusters) if clusters else (size,)
        if self.cutoffs == "auto":
            return self._planned(counts, device, work)
        parts = self.cutoffs.split(",")
        if not all(part.strip().isdecimal() for part in parts):
            raise ValueError(f"--cutoffs must be geometric, auto or N,N,...,N, got {self.cutoffs!r}")
        return tuple(map(int, parts))

    def _planned(self, counts: Counts, device: torch.device, work: Path) -> tuple[int, ...]:
        from models.training.clusters.cutoffs import Widths
        from models.training.clusters.planning import MANY, measured_widths, training_plans, training_sizes

        file = work / "cutoffs.json"
        request = {**asdict(self), "words": int(counts.sum()), "device": str(device)}
        if file.exists():
            kept = json.loads(file.read_text())
            if kept["request"] == request:
                return tuple(kept["cutoffs"])
        widths = Widths(self.hidden_size, bands=parse_bands(self.bands, len(counts)))
        numbers = MANY if self.clusters is None else (self.clusters,)
        total = len(measured_widths(widths)) * len(training_sizes(len(counts), self.batch))
        with counting("measuring for --cutoffs auto", total) as heard:
            found = training_plans(
                counts, widths, self.batch, device, self.precision, numbers, self.shortlist, heard
            )
        edges = found.best.cutoffs
        unfinished = file.with_suffix(".tmp")
        unfinished.write_text(
            json.dumps({"request": request, "cutoffs": edges, "seconds": found.best.seconds})
        )
        unfinished.replace(file)
        return edges


def parse_bands(text: str, vocabulary_size: int) -> tuple[tuple[int, int], ...]:
    """``"128:16500,32"``: (width, last rank) of each band. Raises ValueError.

    Bands beyond the vocabulary's end are left out.
    """
    pairs: list[tuple[int, int]] = []
    parts = text.split(",")
    for i, part in enumerate(parts):
        width, colon, rank = part.partition(":")
        if bool(colon) != (i < len(parts) - 1) or not width.isdecimal() or not (rank or "0").isdecimal():
            raise ValueError(f"--bands must look like WIDTH:RANK,...,WIDTH, got {text!r}")
        last = min(int(rank), vocabulary_size) if colon else vocabulary_size
        if not pairs or last > pairs[-1][1]:
            pairs.append((int(width), last))
    return tuple(pairs)


def bands_to(text: str, cutoffs: tuple[int, ...]) -> tuple[Band, ...]:
    """The bands of clusters with these edges; a cluster belongs to the first band that reaches its end."""
    from models.config.model import Band

    bands, at = [], 0
    for width, rank in parse_bands(text, cutoffs[-1]) if len(cutoffs) > 1 else ():
        end = sum(edge <= rank for edge in cutoffs[1:])
        if end > at:
            bands.append(Band(clusters=end - at, width=width))
            at = end
    return tuple(bands)
