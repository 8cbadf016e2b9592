"""README.md does what it says: its blocks are run, and the answers that it shows are the server's."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.docs.shell import ROOT, blocks, run
from tests.support.server_process import ServerProcess

README = ROOT / "README.md"
BLOCKS = blocks(README)

SENTENCES = ["The cat sat on the mat.", "Thank you very much."]


def at(start: str) -> int:
    """The place of the only block that begins so."""
    (found,) = [index for index, (_, code) in enumerate(BLOCKS) if code.startswith(start)]
    return found


ASKING = [
    index for index, (language, code) in enumerate(BLOCKS) if language == "sh" and code.startswith("curl")
]


CLONING = [index for index, (_, code) in enumerate(BLOCKS) if code.startswith("git clone")]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ServerProcess()
    try:
        server.wait_ready()
        yield server.url.removeprefix("http://")
    finally:
        server.stop()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with the files that the README names."""
    (tmp_path / "sentences.txt").write_text("\n".join(SENTENCES) + "\n")
    rows = {"text": [*SENTENCES, None], "item": [1, 2, 3]}
    pq.write_table(pa.table(rows), tmp_path / "rows.parquet")
    draw = random.Random(3)
    words = [f"{a}{b}" for a in "bdgklmst" for b in ("a", "en", "or", "ich", "ull")] + ["the", "cat"]
    lines = [" ".join(draw.choices(words, [1 / (i + 1) for i in range(len(words))], k=9)) for _ in range(300)]
    (tmp_path / "corpus.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "my-text").mkdir()
    (tmp_path / "my-text" / "a.txt").write_text("\n".join(lines) + "\n")
    shutil.copytree(ROOT / "tests" / "oracles" / "fairseq" / "data" / "new-wiki103", tmp_path / "wiki103")
    return tmp_path


def test_every_block_is_run_by_a_test() -> None:
    asked = {index for one in ASKING for index in (one, one + 1)}
    script = {at("import sys"), at("[files]"), at("python train.py")}
    commands = {
        at("from service.client"),
        at("headfirst predict"),
        at("headfirst import"),
        at("headfirst train"),
    }
    # `make serve` and `make test` are what CI does, in a fresh clone.
    assert asked | script | commands | {at("make serve"), *CLONING} == set(range(len(BLOCKS)))


@pytest.mark.parametrize("index", CLONING)
def test_a_scored_csv_takes_three_commands(index: int, place: Path) -> None:
    language, code = BLOCKS[index]
    clone, make, score = code.splitlines()
    assert (language, clone.split()[:2], make) == ("sh", ["git", "clone"], "make install")
    run(language, score.replace(".venv/bin/headfirst", "headfirst"), place)
    assert (
        (place / "surprisal.csv")
        .read_text()
        .startswith("line,position,word,logprob,surprisal,known,start,end,token\n1,1,The,")
    )


@pytest.mark.parametrize("index", ASKING)
def test_the_answers_are_those_that_are_shown(index: int, place: Path, address: str) -> None:
    language, shown = BLOCKS[index + 1]
    assert language == "json"
    answer = json.loads(run(*BLOCKS[index], place, address))
    assert_alike(answer, json.loads(shown))


def assert_alike(found: Any, shown: Any) -> None:
    """Equal, numbers to three digits after the point: processors round differently."""
    if isinstance(shown, float):
        assert found == pytest.approx(shown, abs=1e-3, rel=1e-3)
    elif isinstance(shown, dict):
        assert list(found) == list(shown)
        for key, value in shown.items():
            assert_alike(found[key], value)
    elif isinstance(shown, list):
        assert len(found) == len(shown)
        for one, other in zip(found, shown, strict=True):
            assert_alike(one, other)
    else:
        assert found == shown


def test_the_client_runs(place: Path, address: str) -> None:
    lines = run(*BLOCKS[at("from service.client")], place, address).splitlines()
    assert [line.split()[0] for line in lines] == [*"The cat sat on the mat .".split(), "</s>"]


def test_the_commands_run(place: Path) -> None:
    output = run(*BLOCKS[at("headfirst predict")], place)
    assert "much" in output
    scores = [json.loads(line) for line in (place / "scores.jsonl").read_text().splitlines()]
    assert len(scores) == len(SENTENCES)
    assert (
        (place / "surprisal.csv")
        .read_text()
        .startswith("line,position,word,logprob,surprisal,known,start,end,token\n1,1,The,")
    )
    scored = pq.read_table(place / "scored.parquet").to_pylist()
    assert [row["item"] for row in scored] == [1, 2, 3]
    assert scored[0]["logprob"] == pytest.approx(scores[0]["logprob"], abs=1e-4)
    assert scored[2]["logprob"] is None


@pytest.mark.slow
def test_a_published_model_is_imported_and_served(place: Path) -> None:
    (answer,) = run(*BLOCKS[at("headfirst import")], place).splitlines()[-1:]
    assert len(json.loads(answer)["results"][0]["words"]) == 3


@pytest.mark.slow
def test_a_model_of_ones_own_is_trained_and_served(place: Path) -> None:
    (answer,) = run(*BLOCKS[at("headfirst train")], place).splitlines()[-1:]
    assert len(json.loads(answer)["results"][0]["words"]) == 3


@pytest.mark.slow
def test_a_model_trained_with_torch_alone_is_served(place: Path) -> None:
    (place / "train.py").write_text(BLOCKS[at("import sys")][1])
    (place / "model.toml").write_text(BLOCKS[at("[files]")][1])
    language, code = BLOCKS[at("python train.py")]
    (answer,) = run(language, code.replace(" 2000\n", " 10\n"), place).splitlines()[-1:]
    assert len(json.loads(answer)["results"][0]["words"]) == 3
