"""One layer of the LSTM body, packed for the C++ kernels: in float32, or with weights of 8 bits."""

from __future__ import annotations

import ctypes
import weakref
from typing import Final

import torch
from torch import Tensor, nn

from models.bodies.integer_products import IntegerMatrix
from models.bodies.quantized_lstm import QuantizedLSTMLayer
from models.kernels.cpu.library import load
from models.softmax.adaptive_embedding import AdaptiveEmbedding

_BAD_LENGTH: Final = 1


class Layer:
    """What both kinds share: how they are called. A subclass packs the weights.

    Attributes:
        sums: what its products are added up in, for a person.
        table_unit_bytes: of a word's precomputed gates, for each unit.
    """

    sums: str
    table_unit_bytes: int

    def __init__(self, inputs: int, units: int, outputs: int) -> None:
        self._library = load()
        self.inputs, self.units, self.outputs = inputs, units, outputs
        self._words = 0
        self._kept: list[Tensor] = []  # the library reads these rows as long as it lives

    def _own(self, packed: int | None) -> None:
        self._check(0 if packed else -1)
        self._packed = ctypes.c_void_p(packed)
        weakref.finalize(self, self._library.hf_lstm_free, self._packed).atexit = False

    def read_words(self, embedding: AdaptiveEmbedding, table_bytes: int) -> int:
        """From now on inputs may be ids of `embedding`; returns how many words' gates are precomputed, in
        `table_bytes` of float32."""
        raise NotImplementedError

    def read_vectors(self, embedding: AdaptiveEmbedding) -> None:
        """From now on `embed` makes vectors of ids."""
        raise NotImplementedError

    def embed(self, ids: Tensor) -> Tensor:
        """(B, T, inputs) vectors of ids (B, T). Raises IndexError for an id outside the vocabulary."""
        raise NotImplementedError

    def _make_table(self, embedding: AdaptiveEmbedding, table_bytes: int) -> int:
        tabled = min(embedding.edges[-1], table_bytes // (16 * self.units))
        vectors = embedding(torch.arange(tabled)).detach().contiguous()
        self._check(self._library.hf_lstm_table(self._packed, vectors.data_ptr(), tabled))
        return tabled

    def run(
        self,
        inputs: Tensor,
        lengths: Tensor | None,
        before: Tensor,
        after: Tensor,
        at: int,
        threads: int,
        wanted: bool,
    ) -> Tensor | None:
        """(B, T, outputs) of vectors (B, T, inputs) or ids (B, T), if they are `wanted`. Reads h (B, outputs)
        and c (B, units) of the state `before` (B, total) from column `at` on, and writes those of `after`."""
        rows, steps = inputs.shape[:2]
        is_ids = inputs.dim() == 2
        if not is_ids and inputs.shape[2] != self.inputs:
            raise ValueError(f"inputs {tuple(inputs.shape)} or the state do not fit the layer")
        if lengths is not None and lengths.shape != (rows,):
            raise ValueError(f"{rows} rows need as many lengths, got {tuple(lengths.shape)}")
        out = torch.empty(rows, steps, self.outputs) if wanted else None
        h, h_after = (state.data_ptr() + 4 * at for state in (before, after))
        c, c_after = h + 4 * self.outputs, h_after + 4 * self.outputs
        failed = self._library.hf_lstm_run(
            self._packed, None if is_ids else inputs.data_ptr(), inputs.data_ptr() if is_ids else None,
            rows, steps, None if lengths is None else lengths.data_ptr(), h, c,
            h_after, c_after, before.shape[1], None if out is None else out.data_ptr(), threads,
        )  # fmt: skip
        if failed == _BAD_LENGTH:
            raise ValueError(f"lengths must be in 0..{steps}")
        if failed > 0:
            raise IndexError(f"ids must be in 0..{self._words - 1}")
        self._check(failed)
        return out

    @staticmethod
    def _check(code: int) -> None:
        if code < 0:
            raise MemoryError("the CPU kernel ran out of memory")


class FloatLayer(Layer):
    """A layer of torch's."""

    sums = "float32"
    table_unit_bytes = 16

    def __init__(self, lstm: nn.LSTM, level: str) -> None:
        super().__init__(lstm.input_size, lstm.hidden_size, lstm.proj_size or lstm.hidden_size)
        self._weights: dict[str, Tensor] = {
            name.removesuffix("_l0"): weight.detach().contiguous() for name, weight in lstm.named_parameters()
        }
        weights = self._weights
        half = sum(
            1 << bit
            for bit, name in enumerate(("weight_ih", "weight_hh", "weight_hr"))
            if name in weights and _is_half(weights[name])
        )

        def at(name: str) -> int | None:
            return weights[name].data_ptr() if name in weights else None

        packed = self._library.hf_lstm_new(
            level.encode(), self.inputs, self.units, self.outputs, at("weight_ih"), at("weight_hh"),
            at("bias_ih"), at("bias_hh"), at("weight_hr"), half,
        )  # fmt: skip
        self._own(packed)

    def read_words(self, embedding: AdaptiveEmbedding, table_bytes: int) -> int:
        """See `Layer`."""
        tabled = self._make_table(embedding, table_bytes)
        weight = self._weights["weight_ih"].double() * embedding.scale
        low = 0
        for band, high in enumerate(embedding.edges, start=-1):
            first = max(low, tabled)
            if first < high:
                rows = embedding.table(band).detach().contiguous()
                projection = embedding.projection(band)
                folded = weight if projection is None else weight @ projection.detach().double()
                matrix, width = folded.float().contiguous(), rows.shape[1]
                self._check(
                    self._library.hf_lstm_band(
                        self._packed, rows.data_ptr() + 4 * width * (first - low), matrix.data_ptr(),
                        high - first, width, _is_half(matrix),
                    )
                )  # fmt: skip
                self._kept.append(rows)
            low = high
        self._words = embedding.edges[-1]
        return tabled

    def read_vectors(self, embedding: AdaptiveEmbedding) -> None:
        """See `Layer`."""
        self._embedding = embedding

    def embed(self, ids: Tensor) -> Tensor:
        """See `Layer`."""
        vectors: Tensor = self._embedding(ids)
        return vectors.detach().float()


class IntegerLayer(Layer):
    """A layer with weights of 8 bits."""

    sums = "8 bits, integer"
    table_unit_bytes = 8

    def __init__(self, layer: QuantizedLSTMLayer, level: str) -> None:
        super().__init__(layer.inputs, layer.units, layer.outputs)
        self._weights = [
            *_pointed(layer.input), *_pointed(layer.hidden), layer.bias.detach().contiguous(),
            *([None, None] if layer.projection is None else _pointed(layer.projection)),
        ]  # fmt: skip
        self._own(
            self._library.hf_lstm_new_integer(
                level.encode(), self.inputs, self.units, self.outputs,
                *(None if weight is None else weight.data_ptr() for weight in self._weights),
            )
        )  # fmt: skip

    def read_words(self, embedding: AdaptiveEmbedding, table_bytes: int) -> int:
        """See `Layer`."""
        self.read_vectors(embedding)
        return self._make_table(embedding, table_bytes)

    def read_vectors(self, embedding: AdaptiveEmbedding) -> None:
        """See `Layer`."""
        low = 0
        for band, high in enumerate(embedding.edges, start=-1):
            rows, projection = embedding.table(band).detach().contiguous(), embedding.projection(band)
            self._kept.append(rows)
            if projection is not None:
                projection = projection.detach().contiguous()
            self._check(
                self._library.hf_lstm_vectors(
                    self._packed, rows.data_ptr(), None if projection is None else projection.data_ptr(),
                    embedding.scale, high - low, rows.shape[1],
                )
            )  # fmt: skip
            low = high
        self._words = low

    def embed(self, ids: Tensor) -> Tensor:
        """See `Layer`: each word's vector depends on nothing but the word."""
        vectors = torch.empty(*ids.shape, self.inputs)
        failed = self._library.hf_lstm_embed(self._packed, ids.data_ptr(), ids.numel(), vectors.data_ptr())
        self._check(failed)
        if failed:
            raise IndexError(f"ids must be in 0..{self._words - 1}")
        return vectors


def _pointed(matrix: IntegerMatrix) -> list[Tensor]:
    return [matrix.weight.detach().contiguous(), matrix.scale.detach().contiguous()]


def _is_half(weight: Tensor) -> bool:
    return bool(torch.equal(weight.half().float(), weight))
