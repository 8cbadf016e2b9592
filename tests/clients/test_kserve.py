"""NVIDIA's client of the Open Inference Protocol against `headfirst serve` with the model that ships."""

import json
from pathlib import Path

import httpx
import pytest

from tests.clients.environment import python_with, run
from tests.support.server_process import ServerProcess

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parent / "ask_kserve.py"
TEXTS = ["Thank you very", "Once upon a"]


@pytest.mark.timeout(900)
def test_tritonclient() -> None:
    server = ServerProcess()
    try:
        server.wait_ready()
        address = server.url.removeprefix("http://")
        found = json.loads(run(python_with("tritonclient", "tritonclient[http]"), SCRIPT, address))
        with httpx.Client(base_url=server.url, timeout=30) as http:
            best = http.post("/v1/predict", json={"inputs": TEXTS, "k": 3}).json()["results"]
            scored = http.post("/v1/score", json={"inputs": TEXTS}).json()["results"]
    finally:
        server.kill()
    assert found["live"] is found["ready"] is found["model_ready"] is True
    assert found["metadata"]["name"] == "default"
    words = [[word["word"] for word in result["words"]] for result in best]
    assert found["predict"]["words"] == words
    for row, result in zip(found["predict"]["logprobs"], best, strict=True):
        logprobs = [word["logprob"] for word in result["words"]]
        assert list(map(float, row)) == pytest.approx(logprobs, abs=1e-4)
    assert list(map(float, found["score"]["logprob"])) == pytest.approx(
        [result["logprob"] for result in scored], abs=1e-4
    )
    assert found["score"]["word_count"] == [str(result["word_count"]) for result in scored]
