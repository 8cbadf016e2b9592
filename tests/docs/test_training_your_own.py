"""docs/training-your-own.md does what it says: its own blocks are run, as a reader would run them."""

from __future__ import annotations

import json
import random
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.support.commands import json_rows, run

PAGE = (Path(__file__).parents[2] / "docs" / "training-your-own.md").read_text()
STEPS = "10"


def block(language: str) -> str:
    """The page's only block in `language`."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which the page's first two steps were done on a small text."""
    path = tmp_path_factory.mktemp("own")
    chosen = random.Random(3)
    words = [f"{a}{b}" for a in "bdgklmst" for b in ("a", "en", "or", "ich", "ull")] + ["the", "cat"]
    weights = [1 / (rank + 1) for rank in range(len(words))]
    lines = [" ".join(chosen.choices(words, weights, k=9)) for _ in range(300)]
    (path / "corpus.txt").write_text("\n".join(lines) + "\n")
    (path / "train.py").write_text(block("python"))
    (path / "model.toml").write_text(block("toml"))
    command = [sys.executable, "train.py", "corpus.txt", STEPS]
    trained = subprocess.run(command, cwd=path, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"loss \d+\.\d\d\n", trained.stdout)
    return path


def test_the_script_is_as_short_as_promised() -> None:
    lines = [line for line in block("python").splitlines() if line.strip()]
    assert len(lines) <= 35
    commands = [shlex.split(line)[0] for line in block("sh").splitlines()]
    assert commands == ["python", "headfirst", "headfirst", "echo", "headfirst"]


def test_what_was_trained_is_imported_and_answers_as_torch_does(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    imported = run("import", "torch-adaptive", "model.toml", "my-model")
    assert imported.exit_code == 0, imported.stderr
    (scored,) = json_rows(run("score", "-", "--model", "my-model", stdin=b"the cat zzz\n"))
    words = (place / "words.txt").read_text().splitlines()
    ids = torch.tensor([words.index(word) for word in ("<eos>", "the", "cat", "<unk>", "<eos>")])
    state = torch.load(place / "model.pt")
    embedding, lstm = nn.Embedding(len(words), 64), nn.LSTM(64, 128)
    n = len(words)
    softmax = nn.AdaptiveLogSoftmaxWithLoss(128, n, cutoffs=[n // 8, n // 2], div_value=2.0)
    for name, module in (("embedding", embedding), ("lstm", lstm), ("softmax", softmax)):
        prefix = f"{name}."
        own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        module.load_state_dict(own)
    with torch.inference_mode():
        logprobs = softmax.log_prob(lstm(embedding(ids[:-1]))[0])
    want = logprobs.gather(1, ids[1:, None])[:, 0].tolist()
    assert [word["logprob"] for word in scored["words"]] == pytest.approx(want, abs=1e-4)
    assert [word["word"] for word in scored["words"]] == ["the", "cat", "zzz", "<eos>"]
    assert scored["unknown_words"] == 1
    facts = json.loads(run("inspect", "my-model", "--json").stdout)
    assert facts["parameters"] == sum(value.numel() for value in state.values())


@pytest.mark.parametrize("language", ["python", "toml"])
def test_the_readme_shows_the_same(language: str) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert block(language) in readme
