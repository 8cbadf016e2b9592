"""The answers on the OpenAPI page: what the served model really says, asked before the engine has it."""

from collections.abc import Sequence

import torch

from models.bundle import Bundle
from service.contract.messages import Predicted, Scored, Timing

_TIMING = Timing(queue_seconds=0.0, engine_seconds=0.0, batch_size=1, cached_tokens=0)


@torch.inference_mode()
def predicted(bundle: Bundle, tokens: Sequence[int], k: int) -> Predicted:
    """The `k` most probable words after `tokens`."""
    hidden = bundle.model.read([bundle.vocabulary.start_id, *tokens])
    top = bundle.model.topk(hidden[-1:], k)
    return Predicted(tuple(top.ids[0].tolist()), tuple(top.logprobs[0].tolist()), (), _TIMING)


@torch.inference_mode()
def scored(bundle: Bundle, targets: Sequence[int]) -> Scored:
    """The log-probability of each of `targets`, from the start of a sentence."""
    wanted = torch.tensor(targets, device=bundle.device)
    hidden = bundle.model.read([bundle.vocabulary.start_id, *targets[:-1]])
    logprobs = bundle.model.target_logprobs(hidden, wanted)
    return Scored(tuple(logprobs.tolist()), _TIMING)
