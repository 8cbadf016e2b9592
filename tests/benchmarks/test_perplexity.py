"""`python -m benchmarks.perplexity`: the figures of a file, unknown words as a class and spelled."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from benchmarks import perplexity
from models.bundle import Bundle, write_spelling
from models.spelling.spelling_model import SpellingModel
from tests.support.tiny import tiny_bundle

TEXT = "the ban of quirk\n\nbanquirk of the <unk> .\n"


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle.load(tiny_bundle(tmp_path), "cpu")


def measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], path: Path, *flags: str
) -> dict[str, Any]:
    file = path.parent / "text.txt"
    file.write_text(TEXT)
    monkeypatch.setattr(
        "sys.argv", ["perplexity", str(file), "--model", str(path), "--device", "cpu", *flags]
    )
    perplexity.main()
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_every_character_is_paid_for(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = measured(monkeypatch, capsys, bundle.path, "--wikitext")
    assert before["characters"] == len("the ban of quirk") + len("banquirk of the <unk> .") + 2
    nats = before["logprob_per_running_word"] * before["running_words"]
    bits = -nats / math.log(2) / before["characters"]
    assert before["bits_per_character"] == {"class": pytest.approx(bits, abs=1e-3), "spelled": None}
    spelling = SpellingModel.train({"quirk": 2, "quick": 1}, bundle.vocabulary)
    write_spelling(bundle.path, bundle.config, spelling)
    after = measured(monkeypatch, capsys, bundle.path, "--wikitext")
    # "<unk>" of the text itself stays a class.
    more = -sum(spelling.logprob(["quirk", "banquirk"])) / math.log(2) / before["characters"]
    assert after["bits_per_character"]["class"] == before["bits_per_character"]["class"]
    assert after["bits_per_character"]["spelled"] == pytest.approx(bits + more, abs=1e-3)
