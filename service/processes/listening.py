"""Listening sockets, and where they can be reached.

Several HTTP workers have one each, all on one address. Linux spreads new connections over them
(SO_REUSEPORT), where one shared socket would give most of them to the worker that wakes first. The
supervisor holds them too: those that a killed worker had not taken yet wait for the one that takes its place.
"""

import logging
import socket
import sys
from collections.abc import Iterable
from pathlib import Path

from service.settings.settings import ConfigurationError

logger = logging.getLogger("headfirst")

BACKLOG = 2048


def listen(host: str, port: int, workers: int) -> list[socket.socket]:
    """A listening socket for each worker; where they cannot share an address, the same one for all.

    Raises:
        ConfigurationError: as `bind`; also if the port is taken by another server of the same kind.
    """
    first = bind(host, port)
    if sys.platform != "linux":
        first.listen(BACKLOG)
        return [first, *(first.dup() for _ in range(workers - 1))]
    # Bound alone, to see that no other server has the port: sockets that share it get no such error.
    address = first.getsockname()
    family, kind, protocol = first.family, first.type, first.proto
    first.close()
    sockets: list[socket.socket] = []
    try:
        for _ in range(workers):
            sockets.append(socket.socket(family, kind, protocol))
            sockets[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sockets[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sockets[-1].bind(address)
            sockets[-1].setblocking(False)
        for each in sockets:
            each.listen(BACKLOG)
    except OSError as error:
        for each in sockets:
            each.close()
        raise ConfigurationError(f"--host {host} --port {port}: {error.strerror}") from error
    return sockets


def listen_at(path: Path, listening: socket.socket) -> None:
    """Lets a Unix socket listen at a path.

    Raises:
        ConfigurationError: the path cannot be one: it may have some 100 bytes.
    """
    try:
        listening.bind(str(path))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be a socket, set TMPDIR: {error}") from error
    listening.listen(128)


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to an address, not listening yet.

    Raises:
        ConfigurationError: there is no such address here, or the port is taken or not allowed.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigurationError(f"--host {host}: {error.strerror}") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        listening.close()
        raise ConfigurationError(f"--host {host} --port {port}: {error.strerror}") from error
    listening.setblocking(False)
    return listening


def log_urls(sockets: Iterable[socket.socket]) -> None:
    """Says where each of the sockets can be reached."""
    for listening in sockets:
        url = _url(listening)
        logger.info(f"playground {url}/  documentation {url}/docs", extra={"fields": {"url": url}})


def _url(listening: socket.socket) -> str:
    """Where to click; an address that stands for all of them is shown as this machine's own."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 -- shown, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
