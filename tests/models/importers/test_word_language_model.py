"""word_language_model checkpoints, made by the original code, answer as they do there; see tests/oracles."""

from __future__ import annotations

import math
import shutil
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from models.bundle import Bundle
from models.importers import CheckpointError, convert
from tests.support.imported_answers import assert_words_as, hidden_rows, imported

DATA = Path(__file__).parents[2] / "oracles" / "word_language_model" / "data"
CASES = sorted(path.parent.name for path in DATA.glob("*/expected.safetensors"))

cases = pytest.mark.parametrize("case", CASES)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    return imported(
        "word-language-model", {case: DATA / case for case in CASES}, tmp_path_factory.mktemp("bundles")
    )


def expected(case: str) -> dict[str, Tensor]:
    return load_file(DATA / case / "expected.safetensors")


@cases
def test_all_log_probabilities_are_the_originals(bundles: dict[str, Bundle], case: str) -> None:
    want = expected(case)
    got = bundles[case].model.softmax.log_prob(hidden_rows(bundles[case], want["ids"]))
    torch.testing.assert_close(got, want["logprobs"], atol=1e-4, rtol=0)


@cases
def test_top_words_and_targets_are_the_originals(bundles: dict[str, Bundle], case: str) -> None:
    want, bundle = expected(case), bundles[case]
    assert_words_as(bundle, hidden_rows(bundle, want["ids"]), want)


@cases
def test_a_text_in_pieces_is_the_text(bundles: dict[str, Bundle], case: str) -> None:
    ids, model = expected(case)["ids"], bundles[case].model
    whole = hidden_rows(bundles[case], ids)
    state, parts = model.initial_state(1), []
    for piece in ids.split([1, 7, len(ids) - 8]):
        hidden, state = model.encode(piece[None], torch.tensor([len(piece)]), state)
        parts.append(hidden[0])
        state = model.stack_states(model.split_state(state))
    torch.testing.assert_close(torch.cat(parts), whole, atol=1e-5, rtol=0)


def test_the_configuration_is_the_checkpoints(bundles: dict[str, Bundle]) -> None:
    for case, bundle in bundles.items():
        config = bundle.config
        assert config.cutoffs == (len(bundle.vocabulary),)
        assert config.head_bias
        cell, _, rest = case.partition("-")
        if cell in ("lstm", "gru", "rnn_tanh", "rnn_relu"):
            layers, tied = rest.split("-")
            assert config.architecture == cell
            assert (config.body.layers, config.tied) == (int(layers), tied == "tied")
            assert ("embedding.head" in bundle.model.state_dict()) == (tied == "untied")
        assert config.end_word == "<eos>"
        assert config.unknown_word == ("<oov>" if case.startswith("state-") else "<unk>")
        assert bundle.vocabulary.start_id == bundle.vocabulary.end_id


def test_words_are_numbered_as_they_appear(bundles: dict[str, Bundle]) -> None:
    """As by the original's `Corpus`, whose list is kept beside the texts."""
    words = (DATA / "corpus" / "words.txt").read_text().splitlines()
    vocabulary = bundles["corpus"].vocabulary
    assert [vocabulary.word(i) for i in range(len(vocabulary))] == words


# -- neural-complexity's own output ----------------------------------------------------------------


def recorded(name: str) -> list[dict[str, str]]:
    header, *rows = (DATA / "neural-complexity" / f"{name}.txt").read_text().splitlines()
    return [dict(zip(header.split(" "), row.split(" "), strict=True)) for row in rows]


def bits(bundle: Bundle, state: Any, ids: list[int]) -> tuple[list[tuple[str, float, float]], Any]:
    """Word, surprisal and entropy in bits of all words of `ids` but the first, ``<eos>`` left out."""
    hidden, state = bundle.model.encode(torch.tensor([ids[:-1]]), torch.tensor([len(ids) - 1]), state)
    logprobs = bundle.model.softmax.log_prob(hidden[0]).double() / math.log(2)
    entropies = -((logprobs * math.log(2)).exp() * logprobs).sum(1)
    scores = logprobs.gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
    rows = [
        (bundle.vocabulary.word(i), -score, entropy)
        for i, score, entropy in zip(ids[1:], scores.tolist(), entropies.tolist(), strict=True)
        if i != bundle.vocabulary.end_id
    ]
    return rows, state


@pytest.mark.parametrize("name", ["words", "stream"])
@pytest.mark.parametrize("case", ["neural-complexity", "neural-complexity-bin"])
@torch.inference_mode()
def test_states_are_reset_and_carried_as_neural_complexity_does(
    bundles: dict[str, Bundle], case: str, name: str
) -> None:
    """Between sentences ``<eos>`` is read once; a sentence that goes on begins with the last one's."""
    bundle = bundles[case]
    text = (DATA / "neural-complexity" / "stimuli.txt").read_text().splitlines()
    end, found = bundle.vocabulary.end_id, []
    state = bundle.model.initial_state(1)
    for line in bundle.vocabulary.encode_batch(text, pretokenized=True):
        rows, after = bits(bundle, state, [end, *line, end])
        found += rows
        if name == "stream":
            state = after
    want = recorded(name)
    assert [word for word, _, _ in found] == [row["word"] for row in want]
    for (_, surprisal, entropy), row in zip(found, want, strict=True):
        assert surprisal == pytest.approx(float(row["surp"]), abs=1.5e-4)
        assert entropy == pytest.approx(float(row["entropy"]), abs=1.5e-4)


def test_carried_states_matter() -> None:
    """So that the test above can fail."""
    pairs = list(zip(recorded("words"), recorded("stream"), strict=True))
    first = [row["sentid"] == "0" for row, _ in pairs]
    differences = [abs(float(a["surp"]) - float(b["surp"])) for a, b in pairs]
    assert max(d for d, same in zip(differences, first, strict=True) if same) < 1e-5
    assert max(differences) > 0.5


# -- faults ----------------------------------------------------------------------------------------


def state_of(path: Path) -> OrderedDict[str, Tensor]:
    found: OrderedDict[str, Tensor] = torch.load(path / "lm.pt", weights_only=True)
    return found.get("state_dict", found)  # type: ignore[return-value]


def change(path: Path, **tensors: Tensor | None) -> None:
    state = state_of(path)
    for name, tensor in tensors.items():
        name = name.replace("__", ".")
        if tensor is None:
            del state[name]
        else:
            state[name] = tensor
    torch.save(state, path / "lm.pt")


def vocabulary(path: Path, edit: Callable[[str], str]) -> None:
    for file in path.glob("*vocab.txt"):
        file.write_text(edit(file.read_text()))


FAULTS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "no model": ("lstm-1-tied", lambda p: (p / "model.pt").unlink(), r"holds 0 files \*\.pt"),
    "two models": ("lstm-1-tied", lambda p: shutil.copy(p / "model.pt", p / "b.pt"), r"holds 2 files \*\.pt"),
    "no vocabulary": ("lstm-1-tied", lambda p: (p / "vocab.txt").unlink(), "needs vocab.txt, or the texts"),
    "two vocabularies": (
        "state-gru",
        lambda p: shutil.copy(p / "lm_vocab.txt", p / "b_vocab.txt"),
        r"holds 2 vocabularies \(b_vocab\.txt, lm_vocab\.txt\); call the model's vocab\.txt",
    ),
    "a word more": (
        "lstm-1-tied",
        lambda p: vocabulary(p, lambda text: text + "more\n"),
        r"vocab\.txt: has 48 words, model\.pt was trained on 47",
    ),
    "a word twice": (
        "lstm-1-tied",
        lambda p: vocabulary(p, lambda text: text.replace("w30", "w31")),
        r"vocab\.txt: word 33, 'w31', is word 32, too",
    ),
    "no unknown word": (
        "lstm-1-tied",
        lambda p: vocabulary(p, lambda text: text.replace("<unk>", "unk")),
        r"vocab\.txt: vocabulary has no <unk> or <oov>",
    ),
    "no end": (
        "lstm-1-tied",
        lambda p: vocabulary(p, lambda text: text.replace("<eos>", "</s>")),
        r"vocab\.txt: vocabulary has no <eos>",
    ),
    "not UTF-8": (
        "lstm-1-tied",
        lambda p: (p / "vocab.txt").write_bytes((p / "vocab.txt").read_text().encode("latin-1")),
        r"vocab\.txt: 'utf-8' codec can't decode",
    ),
    "a dictionary of another kind": (
        "neural-complexity-bin",
        lambda p: torch.save({"a": 1}, p / "vocab.bin"),
        r"vocab\.bin: holds no dictionary with idx2word",
    ),
    "truncated": (
        "lstm-1-tied",
        lambda p: (p / "model.pt").write_bytes((p / "model.pt").read_bytes()[:3000]),
        "damaged, or no checkpoint",
    ),
    "something else": ("lstm-1-tied", lambda p: torch.save([1, 2], p / "model.pt"), "holds 0 models"),
    "a Transformer": ("transformer", lambda p: None, "is the example's Transformer; its RNNModel alone"),
    "tanh or relu": (
        "state-rnn_relu",
        lambda p: torch.save(state_of(p), p / "lm.pt"),
        r'does not tell RNN_TANH from RNN_RELU; save it as {"rnn_type": "RNN_TANH"',
    ),
    "another cell": (
        "state-gru",
        lambda p: torch.save({"rnn_type": "QRNN", "model": state_of(p)}, p / "lm.pt"),
        "its layers are QRNN; LSTM, GRU, RNN_TANH, RNN_RELU can be imported",
    ),
    "no recurrent weights": (
        "state-gru",
        lambda p: change(p, rnn__weight_ih_l0=None),
        r"lm\.pt: weight rnn\.weight_ih_l0 is missing",
    ),
    "a weight of the second layer is missing": (
        "state-gru",
        lambda p: change(p, rnn__weight_hh_l1=None),
        r"weight rnn\.weight_hh_l1 is missing",
    ),
    "both ways": (
        "state-gru",
        lambda p: change(p, rnn__weight_ih_l0_reverse=torch.zeros(24, 6)),
        "reads both ways",
    ),
    "an unknown weight": ("state-gru", lambda p: change(p, more=torch.zeros(2)), "unknown weight more"),
    "a wrong shape": (
        "state-lstm",
        lambda p: change(p, decoder__bias=torch.zeros(5)),
        r"decoder\.bias has shape \[5\], expected \[47\]",
    ),
}


@pytest.mark.parametrize(("case", "break_it", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_is_told_in_one_line(
    tmp_path: Path, case: str, break_it: Callable[[Path], object], message: str
) -> None:
    path = tmp_path / case
    shutil.copytree(DATA / case, path)
    break_it(path)
    with pytest.raises(CheckpointError, match=message) as raised:
        convert("word-language-model", path)
    assert "\n" not in str(raised.value)


def test_an_embedding_that_changes_as_it_reads(tmp_path: Path) -> None:
    """`max_norm` would; the original's classes are not needed to save such a module."""
    net = torch.nn.Module()
    net.encoder = torch.nn.Embedding(47, 8, max_norm=1.0)
    net.rnn = torch.nn.GRU(8, 8)
    net.decoder = torch.nn.Linear(8, 47)
    torch.save(net, tmp_path / "model.pt")
    shutil.copy(DATA / "lstm-1-tied" / "vocab.txt", tmp_path)
    with pytest.raises(CheckpointError, match="its embedding has max_norm"):
        convert("word-language-model", tmp_path)
    net.encoder.max_norm = None
    torch.save(net, tmp_path / "model.pt")  # says nothing but the mode of its `rnn`
    assert convert("word-language-model", tmp_path).config.architecture == "gru"


@pytest.mark.parametrize("said", [{"args": Namespace(model="RNN_RELU")}, {"args": {"rnn_type": "RNN_RELU"}}])
def test_a_state_may_stand_in_a_checkpoint_with_its_arguments(tmp_path: Path, said: dict[str, Any]) -> None:
    """And be that of a `DataParallel`."""
    shutil.copytree(DATA / "state-rnn_relu", tmp_path, dirs_exist_ok=True)
    state = {f"module.{name}": tensor for name, tensor in state_of(tmp_path).items()}
    torch.save({"epoch": 3, "model": state, **said}, tmp_path / "lm.pt")
    converted = convert("word-language-model", tmp_path)
    assert converted.config.architecture == "rnn_relu"
    want = convert("word-language-model", DATA / "state-rnn_relu").weights
    assert converted.weights.keys() == want.keys()
    assert all(torch.equal(converted.weights[name], tensor) for name, tensor in want.items())


def test_a_model_file_is_a_source(tmp_path: Path) -> None:
    shutil.copytree(DATA / "gru-1-tied", tmp_path, dirs_exist_ok=True)
    shutil.copy(DATA / "lstm-1-tied" / "model.pt", tmp_path / "another.pt")
    assert convert("word-language-model", tmp_path / "another.pt").config.architecture == "lstm"
    assert convert("word-language-model", tmp_path / "model.pt").config.architecture == "gru"
