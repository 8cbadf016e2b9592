"""What is asked of texts to be scored, alike in every API: checks, messages, and the answers as texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Generic

from pydantic import JsonValue

from models.text.vocabulary import Token
from service.contract.errors import InvalidRequest
from service.contract.messages import Score, Scored
from service.http.request.call import Call, R
from service.http.request.questions import Mode, Place
from service.scoring.scored_text import Group, Regions, ScoredText
from service.scoring.sentences import check_lines, check_regions, sentences, tokens_of
from service.scoring.unknown_words import Unknown, UnknownWords

GROUP_LINES: Final = 256
"""Lines that are submitted together at most."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """The fields of a request to score texts.

    Args:
        contexts: one for all texts, or one for each.
        regions: for each text; None without any.
        single: whether there is one text that is not in a list.
        place: what an error's `param` calls a text.
        prefix: what stands before the names of the other fields there.
    """

    texts: Sequence[str]
    contexts: Sequence[str]
    end_of_sentence: bool
    pretokenized: bool
    mode: Mode
    group: Group
    regions: Sequence[Regions] | None
    unknown: Unknown | None
    unknown_penalty: float | None
    lines: bool
    ignore_case: bool
    single: bool
    place: Place
    prefix: str = ""


class TextsToScore(Generic[R]):
    """A request's texts as sentences, and the messages that ask for their words' log-probabilities.

    Raises:
        InvalidRequest: fields that do not go together or not with the model, too many words, a text
            without a word, a region that cuts a token or is outside its text.
    """

    def __init__(self, call: Call[R], asked: Scoring) -> None:
        settings, bundle = call.context.settings, call.served.bundle
        self.asked = asked
        self._call = call
        self._check()
        self._unknown = UnknownWords.of(
            bundle,
            asked.unknown,
            asked.unknown_penalty,
            settings.unknown,
            settings.unknown_penalty,
            asked.prefix,
        )
        histories = self._histories(call)
        self._texts = sentences(
            bundle.vocabulary,
            asked.texts,
            pretokenized=asked.pretokenized,
            end_of_sentence=asked.end_of_sentence,
            lines=asked.lines,
            ignore_case=asked.ignore_case,
        )
        fast = (asked.mode or settings.mode) == "fast"
        self.messages: list[Score] = []
        for index, (text, history) in enumerate(zip(self._texts, histories, strict=True)):
            self._check_text(call, index, text)
            self.messages += [
                Score(
                    f"{call.exchange.id}/{index}",
                    history,
                    tuple([token.id for token in sentence]),
                    call.deadline,
                    fast,
                    ignore_case=asked.ignore_case,
                )
                for sentence in text
            ]

    async def ask(self) -> list[Scored]:
        """The engine's answers to the messages; raises as `Call.of`. The lines of long texts are asked in
        several groups, because the queue takes a group as a whole."""
        if not self.asked.lines:
            return await self._call.of(self.messages)
        answers: list[Scored] = []
        for start in range(0, len(self.messages), GROUP_LINES):
            answers += await self._call.of(self.messages[start : start + GROUP_LINES])
        return answers

    def scored(self, answers: Sequence[Scored]) -> list[ScoredText]:
        """Each text with what was answered to its messages."""
        left, found = iter(answers), []
        for text, one in zip(self.asked.texts, self._texts, strict=True):
            of_text = list(islice(left, len(one)))
            error = max([answer.error for answer in of_text])
            logprobs = [answer.logprobs for answer in of_text]
            found.append(ScoredText.of(text, one, logprobs, self._unknown, error, self.asked.lines))
        return found

    def results(self, answers: Sequence[Scored], per_word: bool) -> list[dict[str, Any]]:
        """The results of all texts."""
        return [
            text.result(per_word, self.asked.group, of_text)
            for text, of_text in zip(self.scored(answers), self.regions, strict=True)
        ]

    @property
    def regions(self) -> Sequence[Regions | None]:
        """Those of each text; None where it has none."""
        return [None] * len(self.asked.texts) if self.asked.regions is None else self.asked.regions

    def _check(self) -> None:
        asked = self.asked
        if asked.regions is not None and asked.group != "token":
            message = "regions take the place of group: give one of the two."
            raise InvalidRequest(message, param=f"{asked.prefix}group")
        check_lines(asked.lines, any(asked.contexts), f"{asked.prefix}lines")

    def _histories(self, call: Call[R]) -> list[tuple[int, ...]]:
        asked, limits = self.asked, call.context.limits
        distinct = list(dict.fromkeys(asked.contexts))
        vocabulary = call.served.bundle.vocabulary
        tokenized = tokens_of(vocabulary, distinct, asked.pretokenized, asked.ignore_case)
        ids = {
            context: tuple([token.id for token in tokens])
            for context, tokens in zip(distinct, tokenized, strict=True)
        }
        for index, context in enumerate(asked.contexts):
            limits.check_words(len(ids[context]), context_place(asked.contexts, index, asked.prefix))
        histories = [ids[context] for context in asked.contexts]
        return histories * len(asked.texts) if len(histories) == 1 else histories

    def _check_text(self, call: Call[R], index: int, text: Sequence[Sequence[Token]]) -> None:
        asked, param = self.asked, self.asked.place(index)
        call.context.limits.check_words(sum(map(len, text)) - asked.end_of_sentence * len(text), param)
        if not all(text):
            message = f"{param} has no word to score; an empty text needs end_of_sentence."
            raise InvalidRequest(message, param=param, code="empty")
        if asked.regions is not None:
            name = f"{asked.prefix}regions" if asked.single else f"{asked.prefix}regions[{index}]"
            tokens = [token for sentence in text for token in sentence]
            check_regions(asked.texts[index], tokens, asked.regions[index], name)


def read_contexts(
    value: str | Sequence[str], texts: Sequence[str], call: Call[R], prefix: str = ""
) -> list[str]:
    """One context for all texts, or one for each. Raises InvalidRequest for another number, or long ones."""
    contexts = [value] if isinstance(value, str) else list(value)
    if not isinstance(value, str) and len(contexts) != len(texts):
        message = f"{prefix}context must be one text, or as many as there are inputs: {len(texts)}."
        raise InvalidRequest(message, param=f"{prefix}context")
    for index, context in enumerate(contexts):
        call.context.limits.check_chars(context, context_place(contexts, index, prefix))
    return contexts


def context_place(contexts: Sequence[str], index: int, prefix: str = "") -> str:
    """What `param` calls a context."""
    return f"{prefix}context" if len(contexts) == 1 else f"{prefix}context[{index}]"


def read_regions(value: JsonValue, count: int, single: bool, prefix: str = "") -> list[Regions] | None:
    """The regions of each of `count` texts. Raises InvalidRequest for what is none of the two shapes."""
    name = f"{prefix}regions"
    if value is None:
        return None
    if single:
        return [_pairs(value, name)]
    if not isinstance(value, list) or len(value) != count:
        message = f"{name} must be a list of lists of [start, end], one for each of the {count} inputs."
        raise InvalidRequest(message, param=name, code="invalid_type")
    return [_pairs(one, f"{name}[{index}]") for index, one in enumerate(value)]


def _pairs(value: JsonValue, name: str) -> list[tuple[int, int]]:
    if not isinstance(value, list):
        message = f"{name} must be a list of [start, end]."
        raise InvalidRequest(message, param=name, code="invalid_type")
    pairs = []
    for index, one in enumerate(value):
        numbers = [number for number in one if type(number) is int] if isinstance(one, list) else []
        if not isinstance(one, list) or not len(numbers) == len(one) == 2:
            message = f"{name}[{index}] must be [start, end], two integers."
            raise InvalidRequest(message, param=f"{name}[{index}]", code="invalid_type")
        pairs.append((numbers[0], numbers[1]))
    return pairs
