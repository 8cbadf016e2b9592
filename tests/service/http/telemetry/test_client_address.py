"""Whose request it is."""

import pytest

from service.http.telemetry.client_address import ClientAddress

PROXIES = ("10.0.0.0/8", "127.0.0.1", "fd00::/8")


@pytest.mark.parametrize(
    ("proxies", "peer", "forwarded", "client"),
    [
        ((), "1.2.3.4", [], "1.2.3.4"),
        ((), "10.0.0.1", ["5.6.7.8"], "10.0.0.1"),
        (PROXIES, "1.2.3.4", ["5.6.7.8"], "1.2.3.4"),
        (PROXIES, "10.0.0.1", [], "10.0.0.1"),
        (PROXIES, "10.0.0.1", ["5.6.7.8"], "5.6.7.8"),
        (PROXIES, "10.0.0.1", ["9.9.9.9, 5.6.7.8"], "5.6.7.8"),
        (PROXIES, "10.0.0.1", ["9.9.9.9", "5.6.7.8, 10.2.0.1"], "5.6.7.8"),
        (PROXIES, "10.0.0.1", ["10.3.0.1, 10.2.0.1"], "10.3.0.1"),
        (PROXIES, "10.0.0.1", ["nonsense\\n, 10.2.0.1"], "10.2.0.1"),
        (PROXIES, "::ffff:10.0.0.1", ["5.6.7.8"], "5.6.7.8"),
        (PROXIES, "fd00::1", ["2001:DB8::1"], "2001:db8::1"),
    ],
)
def test_the_client(proxies: tuple[str, ...], peer: str, forwarded: list[str], client: str) -> None:
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    scope = {"client": (peer, 1), "headers": headers}
    assert ClientAddress(proxies).of(scope) == client


def test_a_unix_socket_has_none() -> None:
    assert ClientAddress(PROXIES).of({"client": None, "headers": []}) is None
