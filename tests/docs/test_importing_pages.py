"""The pages on importing and on Chinese: their commands are run, on a small checkpoint and a small text."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from tests.docs.shell import ROOT, blocks, run

pytestmark = pytest.mark.slow

CHECKPOINT = ROOT / "tests" / "oracles" / "fairseq" / "data" / "new-wiki103"
HAN = "我你他她们在大学校习来到北京清华喜欢吃饭看书中国人民世界第二次战后期间今天明天老师生"


@pytest.mark.parametrize(
    ("page", "source", "named"),
    [("importing.md", "SOURCE", "FORMAT"), ("fairseq.md", "DIRECTORY", "fairseq")],
)
def test_a_checkpoint_is_imported(page: str, source: str, named: str, tmp_path: Path) -> None:
    shutil.copytree(CHECKPOINT, tmp_path / source)
    ((language, code),) = [block for block in blocks(ROOT / "docs" / page) if block[0] == "sh"]
    assert named in code
    run(language, code.replace("FORMAT", "fairseq"), tmp_path)
    assert json.loads((tmp_path / "OUT" / "config.json").read_text())["body"]["type"] == "transformer"


def test_chinese_is_trained_and_asked(tmp_path: Path) -> None:
    draw = random.Random(1)
    (tmp_path / "corpus").mkdir()
    lines = ["".join(draw.choices(HAN, k=20)) + "。" for _ in range(300)]
    (tmp_path / "corpus" / "a.txt").write_text("\n".join(lines) + "\n")
    install, train, ask = [block for block in blocks(ROOT / "docs" / "chinese.md") if block[0] == "sh"]
    assert install[1] == "pip install 'headfirst[chinese]'\n"
    run(*train, tmp_path)
    config = json.loads((tmp_path / "chinese" / "config.json").read_text())
    assert config["tokenization"] == {"type": "jieba"}
    output = run(*ask, tmp_path)
    (scored,) = [json.loads(line) for line in output.splitlines() if line.startswith('{"logprob')]
    assert [word["word"] for word in scored["words"]] == ["我", "来到", "北京", "清华大学", "。", "</s>"]
