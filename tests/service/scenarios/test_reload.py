"""Loading models again under the real server: POST /admin/reload and SIGHUP, without a failed request."""

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from models.bundle import Bundle
from service.http.api.examples import describe
from service.http.schemas.native import PredictRequest
from tests.support.http import assert_same
from tests.support.load import Answer, Load, load
from tests.support.server_process import ServerProcess, ask, page_of, pid_of, until
from tests.support.tiny import tiny_bundle, tiny_config

TEXT = PredictRequest.EXAMPLES[0]
KEY = {"authorization": "Bearer topsecret"}
MIB = 1024 * 1024

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="no /proc on this system"
)


class Versions:
    """Two bundles of other words and other weights, and a link that leads to one of them."""

    def __init__(self, directory: Path) -> None:
        self.link = directory / "current"
        self.paths = [
            tiny_bundle(directory / "first"),
            tiny_bundle(directory / "second", tiny_config(230, (40, 60, 90, 120, 160, 200, 230)), seed=1),
        ]
        self.answers = [describe(Bundle.load(path, "cpu"))["/v1/predict"] for path in self.paths]
        self.lead_to(self.paths[0])

    def lead_to(self, path: Path) -> None:
        """As a deployment does: the link is one or the other, at every moment."""
        new = self.link.with_suffix(".new")
        new.symlink_to(path)
        new.replace(self.link)

    def which(self, answer: Answer) -> int:
        """The number of the version that gave this answer, or the status of a refusal."""
        if answer.status != 200:
            return answer.status
        found = json.loads(answer.content)
        for version, expected in enumerate(self.answers):
            with contextlib.suppress(AssertionError):
                assert_same(found, expected)
                return version
        raise AssertionError(f"no version's answer: {found}")

    def wait(self, load: Load, version: int) -> None:
        """Returns after 20 more answers of this version."""
        load.wait(lambda answer: self.which(answer) == version)

    def seen(self, load: Load) -> set[int]:
        """The versions that have answered so far, and the statuses of refusals."""
        return set(map(self.which, load.answers))


@pytest.fixture
def versions(tmp_path: Path) -> Versions:
    return Versions(tmp_path)


@pytest.fixture(params=["0", "2"], ids=["one process", "two workers"])
def workers(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextmanager
def serving(versions: Versions, workers: str, *arguments: str) -> Iterator[ServerProcess]:
    server = ServerProcess(
        *("--model", f"it={versions.link}", "--http-workers", workers, *arguments),
        HEADFIRST_API_KEY="topsecret",
    )
    try:
        server.wait_ready()
        if workers != "0":
            # Asked one by one, because the first may be ready before the other.
            ready: set[str] = set()
            while len(ready) < int(workers):
                status, name = ask(server, "/health/ready", None)
                ready |= {name} if status == 200 else set()
        yield server
    finally:
        server.stop()


def reload(server: ServerProcess, **body: str) -> httpx.Response:
    return httpx.post(f"{server.url}/admin/reload", headers=KEY, json=body, timeout=60)


@contextmanager
def asking(server: ServerProcess, clients: int = 6) -> Iterator[Load]:
    """Clients whose connections all hold."""
    with load(server.url, clients, requests=[("/v1/predict", json.dumps(TEXT))], headers=KEY) as running:
        yield running
    assert running.unsent == running.broken == []


def memory(server: ServerProcess) -> float:
    return page_of(server)["process_resident_memory_bytes", ()]


def swap_under_load(versions: Versions, workers: str, times: int) -> list[float]:
    """Reloads so often, each time another model; the memory after each."""
    held = []
    with serving(versions, workers) as server:
        with asking(server) as running:
            versions.wait(running, 0)
            for turn in range(1, times + 1):
                versions.lead_to(versions.paths[turn % 2])
                answer = reload(server)
                assert answer.status_code == 200, answer.text
                (model,) = answer.json()["models"]
                assert (model["model"], model["changed"]) == ("it", True)
                versions.wait(running, turn % 2)
                held.append(memory(server))
        # Whoever asked was answered by one model or the other, never by one with the words of the other.
        assert versions.seen(running) == {0, 1}
        page = page_of(server)
        assert page["model_reloads_total", (("result", "success"),)] == times
        assert page["engine_ready", ()] == 1
        assert page["queue_depth", ()] == 0
        assert [name for name, _ in page].count("model_info") == 1
        failed = [line for line in server.lines if line.get("level") in ("error", "critical")]
        assert failed == []
    return held


def test_model_swap_under_load(versions: Versions, workers: str) -> None:
    swap_under_load(versions, workers, 4)


@pytest.mark.slow
def test_model_swap_under_load_leaves_memory_flat(versions: Versions, workers: str) -> None:
    held = swap_under_load(versions, workers, 60)
    assert max(held[40:]) < max(held[10:20]) + 8 * MIB


@pytest.mark.slow
def test_sighup_reloads_all_models(versions: Versions, workers: str) -> None:
    with serving(versions, workers) as server, asking(server, 2) as running:
        versions.wait(running, 0)
        versions.lead_to(versions.paths[1])
        server.signal(signal.SIGHUP)
        versions.wait(running, 1)
        until(lambda: any(line["message"] == "reloaded a model" for line in server.lines))
        (line,) = [line for line in server.lines if line["message"] == "reloaded a model"]
        assert line["old"] != line["new"]
        assert versions.seen(running) == {0, 1}


@pytest.mark.slow
def test_a_broken_bundle_changes_nothing(versions: Versions, workers: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(versions.paths[1], broken)
    (broken / "model.safetensors").write_bytes(b"no weights")
    with serving(versions, workers) as server:
        with asking(server, 2) as running:
            versions.lead_to(broken)
            answer = reload(server, model="it")
            assert answer.status_code == 422
            error = answer.json()["error"]
            assert (error["code"], error["param"]) == ("reload_failed", "model")
            assert "model.safetensors" in error["message"]
            assert "\n" not in error["message"]
            server.signal(signal.SIGHUP)
            until(lambda: sum("reload failed" in str(line["message"]) for line in server.lines) == 2)
            versions.wait(running, 0)
            # Mended, it is loaded.
            versions.lead_to(versions.paths[1])
            assert reload(server).status_code == 200
            versions.wait(running, 1)
        assert versions.seen(running) == {0, 1}
        page = page_of(server)
        assert page["model_reloads_total", (("result", "failure"),)] == 2
        assert page["model_reloads_total", (("result", "success"),)] == 1


@pytest.mark.slow
def test_an_engine_that_starts_again_has_what_was_loaded_last(versions: Versions) -> None:
    """The workers were forked with the first vocabulary, and follow whatever the engine process has."""
    with serving(versions, "2") as server:
        for name in ("worker-1", "engine"):
            versions.lead_to(versions.paths[1])
            assert reload(server).status_code == 200
            killed = pid_of(server, name)
            os.kill(killed, signal.SIGKILL)
            until(lambda: pid_of(server, name) != killed)  # noqa: B023
            server.wait_ready()
            with asking(server, 2) as running:
                versions.wait(running, 1)
            assert 0 not in versions.seen(running)
        # Changed since, and never asked to be loaded: the next engine process has it all the same.
        versions.lead_to(versions.paths[0])
        killed = pid_of(server, "engine")
        os.kill(killed, signal.SIGKILL)
        until(lambda: pid_of(server, "engine") != killed)
        with asking(server, 2) as running:
            versions.wait(running, 0)
        assert 1 not in versions.seen(running)
        assert page_of(server)["engine_restarts_total", ()] == 2
