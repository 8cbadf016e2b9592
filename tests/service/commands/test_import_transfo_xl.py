"""`headfirst import`, then `headfirst score --pretokenized`, against what the libraries said."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.bundle import Bundle
from tests.support.commands import json_rows, refusal, run
from tests.support.transfo_xl_models import DATA, expected, form

SLOW = pytest.mark.slow  # each loads torch in a process of its own


@pytest.mark.parametrize(
    "case",
    [
        pytest.param("hf-published-safetensors", marks=SLOW),
        "pytorch-wt103-base",
        pytest.param("nvidia-large", marks=SLOW),
    ],
)
def test_scores_of_words_are_the_librarys(case: str, tmp_path: Path) -> None:
    out = tmp_path / "imported"
    result = run("import", form(case), DATA / case, out)
    assert result.exit_code == 0, result.stderr
    want = expected(case)
    words = Bundle.load(out, device="cpu").vocabulary
    texts = want.texts[:2]  # the third is the start word alone
    lines = [" ".join(words.word(i) for i in text[1:].tolist()) for text in texts]
    (tmp_path / "lines.txt").write_text("\n".join(lines) + "\n")
    rows = json_rows(run("score", tmp_path / "lines.txt", "--model", out, "--pretokenized"))
    for row, text, logprobs in zip(rows, texts, want.logprobs[:2], strict=True):
        targets = torch.cat([text[1:], torch.zeros(1, dtype=torch.int64)])  # and the end of the sentence
        gathered = logprobs.gather(1, targets[:, None])[:, 0]
        found = torch.tensor([word["logprob"] for word in row["words"]])
        torch.testing.assert_close(found, gathered, atol=1e-4, rtol=0)
        assert [word["word"] for word in row["words"]] == [words.word(i) for i in targets.tolist()]


@SLOW
def test_a_fault_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for file in (DATA / "hf-published").iterdir():
        content = file.read_bytes()
        (source / file.name).write_bytes(content[:-2000] if file.name == "pytorch_model.bin" else content)
    out = tmp_path / "imported"
    assert "pytorch_model.bin" in refusal(run("import", "transfo-xl-hf", source, out))
    assert not out.exists()
