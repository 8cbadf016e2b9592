"""The LSTM of the CPU kernels against torch's in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.bodies.lstm import LSTMBody
from models.config.bodies import LSTMConfig
from models.kernels.cpu.library import KernelError
from models.kernels.cpu.lstm import CpuLSTM
from tests.support.softmaxes import LEVELS, needs_extension

pytestmark = needs_extension

CASES = [
    LSTMConfig(layers=1, units=64, projection=32),
    LSTMConfig(layers=2, units=50, projection=24, residual=True),
    LSTMConfig(layers=2, units=24),
    LSTMConfig(layers=3, units=33, residual=True),
    LSTMConfig(layers=1, units=1, projection=0),
]


def make_body(config: LSTMConfig, size: int) -> LSTMBody:
    torch.manual_seed(0)
    body = LSTMBody(config, size).eval().requires_grad_(False)
    for weight in body.parameters():
        weight.normal_(std=0.4)
    return body


def assert_same(body: LSTMBody, kernel: CpuLSTM, rows: Tensor, lengths: Tensor | None, seed: int) -> None:
    torch.manual_seed(seed)
    state = tuple(torch.randn_like(part) for part in body.initial_state(len(rows)))
    found, after = kernel(rows, lengths, state)
    body.double()
    want, want_after = body(rows.double(), lengths, tuple(part.double() for part in state))
    body.float()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), want, atol=3e-5, rtol=0)
    torch.testing.assert_close(after[0].double(), want_after[0], atol=3e-5, rtol=0)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    "config", CASES, ids=lambda config: f"{config.layers}x{config.units}-{config.projection}"
)
def test_equals_torch(level: str, config: LSTMConfig) -> None:
    body = make_body(config, 24)
    kernel = CpuLSTM(body, level)
    for rows, steps in ((1, 1), (2, 1), (7, 1), (13, 4), (1, 9)):
        vectors = torch.randn(rows, steps, 24)
        assert_same(body, kernel, vectors, None, rows)
        lengths = torch.randint(1, steps + 1, (rows,))
        lengths[rows // 2] = steps
        assert_same(body, kernel, vectors, lengths, rows)


def test_step_by_step_is_all_at_once() -> None:
    body = make_body(CASES[1], 24)
    kernel = CpuLSTM(body)
    vectors = torch.randn(9, 6, 24)
    state = body.initial_state(9)
    whole, after = kernel(vectors, None, state)
    for t in range(6):
        step, state = kernel(vectors[:, t : t + 1], None, state)
        torch.testing.assert_close(step[:, 0], whole[:, t], atol=2e-6, rtol=0)
    for one, other in zip(state, after, strict=True):
        torch.testing.assert_close(one, other, atol=2e-6, rtol=0)


def test_extreme_gates_and_given_state() -> None:
    body = make_body(CASES[0], 24)
    for weight in body.parameters():
        weight.mul_(100)
    kernel = CpuLSTM(body)
    vectors = torch.randn(5, 1, 24) * 10
    state = body.initial_state(5)
    before = [part.clone() for part in state]
    found, _ = kernel(vectors, None, state)
    want, _ = body(vectors, None, state)
    torch.testing.assert_close(found, want, atol=1e-2, rtol=1e-4)
    assert all(torch.equal(a, b) for a, b in zip(before, state, strict=True))  # not written to


def test_threads_agree() -> None:
    body = make_body(LSTMConfig(layers=1, units=256, projection=64), 64)
    vectors, lengths = torch.randn(20, 5, 64), torch.arange(20) % 5 + 1
    state = body.initial_state(20)
    want = CpuLSTM(body, threads=1)(vectors, lengths, state)
    for threads in (2, 3):
        found = CpuLSTM(body, threads=threads)(vectors, lengths, state)
        assert torch.equal(found[0], want[0])
        assert all(torch.equal(a, b) for a, b in zip(found[1], want[1], strict=True))


def test_what_it_refuses() -> None:
    body = make_body(CASES[0], 24)
    kernel = CpuLSTM(body)
    state = body.initial_state(2)
    with pytest.raises(ValueError, match="do not fit"):
        kernel(torch.zeros(2, 1, 23), None, state)
    with pytest.raises(ValueError, match="lengths"):
        kernel(torch.zeros(2, 1, 24), torch.tensor([1, 2]), state)
    with pytest.raises(KernelError, match="float32"):
        CpuLSTM(body.half())
