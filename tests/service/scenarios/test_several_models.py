"""`headfirst serve --model EN=... --model ZH=...`: requests get the model that they name."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from models.bundle import Bundle
from service.commands import serve
from service.http.api.examples import describe
from service.http.schemas.native import PredictRequest, ScoreRequest
from tests.support.http import assert_same, samples, samples_once_counted
from tests.support.server_process import ServerProcess, page_of
from tests.support.tiny import tiny_bundle, tiny_config

PREDICT = PredictRequest.EXAMPLES[0]
SCORE = ScoreRequest.EXAMPLES[0]


@pytest.fixture(scope="module")
def other_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Other words, other clusters, other weights."""
    config = tiny_config(230, (40, 80, 120, 180, 230), bands=((2, 16), (2, 8)))
    return tiny_bundle(tmp_path_factory.mktemp("other"), config, seed=1)


@pytest.fixture(
    scope="module",
    params=["0", pytest.param("2", marks=pytest.mark.slow)],
    ids=["one process", "two workers"],
)
def server(bundle_path: Path, other_path: Path, request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    models = ("--model", f"first={bundle_path}", "--model", f"other={other_path}")
    running = ServerProcess(*models, "--http-workers", request.param)
    try:
        running.wait_ready()
        yield running
    finally:
        running.stop()


@pytest.fixture
def client(server: ServerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


def test_the_name_says_which(client: httpx.Client, bundle_path: Path, other_path: Path) -> None:
    for names, path in (((None, "first"), bundle_path), (("other",), other_path)):
        bundle = Bundle.load(path, "cpu")
        for name in names:
            for route, body, example in (
                ("predict", PREDICT, describe(bundle)["/v1/predict"]),
                ("score", SCORE, describe(bundle)["/v1/score"]),
            ):
                answer = client.post(f"/v1/{route}", json=body | {"model": name})  # type: ignore[operator]
                assert answer.status_code == 200
                assert_same(answer.json(), example)


def test_a_name_that_is_not_served(client: httpx.Client) -> None:
    answer = client.post("/v1/predict", json={"inputs": "Thank you", "model": "third"})
    assert answer.status_code == 404
    assert (answer.json()["error"]["code"], answer.json()["error"]["param"]) == ("model_not_found", "model")


def test_all_are_listed_in_order(client: httpx.Client) -> None:
    cards = client.get("/v1/models").json()["data"]
    assert [(card["id"], card["vocabulary_size"], card["clusters"]) for card in cards] == [
        ("first", 280, 6),
        ("other", 230, 4),
    ]
    assert len({card["digest"] for card in cards}) == 2


def test_metrics_are_of_all_together(server: ServerProcess, client: httpx.Client) -> None:
    before = page_of(server)
    for name in ("first", "other", "other"):
        assert client.post("/v1/predict", json={"inputs": "Thank you", "model": name}).status_code == 200
    page, _ = samples_once_counted(client, before["queue_duration_seconds_count", ()] + 3)
    for name in ("cluster_rows_total", "queue_duration_seconds_count"):
        assert page[name, ()] - before[name, ()] == 3
    assert {dict(labels)["model"] for name, labels in page if name == "model_info"} == {"first", "other"}
    clusters = {dict(labels)["cluster"] for name, labels in page if name == "cluster_expansions_total"}
    assert clusters == set("012345")
    assert page["engine_ready", ()] == 1
    assert page["queue_depth", ()] == 0
    assert page["state_cache_bytes", ()] > 0
    assert page.keys() == before.keys()


@pytest.mark.usefixtures("no_logging_left")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--model", "a={0}", "--model", "a={0}"), "two models have the name 'a'"),
        (("--model", "a={0}", "--model", "b=/no/such/bundle"), "/no/such/bundle: no such directory"),
        (("--model", "a={0}", "--model", "b={0}", "--model-name", "c"), "--model-name is for one --model"),
    ],
    ids=["same name", "one missing", "one name for two"],
)
def test_a_wrong_start_is_one_line(
    bundle_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    assert serve.run(["--port", "0", *(each.format(bundle_path) for each in arguments)]) == 2
    line = capsys.readouterr().err.splitlines()[-1]  # That of a model that was loaded may be before it.
    assert line.startswith("headfirst serve: ")
    assert words in line


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "1"])
def test_one_of_two_is_loaded_again(bundle_path: Path, other_path: Path, workers: str) -> None:
    """The other goes on with what its cache holds: its engine is not another one."""
    server = ServerProcess(
        "--http-workers",
        workers,
        HEADFIRST_MODEL=f"first={bundle_path},other={other_path}",
        HEADFIRST_ADMIN_KEY="topsecret",
    )
    body = {"inputs": "Thank you very much"}
    try:
        server.wait_ready()
        with httpx.Client(base_url=server.url, timeout=60) as client:

            def hits() -> float:
                page = samples(client)
                for name in ("first", "other"):
                    assert client.post("/v1/predict", json=body | {"model": name}).status_code == 200
                return samples(client)["state_cache_hits_total", ()] - page["state_cache_hits_total", ()]

            assert [hits(), hits()] == [0, 2]
            headers = {"authorization": "Bearer topsecret"}
            answer = client.post("/admin/reload", headers=headers, json={"model": "other"})
            (model,) = answer.json()["models"]
            assert (model["model"], model["changed"]) == ("other", False)
            assert [hits(), hits()] == [1, 2]
            # Counters never go back.
            assert samples(client)["cluster_rows_total", ()] == 8
    finally:
        server.stop()
