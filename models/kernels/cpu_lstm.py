"""The LSTM body on the CPU, in C++ (``cpu/lstm.cpp``): float32, one fused pass a step.

Reads a layer's hidden weights and projection once a step and its input weights once a call (float16 panels
where every weight is a float16 number); writes the outputs and the state. One row's step takes the weights'
bytes over the bandwidth of L3 or memory; from six rows on the flop over the peak.
"""

from __future__ import annotations

import ctypes
import weakref
from typing import Final

import torch
from torch import Tensor, nn

from models.bodies.lstm import LSTMBody
from models.kernels.library import KernelError, best_level, load, thread_count

State = tuple[Tensor, ...]


class CpuLSTM:
    """`LSTMBody.forward` made fast: the same arguments, shapes and, to float32 rounding, results.

    Safe to call from several threads at once. The weights are packed now; changes later go unnoticed.

    Args:
        body: a float32 body on the CPU.
        level: ``avx512``, ``avx2`` or ``scalar``; by default the best of this processor.
        threads: at most so many; by default as many as torch uses at each call.

    Raises:
        KernelError: no extension for this machine, or weights that it does not take.
    """

    def __init__(self, body: LSTMBody, level: str = "", threads: int | None = None) -> None:
        if any(p.device.type != "cpu" or p.dtype != torch.float32 for p in body.parameters()):
            raise KernelError("the weights are not float32 on the CPU")
        self.level: Final = best_level(level)
        self._threads = threads
        self._layers = [_Layer(layer, self.level) for layer in body.layers if isinstance(layer, nn.LSTM)]
        self._residual = list(body.residual)
        self._to_hidden = body.to_hidden

    @property
    def description(self) -> str:
        """One line for `headfirst inspect`."""
        return f"C++ {self.level}, float32 sums"

    def __call__(self, vectors: Tensor, lengths: Tensor | None, state: State) -> tuple[Tensor, State]:
        """See `LSTMBody.forward`."""
        threads = self._threads or thread_count()
        rows = vectors.detach().float().contiguous()
        lengths = None if lengths is None else lengths.to(torch.int64).contiguous()
        if lengths is not None and not 0 <= int(lengths.min()) <= int(lengths.max()) <= rows.shape[1]:
            raise ValueError(f"lengths must be in 0..{rows.shape[1]}")
        after: list[Tensor] = []
        for i, (layer, residual) in enumerate(zip(self._layers, self._residual, strict=True)):
            h, c = (
                part.detach().float().clone(memory_format=torch.contiguous_format)
                for part in state[2 * i : 2 * i + 2]
            )
            out = layer.run(rows, lengths, h, c, threads)
            rows = rows + out if residual else out
            after += [h, c]
        if self._to_hidden is not None:
            rows = self._to_hidden(rows)
        biased = self._to_hidden is not None and self._to_hidden.bias is not None
        if lengths is not None and (biased or any(self._residual)):
            inside = torch.arange(rows.shape[1]) < lengths[:, None]
            rows = rows * inside[:, :, None]
        return rows, tuple(after)


class _Layer:
    def __init__(self, lstm: nn.LSTM, level: str) -> None:
        self._library = load()
        self.outputs = lstm.proj_size or lstm.hidden_size
        self.inputs, self.units = lstm.input_size, lstm.hidden_size
        weights: dict[str, Tensor] = {
            name.removesuffix("_l0"): weight.detach().contiguous() for name, weight in lstm.named_parameters()
        }
        half = sum(
            1 << bit
            for bit, name in enumerate(("weight_ih", "weight_hh", "weight_hr"))
            if name in weights and torch.equal(weights[name].half().float(), weights[name])
        )

        def at(name: str) -> int | None:
            return weights[name].data_ptr() if name in weights else None

        lstm_at = self._library.hf_lstm_new(
            level.encode(), self.inputs, self.units, self.outputs, at("weight_ih"), at("weight_hh"),
            at("bias_ih"), at("bias_hh"), at("weight_hr"), half,
        )  # fmt: skip
        if lstm_at is None:
            raise MemoryError("the LSTM's weights do not fit into memory once more")
        self._lstm = ctypes.c_void_p(lstm_at)
        weakref.finalize(self, self._library.hf_lstm_free, self._lstm).atexit = False

    def run(self, inputs: Tensor, lengths: Tensor | None, h: Tensor, c: Tensor, threads: int) -> Tensor:
        """(B, T, outputs) of (B, T, inputs); h (B, outputs) and c (B, units) change in place."""
        rows, steps, width = inputs.shape
        if width != self.inputs or h.shape != (rows, self.outputs) or c.shape != (rows, self.units):
            raise ValueError(f"inputs {tuple(inputs.shape)} or the state do not fit the layer")
        out = torch.empty(rows, steps, self.outputs)
        failed = self._library.hf_lstm_run(
            self._lstm, inputs.data_ptr(), rows, steps, None if lengths is None else lengths.data_ptr(),
            h.data_ptr(), c.data_ptr(), out.data_ptr(), threads,
        )  # fmt: skip
        if failed:
            raise MemoryError("the CPU kernel ran out of memory")
        return out
