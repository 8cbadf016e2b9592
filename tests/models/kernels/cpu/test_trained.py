"""The CPU kernels on the model that ships, with hidden rows of real text: trained weights open clusters."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor

from models.benchmarking.text import SAMPLE, hidden_rows
from models.bundle import DEFAULT, Bundle
from models.kernels.cpu.kernel import CpuKernel, Mode
from tests.support.softmaxes import LEVELS, check, needs_extension, true_logprobs

pytestmark = [
    needs_extension,
    pytest.mark.skipif(not (DEFAULT / "model.safetensors").is_file(), reason="no trained model here"),
]

TEXT = """The committee met in the old town hall to discuss the budget for the coming year . Several members
were concerned about the rising cost of housing , and asked whether the council had any plan . " We
cannot go on like this , " said one of them . In 1984 the river flooded the whole valley , and most
of the cattle were lost . She opened the letter slowly , read it twice , and put it back into the
drawer without a word . The protein binds to the membrane of the cell . Nobody knew why the engine
had stopped . Thank you very much for"""


@cache
def trained() -> tuple[Bundle, Tensor]:
    bundle = Bundle.load(DEFAULT, device="cpu")
    ids = [bundle.vocabulary.end_id] + [token.id for token in bundle.vocabulary.tokenize(TEXT)]
    with torch.inference_mode():
        lengths = torch.tensor([len(ids)])
        hidden, _ = bundle.model.encode(torch.tensor([ids]), lengths, bundle.model.initial_state(1))
    return bundle, hidden[0, ::4].contiguous()


@cache
def truth() -> Tensor:
    return true_logprobs(trained()[0].model.softmax, trained()[1])


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_topk(level: str, mode: Mode) -> None:
    bundle, hidden = trained()
    softmax = bundle.model.softmax
    kernel = CpuKernel(softmax, mode, level)
    for k in (1, 10, 100, 1000):
        found, bound = kernel.topk_bounded(hidden, k)
        check(found, truth(), [k] * len(hidden), bound)
        assert found.expanded.any() or k < 100
        alone, bound = kernel.topk_bounded(hidden[:1], k)
        check(alone, truth()[:1], [k], bound)
    allowed = [bundle.vocabulary.starting_with(prefix) for prefix in ("th", "com", "q", "s", "zyz")]
    rows = hidden[: len(allowed)]
    found, bound = kernel.topk_bounded(rows, 10, allowed)
    check(found, true_logprobs(softmax, rows, allowed), [10] * len(allowed), bound)


@cache
def many() -> tuple[Bundle, Tensor]:
    """Hidden rows of the sample of text that ships, and mixtures of two of them: 4,096 + 45,904."""
    bundle = trained()[0]
    rows, _ = hidden_rows(bundle, SAMPLE, 4096)
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randint(len(rows), (2, 50_000 - len(rows)), generator=generator)
    share = torch.rand(len(one), 1, generator=generator)
    return bundle, torch.cat([rows, rows[one] * share + rows[other] * (1 - share)])


@pytest.mark.parametrize("level", LEVELS)
def test_one_order(level: str) -> None:
    """Both modes order by one double score, at any size of batch; the reference by its own float32 sums."""
    bundle, rows = many()
    rows = rows[:256]
    softmax = bundle.model.softmax
    kernel = CpuKernel(softmax, "exact", level)
    exact, fast = kernel.topk(rows, 1000), kernel.in_mode("fast").topk(rows, 1000)
    assert torch.equal(exact.ids, fast.ids)
    assert torch.equal(exact.expanded, fast.expanded)
    alone = [kernel.topk(row[None], 1000).ids for row in rows[:8]]
    assert torch.equal(exact.ids[:8], torch.cat(alone))
    want = true_logprobs(softmax, rows[:64])
    reference = softmax.topk(rows[:64], 1000)
    mine, theirs = want.gather(1, exact.ids[:64]), want.gather(1, reference.ids)
    assert (exact.ids[:64] != reference.ids).any()  # else this proves nothing
    # Each orders by its own rounding of the normalizers, so of words of different clusters too.
    assert (mine - theirs).abs().max() < 1e-5
    assert (mine.diff() < 4e-6).all()


@pytest.mark.slow
def test_the_bound_in_50_000_rows() -> None:
    """Never violated, and of the size of what is seen: 20 times the worst error of a score.

    Of a top-k, whose best words are exact, 50 times: what is left are many small errors, whose sum a proof
    must take for aligned.
    """
    bundle, rows = many()
    words = bundle.config.vocabulary_size
    fast = CpuKernel(bundle.model.softmax, "fast")
    exact = fast.in_mode("exact")
    errors, bounds = torch.zeros(2), torch.zeros(2)
    for seed, part in enumerate(torch.split(rows, 64)):
        found, bound = fast.topk_bounded(part, 10)
        want = exact.topk(part, 10)
        assert torch.equal(found.ids, want.ids)
        error = (found.logprobs - want.logprobs).abs().amax(1)
        targets = torch.randint(words, (len(part),), generator=torch.Generator().manual_seed(seed))
        scores, score_bound = fast.target_logprobs_bounded(part, targets)
        score_error = (scores - exact.target_logprobs(part, targets)).abs()
        for n, (seen, told) in enumerate(((error, bound), (score_error, score_bound))):
            assert (seen <= told + 1e-5).all()
            errors[n], bounds[n] = max(errors[n], seen.max()), max(bounds[n], told.max())
    assert bounds[0] <= 50 * errors[0]
    assert bounds[1] <= 20 * errors[1]


def test_target_logprobs() -> None:
    bundle, hidden = trained()
    targets = torch.randint(bundle.config.vocabulary_size, (len(hidden),))
    want = truth().gather(1, targets[:, None])[:, 0]
    seen = want.isfinite()  # true_logprobs hides the excluded word
    found = CpuKernel(bundle.model.softmax).target_logprobs(hidden, targets).double()
    torch.testing.assert_close(found[seen], want[seen], atol=1e-4, rtol=0)
