"""The model card of a trained bundle: its ``README.md``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata

import torch

from models.config.bodies import BodyConfig, LSTMConfig
from models.language_model import LanguageModel
from models.text.vocabulary import Vocabulary
from models.training.evaluation import BitsPerCharacter, Evaluation

EXAMPLES = (
    "",
    "Thank you very",
    "I would like to",
    "How are",
    "The United",
    "Once upon a",
    "It was the first time that",
    "She looked at him and",
    "The President of the",
    "What do you",
)
CHINESE_EXAMPLES = (
    "",
    "我",
    "他们",
    "今天",
    "中国",
    "位于",
    "这是一种",
    "他出生于",
    "第二次世界大战",
    "北京是中华人民共和国的",
)
_EXAMPLES = {"jieba": CHINESE_EXAMPLES}


@dataclass(frozen=True, slots=True)
class TrainingFacts:
    """The facts of a run: `words` seen, `seconds` spent, the `command` that did it."""

    command: str
    words: int
    corpus_words: int
    seconds: float
    hardware: str


def model_card(
    name: str,
    model: LanguageModel,
    vocabulary: Vocabulary,
    facts: TrainingFacts,
    heldout: Evaluation,
    bits: BitsPerCharacter,
    holdout_rule: str,
    data_notes: str,
) -> str:
    """Markdown. `data_notes` tells the data and their licenses, which only the caller knows."""
    config = model.config
    bands = ", ".join(f"{band.clusters} clusters of width {band.width}" for band in config.bands)
    lines = [
        f"# {name}",
        "",
        "A word-level language model with an adaptive softmax, made by `headfirst train`.",
        "",
        "## Sizes",
        "",
        "| | |",
        "|---|---|",
        f"| parameters | {model.parameter_count():,} |",
        f"| vocabulary | {config.vocabulary_size:,} words, `<unk>` and `</s>` among them |",
        f"| body | {_body(config.body)} |",
        f"| hidden size | {config.hidden_size} |",
        f"| short-list | {config.cutoffs[0]:,} words |",
        f"| tail | {config.n_clusters} clusters: {bands or 'none'} |",
        f"| word vectors | {'tied' if config.tied else 'not tied'} between input and output |",
        "",
        f"Cutoffs: {', '.join(map(str, config.cutoffs))}.",
        "",
        "## Training",
        "",
        "```",
        facts.command,
        "```",
        "",
        f"{facts.words:,} words seen of a corpus of {facts.corpus_words:,} (tokens, `</s>` included), in"
        f" {facts.seconds / 60:.0f} minutes on {facts.hardware}; torch {metadata.version('torch')}.",
        "",
        "## Quality",
        "",
        f"Held out: {holdout_rule}.",
        "Every line is scored on its own from the start state, as the server does.",
        "",
        "| text | words | perplexity | unknown words | bits a character | every character paid for |",
        "|---|---:|---:|---:|---:|---:|",
        f"| held out | {heldout.words:,} | {heldout.perplexity:.1f} | {heldout.unknown_rate:.2%}"
        f" | {bits.with_class:.3f} | {'' if bits.spelled is None else f'{bits.spelled:.3f}'} |",
        "",
        "Words are tokens: words, numbers, punctuation marks, and one `</s>` a line; an unknown word counts"
        " with the probability of `<unk>`. In the last column it is spelled, too: the figure by which models"
        " of other vocabularies compare. White space counts as characters but in Chinese; a line's end is.",
        "",
        "## Ten predictions",
        "",
        "| after | next words (probability) |",
        "|---|---|",
        *_examples(model, vocabulary, _EXAMPLES.get(config.tokenization.type, EXAMPLES)),
        "",
        "## Data and licenses",
        "",
        data_notes.strip() or "Not stated.",
        "",
    ]
    return "\n".join(lines)


def _body(body: BodyConfig) -> str:
    if isinstance(body, LSTMConfig):
        return f"LSTM, {body.layers} x {body.units} units, projection {body.projection or 'none'}"
    return body.type


@torch.inference_mode()
def _examples(model: LanguageModel, vocabulary: Vocabulary, texts: Sequence[str]) -> list[str]:
    rows = []
    for text in texts:
        hidden = model.read([vocabulary.start_id, *vocabulary.encode_batch([text])[0]])
        best = model.topk(hidden[-1:], min(5, len(vocabulary)))
        words = [
            f"`{vocabulary.word(i)}` {math.exp(logprob):.1%}"
            for i, logprob in zip(best.ids[0].tolist(), best.logprobs[0].tolist(), strict=True)
            if i >= 0
        ]
        rows.append(f"| {text or '(the start of a sentence)'} | {', '.join(words)} |")
    return rows
