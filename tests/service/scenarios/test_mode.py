"""The fast mode end to end: asked for or set, in one batch with the exact one, its bound told and kept."""

from __future__ import annotations

import dataclasses
import math
import random
from pathlib import Path
from typing import Any

import httpx
import pytest

from models.bundle import Bundle
from models.kernels import choice
from models.kernels.choice import choose
from service.contract.messages import Message, Predict, Predicted, Score, Scored
from service.contract.numbers import logprob_error
from service.engine.prefix_tree import score_nodes
from service.engine.work import Group, Job
from tests.support.asgi import Local, error_of, post
from tests.support.commands import json_rows, run
from tests.support.engines import TIMING, compute
from tests.support.server_process import StartServer
from tests.support.softmaxes import needs_extension
from tests.support.spy import Make, check, predict, score

ROUNDING = 2e-6
"""Of six digits, and of float32 in either answer."""


def words(count: int, seed: int) -> list[int]:
    return random.Random(seed).choices(range(280), k=count)


def mixture(seed: int) -> list[Message]:
    """Messages of every kind and length, each in both modes."""
    dice = random.Random(seed)
    messages: list[Message] = []
    for i, length in enumerate([0, 1, 2, 7, 20, 65]):
        k, prefix = dice.choice([1, 10, 17, 280, 1000]), dice.choice([None, "b", "ta", "zzz"])
        messages.append(predict(words(length, seed + i), k, prefix))
        # Shared beginnings, which one node of a tree computes for all that ask in one mode.
        messages += [
            score([*words(40, seed), *words(length, seed + i)], words(dice.choice([0, 3]), seed))
            for _ in range(2)
        ]
    messages += [dataclasses.replace(message, fast=True) for message in messages]
    dice.shuffle(messages)
    return messages


def same_within_bounds(exact: Any, fast: Any) -> None:
    """Two lists of results that differ by their bounds at most."""
    for one, other in zip(exact, fast, strict=True):
        assert "logprob_error" not in one
        bound = other.get("logprob_error", 0.0) + ROUNDING  # absent where the mode does not pay
        for left, right in zip(one["words"], other["words"], strict=True):
            assert left["word"] == right["word"]
            assert abs(left["logprob"] - right["logprob"]) <= bound
        if "logprob" in one:
            assert abs(one["logprob"] - other["logprob"]) <= bound * one["word_count"]


# -- the engine ---------------------------------------------------------------------------------------------


@needs_extension
@pytest.mark.parametrize("budget", [50, 4096])
def test_both_modes_in_one_batch(
    make: Make, bundle: Bundle, budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "FAST_GAIN", math.inf)  # so small a model may be as fast exactly
    monkeypatch.setattr(bundle.model, "choice", choose(bundle.model.softmax))
    watched = make(max_batch_tokens=budget)
    for seed in range(3):
        messages = mixture(seed)
        for message, answer in zip(messages, watched.ask(*messages), strict=True):
            if not message.fast:
                assert answer.error == 0
                check(bundle, message, answer)
                continue
            exact = compute(bundle, message)
            if isinstance(answer, Predicted):
                assert isinstance(exact, Predicted)
                assert (answer.ids, answer.clusters) == (exact.ids, exact.clusters)
            assert answer.error > 0 or not answer.logprobs
            for found, want in zip(answer.logprobs, exact.logprobs, strict=True):
                assert abs(found - want) <= answer.error + 1e-5


def test_without_a_fast_kernel_the_answer_is_exact(
    make: Make, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle.model, "choice", choose(bundle.model.softmax, "meta"))
    watched = make()
    messages = mixture(0)
    for message, answer in zip(messages, watched.ask(*messages), strict=True):
        assert answer.error == 0
        check(bundle, message, answer)


def test_a_tree_is_of_one_mode() -> None:
    tokens = tuple(range(40))
    jobs = [Job(Score("", (1,), (*tokens, i), None, fast=i % 2 == 0), Group(), 0.0) for i in range(6)]
    roots = score_nodes(jobs)
    assert [(root.fast, len(root.jobs)) for root in roots] == [(True, 3), (False, 3)]
    assert {job.message.fast for job in roots[0].jobs} == {True}


# -- HTTP ---------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_the_request_wins_over_the_setting(local: Local) -> None:
    for setting in ("exact", "fast"):
        app = local(mode=setting)
        for asked, expected in ((None, setting), ("exact", "exact"), ("fast", "fast")):
            for path in ("predict", "score"):
                response = await post(app, path, inputs="Thank you", mode=asked)
                assert response.status_code == 200
                assert app.engine.submitted[-1].fast == (expected == "fast")


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["", "Fast", "approximate", 1, True, ["fast"]])
async def test_no_such_mode(local: Local, mode: object) -> None:
    for path in ("predict", "score"):
        response = await post(local(), path, inputs="Thank you", mode=mode)
        assert response.status_code == 422
        error = error_of(response)
        assert error["param"] == "mode"
        assert error["message"] == "mode must be 'exact' or 'fast'."


@pytest.mark.anyio
async def test_the_bound_is_told_where_there_is_one(local: Local) -> None:
    def answer(message: Message) -> Predicted | Scored:
        error = 0.0012345678 if message.fast else 0.0
        if isinstance(message, Predict):
            return Predicted((3,), (-1.5,), (), TIMING, error)
        return Scored((-1.5,) * len(message.targets), TIMING, error)

    app = local(answer=answer)
    for path in ("predict", "score"):
        (fast,) = (await post(app, path, inputs="Thank you", mode="fast")).json()["results"]
        assert fast["logprob_error"] == 0.001236  # rounded up, and one more for the logarithms' own rounding
        (exact,) = (await post(app, path, inputs="Thank you")).json()["results"]
        assert list(exact) == [name for name in fast if name != "logprob_error"]


def test_rounding_never_makes_the_bound_smaller() -> None:
    assert logprob_error(0.0) == {}
    for error in (1e-12, 1e-6, 0.1234561, 0.1234569, 3.0):
        assert error + 5e-7 <= logprob_error(error)["logprob_error"] <= error + 2.1e-6


@needs_extension
@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_server_in_the_fast_mode(start_server: StartServer, workers: str) -> None:
    texts = ["Thank you very much", "", "the bin and of it", "zzz in"]
    with (
        start_server("--mode", "fast", "--http-workers", workers) as server,
        httpx.Client(base_url=server.url, timeout=30) as client,
    ):

        def ask(path: str, **body: object) -> Any:
            response = client.post(path, json={"inputs": texts} | body)
            assert response.status_code == 200, response.text
            return response.json()["results"]

        for k in (1, 10, 1000):
            same_within_bounds(ask("/v1/predict", k=k, mode="exact"), ask("/v1/predict", k=k))
        same_within_bounds(
            ask("/v1/predict", k=5, prefix="b", mode="exact"), ask("/v1/predict", k=5, prefix="b")
        )
        same_within_bounds(ask("/v1/score", mode="exact"), ask("/v1/score"))
        kernels = client.get("/v1/models").json()["data"][0]["kernels"]
        assert "exact" in kernels["softmax"]
        assert "int8" in kernels["softmax_fast"]
        schemas = client.get("/openapi.json").json()["components"]["schemas"]
        for name in ("PredictResult", "ScoreResult"):
            assert "nats" in schemas[name]["properties"]["logprob_error"]["description"]


# -- commands -----------------------------------------------------------------------------------------------


@needs_extension
def test_commands(bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "FAST_GAIN", math.inf)  # so small a model may be as fast exactly
    file = tmp_path / "text.txt"
    file.write_text("Thank you very much.\n\nthe bin\n")
    model = ("--model", bundle_path)
    exact = json_rows(run("predict", "Thank you very", "--json", "-k", 20, *model))
    fast = json_rows(run("predict", "Thank you very", "--json", "-k", 20, "--mode", "fast", *model))
    same_within_bounds(exact, fast)
    table = run("predict", "Thank you very", "-k", 20, "--mode", "fast", *model).stdout
    assert f"logprob_error {fast[0]['logprob_error']:.6f}" in " ".join(table.split())
    exact = json_rows(run("score", file, *model))
    result = run("score", file, "--mode", "fast", *model)
    fast = json_rows(result)
    same_within_bounds(exact, fast)
    largest = max(row["logprob_error"] for row in fast)
    (_, told) = result.stderr.split("logprobs within ")
    assert math.isclose(float(told), largest, rel_tol=0.06)
    refused = run("predict", "a", "--mode", "slow", *model)
    assert refused.exit_code == 2
    assert "--mode" in refused.stderr
