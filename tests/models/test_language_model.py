"""LanguageModel: embedding, body and output layer put together."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.language_model import LanguageModel
from tests.support.tiny import tiny_config, tiny_model

LENGTHS = [1, 9, 4, 4, 2, 7]


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return tiny_model()


def random_ids(rows: int, steps: int) -> Tensor:
    return torch.randint(0, 280, (rows, steps), generator=torch.Generator().manual_seed(3))


def encode(model: LanguageModel, ids: Tensor) -> Tensor:
    lengths = torch.full((len(ids),), ids.shape[1])
    return model.encode(ids, lengths, model.initial_state(len(ids)))[0]


def test_a_batch_of_mixed_lengths_answers_as_single_rows_do(model: LanguageModel) -> None:
    ids, lengths = random_ids(len(LENGTHS), max(LENGTHS)), torch.tensor(LENGTHS)
    hidden, state = model.encode(ids, lengths, model.initial_state(len(ids)))
    last = hidden[torch.arange(len(ids)), lengths - 1]
    together = model.topk(last, 10)
    for i, (length, row) in enumerate(zip(LENGTHS, model.split_state(state), strict=True)):
        alone, own_state = model.encode(ids[i : i + 1, :length], lengths[i : i + 1], model.initial_state(1))
        torch.testing.assert_close(row, model.split_state(own_state)[0])
        one = model.topk(alone[:, -1], 10)
        assert together.ids[i].tolist() == one.ids[0].tolist()
        torch.testing.assert_close(together.logprobs[i], one.logprobs[0], atol=1e-4, rtol=0)


def test_the_last_rows_alone_are_those_of_all(model: LanguageModel) -> None:
    ids, lengths = random_ids(len(LENGTHS), max(LENGTHS)), torch.tensor(LENGTHS)
    hidden, state = model.encode(ids, lengths, model.initial_state(len(ids)))
    last, state_again = model.encode_last(ids, lengths, model.initial_state(len(ids)))
    assert torch.equal(last, hidden[torch.arange(len(ids)), lengths - 1])
    torch.testing.assert_close(state, state_again)


def test_what_a_padded_position_holds_does_not_matter(model: LanguageModel) -> None:
    ids, lengths = random_ids(2, 5), torch.tensor([2, 5])
    hidden, state = model.encode(ids, lengths, model.initial_state(2))
    ids[0, 2:] = 0
    again, state_again = model.encode(ids, lengths, model.initial_state(2))
    torch.testing.assert_close(hidden, again)
    torch.testing.assert_close(state, state_again)


def test_a_text_is_continued_from_a_cached_row_state(model: LanguageModel) -> None:
    ids = random_ids(1, 6)
    wanted = encode(model, ids)
    _, state = model.encode(ids[:, :4], torch.tensor([4]), model.initial_state(1))
    (row,) = model.split_state(state)
    hidden, _ = model.encode(ids[:, 4:], torch.tensor([2]), model.stack_states([row]))
    torch.testing.assert_close(hidden, wanted[:, 4:])


def test_a_text_is_read_from_the_start_state(model: LanguageModel) -> None:
    ids = random_ids(2, 6)
    assert torch.equal(model.read(ids[1].tolist()), encode(model, ids[1:])[0])
    torch.testing.assert_close(model.read(ids[1].tolist()), encode(model, ids)[1])


def test_topk_and_target_logprobs_agree(model: LanguageModel) -> None:
    hidden = encode(model, random_ids(3, 5)).flatten(0, 1)
    found = model.topk(hidden, 280)
    for i, (ids, logprobs) in enumerate(zip(found.ids, found.logprobs, strict=True)):
        words = ids[ids >= 0]
        assert sorted([0, *words.tolist()]) == list(range(280))
        scores = model.target_logprobs(hidden[i].expand(len(words), -1), words)
        torch.testing.assert_close(scores, logprobs[: len(words)], atol=1e-5, rtol=0)


def test_the_unknown_word_is_never_predicted_but_has_a_probability(model: LanguageModel) -> None:
    hidden = encode(model, random_ids(4, 1))[:, 0]
    assert not (model.topk(hidden, 280).ids == 0).any()
    assert model.target_logprobs(hidden, torch.zeros(4, dtype=torch.int64)).isfinite().all()


def test_gradients_reach_every_parameter() -> None:
    torch.manual_seed(0)
    for tied in (False, True):
        model = LanguageModel(tiny_config(tied=tied))
        ids = torch.arange(280)[None]
        hidden, _ = model.body(model.embedding(ids), None, model.initial_state(1))
        model.softmax.target_logprobs(hidden[0], ids[0].roll(-1)).sum().backward()
        missing = [name for name, weight in model.named_parameters() if weight.grad is None]
        assert missing == []


def test_tied_parameters_count_once() -> None:
    tied, untied = LanguageModel(tiny_config(tied=True)), LanguageModel(tiny_config(tied=False))
    tables = 40 * 32 + 80 * 16 + 160 * 8
    assert untied.parameter_count() == tied.parameter_count() + tables
    assert tied.parameter_count() == sum(value.numel() for value in tied.state_dict().values())


def test_where_the_weights_are(model: LanguageModel) -> None:
    assert model.device == torch.device("cpu")
