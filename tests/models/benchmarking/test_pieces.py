"""What `headfirst bench` is made of: rows that open what they should, right baselines, rooflines."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.benchmarking import shapes
from models.benchmarking.baselines import torch_module
from models.benchmarking.composite import Composite, Precision
from models.benchmarking.machine import Ceilings, machine
from models.benchmarking.openings import beyond, openings, shares
from models.benchmarking.roofline import work
from models.benchmarking.shapes import Shape, patterns, rows, synthetic
from models.benchmarking.truth import is_top, largest_error, true_logprobs
from models.benchmarking.turns import LEAST_TURNS, alone, take_turns
from models.kernels.cpu.kernel import CpuKernel
from tests.support.softmaxes import make_softmax, needs_extension

SMALL = Shape(1024, (2000, 6000, 12000), (64, 16))
TINY = Shape(128, (2000, 2600, 4000), (64, 16))


@pytest.fixture(autouse=True)
def _no_grad() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("k", [1, 10, 100])
def test_rows_open_what_they_should(k: int) -> None:
    softmax = synthetic(SMALL)
    # There is one best word: not two clusters can have it.
    wanted = {"..": 0.25, "o.": 0.25, ".x": 0.125, "xo": 0.25} | ({"xx": 0.125} if k > 1 else {"oo": 0.125})
    hidden = rows(softmax, wanted, 256, k)
    found = softmax.topk(hidden, k)
    letters = [
        "".join(
            "."
            if not opened[c]
            else "x"
            if ((ids >= SMALL.cutoffs[c]) & (ids < SMALL.cutoffs[c + 1])).any()
            else "o"
            for c in range(2)
        )
        for ids, opened in zip(found.ids, found.expanded, strict=True)
    ]
    for pattern, share in wanted.items():
        assert letters.count(pattern) / 256 == pytest.approx(share, abs=0.03)
        # A few consecutive rows have about the same shares, for small batches.
        assert letters[:32].count(pattern) / 32 == pytest.approx(share, abs=0.1)


@pytest.mark.parametrize("name", list(shapes.SHAPES))
@pytest.mark.parametrize("k", [1, 7, 10, 100, 1000])
def test_measured_openings(name: str, k: int) -> None:
    n = len(shapes.SHAPES[name].widths)
    none, measured, every = (patterns(name, k, expansion, n) for expansion in shapes.EXPANSIONS)
    assert none == {"." * n: 1.0}
    assert sum(measured.values()) == pytest.approx(1, abs=1e-3)
    assert all(len(letters) == n and set(letters) <= set(".ox") for letters in measured)
    assert sum(every.values()) == pytest.approx(1, abs=1e-3)
    assert not any("." in letters for letters in every)
    more = patterns(name, 100, "measured", n)
    assert k > 10 or measured["." * n] > more.get("." * n, 0.0)


def test_targets_are_spread_over_the_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(shapes._measured()["targets"], "wt103", [0.2, 0.1])
    words = shapes.targets("wt103", synthetic(TINY), 4000)
    counts = torch.bincount(torch.bucketize(words, torch.tensor(TINY.cutoffs), right=True), minlength=3)
    assert (counts / 4000).tolist() == pytest.approx([0.7, 0.2, 0.1], abs=0.03)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
@pytest.mark.parametrize("k", [1, 10, 100])
def test_composites_answer_the_exact_words(precision: Precision, k: int) -> None:
    softmax = synthetic(SMALL)
    hidden = rows(softmax, {"..": 0.25, "o.": 0.25, "xo": 0.5}, 64, k)
    truth = true_logprobs(softmax, hidden)
    logprobs, ids = Composite(softmax, precision).topk(hidden, k)
    assert is_top(truth, softmax.excluded, ids)
    assert largest_error(truth, ids, logprobs) < (1e-4 if precision == "fp32" else 0.5)


@pytest.mark.parametrize("bias", [False, True])
def test_the_truth_and_torchs_module(bias: bool) -> None:
    softmax = make_softmax(24, (50, 30, 20, 40), ((2, 12), (1, 6)), excluded=(7,))
    if bias:
        softmax = make_softmax(24, (50, 30, 20, 40), ((2, 12), (1, 6)), bias=True)
    hidden = torch.randn(9, 24)
    truth = true_logprobs(softmax, hidden)
    torch.testing.assert_close(truth.float(), softmax.log_prob(hidden), rtol=0, atol=1e-4)
    if not bias:  # torch's module has no biases of tails
        torch.testing.assert_close(torch_module(softmax).log_prob(hidden), softmax.log_prob(hidden))
    found = softmax.topk(hidden, 20)
    assert is_top(truth, softmax.excluded, found.ids)
    for wrong in (found.ids.flip(1), found.ids[:, :1].expand(-1, 2), (found.ids + 1) % 140):
        assert not is_top(truth, softmax.excluded, wrong)
    assert largest_error(truth, found.ids, found.logprobs - 0.5) == pytest.approx(0.5, abs=1e-4)


@needs_extension
def test_work_counts_what_is_opened() -> None:
    softmax = synthetic(TINY)
    kernel = CpuKernel(softmax, level="scalar")
    head, columns = 2000 * 128, 2 * 128
    none = work(kernel, softmax, torch.zeros(4, 2, dtype=torch.bool))
    assert (none.nbytes, none.float32, none.int8) == (4.0 * (head + columns), 8.0 * (head + columns), 0)
    fast = work(kernel.in_mode("fast"), softmax, torch.zeros(4, 2, dtype=torch.bool))
    assert (fast.nbytes, fast.float32, fast.int8) == (head + 4.0 * columns, 8.0 * columns, 8.0 * head)
    opened = torch.tensor([[False, True]] * 3 + [[False, False]])
    some = work(kernel, softmax, opened, search=False)
    assert some.nbytes - none.nbytes == 4 * (16 * 128 + 1400 * 16)
    assert some.float32 - none.float32 == 2 * 3 * (16 * 128 + 1400 * 16)
    assert work(kernel, softmax, opened) == some  # plain C++ multiplies 8 bits no faster
    kernel.weights.level = "avx2"  # type: ignore[misc]
    screened = work(kernel, softmax, opened)
    assert screened.nbytes - none.nbytes == 4 * 16 * 128 + 1400 * 16
    assert (screened.float32 - none.float32, screened.int8) == (2 * 3 * 16 * 128, 2 * 3 * 1400 * 16)
    ceilings = Ceilings(memory=1e9, cache=1e10, cache_bytes=4 << 20, float32=1e12, int8=4e12)
    assert none.seconds(ceilings) == (pytest.approx(none.nbytes / 1e10), "cache")
    assert work(kernel, softmax, torch.ones(4096, 2, dtype=torch.bool)).seconds(ceilings)[1] == "compute"
    uncached = Ceilings(memory=1e9, cache=1e10, cache_bytes=0, float32=1e12, int8=4e12)
    assert none.seconds(uncached) == (pytest.approx(none.nbytes / 1e9), "memory")


def test_the_machine() -> None:
    facts = machine()
    assert facts["processor"]
    assert facts["threads"] >= 1
    ceilings = Ceilings.measure()
    assert 0 < ceilings.memory <= ceilings.cache
    assert 0 < ceilings.float32 <= ceilings.int8
    assert all(value >= 0 for value in ceilings.as_dict().values())


def test_turns() -> None:
    order: list[tuple[str, int]] = []
    told: list[float] = []
    calls = {name: (lambda turn, name=name: order.append((name, turn))) for name in "abc"}
    times = take_turns(calls, 0.0, told.append)
    assert [len(found.seconds) for found in times.values()] == [LEAST_TURNS] * 3
    assert order[:3] == [("a", 0), ("b", 0), ("c", 0)]  # not counted
    assert order[3:6] == [("b", 1), ("c", 1), ("a", 1)]
    assert order[6:9] == [("c", 2), ("a", 2), ("b", 2)]
    assert all(0 < share <= 1 for share in told)
    assert len(alone(lambda turn: None, 0.0).seconds) == LEAST_TURNS
    assert len(take_turns({"a": lambda turn: None}, 0.01)["a"].seconds) > LEAST_TURNS


def test_openings_of_a_partition() -> None:
    """Against the search itself: a model that has that partition opens the same clusters."""
    softmax = make_softmax(16, (40, 30, 30, 100), ((1, 16), (1, 16), (1, 16)), scale=3.0)
    softmax.head[40:] *= 2
    hidden = torch.randn(50, 16)
    unlikely = 199  # stands for no words: there are none beyond the vocabulary
    for k in (1, 5, 20):
        found = openings(softmax, hidden, unlikely, softmax.cutoffs, k)
        opened: Tensor = softmax.topk(hidden, k).expanded
        for cluster in range(3):
            count = sum(n for letters, n in found.items() if letters[cluster] != ".")
            assert count == int(opened[:, cluster].sum())


def test_words_beyond_a_vocabulary() -> None:
    assert beyond(100, (10, 50, 100)) == [0.0, 0.0]
    found = beyond(100, (10, 200, 400))
    assert found == pytest.approx([0.5, 0.5])
    assert beyond(100, (200, 400, 800)) == pytest.approx([0.5, 0.5])
    unigram = torch.full((100,), 0.01, dtype=torch.float64)
    assert shares(unigram, 0, (10, 200, 400)) == pytest.approx([0.905, 0.005])
