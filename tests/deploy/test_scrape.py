"""Debian's real Prometheus scrapes a real server; every query of the dashboard and the rules returns data."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from benchmarks.serving.processes import free_port
from tests.deploy.monitoring import FILES, PANELS, RULES, concrete
from tests.deploy.tools import program
from tests.support.server_process import ServerProcess
from tests.support.tiny import tiny_bundle

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

QUERIES = {
    f"{panel['title']} {target['refId']}": concrete(target["expr"])
    for panel in PANELS
    for target in panel["targets"]
}


class Prometheus:
    """A Prometheus of the test's own that scrapes one address every second."""

    def __init__(self, folder: Path, target: str) -> None:
        rules = folder / "rules"
        rules.mkdir()
        for path in FILES:
            # A minute's rates would need minutes of scraping.
            (rules / path.name).write_text(path.read_text().replace("[5m]", "[10s]"))
        job = {"job_name": "headfirst", "static_configs": [{"targets": [target]}]}
        configuration = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(rules / "*.yml")],
            "scrape_configs": [job],
        }
        path = folder / "prometheus.yml"
        path.write_text(yaml.safe_dump(configuration))
        address = f"127.0.0.1:{free_port()}"
        self._log = (folder / "log").open("w")
        self._process = subprocess.Popen(
            [
                program("prometheus", "prometheus"),
                f"--config.file={path}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
                "--enable-feature=exemplar-storage",
            ],
            stderr=self._log,
        )
        self.http = httpx.Client(base_url=f"http://{address}", transport=httpx.HTTPTransport(retries=8))

    def ask(self, query: str) -> list[dict[str, Any]]:
        """The samples of an instant query."""
        answer = self.http.get("/api/v1/query", params={"query": query})
        assert answer.status_code == 200, f"{query}: {answer.text}"
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return found

    def wait(self, query: str, seconds: float = 60) -> None:
        """Until the query has a result other than nothing, 0 and NaN."""
        self._until(lambda: any(float(sample["value"][1]) > 0 for sample in self.ask(query)), query, seconds)

    def wait_ready(self) -> None:
        self._until(lambda: self.http.get("/-/ready").status_code == 200, "ready", 60)

    def _until(self, holds: Callable[[], bool], what: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
            assert self._process.poll() is None
            time.sleep(0.2)

    def stop(self) -> None:
        self.http.close()
        self._process.terminate()
        self._process.wait(30)
        self._log.close()


def load(url: str, ended: threading.Event) -> None:
    """A typing client, a scorer and a mistaken one, until told to end."""
    with httpx.Client(base_url=url, timeout=30) as client:
        text = ""
        while not ended.wait(0.02):
            text = (text + " Thank you very much")[-400:]
            client.post("/v1/predict", json={"inputs": [text, "the"], "k": 20}).raise_for_status()
            client.post("/v1/score", json={"inputs": [text, "Thank you", "I"]}).raise_for_status()
            client.post("/v1/completions", json={"prompt": text, "max_tokens": 2}).raise_for_status()
            (model,) = client.get("/v1/models").raise_for_status().json()["data"]
            client.get(f"/v1/models/{model['id']}").raise_for_status()
            assert client.post("/v1/predict", json={"inputs": [text], "k": 0}).status_code == 422


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    program("prometheus", "prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    server = ServerProcess("--model", str(tiny_bundle(folder)))
    ended = threading.Event()
    client = threading.Thread(target=load, args=(server.url, ended))
    try:
        server.wait_ready()
        scraper = Prometheus(folder, server.url.removeprefix("http://"))
        try:
            scraper.wait_ready()
            client.start()
            scraper.wait("sum(rate(headfirst_requests_total[10s]))")
            scraper.wait("job:headfirst_cluster_expansions:per_row5m")
            yield scraper
        finally:
            ended.set()
            client.join()
            scraper.stop()
    finally:
        server.stop()


@pytest.mark.parametrize("title", QUERIES)
def test_a_panel_shows_data(prometheus: Prometheus, title: str) -> None:
    found = prometheus.ask(QUERIES[title])
    assert found
    assert not any(sample["value"][1] == "NaN" for sample in found)


@pytest.mark.parametrize("rule", [rule["record"] for rule in RULES if "record" in rule])
def test_a_rule_records(prometheus: Prometheus, rule: str) -> None:
    prometheus.wait(f"{rule} + 1")  # A figure of 0 is one, NaN is none.


def test_exemplars_are_stored(prometheus: Prometheus) -> None:
    name = "headfirst_request_duration_seconds_bucket"
    now = time.time()
    query = {"query": f'{name}{{endpoint="/v1/predict"}}', "start": str(now - 300), "end": str(now + 60)}
    answer = prometheus.http.get("/api/v1/query_exemplars", params=query).json()
    found = [exemplar for series in answer["data"] for exemplar in series["exemplars"]]
    assert found
    assert all(len(exemplar["labels"]["request_id"]) == 32 for exemplar in found)


def test_no_alert_is_raised(prometheus: Prometheus) -> None:
    assert prometheus.ask('ALERTS{alertstate="firing"}') == []
    assert prometheus.http.get("/api/v1/rules").json()["data"]["groups"]
