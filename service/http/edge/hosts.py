"""Which `Host` a request may name: one, well formed (RFC 9112, 3.2), and one of those that are allowed."""

import ipaddress
import re
from collections.abc import Iterable, Sequence

import httptools

_HOST = re.compile(
    rb"(?P<name>\[(?P<literal>[0-9A-Fa-f:.]+)\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2}){1,255})"
    rb"(?::(?P<port>[0-9]{0,5}))?"
)


class Hosts:
    """Says of a request's head what is wrong with its host.

    Args:
        allowed: names in lower case; one with a dot at its beginning stands for all that end so, `*` for any.
    """

    def __init__(self, allowed: Iterable[str] = ("*",)) -> None:
        names = [name.strip().lower() for name in allowed]
        self._any = "*" in names
        self._names = {name for name in names if not name.startswith((".", "*."))}
        self._ends = tuple(name.removeprefix("*") for name in names if name.startswith((".", "*.")))

    def fault(self, version: str, url: bytes, headers: Sequence[tuple[bytes, bytes]]) -> str | None:
        """A sentence for the client; None for a host that is allowed.

        Args:
            version: of HTTP. 1.0 knows no `Host`, and may lack it.
            url: the request's target; the host of one in absolute form takes the header's place.
        """
        values = [value for name, value in headers if name == b"host"]
        if len(values) > 1:
            return "A request must have one Host header, not several."
        if not values and version != "1.0":
            return "A request of HTTP/1.1 must have a Host header."
        host = name_of(values[0]) if values else ""
        if host is None:
            return "The Host header is malformed: it must be a name or an address, and may have a port."
        if not url.startswith(b"/") and url != b"*":
            target = httptools.parse_url(url).host
            host = target.decode("latin-1").lower() if target else host
            host = f"[{host}]" if ":" in host and not host.startswith("[") else host
        if self._any or not host or self._allows(host.removesuffix(".")):
            return None
        return "This host is not allowed; --allowed-hosts says which are."

    def _allows(self, host: str) -> bool:
        return host in self._names or host.endswith(self._ends)


def name_of(value: bytes) -> str | None:
    """The name or address in a `Host` header, in lower case and without the port; None if it is malformed."""
    found = _HOST.fullmatch(value)
    if found is None or int(found["port"] or b"0") > 65535:
        return None
    if found["literal"] is not None:
        try:
            ipaddress.IPv6Address(found["literal"].decode())
        except ValueError:
            return None
    return found["name"].decode().lower()
