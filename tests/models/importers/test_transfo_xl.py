"""Imported Transformer-XLs answer as the libraries do that made them: import, bundle, load, ask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from models.bodies.transformer_xl import TransformerXLBody
from models.bundle import Bundle
from models.config.tokenization import Moses
from models.importers import convert
from models.language_model import LanguageModel
from tests.support.imported_answers import TOLERANCE, close, rows
from tests.support.transfo_xl_models import CASES, DATA, expected, form, imported

ONE_CLUSTER = {"hf-no-tails", "hf-untied-projections", "nvidia-untied", "pytorch-lm1b"}
Get = Callable[[str], Bundle]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Get:
    """The bundle of a case."""
    return cache(lambda case: imported(case, tmp_path_factory.mktemp(case)))


@pytest.mark.parametrize("case", CASES)
def test_log_probabilities_of_all_words_are_the_librarys(case: str, bundle: Get) -> None:
    want, model = expected(case), bundle(case).model
    for text, logprobs in zip(want.texts, want.logprobs, strict=True):
        close(model.softmax.log_prob(rows(model, text, [len(text)])), logprobs)


@pytest.mark.parametrize("case", CASES)
def test_top_words_and_targets_are_the_librarys(case: str, bundle: Get) -> None:
    want, loaded = expected(case), bundle(case)
    text, logprobs = want.texts[0], want.logprobs[0].clone()
    hidden = rows(loaded.model, text, [len(text)])
    close(loaded.model.target_logprobs(hidden[:-1], text[1:]), logprobs[:-1].gather(1, text[1:, None])[:, 0])
    best = loaded.model.topk(hidden, 7)
    logprobs[:, list(loaded.vocabulary.special_ids)] = -torch.inf
    close(best.logprobs, logprobs.topk(7).values)
    close(logprobs.gather(1, best.ids), best.logprobs)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("pieces", [[1] * 21, [5, 1, 8, 7], [2, 19]], ids=str)
def test_a_text_in_pieces_is_the_text_at_once(case: str, pieces: list[int], bundle: Get) -> None:
    want, model = expected(case), bundle(case).model
    close(model.softmax.log_prob(rows(model, want.texts[0], pieces)), want.logprobs[0])


@pytest.mark.parametrize("case", CASES)
@torch.inference_mode()
def test_batches_of_mixed_lengths(case: str, bundle: Get) -> None:
    want, model = expected(case), bundle(case).model
    # Each text at two places in the batch, its second half continued beside others at other positions.
    texts = [want.texts[i] for i in (1, 0, 2, 0)]
    logprobs = [want.logprobs[i] for i in (1, 0, 2, 0)]
    firsts = [7, 11, 1, 2]
    ids = torch.nn.utils.rnn.pad_sequence([t[:n] for t, n in zip(texts, firsts, strict=True)], True, 3)
    hidden, state = model.encode(ids, torch.tensor(firsts), model.initial_state(4))
    states = model.split_state(state)
    for row, n, logprob in zip(hidden, firsts, logprobs, strict=True):
        close(model.softmax.log_prob(row[:n]), logprob[:n])
        assert not row[n:].any()
    going_on = [3, 1, 0]
    rests = [texts[i][firsts[i] :] for i in going_on]
    ids = torch.nn.utils.rnn.pad_sequence(rests, True, 5)
    lengths = torch.tensor([len(rest) for rest in rests])
    hidden, _ = model.encode(ids, lengths, model.stack_states([states[i] for i in going_on]))
    for row, i, rest in zip(hidden, going_on, rests, strict=True):
        close(model.softmax.log_prob(row[: len(rest)]), logprobs[i][firsts[i] :])


# Where d_embed = d_model. Else the columns of our clusters have another width, and a projection of one table
# is two parameters here.
COUNTED = ["hf-factor-1", "hf-no-tails", "hf-untied-projections", "pytorch-wt103-base", "pytorch-lm1b"]


@pytest.mark.parametrize("case", [*COUNTED, "nvidia-base", "nvidia-untied"])
def test_parameters_are_counted_as_the_library_counts(case: str, bundle: Get) -> None:
    assert bundle(case).model.parameter_count() == expected(case).parameters


# -- what the tolerance can tell apart -----------------------------------------------------------------------


def error(case: str, model: LanguageModel) -> float:
    """By how much the model is off on the longest text."""
    text, logprobs = expected(case).texts[0], expected(case).logprobs[0]
    return (model.softmax.log_prob(rows(model, text, [len(text)])) - logprobs).abs().max().item()


@pytest.mark.parametrize("case", [case for case in CASES if case not in ONE_CLUSTER])
def test_the_other_order_of_cluster_columns_would_be_noticed(case: str) -> None:
    model = convert(form(case), DATA / case).model()
    softmax, n = model.softmax, model.softmax.n_clusters
    columns = softmax.head if softmax.clusters is None else softmax.clusters
    assert softmax.head_bias is not None
    assert error(case, model) < TOLERANCE
    for weight in (columns, softmax.head_bias):
        weight[-n:] = weight[-n:].flip(0)
    assert error(case, model) > 100 * TOLERANCE


@pytest.mark.parametrize("case", CASES)
def test_other_lengths_and_memories_would_be_noticed(case: str) -> None:
    model = convert(form(case), DATA / case).model()
    body = model.body
    assert isinstance(body, TransformerXLBody)
    reach = body.reach
    others = [replace(reach, memory=reach.memory + 1, attended=reach.attended and reach.attended + 1)]
    others += [replace(reach, attended=None if reach.attended else reach.memory + 1)]
    if reach.memory:
        others += [replace(reach, zeros=not reach.zeros)]
    if not reach.attended and reach.segment < 21:
        others += [replace(reach, segment=reach.segment + 1)]
    for body.reach in others:
        assert error(case, model) > 100 * TOLERANCE, body.reach


def test_words_and_text(bundle: Get) -> None:
    vocabulary = bundle("hf-published").vocabulary
    assert (vocabulary.word(vocabulary.end_id), vocabulary.start_id) == ("<eos>", 0)
    assert vocabulary.word(vocabulary.unknown_id) == "<unk>"
    assert isinstance(bundle("hf-published").config.tokenization, Moses)
    news = bundle("pytorch-lm1b").vocabulary
    assert (news.word(news.end_id), news.word(news.unknown_id), news.start_id) == ("<S>", "<UNK>", 0)
    assert bundle("pytorch-untied").config.tokenization.lowercase  # type: ignore[union-attr]


def test_the_order_of_the_columns_is_told(tmp_path: Path) -> None:
    orders = {case: convert(form(case), DATA / case).column_order for case in CASES}
    assert {case for case, order in orders.items() if order == "natural"} == {
        case for case in CASES if case.startswith("hf")
    }
