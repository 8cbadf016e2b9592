"""The CPU kernels on the model that ships, with hidden rows of real text: trained weights open clusters."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor

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


def test_target_logprobs() -> None:
    bundle, hidden = trained()
    targets = torch.randint(bundle.config.vocabulary_size, (len(hidden),))
    want = truth().gather(1, targets[:, None])[:, 0]
    seen = want.isfinite()  # true_logprobs hides the excluded word
    found = CpuKernel(bundle.model.softmax).target_logprobs(hidden, targets).double()
    torch.testing.assert_close(found[seen], want[seen], atol=1e-4, rtol=0)
