"""Answers of the real server, over the network: from one process, and from workers."""

from tests.support.http_contract import HttpContract


class TestServer(HttpContract):
    """`client` asks the server of tests/service/conftest.py."""
