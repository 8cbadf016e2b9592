"""OpenAI's own Python package against `headfirst serve` with the model that ships."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.clients.environment import python_with, run
from tests.support.server_process import ServerProcess

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parent / "ask_openai.py"


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    server = ServerProcess(HEADFIRST_API_KEY="secret")
    try:
        server.wait_ready()
        yield server
    finally:
        server.kill()


@pytest.mark.timeout(900)
def test_the_openai_package(server: ServerProcess) -> None:
    found = json.loads(run(python_with("openai", "openai"), SCRIPT, server.url, "secret"))
    headers = {"authorization": "Bearer secret"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=30) as http:
        text, greedy = "Thank you very", []
        while len(greedy) < 6 and (not greedy or greedy[-1]["word"] != "</s>"):
            best = http.post("/v1/predict", json={"inputs": text, "k": 1}).json()
            greedy += best["results"][0]["words"]
            text += f" {greedy[-1]['word']}"
        scored = http.post(
            "/v1/score", json={"inputs": "Thank you very much.", "end_of_sentence": False}
        ).json()
    (model,) = found["models"]
    assert model["id"] == found["retrieved"] == "default"
    assert model["object"] == "model"
    assert model["created"] > 0
    # Temperature 0 is the most probable word again and again.
    told = found["greedy"]["choices"][0]["logprobs"]
    assert [token.strip() for token in told["tokens"]] == [word["word"] for word in greedy]
    assert told["token_logprobs"] == pytest.approx([word["logprob"] for word in greedy], abs=1e-4)
    assert len(greedy) > 1
    assert found["seeded"][0] == found["seeded"][1]
    echoed = found["echoed"]["choices"][0]["logprobs"]["token_logprobs"]
    assert sum(echoed) == pytest.approx(scored["results"][0]["logprob"], abs=1e-4)
    assert found["streamed"] == found["whole"]
    assert found["suffix"] == {"status": 422, "param": "suffix", "code": "unsupported"}
    assert found["model"] == {"status": 404, "param": "model", "code": "model_not_found"}
