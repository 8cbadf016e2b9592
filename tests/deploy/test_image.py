"""The image, really built and run: a prediction over HTTP from a non-root process on a read-only root."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.serving.processes import free_port
from models.config.tokenization import Jieba, Moses
from tests.deploy import container
from tests.deploy.container import Image
from tests.deploy.tools import check, run
from tests.support.otel import Collector, collecting
from tests.support.tiny import tokenized_bundle

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

TAG = "localhost/headfirst-test:built"
PROGRAMS = {"buildah": "buildah", "debootstrap": "debootstrap", "nsenter": "util-linux"}


@pytest.fixture(scope="module", autouse=True)
def programs() -> None:
    """Installs what is absent; skips where that can't be."""
    absent = [package for name, package in PROGRAMS.items() if shutil.which(name) is None]
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("building the image needs Linux and root")
    if absent:
        if shutil.which("apt-get") is None:
            pytest.skip(f"{', '.join(absent)} absent, and no apt-get to install them")
        check("apt-get", "update", "--quiet")
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        check("apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *absent, env=environment)


@pytest.fixture(scope="module")
def image(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    container.make_base()
    started = time.monotonic()
    container.build(TAG, tmp_path_factory.mktemp("pip"))
    seconds = time.monotonic() - started
    built = Image(TAG)
    base = Image(container.BASE)
    capture = request.config.pluginmanager.get_plugin("capturemanager")
    assert capture is not None
    with capture.global_and_fixture_disabled():
        print(
            f"\nimage: {built.megabytes():.0f} MB, of which the base is {base.megabytes():.0f} MB; "
            f"built in {seconds:.0f} s"
        )
    container.buildah("rm", base.container)
    yield built
    built.remove()


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


class Server:
    """The container's server, its port, and what it has said."""

    def __init__(self, image: Image, **environment: str) -> None:
        self.port = free_port()
        self.environment = {
            "HEADFIRST_HOST": "127.0.0.1",
            "HEADFIRST_PORT": str(self.port),
            "HEADFIRST_THREADS": "1",
            **environment,
        }
        self.image = image
        self.process = image.start(**self.environment)
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30)

    def wait_ready(self, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.process.communicate()[0]
            try:
                if self.http.get("/health/ready").status_code == 200:
                    return
            except httpx.ConnectError:
                pass  # Not listening yet: the model is being loaded.
            time.sleep(0.1)
        pytest.fail(f"not ready in {seconds} s")

    def healthcheck(self) -> int:
        command = self.image.run_beside(self.process, *self.image.health_command(), **self.environment)
        return run(*command, timeout=30).returncode

    def stop(self) -> None:
        self.http.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def server(image: Image) -> Iterator[Server]:
    running = Server(image)
    try:
        running.wait_ready()
        yield running
    finally:
        running.stop()


def test_what_the_image_says_of_itself(image: Image) -> None:
    config = image.config
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["headfirst", "serve"]
    assert config["StopSignal"] == "SIGTERM"
    assert list(config["ExposedPorts"]) == ["8080/tcp"]
    assert image.environment["HEADFIRST_HOST"] == "0.0.0.0"  # noqa: S104
    assert image.labels["org.opencontainers.image.licenses"].startswith("Apache-2.0")


def test_the_image_carries_no_tools_and_no_caches(image: Image) -> None:
    names = ("gcc", "gcc-[0-9]*", "g++", "cc", "c++", "cc1", "make", "pip", "pip3", "*.whl", ".cache", "src")
    folders = ("usr/bin", "usr/lib/gcc", "usr/local/bin", "opt", "root", "src")
    present = [image.root / name for name in folders if (image.root / name).exists()]
    either = [word for name in names for word in ("-o", "-name", name)][1:]
    found = check("find", *present, "(", *either, ")", "-not", "-path", "*/site-packages/*/*", "-print")
    assert found.split() == []


def test_the_shipped_model_predicts_over_http(server: Server) -> None:
    answer = server.http.post("/v1/predict", json={"inputs": "Thank you very", "k": 5})
    assert answer.status_code == 200, answer.text
    words = [word["word"] for word in answer.json()["results"][0]["words"]]
    assert len(words) == 5
    assert "much" in words


def test_the_image_runs_on_the_kernels(server: Server, image: Image) -> None:
    inspect = image.run_beside(server.process, "headfirst", "inspect", "--json", **server.environment)
    kernels = json.loads(check(*inspect))["kernels"]
    assert kernels["body"].startswith("C++ ")
    assert kernels["softmax_fast"].startswith("C++ ")


def test_the_process_is_nobody_on_a_read_only_root(server: Server) -> None:
    process = Path(f"/proc/{server.process.pid}")
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines())
    assert status["Uid"].split() == ["10001"] * 4
    assert status["Gid"].split() == ["10001"] * 4
    assert status["CapEff"].strip("0") == ""
    assert status["NoNewPrivs"] == "1"
    mounts = [line.split() for line in (process / "mountinfo").read_text().splitlines()]
    (root,) = [mount for mount in mounts if mount[4] == "/"]
    assert "ro" in root[5].split(",")


def test_even_root_could_not_write_there(server: Server) -> None:
    enter = ("nsenter", "--target", str(server.process.pid), "--mount", "--root")
    refused = run(*enter, "touch", "/opt/headfirst/written", timeout=30)
    assert refused.returncode == 1
    assert "Read-only file system" in refused.stderr


def test_the_healthcheck_tells_ready_from_gone(server: Server, image: Image) -> None:
    assert server.healthcheck() == 0
    server.environment["HEADFIRST_PORT"] = str(free_port())
    try:
        assert server.healthcheck() != 0
    finally:
        server.environment["HEADFIRST_PORT"] = str(server.port)


def test_models_that_need_an_extra_are_served_and_traced(image: Image, collector: Collector) -> None:
    for name, tokenization in (("moses", Moses()), ("chinese", Jieba())):
        (image.root / "models").mkdir(exist_ok=True)
        tokenized_bundle(image.root / "models" / name, tokenization)
    server = Server(
        image,
        HEADFIRST_MODEL="moses=/models/moses,chinese=/models/chinese",
        HEADFIRST_OTEL_ENDPOINT=collector.url,
    )
    try:
        server.wait_ready()
        for model, text, words in (
            ("moses", "well-known", ["well", "@-@", "known"]),
            ("chinese", "我来到北京", ["我", "来到", "北京"]),
        ):
            body = {"model": model, "inputs": text, "end_of_sentence": False}
            (result,) = server.http.post("/v1/score", json=body).raise_for_status().json()["results"]
            assert [word["word"] for word in result["words"]] == words
        server.process.send_signal(signal.SIGTERM)
        said, _ = server.process.communicate(timeout=60)
    finally:
        server.stop()
    assert server.process.returncode == 0, said
    assert {path for path, _ in collector.requests} == {"/v1/traces"}


def test_the_images_stop_signal_ends_it_cleanly(image: Image) -> None:
    server = Server(image)
    try:
        server.wait_ready()
        server.process.send_signal(signal.Signals[image.config["StopSignal"]])
        said, _ = server.process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        pytest.fail("still running 60 s after the stop signal")
    finally:
        server.stop()
    assert server.process.returncode == 0, said
    assert "draining" in said
