"""A softmax over all words -> a short-list and many tail clusters, and almost the same distribution.

A plain softmax is an adaptive one without a tail. Its most probable words become the short-list, stretches
of the others the clusters; every word keeps its vector and bias, so that within the short-list and within
each cluster odds are what they were. The mass of a cluster is a sum over its words, which no linear function
of the hidden row is: its column of the head is fitted as `models.training.recluster` fits those of cut
clusters.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from models.config.model import Band, InputBand, ModelConfig
from models.language_model import LanguageModel
from models.softmax.adaptive_softmax import AdaptiveSoftmax
from models.text.tokenizer import SpecialWords
from models.text.vocabulary import Vocabulary
from models.training.recluster import MASS_ROWS


def check_plain(config: ModelConfig) -> None:
    """Raises ValueError if this is no plain softmax whose words can be numbered anew."""
    if config.n_clusters or config.output != "adaptive":
        raise ValueError("the output layer is no softmax over all words")
    if config.head_projection is not None:
        raise ValueError("a softmax whose head is projected cannot be cut into clusters")
    if len(config.input_edges) > 1:
        raise ValueError("the input's bands follow the ids of the words, which would change")


@torch.inference_mode()
def most_probable_first(softmax: AdaptiveSoftmax, hidden: Tensor) -> Tensor:
    """(V,) the ids by their mean probability after `hidden` (N, d), those of equal probability in order."""
    total = torch.zeros(softmax.cutoffs[-1], dtype=torch.float64, device=hidden.device)
    for part in torch.split(hidden, MASS_ROWS):
        total += softmax.log_prob(part).exp().double().sum(0)
    return total.argsort(descending=True, stable=True).cpu()


def renumbered(
    model: LanguageModel, vocabulary: Vocabulary, order: Tensor
) -> tuple[LanguageModel, Vocabulary]:
    """The same model of a plain softmax with the word that had the id ``order[i]`` under the id i."""
    words = Vocabulary.from_words([vocabulary.word(i) for i in order.tolist()], SpecialWords.of(model.config))
    made = LanguageModel(model.config, words.special_ids).to(model.device)
    weights = dict(model.state_dict())
    at = order.to(model.device)
    for name in ("softmax.head", "softmax.head_bias", "embedding.head"):
        if name in weights:
            weights[name] = weights[name][at]
    made.load_state_dict(weights)
    return made.eval().requires_grad_(False), words


def split_config(config: ModelConfig, cutoffs: tuple[int, ...]) -> ModelConfig:
    """The configuration of a plain softmax, cut at `cutoffs`.

    Raises:
        ValueError: they do not ascend from a short-list to the vocabulary's size.
    """
    check_plain(config)
    if len(cutoffs) < 2 or cutoffs[0] < 1:
        raise ValueError(f"cutoffs must be a short-list and one tail cluster or more, got {list(cutoffs)}")
    fields = config.model_dump() | {
        "cutoffs": cutoffs,
        "bands": [Band(clusters=len(cutoffs) - 1, width=config.hidden_size).model_dump()],
        "factor": None,
        "head_bias": True,
        "tail_bias": config.head_bias,
        "tail_projections": False,
    }
    if not config.tied:
        band = InputBand(words=config.vocabulary_size, width=config.input_widths[0])
        fields["input_bands"] = [band.model_dump()]
    return ModelConfig.model_validate(fields)


@torch.inference_mode()
def linear_rows(softmax: AdaptiveSoftmax, hidden: Tensor, cutoffs: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """For each new cluster the row (d,) and bias that give the logarithm of its words' sum, and its slope, at
    the mean of `hidden` (N, d): where the fit starts."""
    mean = hidden.mean(0, keepdim=True)
    logits = softmax.head_logits(mean)[0]
    rows, biases = [], []
    for low, high in pairwise(cutoffs):
        row = logits[low:high].softmax(0) @ softmax.head[low:high]
        rows.append(row)
        biases.append(logits[low:high].logsumexp(0) - mean[0] @ row)
    return torch.stack(rows).clone(), torch.stack(biases).clone()


def split(model: LanguageModel, cutoffs: tuple[int, ...], rows: Tensor, bias: Tensor) -> LanguageModel:
    """The model with the words beyond ``cutoffs[0]`` in clusters whose head rows (n, d) and biases (n,) are
    given."""
    config = split_config(model.config, cutoffs)
    excluded = frozenset(model.softmax.excluded.nonzero()[:, 0].tolist())
    made = LanguageModel(config, excluded).to(model.device)
    weights, shortlist = dict(model.state_dict()), cutoffs[0]
    head = weights["softmax.head"]
    own = weights.get("softmax.head_bias", head.new_zeros(len(head)))
    weights["softmax.head"] = torch.cat([head[:shortlist], rows.to(head)])
    weights["softmax.head_bias"] = torch.cat([own[:shortlist], bias.to(head)])
    weights["softmax.tails.0"] = head[shortlist:]
    if config.tail_bias:
        weights["softmax.tail_biases.0"] = own[shortlist:]
    made.load_state_dict(weights)
    return made.eval().requires_grad_(False)
