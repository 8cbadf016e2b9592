"""The LSTM body on the CPU, in C++ (``src/lstm.cpp``): float32, one fused pass a step.

Reads a layer's hidden weights and projection once a step and chunk of rows (float16 panels where every weight
is a float16 number); writes the outputs and the state. One row's step takes the weights' bytes over the
bandwidth of L3 or memory; from six rows on the flop over the peak.

Given the embedding, the first layer reads word ids. Its inputs' share of the gates, ``W e_w + b``, is then
precomputed for the most frequent words; for the others the embedding's projection is multiplied into the
weights, ``(scale W P) t_w``, so that a word costs its table row's width instead of the vector's.
"""

from __future__ import annotations

import ctypes
import weakref
from typing import Final

import torch
from torch import Tensor, nn

from models.bodies.base import TensorState, last_rows
from models.bodies.lstm import LSTMBody
from models.kernels.cpu.library import KernelError, best_level, load, thread_count
from models.softmax.adaptive_embedding import AdaptiveEmbedding

TABLE_BYTES: Final = 32 << 20
"""At most so much memory for precomputed gates: 16 bytes a word and unit, 2048 words at 1024 units."""

_BAD_LENGTH: Final = 1


class CpuLSTM:
    """`LSTMBody.forward` made fast: the same arguments, shapes and, to float32 rounding, results.

    Safe to call from several threads at once. The weights are packed now; changes later go unnoticed.

    Args:
        body: a float32 body on the CPU.
        level: ``avx512``, ``avx2`` or ``scalar``; by default the best of this processor.
        threads: at most so many; by default as many as torch uses at each call.
        embedding: makes the body's vectors of ids, for `encode`.
        table_bytes: at most so much memory for the gates of frequent words.

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
        if any(weight.device.type != "cpu" or weight.dtype != torch.float32 for weight in weights):
            raise KernelError("the weights are not float32 on the CPU")
        self.level: Final = best_level(level)
        self._threads = threads
        self._layers = [_Layer(layer, self.level) for layer in body.layers if isinstance(layer, nn.LSTM)]
        self._residual = list(body.residual)
        self._state_size = sum(body.sizes)
        self._to_hidden = body.to_hidden
        self._embedding = embedding
        self._tabled = 0
        # A residual first layer needs the vectors themselves.
        self._reads_ids = embedding is not None and not self._residual[0]
        if embedding is not None and self._reads_ids:
            self._tabled = self._layers[0].read_words(embedding, table_bytes)

    @property
    def description(self) -> str:
        """One line for `headfirst inspect`."""
        text = f"C++ {self.level}, float32 sums"
        if not self._reads_ids:
            return text
        size = 16 * self._layers[0].units * self._tabled / 2**20
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
        rows = ids.to(torch.int64) if self._reads_ids else self._embedding(ids).detach().float()
        return self._run(rows.contiguous(), lengths, state, last)

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


class _Layer:
    def __init__(self, lstm: nn.LSTM, level: str) -> None:
        self._library = load()
        self.outputs = lstm.proj_size or lstm.hidden_size
        self.inputs, self.units = lstm.input_size, lstm.hidden_size
        self._words = 0
        self._kept: list[Tensor] = []  # the library reads these rows as long as it lives
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

        lstm_at = self._library.hf_lstm_new(
            level.encode(), self.inputs, self.units, self.outputs, at("weight_ih"), at("weight_hh"),
            at("bias_ih"), at("bias_hh"), at("weight_hr"), half,
        )  # fmt: skip
        self._check(0 if lstm_at else -1)
        self._lstm = ctypes.c_void_p(lstm_at)
        weakref.finalize(self, self._library.hf_lstm_free, self._lstm).atexit = False

    def read_words(self, embedding: AdaptiveEmbedding, table_bytes: int) -> int:
        """From now on inputs may be ids of `embedding`; returns how many words' gates are precomputed."""
        tabled = min(embedding.edges[-1], table_bytes // (16 * self.units))
        vectors = embedding(torch.arange(tabled)).detach().contiguous()
        self._check(self._library.hf_lstm_table(self._lstm, vectors.data_ptr(), tabled))
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
                        self._lstm, rows.data_ptr() + 4 * width * (first - low), matrix.data_ptr(),
                        high - first, width, _is_half(matrix),
                    )
                )  # fmt: skip
                self._kept.append(rows)
            low = high
        self._words = embedding.edges[-1]
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
            self._lstm, None if is_ids else inputs.data_ptr(), inputs.data_ptr() if is_ids else None,
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


def _is_half(weight: Tensor) -> bool:
    return bool(torch.equal(weight.half().float(), weight))
