"""fairseq models from their own files to answers: import, score, predict, and the engine with its cache."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest
import torch

from models.bundle import Bundle
from service.contract.messages import Message
from tests.support.commands import json_rows, refusal, run
from tests.support.fairseq_models import CASES, DATA, Expected, expected, imported
from tests.support.spy import Watched, check, predict, score

TOLERANCE = 1e-4
Get = Callable[[str], Bundle]
Start = Callable[..., Watched]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Get:
    """The bundle of a case."""
    return cache(lambda case: imported(case, tmp_path_factory.mktemp("bundles") / case))


@pytest.fixture
def start(bundle: Get) -> Iterator[Start]:
    """Starts an engine for a case: `start("new-gpt", state_cache_bytes=0)`."""
    running: list[Watched] = []

    def started(case: str, **settings: object) -> Watched:
        running.append(Watched(bundle(case), **settings))
        running[-1].start()
        return running[-1]

    yield started
    for watched in running:
        watched.engine.stop()


def texts(want: Expected, loaded: Bundle) -> tuple[list[str], list[list[float]]]:
    """fairseq's texts as lines, and the log-probabilities of their words and ends of sentence."""
    lines, values = [], []
    for ids, logprobs in zip(want.texts, want.logprobs, strict=True):
        lines.append(" ".join(loaded.vocabulary.word(i) for i in ids[1:].tolist()))
        targets = torch.cat([ids[1:], torch.tensor([loaded.vocabulary.end_id])])
        values.append(logprobs.gather(1, targets[:, None])[:, 0].tolist())
    if want.long_targets is not None:
        *words, end = want.long_targets.tolist()
        assert end == loaded.vocabulary.end_id
        lines.append(" ".join(map(loaded.vocabulary.word, words)))
        values.append(want.long_logprobs[8].tolist())
    return lines, values


# -- the commands --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_score_prints_fairseqs_log_probabilities(case: str, bundle: Get, tmp_path: Path) -> None:
    loaded = bundle(case)
    lines, values = texts(expected(case), loaded)
    file = tmp_path / "text.txt"
    file.write_text("\n".join(lines) + "\n")
    found = json_rows(run("score", file, "--model", loaded.path, "--pretokenized"))
    assert len(found) == len(lines)
    for row, line, logprobs in zip(found, lines, values, strict=True):
        assert [word["word"] for word in row["words"]] == [*line.split(), "</s>"]
        assert [word["logprob"] for word in row["words"]] == pytest.approx(logprobs, abs=TOLERANCE)


@pytest.mark.parametrize("case", CASES)
def test_predict_prints_fairseqs_best_words(case: str, bundle: Get) -> None:
    loaded, want = bundle(case), expected(case)
    lines, _ = texts(want, loaded)
    for line, logprobs in ((lines[0], want.logprobs[0]), (lines[3], want.logprobs[3])):
        (row,) = json_rows(run("predict", line, "--model", loaded.path, "--pretokenized", "--json", "-k", 5))
        last = logprobs[-1].clone()
        last[list(loaded.vocabulary.special_ids)] = -torch.inf
        best = last.topk(5)
        assert [w["word"] for w in row["words"]] == [loaded.vocabulary.word(i) for i in best.indices.tolist()]
        assert [w["logprob"] for w in row["words"]] == pytest.approx(best.values.tolist(), abs=TOLERANCE)


def test_import_then_score(tmp_path: Path, bundle: Get) -> None:
    out = tmp_path / "wiki"
    result = run("import", "fairseq", DATA / "old-2019", out)
    assert result.exit_code == 0, result.stderr
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    lines, values = texts(expected("old-2019"), bundle("old-2019"))
    rows = json_rows(run("score", "-", "--model", out, "--pretokenized", stdin="\n".join(lines).encode()))
    assert [w["logprob"] for w in rows[-1]["words"]] == pytest.approx(values[-1], abs=TOLERANCE)


def test_what_cannot_be_imported_is_one_line_and_status_2(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(DATA / "new-wiki103", source)
    with (source / "dict.txt").open("a") as file:
        file.write("one 1\n")
    message = refusal(run("import", "fairseq", source, tmp_path / "out"))
    assert "it is another model's dictionary" in message
    assert not (tmp_path / "out").exists()


# -- the engine ----------------------------------------------------------------------------------------------

SERVED = ["new-wiki103", "new-post-norm", "fconv-adaptive", "old-projected-head", "new-gpt"]


def mixture(seed: int) -> list[Message]:
    """Messages of all kinds, many of them longer than the window."""
    dice = random.Random(seed)
    messages: list[Message] = []

    def words(count: int) -> Sequence[int]:
        return dice.choices(range(2, 66), k=count)

    for length in (0, 1, 2, 7, 15, 16, 17, 33, 60):
        messages.append(predict(words(length), dice.choice([1, 10, 72]), dice.choice([None, "b", "zzz"])))
        messages.append(score(words(length), words(dice.choice([0, 3, 20]))))
    dice.shuffle(messages)
    return messages


@pytest.mark.parametrize("case", SERVED)
@pytest.mark.parametrize("cache_bytes", [0, 40_000, 2**24])
def test_the_engine_answers_as_one_by_one(case: str, cache_bytes: int, start: Start, bundle: Get) -> None:
    watched = start(case, state_cache_bytes=cache_bytes, max_batch_tokens=90)
    messages = mixture(5)
    for _ in range(2):  # The second time, what can be cached is.
        for message, answer in zip(messages, watched.ask(*messages), strict=True):
            check(bundle(case), message, answer)
    assert watched.sample("state_cache_bytes") <= cache_bytes


@pytest.mark.parametrize("case", SERVED)
def test_typing_runs_one_word_a_keystroke(case: str, start: Start, bundle: Get) -> None:
    watched, want = start(case, state_cache_bytes=2**24), expected(case)
    ids = want.texts[-1][1:].tolist()
    special = list(bundle(case).vocabulary.special_ids)
    for length in range(len(ids) + 1):
        watched.spy.forget()
        (answer,) = watched.ask(predict(ids[:length], 5))
        assert watched.spy.steps == ([[[ids[length - 1]]]] if length else [])
        logprobs = want.logprobs[-1][length].clone()
        logprobs[special] = -torch.inf
        best = logprobs.topk(5)
        assert answer.ids == tuple(best.indices.tolist())
        assert answer.logprobs == pytest.approx(best.values.tolist(), abs=TOLERANCE)
    watched.spy.forget()
    watched.ask(predict(ids[:6], 5), predict(ids, 5))  # backspacing
    assert watched.spy.steps == []


@pytest.mark.parametrize("case", SERVED)
def test_hypotheses_share_their_prefix(case: str, start: Start, bundle: Get) -> None:
    watched = start(case)
    draw = random.Random(1)
    common = draw.choices(range(4, 66), k=30)
    messages = [score([*common, *draw.choices(range(4, 66), k=6), 2]) for _ in range(10)]
    for message, answer in zip(messages, watched.ask(*messages), strict=True):
        check(bundle(case), message, answer)
    assert watched.spy.tokens == 30 + 10 * 6


def test_a_start_word_of_its_own(start: Start) -> None:
    watched, want = start("new-untied"), expected("new-untied")
    ids = want.texts[-1][1:].tolist()
    (answer,) = watched.ask(score(ids))
    known = want.logprobs[-1][:-1].gather(1, torch.tensor(ids)[:, None])[:, 0]
    assert answer.logprobs == pytest.approx(known.tolist(), abs=TOLERANCE)


def test_long_texts_are_scored_as_eval_lm_does(start: Start) -> None:
    watched, want = start("new-wiki103", max_batch_tokens=20), expected("new-wiki103")
    assert want.long_targets is not None
    (answer,) = watched.ask(score(want.long_targets.tolist()))
    assert answer.logprobs == pytest.approx(want.long_logprobs[8].tolist(), abs=TOLERANCE)
