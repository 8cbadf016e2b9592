"""The answers on the OpenAPI page: what the served model really says, asked before the engine has it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from models.bundle import Bundle
from service.contract.messages import Predicted, Scored, Timing

_TIMING = Timing(queue_seconds=0.0, engine_seconds=0.0, batch_size=1, cached_tokens=0)


@torch.inference_mode()
def predicted(bundle: Bundle, tokens: Sequence[int], k: int) -> Predicted:
    """The `k` most probable words after `tokens`."""
    top = bundle.model.topk(_hidden(bundle, [*tokens])[-1:], k)
    return Predicted(tuple(top.ids[0].tolist()), tuple(top.logprobs[0].tolist()), (), _TIMING)


@torch.inference_mode()
def scored(bundle: Bundle, targets: Sequence[int]) -> Scored:
    """The log-probability of each of `targets`, from the start of a sentence."""
    wanted = torch.tensor(targets, device=bundle.device)
    logprobs = bundle.model.target_logprobs(_hidden(bundle, [*targets[:-1]]), wanted)
    return Scored(tuple(logprobs.tolist()), _TIMING)


def _hidden(bundle: Bundle, tokens: list[int]) -> Tensor:
    """The hidden rows (T + 1, d) after the start word and after each of T tokens."""
    ids = torch.tensor([[bundle.vocabulary.start_id, *tokens]], device=bundle.device)
    hidden, _ = bundle.model.encode(ids, torch.tensor([ids.shape[1]]), bundle.model.initial_state(1))
    return hidden[0]
