"""EleutherAI's lm-evaluation-harness against `headfirst serve`, on a task of its own in a local file."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.clients.environment import python_with, run
from tests.support.server_process import ServerProcess

pytestmark = pytest.mark.slow

QUESTIONS: list[tuple[str, list[str], int]] = [
    ("Thank you very", [" much.", " house."], 0),
    ("I would like to", [" the.", " go home."], 1),
    ("He lives in New", [" York.", " apple."], 0),
    ("Once upon a", [" blue.", " time."], 1),
    ("The capital of France is", [" Paris.", " of."], 0),
]

TASK = """\
task: headfirst_endings
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{text}}}}"
doc_to_choice: "{{{{choices}}}}"
target_delimiter: ""
doc_to_target: answer
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
"""

ROLLING = """\
task: headfirst_rolling
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
output_type: loglikelihood_rolling
test_split: test
doc_to_text: ""
doc_to_target: "{{{{text}}}}"
metric_list:
  - {{metric: word_perplexity}}
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ServerProcess()
    try:
        server.wait_ready()
        yield server.url
    finally:
        server.kill()


@pytest.fixture(scope="module")
def samples(url: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """What the harness recorded of each question, by task."""
    folder = tmp_path_factory.mktemp("harness")
    rows = [{"text": text, "choices": choices, "answer": answer} for text, choices, answer in QUESTIONS]
    (folder / "endings.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    texts = [{"text": text + choices[answer]} for text, choices, answer in QUESTIONS]
    (folder / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts))
    (folder / "endings.yaml").write_text(TASK.format(data=folder / "endings.jsonl"))
    (folder / "rolling.yaml").write_text(ROLLING.format(data=folder / "texts.jsonl"))
    arguments = f"model=default,base_url={url}/v1/completions,tokenizer_backend=remote,max_retries=1"
    python = python_with("lm-eval", "lm-eval[api]", "datasets")
    run(
        python,
        "-m",
        "lm_eval",
        *("--model", "local-completions", "--model_args", arguments),
        *("--include_path", folder, "--tasks", "headfirst_endings,headfirst_rolling"),
        *("--output_path", folder / "out", "--log_samples"),
        HF_HOME=str(folder / "hf"),
    )
    found = {}
    for file in (folder / "out").rglob("samples_*.jsonl"):
        task = file.name.removeprefix("samples_").rpartition("_")[0]
        found[task] = [json.loads(line) for line in file.read_text().splitlines()]
    return found


def logprob(url: str, text: str, context: str = "") -> float:
    body = {"inputs": text, "context": context, "end_of_sentence": False}
    answer = httpx.post(f"{url}/v1/score", json=body).json()
    return float(answer["results"][0]["logprob"])


@pytest.mark.timeout(1200)
def test_log_likelihoods_are_those_of_score(url: str, samples: dict[str, list[dict[str, Any]]]) -> None:
    rows = samples["headfirst_endings"]
    assert len(rows) == len(QUESTIONS)
    for row in rows:
        text, choices, _ = QUESTIONS[row["doc_id"]]
        for choice, (answer,) in zip(choices, row["resps"], strict=True):
            assert float(answer[0]) == pytest.approx(logprob(url, choice, text), abs=1e-4)
    assert sum(row["acc"] for row in rows) / len(rows) >= 0.6


@pytest.mark.timeout(1200)
def test_whole_texts_are_scored_from_the_start(url: str, samples: dict[str, list[dict[str, Any]]]) -> None:
    rows = samples["headfirst_rolling"]
    assert len(rows) == len(QUESTIONS)
    for row in rows:
        text, choices, answer = QUESTIONS[row["doc_id"]]
        (found,) = row["resps"][0] if isinstance(row["resps"][0], list) else row["resps"]
        value = found[0] if isinstance(found, list) else found
        assert float(value) == pytest.approx(logprob(url, text + choices[answer]), abs=1e-4)
