"""Truncated back-propagation through time with the adaptive softmax loss."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.bodies.base import TensorState
from models.bodies.lstm import LSTMBody
from models.config.model import ModelConfig
from models.language_model import LanguageModel
from models.training.corpus import Corpus, Tokens
from models.training.evaluation import Evaluation, evaluate, split_lines
from models.training.sampled import SampledLoss
from models.training.start import start_at_frequencies

OPTIMIZERS: dict[str, Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]] = {
    "adam": partial(torch.optim.Adam, lr=0.0, betas=(0.9, 0.99), fused=True),
    # A word that comes has gradients of 1e-3, one that does not of 1e-6. Adagrad divides by what there was
    # before: from nothing it would take a full step for either, and push rare words out of reach.
    "adagrad": partial(torch.optim.Adagrad, lr=0.0, initial_accumulator_value=1e-8, fused=True),
}
"""By name; a step's learning rate is set when it comes."""


class TrainingError(RuntimeError):
    """Why training cannot go on, in one line."""


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """One training run. The learning rate warms up, stays, and falls to zero over the last `cooldown`."""

    steps: int
    rows: int = 64
    window: int = 48
    learning_rate: float = 3e-3
    warmup: int = 400
    cooldown: float = 0.3
    clip: float = 1.0
    dropout: float = 0.0
    seed: int = 1
    precision: str = "float32"  # or "bfloat16"
    optimizer: str = "adam"  # or "adagrad", as in the paper
    sampled: int = 0  # words drawn a step to stand for all others; 0: the layer's own loss
    from_frequencies: bool = False  # start with biases that give each word its share of the text
    validate_every: int = 2000
    checkpoint_every: int = 500

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        left = (self.steps - step) / max(1.0, self.cooldown * self.steps)
        return self.learning_rate * min(1.0, (step + 1) / max(1, self.warmup), left)


@dataclass(frozen=True, slots=True)
class StepResult:
    """The outcome of a step: `loss` is the mean negative log-probability a word, in nats."""

    step: int
    loss: float
    rate: float
    words: int
    seconds: float
    validation: Evaluation | None = None


class Trainer:
    """Trains a model on a corpus; `run` yields a `StepResult` a step and leaves resumable checkpoints."""

    def __init__(
        self,
        config: ModelConfig,
        corpus: Corpus,
        options: TrainingOptions,
        directory: Path,
        device: str = "cpu",
    ) -> None:
        torch.manual_seed(options.seed)
        self.options, self.device = options, torch.device(device)
        self.end_id = corpus.vocabulary.end_id
        self.unknown_id = corpus.vocabulary.unknown_id
        self.model = LanguageModel(config, corpus.vocabulary.special_ids).to(self.device)
        if options.from_frequencies:
            start_at_frequencies(self.model.softmax, corpus.counts)
        self.optimizer = OPTIMIZERS[options.optimizer](self.model.parameters())
        self.heldout = split_lines(corpus.heldout, self.end_id)
        self.windows = Windows(corpus.train, options.rows, options.window)
        if options.sampled and (config.n_clusters or config.output != "adaptive"):
            raise TrainingError("a sampled loss is for a plain softmax: no clusters")
        self.sampled = (
            SampledLoss(corpus.counts, options.sampled, self.device, seed=options.seed)
            if options.sampled
            else None
        )
        self.checkpoint = directory / "checkpoint.pt"
        if not isinstance(self.model.body, LSTMBody):
            raise TrainingError(f"no training of a {config.architecture} body, of lstm alone")
        self.state: TensorState = self.model.body.initial_state(options.rows)
        self.step = 0
        self.seconds = 0.0  # spent in steps, over all resumptions
        self.identity = {"config": config.model_dump_json(), "words": len(corpus.train), "rows": options.rows,
                         "window": options.window, "seed": options.seed,
                         "optimizer": options.optimizer}  # fmt: skip

    def resume(self) -> bool:
        """Continue from the checkpoint, if any. Raises TrainingError if it is broken or of another run."""
        if not self.checkpoint.exists():
            return False
        try:
            saved: dict[str, Any] = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
            identity = {"optimizer": "adam", **saved["identity"]}  # once there was no other
            # Written anew: fields that the configuration did not have then are at their defaults.
            identity["config"] = ModelConfig.model_validate_json(identity["config"]).model_dump_json()
        except Exception as error:  # torch's errors on a broken file are of many types
            raise TrainingError(f"{self.checkpoint}: not a checkpoint ({type(error).__name__})") from None
        differing = [key for key, value in self.identity.items() if identity.get(key) != value]
        if differing:
            raise TrainingError(f"{self.checkpoint} is of a run with other {', '.join(differing)}")
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.state = tuple(saved["state"])
        self.step = saved["step"]
        self.seconds = saved.get("seconds", 0.0)
        torch.set_rng_state(saved["rng"].cpu())
        if self.device.type == "cuda" and "cuda_rng" in saved:
            torch.cuda.set_rng_state(saved["cuda_rng"].cpu(), self.device)
        return True

    def save(self) -> None:
        """Write the checkpoint, atomically."""
        temporary = self.checkpoint.with_suffix(".tmp")
        torch.save(
            {
                "identity": self.identity,
                "options": asdict(self.options),
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "state": list(self.state),
                "step": self.step,
                "seconds": self.seconds,
                "rng": torch.get_rng_state(),
                # Dropout on a GPU draws from the device's own generator.
                **({"cuda_rng": torch.cuda.get_rng_state(self.device)} if self.device.type == "cuda" else {}),
            },
            temporary,
        )
        temporary.replace(self.checkpoint)

    def run(self) -> Iterator[StepResult]:
        """Train from the present step to the last."""
        options = self.options
        while self.step < options.steps:
            started = time.perf_counter()
            loss = self._train(self.step)
            if not math.isfinite(loss):
                raise TrainingError(f"the loss is {loss} at step {self.step}: lower the learning rate")
            self.step += 1
            seconds = time.perf_counter() - started
            self.seconds += seconds
            last = self.step == options.steps
            validation = self.validate() if last or self.step % options.validate_every == 0 else None
            if last or self.step % options.checkpoint_every == 0:
                self.save()
            yield StepResult(
                self.step,
                loss,
                options.rate(self.step - 1),
                options.rows * options.window,
                seconds,
                validation,
            )

    def validate(self) -> Evaluation:
        """The held-out lines, each from the start state."""
        self.model.eval()
        try:
            return evaluate(self.model, self.heldout, self.end_id, self.unknown_id)
        finally:
            self.model.train()

    def _train(self, step: int) -> float:
        options = self.options
        inputs, targets = (part.to(self.device) for part in self.windows[step])
        # A row whose window begins with the start word begins a text: from the start state, as when serving.
        kept = (inputs[:, 0] != self.end_id)[:, None]
        state = tuple(part * kept for part in self.state)
        for group in self.optimizer.param_groups:
            group["lr"] = options.rate(step)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=options.precision == "bfloat16"):
            vectors = F.dropout(self.model.embedding(inputs), options.dropout)
            hidden, after = self.model.body(vectors, None, state)
            hidden = F.dropout(hidden, options.dropout).flatten(0, 1)
            if self.sampled is None:
                loss = -self.model.softmax.target_logprobs(hidden, targets.flatten(), None).mean()
            else:
                words = self.sampled.draw(step)
                loss = self.sampled(self.model.softmax, hidden, targets.flatten(), words).mean()
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), options.clip)
        self.optimizer.step()
        self.state = tuple(part.detach().float() for part in after)
        return loss.item()


class Windows:
    """Step -> (inputs, targets), each (rows, window) int64: contiguous text a row, all of it an epoch."""

    def __init__(self, tokens: Tokens, rows: int, window: int) -> None:
        self.tokens, self.rows, self.window = tokens, rows, window
        self.stretch = (len(tokens) - window - 1) // rows
        self.an_epoch = self.stretch // window
        if self.an_epoch < 1:
            raise TrainingError(
                f"{len(tokens)} words of text are too few for {rows} rows of {window}-word windows"
            )

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        epoch, at = divmod(step, self.an_epoch)
        shift = epoch * 17 % self.window  # other windows each epoch
        starts = shift + at * self.window + np.arange(self.rows) * self.stretch
        index = starts[:, None] + np.arange(self.window + 1)
        block = torch.from_numpy(self.tokens[index].astype(np.int64))
        return block[:, :-1], block[:, 1:]
