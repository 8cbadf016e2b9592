"""awd-lstm checkpoints, made by its own code, answer as they do there; see tests/oracles/awd_lstm."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from models.bundle import Bundle
from models.importers import convert
from models.importers.base import CheckpointError
from tests.support.imported_answers import assert_words_as, close, hidden_rows, imported

DATA = Path(__file__).parents[2] / "oracles" / "awd_lstm" / "data"
CASES = sorted(path.name for path in DATA.iterdir())
CUTOFFS = {"tied": (20, 50, 90, 128), "untied": (30, 128), "plain": (128,)}

cases = pytest.mark.parametrize("case", CASES)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    return imported("awd-lstm", {case: DATA / case for case in CASES}, tmp_path_factory.mktemp("bundles"))


def expected(case: str) -> dict[str, Tensor]:
    return load_file(DATA / case / "expected.safetensors")


@cases
def test_all_log_probabilities_are_the_originals(bundles: dict[str, Bundle], case: str) -> None:
    want = expected(case)
    hidden = hidden_rows(bundles[case], want["ids"])
    assert bundles[case].config.cutoffs == CUTOFFS[case]
    got = bundles[case].model.softmax.log_prob(hidden)
    torch.testing.assert_close(got, want["logprobs"], atol=1e-4, rtol=0)


@cases
def test_top_words_and_targets_are_the_originals(bundles: dict[str, Bundle], case: str) -> None:
    want, bundle = expected(case), bundles[case]
    hidden = hidden_rows(bundle, want["ids"])
    assert_words_as(bundle, hidden, want)
    if len(want["losses"]):
        close(-bundle.model.target_logprobs(hidden[:-1], want["ids"][1:]), want["losses"])


@cases
def test_a_text_in_pieces_is_the_text(bundles: dict[str, Bundle], case: str) -> None:
    ids, model = expected(case)["ids"], bundles[case].model
    whole = hidden_rows(bundles[case], ids)
    state, parts = model.initial_state(1), []
    for piece in ids.split([1, 7, 20, len(ids) - 28]):
        hidden, state = model.encode(piece[None], torch.tensor([len(piece)]), state)
        parts.append(hidden[0])
        state = model.stack_states(model.split_state(state))
    torch.testing.assert_close(torch.cat(parts), whole, atol=1e-5, rtol=0)


def test_words_are_numbered_as_they_appear(bundles: dict[str, Bundle]) -> None:
    """A cached dictionary and the texts that it was made of give the same ids."""
    untied, tied = bundles["untied"].vocabulary, bundles["tied"].vocabulary
    assert [untied.word(i) for i in range(128)] == [tied.word(i) for i in range(128)]
    ids = expected("untied")["ids"].tolist()
    text = (DATA / "untied" / "test.txt").read_text().splitlines()
    found = [i for line in untied.encode_batch(text) for i in (*line, untied.end_id)]
    assert [untied.end_id, *found][: len(ids)] == ids
    assert (untied.word(untied.end_id), untied.start_id) == ("<eos>", untied.end_id)


def copy(case: str, to: Path) -> Path:
    shutil.copytree(DATA / case, to / case)
    return to / case


def other_words(path: Path) -> None:
    (path / "test.txt").write_text("more words than were trained on\n")


def no_unknown(path: Path) -> None:
    for file in path.glob("*.txt"):
        file.write_text(file.read_text().replace("<unk>", "unk"))


FAULTS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "no model": ("tied", lambda p: (p / "model.pt").unlink(), r"holds 0 files \*\.pt"),
    "no vocabulary": (
        "untied",
        lambda p: (p / "test.txt").unlink(),
        r"needs corpus\.\*\.data, or train\.txt",
    ),
    "other vocabulary": ("untied", other_words, r"has 134 words, model\.pt was trained on 128"),
    "no unknown word": ("untied", no_unknown, "vocabulary has no '<unk>'"),
    "truncated": (
        "tied",
        lambda p: (p / "model.pt").write_bytes((p / "model.pt").read_bytes()[:30_000]),
        "damaged, or no checkpoint",
    ),
    "dictionary of another kind": (
        "tied",
        lambda p: torch.save({"a": 1}, p / "corpus.0123456789abcdef.data"),
        "holds no dictionary with idx2word",
    ),
    "no module": ("tied", lambda p: torch.save([1, 2], p / "model.pt"), "is not a pickled module"),
}


@pytest.mark.parametrize(("case", "break_it", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_is_told_in_one_line(
    tmp_path: Path, case: str, break_it: Callable[[Path], object], message: str
) -> None:
    path = copy(case, tmp_path)
    break_it(path)
    with pytest.raises(CheckpointError, match=message) as raised:
        convert("awd-lstm", path)
    assert "\n" not in str(raised.value)
