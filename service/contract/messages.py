"""What passes between HTTP and the engine: small frozen structs, nothing else.

Plain data (no tensors, no locks), because these cross a process boundary. Tokens are vocabulary ids and
never include the start word: the engine begins every sequence after it. All messages of one `Engine.submit`
call make one *group*: the unit that is admitted whole, takes turns with the others and shares prefixes.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a next word is drawn; see `models.softmax.sampling.Draw`.

    Args:
        temperature: 0 or more; 0 takes the most probable word.
        top_p: over 0, at most 1.
        seed: with `step` it decides the random numbers: the same two draw the same word.
        step: how many words of the text were drawn before.
        bias: ids and what is added to their log-probabilities, in nats.
    """

    temperature: float
    top_p: float
    seed: int
    step: int
    bias: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Predict:
    """Asks for the `k` most probable words after `tokens`, or for one that is drawn, or for both.

    Args:
        id: the request's id, for logs.
        tokens: the context's ids; empty at the start of a sentence.
        k: 1 or more, with `sampling` also 0; more than the vocabulary has words means all of them.
        prefix: only words that start so; None or "" means any word.
        deadline: `time.monotonic()` after which its answer is of no use; None means never.
        fast: the same words, but their log-probabilities may be off by `Predicted.error`.
        ignore_case: words may start with `prefix` in another case.
        words_only: only words that have a letter or digit.
        exclude: ids of words that are not answered, each once.
        sampling: how one word is drawn beside; None draws none.
    """

    id: str
    tokens: tuple[int, ...]
    k: int
    prefix: str | None
    deadline: float | None
    fast: bool = False
    sampling: Sampling | None = None
    ignore_case: bool = False
    words_only: bool = False
    exclude: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """What it counts for in the queue's bound, in tokens."""
        return len(self.tokens) + 1


@dataclass(frozen=True, slots=True)
class Score:
    """Asks for the log-probability of each of `targets`, which follow `context`.

    Args:
        id: the request's id, for logs.
        context: ids that precede the targets and are not scored.
        targets: ids to score, `</s>` among them where the end of the sentence is asked for.
        deadline: `time.monotonic()` after which its answer is of no use; None means never.
        fast: the log-probabilities may be off by `Scored.error`.
        top: how many of the most probable words are told in each target's place, beside its own.
        ignore_case: each target has the probability of all words together that differ from it in case alone.
    """

    id: str
    context: tuple[int, ...]
    targets: tuple[int, ...]
    deadline: float | None
    fast: bool = False
    top: int = 0
    ignore_case: bool = False

    @property
    def size(self) -> int:
        """What it counts for in the queue's bound, in tokens."""
        return max(1, len(self.context) + len(self.targets))


@dataclass(frozen=True, slots=True)
class Timing:
    """Where a message's time went.

    Args:
        queue_seconds: from `submit` until its first batch was put together.
        engine_seconds: from then until its answer.
        batch_size: rows of the batch that finished it.
        cached_tokens: tokens that were not run because their state was cached.
        body_seconds: of `engine_seconds`, those in which batches with this message ran the body.
        head_seconds: likewise the output layer: the search for words, or their scores.
    """

    queue_seconds: float
    engine_seconds: float
    batch_size: int
    cached_tokens: int
    body_seconds: float = 0.0
    head_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Predicted:
    """Answers `Predict`: at most k words, best first, with natural log-probabilities.

    `clusters` are the tail clusters that were opened to find them, ascending. `error` is the most, in nats,
    by which a log-probability may be off beyond float32 rounding: 0 unless the fast mode answered. `drawn` is
    the word that `sampling` drew, with the model's own log-probability of it.
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    clusters: tuple[int, ...]
    timing: Timing
    error: float = 0.0
    drawn: tuple[int, float] | None = None


@dataclass(frozen=True, slots=True)
class Scored:
    """Answers `Score`: one natural log-probability a target, in order; `error` is as in `Predicted`.

    With `Score.top`, `tops` has for each target the ids and log-probabilities of the best words in its place.
    """

    logprobs: tuple[float, ...]
    timing: Timing
    error: float = 0.0
    tops: tuple[tuple[tuple[int, ...], tuple[float, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What a reload did to one model: the digests of what was and of what is served."""

    model: str
    old: str
    new: str


Message = Predict | Score
Answer = Predicted | Scored
