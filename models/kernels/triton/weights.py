"""The output layer's weights as the Triton kernels read them: made once, when a model is loaded.

Head: the short-list, one row a cluster and the bands' projections, one matrix (C, D), padded to whole tiles.
Tails: the clusters' (words, width) one after another in one flat tensor, widths padded to 16. Everything is
16 bit (or float32, for tests); biases stay float32. The memory is that of the weights once more.
"""

from __future__ import annotations

from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor

from models.softmax.adaptive_softmax import AdaptiveSoftmax

# Words of a tile, in the head's order and in the tails.
TILE = 64
# Words and clusters, and with the projections all columns of the head, fill whole tiles of any kernel.
ALIGN = 128
# Widths, and the columns at which projected rows begin: 32 bytes of 16-bit weights.
WIDTH = 16
DEPTH = 64


class PackedWeights:
    """`softmax`'s weights as `dtype` on its device.

    Attributes:
        head: (columns, depth); `bias` (columns,) float32, -inf where a column is padding.
        word_ids: (columns,) int32, the word of a column; -1: padding, a cluster, a projection, or excluded.
        head_columns: (V,) int32, the column of each word, or that of its cluster.
        sections: (V,) int32, 0 for the short-list and c + 1 for cluster c.
        cluster_column: where the clusters' columns begin.
        lse_columns: how many columns hold words and clusters, with their padding.
        tails: flat, with a tile of zeros at the end.
        clusters: (5, n) int64: first word counted from the short-list's end, words, offset in `tails`,
            padded width, column of the projection.
        barred: (V,) bool, words that are never answered; `excluded` int8, those of the tails.
        n_tiles, most_tiles: tiles of all clusters, and of the largest.
        first_tiles, first_ids: (n,) int32, each cluster's first tile among all, and first word.
    """

    def __init__(self, softmax: AdaptiveSoftmax, dtype: torch.dtype) -> None:
        """Raises ValueError for a dtype that is not floating, or in which a weight is not finite."""
        if dtype not in (torch.bfloat16, torch.float16, torch.float32):
            raise ValueError(f"weights can be bfloat16, float16 or float32, not {dtype}")
        self.dtype, self.device = dtype, softmax.head.device
        self.shortlist, self.n_clusters = softmax.shortlist, softmax.n_clusters
        self.vocabulary_size = softmax.cutoffs[-1]
        self.hidden_size = softmax.hidden_size
        self.depth = _up(self.hidden_size, DEPTH)
        with torch.no_grad():
            self._pack_head(softmax)
            self._pack_tails(softmax)
        for name in ("head", "tails", "bias", "tail_bias"):
            values = getattr(self, name)
            if bool(values.isnan().any()) or bool((values == torch.inf).any()):
                raise ValueError(f"the {name} weights are not finite as {dtype}")

    def _pack_head(self, softmax: AdaptiveSoftmax) -> None:
        c0, n = self.shortlist, self.n_clusters
        tiles = -(-c0 // TILE)
        self.cluster_column = tiles * TILE
        self.lse_columns = _up(self.cluster_column + n, ALIGN)
        # A projection of the head is multiplied into it; where a band has none, it gets the identity.
        head = softmax.head_weight()
        projections = [softmax.projection_weight(band) for band in range(len(softmax.tails))]
        widths = [_up(len(p), WIDTH) for p in projections]
        self.band_columns = [self.lse_columns + at for at in accumulate([0, *widths])][: len(widths)]
        self.columns = _up(self.lse_columns + sum(widths), ALIGN)
        # Word j * tiles + t goes to tile t, and consecutive j to its far ends: words alike in frequency are
        # in different groups of any size.
        ids = torch.arange(TILE * tiles).reshape(TILE, tiles)
        order = torch.tensor([int(f"{j:06b}"[::-1], 2) for j in range(TILE)])
        words = ids[order].T.flatten()
        words = torch.where(words < c0, words, -1)
        weight = torch.zeros(self.columns, self.depth, dtype=self.dtype, device=self.device)
        bias = torch.full((self.columns,), -torch.inf)
        taken = (words >= 0).nonzero()[:, 0]
        source = words[taken]
        d = self.hidden_size
        weight[taken.to(self.device), :d] = head[source.to(self.device)].to(self.dtype)
        clusters = slice(self.cluster_column, self.cluster_column + n)
        weight[clusters, :d] = head[c0:].to(self.dtype)
        bias[taken], bias[clusters], bias[self.lse_columns :] = 0.0, 0.0, 0.0
        for column, projection in zip(self.band_columns, projections, strict=True):
            weight[column : column + len(projection), :d] = projection.to(self.dtype)
        self.biased = softmax.head_bias is not None
        if softmax.head_bias is not None:
            head_bias = softmax.head_bias.float().cpu()
            bias[taken], bias[clusters] = head_bias[source], head_bias[c0:]
        self.head, self.bias = weight, bias.to(self.device)
        word_ids = F.pad(words, (0, self.columns - len(words)), value=-1)
        head_columns = torch.empty(self.vocabulary_size, dtype=torch.int32)
        head_columns[source] = taken.int()
        sections = torch.zeros(self.vocabulary_size, dtype=torch.int32)
        for cluster in range(n):
            low, high = softmax.cutoffs[cluster : cluster + 2]
            head_columns[low:high] = self.cluster_column + cluster
            sections[low:high] = cluster + 1
        barred = F.pad(softmax.excluded.cpu(), (0, 1))  # padding's -1 looks at the added False
        self.word_ids = word_ids.masked_fill(barred[word_ids], -1).int().to(self.device)
        self.head_columns, self.sections = head_columns.to(self.device), sections.to(self.device)

    def _pack_tails(self, softmax: AdaptiveSoftmax) -> None:
        c0, cutoffs, sizes = self.shortlist, softmax.cutoffs, softmax.cluster_sizes
        tails = [softmax.tail_weight(band) for band in range(len(softmax.tails))]
        widths = [_up(tail.shape[1], WIDTH) for tail in tails]
        self.max_width = max(widths, default=WIDTH)
        parts = [
            F.pad(tail.to(self.dtype), (0, width - tail.shape[1])).flatten()
            for tail, width in zip(tails, widths, strict=True)
        ]
        ends = torch.zeros(TILE * self.max_width, dtype=self.dtype, device=self.device)
        self.tails = torch.cat([*parts, ends])
        self.tail_bias = torch.zeros(max(1, self.vocabulary_size - c0), device=self.device)
        if softmax.tail_biases is not None and self.n_clusters:
            self.tail_bias = torch.cat([bias.float() for bias in softmax.tail_biases])
        self.barred = softmax.excluded
        self.excluded = softmax.excluded[c0:].to(torch.int8)
        rows, offset = [], 0
        for cluster, size in enumerate(sizes):
            band = softmax.band_of[cluster]
            rows.append((cutoffs[cluster] - c0, size, offset, widths[band], self.band_columns[band]))
            offset += size * widths[band]
        self.clusters = torch.tensor(rows, dtype=torch.int64).reshape(-1, 5).T.contiguous().to(self.device)
        tiles = [-(-size // TILE) for size in sizes]
        self.n_tiles, self.most_tiles = sum(tiles), max(tiles, default=1)
        first = [0, *accumulate(tiles)][: self.n_clusters]
        self.first_tiles = torch.tensor(first, dtype=torch.int32, device=self.device)
        self.first_ids = torch.tensor(cutoffs[: self.n_clusters], dtype=torch.int32, device=self.device)
        usable = [
            not bool(softmax.excluded[low : low + size].all())
            for low, size in zip(cutoffs, sizes, strict=False)
        ]
        self.usable = torch.tensor(usable, dtype=torch.int8, device=self.device)

    @property
    def nbytes(self) -> int:
        """Device memory of all of it."""
        return sum(v.numel() * v.element_size() for v in vars(self).values() if isinstance(v, Tensor))


def _up(n: int, to: int) -> int:
    return -(-n // to) * to
