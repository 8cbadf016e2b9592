"""A trained model -> one with a body of 8-bit weights, and what that costs."""

from __future__ import annotations

from typing import Literal

import torch

from models.bodies.lstm import LSTMBody
from models.bodies.quantized_lstm import quantized
from models.config.bodies import LSTMConfig
from models.config.quantization import QuantizationConfig, QuantizationCost
from models.language_model import LanguageModel
from models.training.corpus import Tokens
from models.training.evaluation import hidden_rows


def quantize(model: LanguageModel, tables: Literal["float", "int8"] = "float") -> LanguageModel:
    """`model` with its LSTM in 8 bits; `tables` is how its word vectors are to be stored.

    Raises:
        ValueError: another kind of body, or one in 8 bits already.
    """
    config = model.config
    if config.quantization is not None:
        raise ValueError("the model is quantized already")
    if not isinstance(model.body, LSTMBody) or not isinstance(config.body, LSTMConfig):
        raise ValueError(f"only the LSTM has a form of 8 bits, the model's body is {config.body.type}")
    new = config.with_quantization(QuantizationConfig(tables=tables))
    excluded = frozenset(model.softmax.excluded.nonzero()[:, 0].tolist())
    made = LanguageModel(new, excluded)
    body = quantized(model.body, config.body, config.hidden_size, config.input_size)
    weights = {name: value for name, value in model.state_dict().items() if not name.startswith("body.")}
    weights |= {f"body.{name}": value for name, value in body.state_dict().items()}
    made.load_state_dict(weights)
    return made.eval().requires_grad_(False)


@torch.inference_mode()
def quantization_cost(
    before: LanguageModel, after: LanguageModel, lines: list[Tokens], end_id: int
) -> QuantizationCost:
    """Measured on `lines`, tokens that end in `end_id`, each from the start state."""
    logprobs = torch.zeros(2, dtype=torch.float64)
    words = same = 0
    pairs = zip(hidden_rows(before, lines, end_id), hidden_rows(after, lines, end_id), strict=True)
    for (old, targets), (new, _) in pairs:
        for i, (model, rows) in enumerate(((before, old), (after, new))):
            logprobs[i] += model.target_logprobs(rows, targets).double().sum().cpu()
        words += len(targets)
        same += int((before.topk(old, 1).ids == after.topk(new, 1).ids).sum())
    old_perplexity, new_perplexity = (-logprobs / words).exp().tolist()
    return QuantizationCost(
        words=words,
        perplexity_before=old_perplexity,
        perplexity=new_perplexity,
        same_first=same / words,
    )
