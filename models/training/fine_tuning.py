"""Train all weights of a model a little further, on text: what reclustering calls the rest unfrozen."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from models.config.bodies import LSTMConfig
from models.language_model import LanguageModel
from models.text.vocabulary import Vocabulary
from models.training.corpus import Corpus, Tokens
from models.training.evaluation import evaluate
from models.training.trainer import Trainer, TrainingError, TrainingOptions

ROWS, WINDOW = 16, 32
KEPT_FOR_CHOICE = 0.1
"""The share of the text that is not trained on, and decides which weights are the best."""

CHECKS = 6
"""Times in a run that the weights are compared with the best so far."""


def fine_tune(
    model: LanguageModel,
    vocabulary: Vocabulary,
    lines: list[Tokens],
    steps: int,
    learning_rate: float,
    work: Path,
    on_step: Callable[[int], None] = lambda _: None,
) -> LanguageModel:
    """The model after `steps` more on `lines`, of 512 words (fewer if the text is short).

    Its weights are those of the check at which the lines that are not trained on were the most probable; they
    may be those given.

    Args:
        model: with an LSTM as its body.
        vocabulary: its words.
        lines: tokens that end with the end word, in random order.
        steps: of Adam.
        learning_rate: the highest.
        work: checkpoints; an interrupted call goes on.
        on_step: is told the steps done.

    Raises:
        TrainingError: another body, or too little text.
    """
    if not isinstance(model.config.body, LSTMConfig):
        raise TrainingError(f"only LSTM models can be trained further, this is a {model.config.architecture}")
    at = max(1, int(len(lines) * KEPT_FOR_CHOICE))
    chosen_by, training = lines[:at], lines[at:]
    if not training:
        raise TrainingError("too little text to train on")
    tokens = np.concatenate(training)
    corpus = Corpus(tokens, np.concatenate(chosen_by), vocabulary, np.zeros(len(vocabulary), np.int64))
    options = TrainingOptions(
        steps=steps,
        rows=max(1, min(ROWS, len(tokens) // (4 * WINDOW))),
        window=WINDOW,
        learning_rate=learning_rate,
        warmup=steps // 10,
        cooldown=0.5,
        validate_every=max(1, steps // CHECKS),
        checkpoint_every=max(1, steps // CHECKS),
    )
    # Of other weights, another text or rate it would be another run.
    start = model.softmax.head.detach().float().cpu().numpy().tobytes()
    facts = start + tokens.tobytes() + str(learning_rate).encode()
    directory = work / f"all-{hashlib.sha256(facts).hexdigest()[:16]}"
    directory.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(model.config, corpus, options, directory, str(model.device))
    trainer.model.load_state_dict(model.state_dict())
    best = directory / "best.pt"
    if not (trainer.resume() and best.exists()):
        found = evaluate(model, trainer.heldout, vocabulary.end_id, vocabulary.unknown_id)
        _keep(best, model, found.perplexity)
    least: float = torch.load(best, weights_only=True)["perplexity"]
    for done in trainer.run():
        on_step(done.step)
        if done.validation is not None and done.validation.perplexity < least:
            least = done.validation.perplexity
            _keep(best, trainer.model, least)
    trainer.model.load_state_dict(torch.load(best, weights_only=True)["weights"])
    return trainer.model.eval().requires_grad_(False)


def _keep(path: Path, model: LanguageModel, perplexity: float) -> None:
    unfinished = path.with_suffix(".tmp")
    torch.save({"perplexity": perplexity, "weights": model.state_dict()}, unfinished)
    unfinished.replace(path)
