"""An error as HTTP sends it."""

from service.contract.errors import HeadfirstError


class ErrorResponse:
    """The answer to a request that failed: `status`, `headers` as ASGI has them, and `body`."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, error: HeadfirstError) -> None:
        self.status = error.status
        self.body = error.body()
        self.headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(self.body)),
            *((name.encode("latin-1"), value.encode("latin-1")) for name, value in error.headers().items()),
        ]
