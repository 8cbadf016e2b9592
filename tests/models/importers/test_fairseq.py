"""Imported fairseq models answer as fairseq does: import, bundle, load, ask."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from models.bundle import Bundle
from models.config.bodies import GatedConvolutionConfig, TransformerConfig
from models.config.tokenization import Whitespace
from models.importers import convert
from models.importers.pickles.checkpoint import load
from models.language_model import LanguageModel
from tests.support.fairseq_models import CASES, DATA, LONG, TRANSFORMERS, converted, expected, imported
from tests.support.imported_answers import TOLERANCE, close, rows

Get = Callable[[str], Bundle]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Get:
    """The bundle of a case."""
    return cache(lambda case: imported(case, tmp_path_factory.mktemp(case)))


def test_the_cases_cover_what_is_claimed(bundle: Get) -> None:
    configs = {case: bundle(case).config for case in CASES}
    bodies = {case: configs[case].body for case in TRANSFORMERS}
    assert {config.n_clusters for config in configs.values()} == {0, 1, 2, 3}
    assert {config.factor for config in configs.values() if config.n_clusters} == {1, 2, 4}
    assert {(config.tied, config.tied_projections) for config in configs.values()} == {
        (False, False),
        (True, False),
        (True, True),
    }
    assert configs["old-projected-head"].head_projection == 12
    # wav2letter's: 10000, 50000 and 200000 of 221,452 words, in small.
    assert {configs[case].cutoffs for case in ("old-wav2letter", "fconv-wav2letter")} == {(4, 16, 64, 72)}
    assert {config.head_bias for config in configs.values()} == {False, True}
    transformers = [body for body in bodies.values() if isinstance(body, TransformerConfig)]
    assert {body.pre_norm for body in transformers} == {False, True}
    assert {body.positions for body in transformers} == {"sinusoidal", "learned", "none"}
    assert {body.activation for body in transformers} == {"relu", "gelu", "gelu_tanh"}
    assert {body.embedding_norm for body in transformers} == {False, True}
    assert {case for case, body in bodies.items() if not body.final_norm} == {  # type: ignore[union-attr]
        "new-post-norm",  # there each layer ends in one
        "new-tied-weights",
        "new-wiki103",
        "old-2018",
        "old-2019",
    }


@pytest.mark.parametrize("case", CASES)
def test_log_probabilities_of_all_words_are_fairseqs(case: str, bundle: Get) -> None:
    want, model = expected(case), bundle(case).model
    for text, logprobs in zip(want.texts, want.logprobs, strict=True):
        close(model.softmax.log_prob(rows(model, text, [len(text)])), logprobs)


@pytest.mark.parametrize("case", CASES)
def test_top_words_and_targets_are_fairseqs(case: str, bundle: Get) -> None:
    want, loaded = expected(case), bundle(case)
    text, logprobs = want.texts[-1], want.logprobs[-1].clone()
    hidden = rows(loaded.model, text, [len(text)])
    close(loaded.model.target_logprobs(hidden[:-1], text[1:]), logprobs[:-1].gather(1, text[1:, None])[:, 0])
    logprobs[:, list(loaded.vocabulary.special_ids)] = -torch.inf
    for k in (1, 7, 60):
        best = loaded.model.topk(hidden, k)
        close(best.logprobs, logprobs.topk(k).values)
        close(logprobs.gather(1, best.ids), best.logprobs)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("first", range(1, 16))
def test_a_text_cut_anywhere_is_the_text_at_once(case: str, first: int, bundle: Get) -> None:
    want, model = expected(case), bundle(case).model
    text, logprobs = want.texts[-1], want.logprobs[-1]
    close(model.softmax.log_prob(rows(model, text, [first, len(text) - first])), logprobs)


@pytest.mark.parametrize("case", CASES)
def test_word_by_word(case: str, bundle: Get) -> None:
    want, model = expected(case), bundle(case).model
    text, logprobs = want.texts[-1], want.logprobs[-1]
    close(model.softmax.log_prob(rows(model, text, [1] * len(text))), logprobs)


@pytest.mark.parametrize("case", CASES)
@torch.inference_mode()
def test_batches_of_mixed_lengths(case: str, bundle: Get) -> None:
    want, model = expected(case), bundle(case).model
    places = [2, 3, 0, 3, 1]
    ids = pad_sequence([want.texts[i] for i in places], batch_first=True, padding_value=9)
    lengths = torch.tensor([len(want.texts[i]) for i in places])
    hidden, _ = model.encode(ids, lengths, model.initial_state(len(places)))
    for row, i in zip(hidden, places, strict=True):
        close(model.softmax.log_prob(row[: len(want.texts[i])]), want.logprobs[i])
        assert not row[len(want.texts[i]) :].any()


@pytest.mark.parametrize("case", CASES)
@torch.inference_mode()
def test_rows_that_have_read_different_lengths_go_on_side_by_side(case: str, bundle: Get) -> None:
    want, model = expected(case), bundle(case).model
    places, firsts = [3, 2, 3, 3], [11, 4, 1, 7]
    texts = [want.texts[i] for i in places]
    ids = pad_sequence([text[:n] for text, n in zip(texts, firsts, strict=True)], True, 5)
    _, state = model.encode(ids, torch.tensor(firsts), model.initial_state(4))
    states = model.split_state(state)
    order = [2, 0, 3, 1]
    rests = [texts[i][firsts[i] :] for i in order]
    lengths = torch.tensor([len(rest) for rest in rests])
    hidden, _ = model.encode(
        pad_sequence(rests, True, 8), lengths, model.stack_states([states[i] for i in order])
    )
    for row, i, rest in zip(hidden, order, rests, strict=True):
        close(model.softmax.log_prob(row[: len(rest)]), want.logprobs[places[i]][firsts[i] :])


@pytest.mark.parametrize(("case", "context"), [(case, c) for case in LONG for c in LONG[case]])
@pytest.mark.parametrize("pieces", [[46], [1] * 46, [16, 16, 14], [15, 2, 20, 9]], ids=str)
def test_texts_longer_than_the_window_as_eval_lm(case: str, context: int, pieces: list[int]) -> None:
    want, model = expected(case), converted(case, overlap=context).model()
    assert want.long_targets is not None
    assert len(want.long_targets) == 46
    text = torch.cat([torch.tensor([2]), want.long_targets[:-1]])
    hidden = rows(model, text, pieces)
    close(model.target_logprobs(hidden, want.long_targets), want.long_logprobs[context])


@torch.inference_mode()
def test_long_texts_beside_short_ones() -> None:
    want, model = expected("new-wiki103"), converted("new-wiki103", overlap=12).model()
    assert want.long_targets is not None
    long = torch.cat([torch.tensor([2]), want.long_targets[:-1]])
    texts = [want.texts[3], long, want.texts[2], long[:17]]
    lengths = torch.tensor([len(text) for text in texts])
    hidden, _ = model.encode(pad_sequence(texts, True), lengths, model.initial_state(4))
    close(model.softmax.log_prob(hidden[0, :16]), want.logprobs[3])
    close(model.softmax.log_prob(hidden[2, :7]), want.logprobs[2])
    close(model.target_logprobs(hidden[1], want.long_targets), want.long_logprobs[12])
    close(model.target_logprobs(hidden[3, :17], want.long_targets[:17]), want.long_logprobs[12][:17])
    for row, length in zip(hidden, lengths.tolist(), strict=True):
        assert not row[length:].any()


@pytest.mark.parametrize("case", [case for case in CASES if case != "new-untied"])
def test_the_start_word_is_the_end_of_sentence(case: str, bundle: Get) -> None:
    vocabulary = bundle(case).vocabulary
    assert (vocabulary.start_id, vocabulary.end_id, vocabulary.unknown_id) == (2, 2, 3)


def test_add_bos_token(bundle: Get) -> None:
    vocabulary = bundle("new-untied").vocabulary
    assert (vocabulary.start_id, vocabulary.end_id, vocabulary.word(0)) == (0, 2, "<s>")


def test_words(bundle: Get) -> None:
    vocabulary = bundle("new-wiki103").vocabulary
    assert bundle("new-wiki103").config.tokenization == Whitespace()
    assert [vocabulary.word(i) for i in range(4)] == ["<s>", "<pad>", "</s>", "<unk>"]
    assert len(vocabulary) == 72
    padding = {i for i in range(72) if vocabulary.word(i).startswith("madeupword")}
    assert len(padding) == 6
    assert vocabulary.special_ids == {0, 1, 3} | padding


def test_window_and_overlap(bundle: Get) -> None:
    body = bundle("new-wiki103").config.body
    assert isinstance(body, TransformerConfig)
    assert (body.window, body.overlap, body.first_position) == (16, 8, 2)


def test_the_layers_of_a_convolution_are_parsed(bundle: Get) -> None:
    body = bundle("fconv-adaptive").config.body
    assert isinstance(body, GatedConvolutionConfig)
    assert [(layer.channels, layer.kernel, layer.residual) for layer in body.layers] == [
        (16, 3, 1),
        (16, 3, 1),
        (12, 1, 0),
        (24, 2, 2),
    ]


def saved_again(case: str, folder: Path, change: Callable[[dict[str, Any]], None]) -> LanguageModel:
    """The model of a checkpoint that was changed."""
    shutil.copytree(DATA / case, folder / case)
    (file,) = (folder / case).glob("*.pt")
    state = load(file)
    change(state)
    changed = io.BytesIO()  # The file itself is mapped.
    torch.save(state, changed)
    file.write_bytes(changed.getvalue())
    return convert("fairseq", folder / case).model()


def test_a_named_architecture_is_pre_norm_whatever_its_option_says(tmp_path: Path) -> None:
    # Checked with fairseq itself: its registered architectures set the option when they are loaded.
    def change(state: dict[str, Any]) -> None:
        state["cfg"]["model"]["decoder_normalize_before"] = False

    assert error("new-wiki103", saved_again("new-wiki103", tmp_path, change)) < TOLERANCE


def test_older_names_of_the_output_layer(tmp_path: Path) -> None:
    name = "decoder.output_projection.weight"

    def older(state: dict[str, Any]) -> None:
        state["model"]["decoder.embed_out"] = state["model"].pop(name)

    def absent(state: dict[str, Any]) -> None:
        del state["model"][name]

    assert error("new-plain", saved_again("new-plain", tmp_path, older)) < TOLERANCE
    assert error("new-gpt", saved_again("new-gpt", tmp_path, absent)) < TOLERANCE


def test_options_that_are_given_as_none(tmp_path: Path) -> None:
    def change(state: dict[str, Any]) -> None:
        state["cfg"]["model"] |= {"no_scale_embedding": None, "adaptive_softmax_factor": None}

    model = saved_again("new-wiki103", tmp_path, change)
    assert error("new-wiki103", model) < TOLERANCE
    assert model.config.factor is None


def test_words_of_a_tokenizer_are_noted(tmp_path: Path) -> None:
    shutil.copytree(DATA / "new-wiki103", tmp_path / "wiki")
    file = tmp_path / "wiki" / "dict.txt"
    assert len(convert("fairseq", tmp_path / "wiki").notes) == 1
    file.write_text("@-@" + file.read_text()[4:])
    assert "tokenized by Moses" in convert("fairseq", tmp_path / "wiki").notes[1]


@pytest.mark.parametrize("case", ["new-post-norm", "fconv-plain"])
def test_half_precision(case: str, tmp_path: Path) -> None:
    def change(state: dict[str, Any]) -> None:
        state["model"] = {name: tensor.half() for name, tensor in state["model"].items()}

    model = saved_again(case, tmp_path, change)
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    assert TOLERANCE < error(case, model) < 0.1


# -- what the tolerance can tell apart -----------------------------------------------------------------------


def error(case: str, model: LanguageModel) -> float:
    """By how much the model is off on the longest text."""
    text, logprobs = expected(case).texts[-1], expected(case).logprobs[-1]
    return (model.softmax.log_prob(rows(model, text, [len(text)])) - logprobs).abs().max().item()


@pytest.mark.parametrize("case", ["new-wiki103", "new-untied", "fconv-adaptive"])
def test_the_other_order_of_cluster_columns_would_be_noticed(case: str) -> None:
    model = converted(case).model()
    n = model.softmax.n_clusters
    assert error(case, model) < TOLERANCE
    model.softmax.head[-n:] = model.softmax.head[-n:].flip(0)
    assert error(case, model) > 100 * TOLERANCE


@pytest.mark.parametrize("case", ["new-wiki103", "new-plain", "old-2018"])
@pytest.mark.parametrize("first", [0, 1, 3])
def test_other_positions_would_be_noticed(case: str, first: int) -> None:
    model = converted(case).model()
    body = model.body
    body.config = body.config.model_copy(update={"first_position": first})  # type: ignore[attr-defined]
    assert error(case, model) > 100 * TOLERANCE


def test_another_orientation_of_square_projections_would_be_noticed() -> None:
    model = converted("new-tied-weights").model()
    for projection in model.softmax.projections:
        projection.copy_(projection.T.clone())
    assert error("new-tied-weights", model) > 100 * TOLERANCE
