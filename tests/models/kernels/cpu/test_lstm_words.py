"""The LSTM of the CPU kernels reading word ids, against the embedding and torch's LSTM in float64."""

from __future__ import annotations

import pytest
import torch

from models.bodies.lstm import LSTMBody
from models.kernels.cpu.lstm import CpuLSTM
from models.softmax.adaptive_embedding import AdaptiveEmbedding
from tests.support.embedded_lstms import EMBEDDED_LSTMS, UNITS, WORDS, embedded_lstm
from tests.support.softmaxes import LEVELS, needs_extension

pytestmark = needs_extension

A_WORD = 16 * UNITS  # bytes of the table


def assert_reads_words(
    body: LSTMBody, embedding: AdaptiveEmbedding, kernel: CpuLSTM, rows: int, steps: int
) -> None:
    torch.manual_seed(rows)
    ids = torch.randint(0, WORDS, (rows, steps))
    ids[0, 0], ids[-1, -1] = 0, WORDS - 1
    lengths = torch.randint(1, steps + 1, (rows,))
    lengths[rows // 2] = steps
    state = tuple(torch.randn_like(part) for part in body.initial_state(rows))
    found, after = kernel.encode(ids, lengths, state)
    want, want_after = body.double()(embedding(ids).double(), lengths, tuple(part.double() for part in state))
    body.float()
    torch.testing.assert_close(found.double(), want, atol=1e-5, rtol=0)
    torch.testing.assert_close(after[0].double(), want_after[0], atol=1e-5, rtol=0)
    # Alone, the last rows need not be those of a step's output; the state is the same to the bit.
    for some in (lengths, None):
        found, after = kernel.encode(ids, some, state)
        last, after_last = kernel.encode(ids, some, state, last=True)
        ends = torch.full((rows,), steps) if some is None else some
        torch.testing.assert_close(last, found[torch.arange(rows), ends - 1], atol=1e-6, rtol=0)
        assert torch.equal(after_last[0], after[0])


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", EMBEDDED_LSTMS)
def test_equals_embedding_and_torch(name: str, level: str) -> None:
    body, embedding = embedded_lstm(name)
    for tabled in (0, 7, 45, WORDS):  # none, some of the short-list, up to a tail, all
        kernel = CpuLSTM(body, level, embedding=embedding, table_bytes=tabled * A_WORD)
        for rows, steps in ((1, 1), (5, 1), (30, 1), (1, 6), (13, 4)):
            assert_reads_words(body, embedding, kernel, rows, steps)


def test_the_table_is_bounded_and_told() -> None:
    body, embedding = embedded_lstm("tied")
    assert (
        "gates of 11 words precomputed"
        in CpuLSTM(body, embedding=embedding, table_bytes=12 * A_WORD - 1).description
    )
    assert f"gates of {WORDS} words" in CpuLSTM(body, embedding=embedding).description
    assert "precomputed" not in CpuLSTM(body).description


def test_a_word_has_the_same_bits_in_every_batch() -> None:
    body, embedding = embedded_lstm("tied")
    kernel = CpuLSTM(body, embedding=embedding, table_bytes=20 * A_WORD)
    ids = torch.arange(WORDS)[:, None]
    state = body.initial_state(WORDS)
    whole, _ = kernel.encode(ids, None, state)
    for n in (1, 4, 6, 7):
        some, _ = kernel.encode(ids[:n], None, body.initial_state(n))
        assert torch.equal(some, whole[:n])


def test_long_texts_pass_in_windows() -> None:
    torch.manual_seed(0)
    body, embedding = embedded_lstm("tied")
    kernel = CpuLSTM(body, embedding=embedding, table_bytes=20 * A_WORD)
    rows, steps = 48, 150  # 48 * 150 tokens of 176 gates do not fit the window
    ids, lengths = torch.randint(0, WORDS, (rows, steps)), torch.randint(1, steps + 1, (rows,))
    found, after = kernel.encode(ids, lengths, body.initial_state(rows))
    want, want_after = body(embedding(ids), lengths, body.initial_state(rows))
    torch.testing.assert_close(found, want, atol=1e-5, rtol=0)
    torch.testing.assert_close(after[0], want_after[0], atol=1e-5, rtol=0)


def test_threads_agree_on_words() -> None:
    body, embedding = embedded_lstm("tied")
    for rows, steps in ((3, 5), (40, 3), (100, 2)):
        ids, lengths = torch.randint(0, WORDS, (rows, steps)), torch.arange(rows) % steps + 1
        state = body.initial_state(rows)
        want = CpuLSTM(body, threads=1, embedding=embedding).encode(ids, lengths, state)
        for threads in (2, 3):
            found = CpuLSTM(body, threads=threads, embedding=embedding).encode(ids, lengths, state)
            assert torch.equal(found[0], want[0])
            assert all(torch.equal(a, b) for a, b in zip(found[1], want[1], strict=True))


@pytest.mark.parametrize("name", ["tied", "residual"])
def test_words_that_are_none(name: str) -> None:
    body, embedding = embedded_lstm(name)
    kernel, state = CpuLSTM(body, embedding=embedding), body.initial_state(1)
    for id_ in (-1, WORDS):
        with pytest.raises(IndexError, match=f"ids must be in 0..{WORDS - 1}"):
            kernel.encode(torch.tensor([[0, id_]]), None, state)
    with pytest.raises(ValueError, match=r"lengths must be in 0\.\.2"):
        kernel.encode(torch.tensor([[0, 1]]), torch.tensor([3]), state)
    with pytest.raises(ValueError, match="as many lengths"):
        kernel.encode(torch.tensor([[0, 1]]), torch.tensor([1, 1]), state)
    with pytest.raises(ValueError, match="without an embedding"):
        CpuLSTM(body).encode(torch.tensor([[0, 1]]), None, state)
