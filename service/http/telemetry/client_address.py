"""Whose request it is: the connection's client, or the one that trusted proxies tell of."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from starlette.types import Scope


class ClientAddress:
    """Finds the address of a request's client.

    Args:
        proxies: addresses or networks whose `X-Forwarded-For` is believed.
    """

    def __init__(self, proxies: Iterable[str]) -> None:
        self._networks = [ip_network(proxy.strip()) for proxy in proxies]

    def of(self, scope: Scope) -> str | None:
        """The connection's client, unless that is a trusted proxy: then the last address in its header that
        is not one. None where the connection has no address (a Unix socket)."""
        client = scope.get("client")
        found: str | None = client[0] if client else None
        if found is None:
            return found
        values = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        told = b",".join(values).decode("latin-1").split(",")
        while told and self._is_proxy(found):
            address = _parse(told.pop().strip())
            if address is None:
                break
            found = str(address)
        return found

    def _is_proxy(self, text: str) -> bool:
        address = _parse(text)
        return address is not None and any(address in network for network in self._networks)


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
