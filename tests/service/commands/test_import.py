"""`headfirst import`: a bundle that answers as the original, or one line and nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import Result

from models.bundle import Bundle
from models.importers import FORMATS
from service.commands.import_ import CheckpointFormat
from service.commands.shared.import_child import memory_bound
from tests.support.commands import json_rows, refusal, run
from tests.support.payload import Payload

DATA = Path(__file__).parents[2] / "oracles" / "awd_lstm" / "data" / "tied"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DATA, tmp_path / "published"))


def imported(source: Path, *options: object) -> Result:
    return run("import", "awd-lstm", source, source.parent / "model", *options)


def test_every_format_has_a_name() -> None:
    assert [*CheckpointFormat] == [*FORMATS]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The imported bundle, and what the command showed."""
    path = tmp_path_factory.mktemp("imported") / "model"
    result = run("import", "awd-lstm", DATA, path)
    assert result.exit_code == 0, result.stderr
    return path, result.stdout


def test_per_word_scores_equal_the_oracle_s(model: tuple[Path, str], tmp_path: Path) -> None:
    path, _ = model
    expected = load_file(DATA / "expected.safetensors")
    words = [Bundle.load(path, "cpu").vocabulary.word(i) for i in expected["ids"].tolist()]
    assert words[0] == "<eos>"  # after which every text starts
    assert {"<eos>", "<unk>"} <= {*words[1:]}  # by their own names within the text
    (tmp_path / "text").write_text(" ".join(words[1:]) + "\n")
    row = json_rows(
        run("score", tmp_path / "text", "--model", path, "--pretokenized", "--no-end-of-sentence")
    )[0]
    want = expected["logprobs"][:-1].gather(1, expected["ids"][1:, None])[:, 0].tolist()
    assert [word["logprob"] for word in row["words"]] == pytest.approx(want, abs=1e-4)
    assert [word["word"] for word in row["words"]] == words[1:]


def test_the_bundle_says_where_it_comes_from(model: tuple[Path, str]) -> None:
    path, shown = model
    assert {file.name for file in path.iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "README.md",
    }
    card = (path / "README.md").read_text()
    for text in ("awd-lstm", "`model.pt`", "reversed order", "Unknown: the files do not state the license"):
        assert text in card
    assert card.count("`corpus.0123456789abcdef.data`") == 1
    for text in ("9,415", "reversed in the source", "1 within"):
        assert text in shown
    facts = json.loads(run("inspect", path, "--json").stdout)
    assert (facts["dtype"], facts["parameters"]) == ("float32", 9415)


def test_half_the_size_on_request(source: Path) -> None:
    assert imported(source, "--dtype", "float16").exit_code == 0
    facts = json.loads(run("inspect", source.parent / "model", "--json").stdout)
    assert facts["dtype"] == "float16"
    assert facts["disk_bytes"] == 2 * facts["parameters"]


def test_what_is_there_is_replaced_only_when_asked_and_a_bundle(source: Path) -> None:
    path = source.parent / "model"
    path.mkdir()
    (path / "thesis.tex").write_text("years of work")
    assert "is there already; --force replaces a bundle" in refusal(imported(source))
    assert "is no bundle, and is not replaced" in refusal(imported(source, "--force"))
    (path / "thesis.tex").rename(source.parent / "thesis.tex")
    path.rmdir()
    assert imported(source).exit_code == 0
    (path / "README.md").write_text("changed")
    assert imported(source, "--force").exit_code == 0
    assert "Provenance" in (path / "README.md").read_text()


def payload(source: Path) -> None:
    torch.save([Payload(source.parent / "mark"), None, None], source / "model.pt")


def truncated(source: Path) -> None:
    data = (source / "model.pt").read_bytes()
    (source / "model.pt").write_bytes(data[: len(data) // 2])


def wrong_dictionary(source: Path) -> None:
    (source / "corpus.0123456789abcdef.data").unlink()
    for part in ("train", "valid", "test"):
        (source / f"{part}.txt").write_text("<unk> too few words\n")


def absurd(source: Path) -> None:
    """A pickle that asks for 2^40 bytes."""
    (source / "model.pt").write_bytes(b"\x80\x05\x8e" + (1 << 40).to_bytes(8, "little") + b"abc.")


def no_rule(source: Path) -> None:
    shutil.rmtree(source)


FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "payload": (payload, "the checkpoint is not a pickled module"),
    "truncated": (truncated, "model.pt: damaged, or no checkpoint"),
    "wrong dictionary": (wrong_dictionary, "has 5 words, model.pt was trained on 128"),
    "absurdly large": (absurd, "needs more memory than 1.1 GB, see --memory-limit"),
    "nothing there": (no_rule, "no such file or directory"),
}


@pytest.mark.parametrize(("break_it", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_is_one_line_and_leaves_nothing(
    source: Path, break_it: Callable[[Path], None], message: str
) -> None:
    break_it(source)
    line = refusal(imported(source))
    assert line.startswith("headfirst import: ")
    assert message in line
    left = {path.name for path in source.parent.iterdir()} - {"published"}
    assert left == set()  # no mark, no bundle, no part of one


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no limit of data alone")
def test_more_memory_than_allowed_is_told(source: Path) -> None:
    size = 16_000_000
    (source / "model.pt").unlink()
    torch.save({"embedding.weight": torch.zeros(size // 8, 8)}, source / "model.pt")
    words = "\n".join(f"w{i}" for i in range(size // 8))
    (source / "words.txt").write_text("<unk>\n<eos>\n" + words + "\n")
    (source / "model.toml").write_text(
        '[files]\nweights = "model.pt"\nvocabulary = "words.txt"\n[modules]\nembedding = "embedding"\n'
        'lstm = "lstm"\nsoftmax = "softmax"\n[words]\nend = "<eos>"\n'
    )
    line = refusal(
        run("import", "torch-adaptive", source / "model.toml", source.parent / "model", "--memory-limit", 0.1)
    )
    assert "needs more memory than 0.1 GB, see --memory-limit" in line


def test_the_bound_grows_with_the_files_and_ends_at_the_machine_s(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(1_000_000))
    bound = memory_bound(tmp_path)
    assert memory_bound(tmp_path / "a") == bound
    with (tmp_path / "b").open("wb") as file:
        file.truncate(1 << 40)  # a hole
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert bound < memory_bound(tmp_path) < machine
