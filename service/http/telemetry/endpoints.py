"""The table of endpoints: a row a path, which metrics, key, traces and places all read.

It fails closed: a path that the table lacks is `OTHER`, which needs the key and is traced, and so does a new
row unless it says otherwise.
"""

from collections.abc import Iterable
from dataclasses import dataclass

_MODEL = (200, 400, 401, 404, 405, 413, 415, 422, 429, 499, 500, 503, 504)
_ABOUT = (200, 401, 404, 405, 413, 500)
_PUBLIC = (200, 405, 413, 500)
_HEALTH = (200, 405, 413, 500, 503)
_FILE = (200, 304, 404, 405, 413, 500)
_RELOAD = (200, 400, 401, 403, 404, 405, 409, 413, 415, 422, 500, 503)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What is to be known of a request from its path alone.

    Args:
        path: the route's, as metrics, logs and traces name it; a parameter stands for the rest of a path, or
            for what is before the text that follows it.
        statuses: those that it can answer.
        asks_model: whether a POST asks a model, and takes one of the places that there are for such requests.
        keyed: whether it needs the API key, if the server has one.
        traced: whether traces are made of it, if the server makes any.
    """

    path: str
    statuses: tuple[int, ...]
    asks_model: bool = False
    keyed: bool = True
    traced: bool = True

    def covers(self, path: str) -> bool:
        """Whether a request's path is this one, its parameter filled in."""
        before, parameter, after = self.path.partition("{")
        if not parameter:
            return path == before
        return path.startswith(before) and path.endswith(after.partition("}")[2])


FILE = Endpoint("/{file}", _FILE, keyed=False, traced=False)
"""The files of the playground. No pattern: it covers those files alone that the server has (`Endpoints`)."""

OTHER = Endpoint("other", (400, 401, 404, 405, 413, 415, 500))
"""Every path that the table lacks, and what is not HTTP."""

ENDPOINTS = (
    Endpoint("/v1/predict", _MODEL, asks_model=True),
    Endpoint("/v1/score", _MODEL, asks_model=True),
    Endpoint("/v1/completions", _MODEL, asks_model=True),
    # Says what to ask instead.
    Endpoint("/v1/chat/completions", (401, 404, 405, 413, 415, 500)),
    Endpoint("/tokenize", _MODEL, asks_model=True),
    Endpoint("/detokenize", _MODEL, asks_model=True),
    Endpoint("/tokenizer_info", (200, 401, 405, 413, 500)),
    Endpoint("/v1/models", (200, 401, 405, 413, 500)),
    Endpoint("/v1/models/{name}", _ABOUT),
    # The first that covers a path counts. A model's versions and its readiness count as the model.
    Endpoint("/v2/models/{model}/infer", _MODEL, asks_model=True),
    Endpoint("/v2/models/{model}", (*_ABOUT, 503)),
    Endpoint("/v2", _PUBLIC, keyed=False),
    Endpoint("/v2/health/live", _HEALTH, keyed=False, traced=False),
    Endpoint("/v2/health/ready", _HEALTH, keyed=False, traced=False),
    Endpoint("/health", _HEALTH, keyed=False, traced=False),
    Endpoint("/health/live", _HEALTH, keyed=False, traced=False),
    Endpoint("/health/ready", _HEALTH, keyed=False, traced=False),
    # It asks for a key itself: the admin's, if there is one.
    Endpoint("/admin/reload", _RELOAD, keyed=False),
    Endpoint("/metrics", _PUBLIC, keyed=False, traced=False),
    Endpoint("/docs", _PUBLIC, keyed=False, traced=False),
    Endpoint("/openapi.json", _PUBLIC, keyed=False, traced=False),
    Endpoint("/", _FILE, keyed=False, traced=False),
    FILE,
    OTHER,
)

STATUSES = {endpoint.path: endpoint.statuses for endpoint in ENDPOINTS}
"""What `Metrics.describe_endpoints` is told."""

_PATTERNS = tuple(endpoint for endpoint in ENDPOINTS if "{" in endpoint.path and endpoint is not FILE)


class Endpoints(dict[str, Endpoint]):
    """A request's path -> its row, by one look-up for most: `endpoints[path]` never fails.

    Args:
        files: the paths of the playground's files.
    """

    def __init__(self, files: Iterable[str] = ()) -> None:
        super().__init__((path, FILE) for path in files)
        self.update((row.path, row) for row in ENDPOINTS if row.path.startswith("/") and "{" not in row.path)

    def __missing__(self, path: str) -> Endpoint:
        return next((endpoint for endpoint in _PATTERNS if endpoint.covers(path)), OTHER)
