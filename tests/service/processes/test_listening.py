"""Where the server listens, and what it says about that."""

import logging

import pytest

from service.processes.listening import bind, log_urls
from service.settings.settings import ConfigurationError


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.1"])
def test_a_host_that_is_not_ours(host: str) -> None:
    with pytest.raises(ConfigurationError, match=f"--host {host}"):
        bind(host, 0)


@pytest.mark.parametrize(
    ("host", "shown"),
    [("127.0.0.1", "127.0.0.1"), ("localhost", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "[::1]")],  # noqa: S104
)
def test_where_to_click(host: str, shown: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "headfirst")
    with bind(host, 0) as listening:
        port = listening.getsockname()[1]
        log_urls([listening])
    urls = [f"http://{each}:{port}" for each in (shown, "[::1]")]
    assert caplog.messages[-1] in [f"playground {url}/  documentation {url}/docs" for url in urls]
