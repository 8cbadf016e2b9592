"""Does an imported bundle load and answer? Its probabilities must sum to one, its answers agree."""

from __future__ import annotations

import torch

from models.bundle import Bundle
from models.importers.base import CheckpointError

STEPS = 4
TOLERANCE = 1e-3


@torch.inference_mode()
def verify(bundle: Bundle) -> dict[str, float]:
    """Runs a few words of all parts of the vocabulary through a loaded bundle.

    Returns:
        By how much the probabilities of all words miss one at most (`mass`), and by how much the fast
        answers differ from the reference's (`kernel`, nats).

    Raises:
        CheckpointError: one line: an answer is not finite, or differs by more than `TOLERANCE`.
    """
    model, size = bundle.model, len(bundle.vocabulary)
    words = [bundle.vocabulary.start_id, *(size * i // STEPS for i in range(STEPS))]
    rows = model.read(words)
    if not bool(rows.isfinite().all()):
        raise CheckpointError("the body's output is not finite")
    # A row at a time: the rows of a large vocabulary are large.
    mass = kernel = 0.0
    for row in torch.split(rows, 1):
        logprobs = model.softmax.log_prob(row)[0]
        mass = max(mass, abs(logprobs.double().exp().sum().item() - 1.0))
        best = model.topk(row, min(10, size))
        found = best.ids[0][best.ids[0] >= 0]
        again = model.target_logprobs(row.expand(len(found), -1), found)
        for answer in (best.logprobs[0][: len(found)], again):
            kernel = max(kernel, (answer - logprobs[found]).abs().max().item())
    if not mass <= TOLERANCE:
        raise CheckpointError(f"the probabilities of all words miss one by {mass:.2g}")
    if not kernel <= TOLERANCE:
        raise CheckpointError(f"two ways to the same log-probability differ by {kernel:.2g}")
    return {"mass": mass, "kernel": kernel}
