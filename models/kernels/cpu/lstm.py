"""The LSTM body on the CPU, in C++ (``src/lstm.cpp``, ``src/integer_lstm.cpp``): one fused pass a step.

Reads a layer's hidden weights and projection once a step and chunk of rows (float16 panels where every weight
is a float16 number, a byte a weight of a quantized body); writes the outputs and the state. One row's step
takes the weights' bytes over the bandwidth of L3 or memory; from six rows on the operations over the peak.

Given the embedding, the first layer reads word ids. Its inputs' share of the gates, ``W e_w + b``, is then
precomputed for the most frequent words; for the others the embedding's projection is multiplied into the
weights, ``(scale W P) t_w``, so that a word costs its table row's width instead of the vector's. A quantized
body has its weights as they are: the vector is made, and quantized.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from models.bodies.base import TensorState, last_rows
from models.bodies.lstm import LSTMBody
from models.bodies.quantized_lstm import QuantizedLSTMLayer
from models.kernels.cpu.library import KernelError, best_level, thread_count
from models.kernels.cpu.lstm_layers import FloatLayer, IntegerLayer, Layer
from models.softmax.adaptive_embedding import AdaptiveEmbedding

TABLE_BYTES: Final = 32 << 20
"""At most so much memory for precomputed gates: 16 bytes a word and unit, 2048 words at 1024 units. A
quantized body has as many words in half of it."""


class CpuLSTM:
    """`LSTMBody.forward` made fast: the same arguments, shapes and, to float32 rounding, results; those of a
    `QuantizedLSTMBody` to the bit.

    Safe to call from several threads at once. The weights are packed now; changes later go unnoticed.

    Args:
        body: a float32 or quantized body on the CPU.
        level: ``avx512``, ``avx2`` or ``scalar``; by default the best of this processor.
        threads: at most so many; by default as many as torch uses at each call.
        embedding: makes the body's vectors of ids, for `encode`.
        table_bytes: at most so much memory for the gates of frequent words, half of it for a quantized body.

    Raises:
        KernelError: no extension for this machine, or weights that it does not take.
    """

    def __init__(
        self,
        body: LSTMBody,
        level: str = "",
        threads: int | None = None,
        embedding: AdaptiveEmbedding | None = None,
        table_bytes: int = TABLE_BYTES,
    ) -> None:
        parts = [body] if embedding is None else [body, embedding]
        weights = [weight for part in parts for weight in part.parameters()]
        types = (torch.float32, torch.int8)
        if any(weight.device.type != "cpu" or weight.dtype not in types for weight in weights):
            raise KernelError("the weights are not float32 on the CPU")
        self.level: Final = best_level(level)
        self._threads = threads
        self._layers = [_packed(layer, self.level) for layer in body.layers]
        self._residual = list(body.residual)
        self._state_size = sum(body.sizes)
        self._to_hidden = body.to_hidden
        self._embedding = embedding
        self._tabled = 0
        # A residual first layer needs the vectors themselves.
        self._reads_ids = embedding is not None and not self._residual[0]
        if embedding is not None and self._reads_ids:
            self._tabled = self._layers[0].read_words(embedding, table_bytes)
        elif embedding is not None:
            self._layers[0].read_vectors(embedding)

    @property
    def description(self) -> str:
        """One line for `headfirst inspect`."""
        first = self._layers[0]
        text = f"C++ {self.level}, {first.sums} sums"
        if not self._reads_ids:
            return text
        size = first.table_unit_bytes * first.units * self._tabled / 2**20
        return f"{text}, gates of {self._tabled} words precomputed ({size:.0f} MiB)"

    def encode(
        self, ids: Tensor, lengths: Tensor | None, state: TensorState, last: bool = False
    ) -> tuple[Tensor, TensorState]:
        """The body over the embedding of `ids` (B, T) int64; see `LanguageModel.encode`, and `encode_last`
        for what `last` asks for.

        Raises:
            IndexError: an id outside the vocabulary.
            ValueError: a length that is not in 0..T.
        """
        if self._embedding is None:
            raise ValueError("made without an embedding")
        rows = ids.to(torch.int64).contiguous()
        if not self._reads_ids:
            rows = self._layers[0].embed(rows)
        return self._run(rows, lengths, state, last)

    def __call__(
        self, vectors: Tensor, lengths: Tensor | None, state: TensorState
    ) -> tuple[Tensor, TensorState]:
        """See `LSTMBody.forward`."""
        return self._run(vectors.detach().float().contiguous(), lengths, state, last=False)

    def _run(
        self, rows: Tensor, lengths: Tensor | None, state: TensorState, last: bool
    ) -> tuple[Tensor, TensorState]:
        threads = self._threads or thread_count()
        lengths = None if lengths is None else lengths.to(torch.int64).contiguous()
        before = state[0].detach().float().contiguous()
        after = torch.empty_like(before)
        if before.shape != (len(rows), self._state_size):
            raise ValueError(f"inputs {tuple(rows.shape)} or the state do not fit the layer")
        at = 0
        for layer, residual in zip(self._layers, self._residual, strict=True):
            # The last output of the last layer is the h that it leaves.
            wanted = not last or residual or layer is not self._layers[-1]
            out = layer.run(rows, lengths, before, after, at, threads, wanted)
            if out is None:
                rows = after[:, at : at + layer.outputs]
            elif residual:
                rows = rows + out
            else:
                rows = out
            at += layer.outputs + layer.units
        if last and self._residual[-1]:
            rows = last_rows(rows, lengths)
        if self._to_hidden is not None:
            rows = self._to_hidden(rows)
        if last:
            return rows, (after,)
        biased = self._to_hidden is not None and self._to_hidden.bias is not None
        if lengths is not None and (biased or any(self._residual)):
            inside = torch.arange(rows.shape[1]) < lengths[:, None]
            rows = rows * inside[:, :, None]
        return rows, (after,)


def _packed(layer: nn.Module, level: str) -> Layer:
    if isinstance(layer, QuantizedLSTMLayer):
        return IntegerLayer(layer, level)
    if isinstance(layer, nn.LSTM):
        return FloatLayer(layer, level)
    raise TypeError(f"no kernel runs a {type(layer).__name__}")
