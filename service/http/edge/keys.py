"""Keys that clients send as `Authorization: Bearer KEY`."""

import hashlib
import hmac


class Key:
    """A key to compare with, of which only a digest is kept."""

    def __init__(self, key: bytes) -> None:
        self._digest = hashlib.sha256(key).digest()

    def opens(self, authorization: bytes) -> bool:
        """Whether a header's value holds this key."""
        scheme, _, key = authorization.partition(b" ")
        # Digests have one length, so that the comparison's time tells nothing, not even the key's length.
        given = hashlib.sha256(key.strip()).digest()
        return scheme.lower() == b"bearer" and hmac.compare_digest(given, self._digest)
