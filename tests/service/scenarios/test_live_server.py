"""Key, metrics and log of the real server."""

import json
from pathlib import Path

import httpx

from tests.support.http import samples, samples_once_counted
from tests.support.server_process import StartServer


def test_key(start_server: StartServer) -> None:
    with (
        start_server(HEADFIRST_API_KEY="topsecret") as server,
        httpx.Client(base_url=server.url, timeout=30) as client,
    ):
        assert client.post("/v1/predict", json={"inputs": "a"}).status_code == 401
        assert client.get("/v1/models", headers={"authorization": "Bearer wrong"}).status_code == 401
        client.headers["authorization"] = "Bearer topsecret"
        assert client.post("/v1/predict", json={"inputs": "a"}).status_code == 200
        del client.headers["authorization"]
        for path in ("/health", "/health/live", "/health/ready", "/metrics", "/docs", "/openapi.json"):
            assert client.get(path).status_code == 200
    assert "topsecret" not in json.dumps(server.lines)


def test_metrics_equal_what_was_sent(start_server: StartServer) -> None:
    with start_server() as server, httpx.Client(base_url=server.url, timeout=30) as client:
        before = samples(client)
        for _ in range(40):
            client.post("/v1/predict", json={"inputs": ["Thank you", "very"]})
        for _ in range(30):
            client.post("/v1/score", json={"inputs": "Thank you very much"})
        for _ in range(20):
            client.post("/v1/predict", json={"inputs": "a", "k": 0})
        for _ in range(10):
            client.get("/nothing")
        counted = before["queue_duration_seconds_count", ()] + 110
        after, looks = samples_once_counted(client, counted)

    assert before.keys() == after.keys()

    def grown(name: str, **labels: str) -> float:
        key = (name, tuple(sorted(labels.items())))
        return after[key] - before[key]

    assert grown("requests_total", endpoint="/v1/predict", status="200") == 40
    assert grown("requests_total", endpoint="/v1/score", status="200") == 30
    assert grown("requests_total", endpoint="/v1/predict", status="422") == 20
    assert grown("requests_total", endpoint="other", status="404") == 10
    assert grown("requests_total", endpoint="/metrics", status="200") == looks
    assert grown("request_duration_seconds_count", endpoint="/v1/predict") == 60
    assert grown("request_duration_seconds_count", endpoint="/v1/score") == 30
    assert grown("rejected_total", reason="invalid") == 20
    assert grown("queue_duration_seconds_count") == 110
    assert grown("cluster_rows_total") == 80
    requests = {key: value for key, value in after.items() if key[0] == "requests_total"}
    assert sum(requests.values()) - sum(before[key] for key in requests) == 100 + looks
    assert after["queue_depth", ()] == 0
    # The page itself is being asked for.
    assert after["requests_in_progress", ()] == 1
    assert after["engine_ready", ()] == 1
    (model,) = [dict(labels) for name, labels in after if name == "model_info"]
    assert (model["model"], model["vocabulary_size"]) == ("tiny", "280")


def test_what_it_logs(start_server: StartServer, bundle_path: Path) -> None:
    arguments = ("--api-key", "topsecret", "--model-name", "mine")
    with (
        start_server(*arguments, HEADFIRST_PROT="1") as server,
        httpx.Client(base_url=server.url, timeout=30) as client,
    ):
        client.headers["authorization"] = "Bearer topsecret"
        models = client.get("/v1/models").json()
        client.post("/v1/predict", json={"inputs": "Thank you"}, headers={"x-request-id": "me"})
    assert [model["name"] for model in models["data"]] == ["mine"]
    messages = [str(line["message"]) for line in server.lines]
    warnings = [str(line["message"]) for line in server.lines if line["level"] == "warning"]
    assert len(warnings) == 2
    assert "command line" in warnings[0]
    assert "did you mean HEADFIRST_PORT" in warnings[1]
    assert "topsecret" not in json.dumps(server.lines)
    loaded = next(line for line in server.lines if "loaded" in str(line["message"]))
    assert (loaded["model"], loaded["architecture"], loaded["vocabulary"]) == ("mine", "lstm", 280)
    assert (loaded["clusters"], loaded["dtype"], loaded["device"]) == (6, "float32", "cpu")
    assert loaded["path"] == str(bundle_path)
    assert loaded["parameters"]
    assert f"playground {server.url}/  documentation {server.url}/docs" in messages
    assert "ready" in messages
    assert all({"time", "level", "logger", "message"} <= set(line) for line in server.lines)
    assert {"uvicorn.error", "headfirst", "headfirst.access"} <= {line["logger"] for line in server.lines}
    (line,) = [line for line in server.lines if line.get("id") == "me"]
    assert (line["status"], line["inputs"], line["path"]) == (200, 1, "/v1/predict")
    assert "Thank" not in json.dumps(server.lines)
