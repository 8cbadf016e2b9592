"""The app: routes and what surrounds them, around the served models."""

from typing import Any

import service
from service.fleet.served import Catalog
from service.http.api import admin, health, kserve, models, playground, predict, score
from service.http.api import metrics as metrics_route
from service.http.edge.admission import Admission
from service.http.edge.middleware import Guard, Observe
from service.http.edge.refusals import Refusals
from service.http.openai import completions, tokenizer
from service.http.request.context import Context
from service.http.request.routing import NAMED_PARTS, DirectApp, Dispatch
from service.http.telemetry.client_address import ClientAddress
from service.http.telemetry.endpoints import STATUSES, Endpoints
from service.http.telemetry.recorder import Recorder
from service.http.telemetry.tracing import Tracing
from service.metrics.registry import Metrics
from service.settings.reading import read_admin_key, read_api_key
from service.settings.settings import Settings

DESCRIPTION = """\
Word-level language models with an adaptive softmax: *which words come next?* and *how probable is this text?*

* `inputs` is one text or a list of texts; `results` is always a list, in the same order.
* Log-probabilities are natural logarithms. `</s>` is the end of a sentence; an empty text is its start.
* A body is read as JSON in UTF-8 whatever its `Content-Type` says; from a page of another origin it has to
  say JSON. Control characters in a text are white
  space.
* Every error has the shape `{"error": {"message", "type", "param", "code"}}`; every answer has an
  `X-Request-Id`.
* `Server-Timing` tells where the time went, in milliseconds.
"""


class HeadfirstApp(DirectApp):
    """The routes, their documentation, and our two layers around them.

    `Observe` answers every exception itself, so that there is one place where an error gets its shape. The
    page at /docs is FastAPI's: its scripts come from a public CDN, `/openapi.json` from here alone.

    Attributes:
        refusals: what a server may refuse before it calls `answer`.
    """

    def __init__(self, context: Context, tracing: Tracing | None = None) -> None:
        super().__init__(
            title="Headfirst",
            version=service.__version__,
            description=DESCRIPTION,
            redoc_url=None,
            swagger_ui_oauth2_redirect_url=None,
            license_info={"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
            redirect_slashes=False,
        )
        self.context = context
        for route in (predict, score, completions, tokenizer, models, kserve, health, admin, metrics_route):
            route.add(self, context)
        endpoints = Endpoints(playground.add(self))
        proxies = context.settings.forwarded_allow_ips
        recorder = Recorder(context.metrics, endpoints, tracing, ClientAddress(proxies) if proxies else None)
        admission = context.admission
        self.refusals = Refusals(admission, endpoints, recorder)
        guard = Guard(Dispatch(self, context.settings.root_path), admission, context.settings.max_body_bytes)
        self.answer = Observe(guard, recorder, admission)
        self._endpoints = endpoints

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document, made once: with the named parts of requests, and who needs a key."""
        if self.openapi_schema is None:
            document = super().openapi()
            components = document["components"]
            components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            for path, operations in document["paths"].items():
                for operation in operations.values():
                    components["schemas"].update(operation.pop(NAMED_PARTS, {}))
                    if self._endpoints[path].keyed or path == admin.PATH:
                        # Whether a key is needed is the server's setting.
                        operation["security"] = [{"key": []}, {}]
        return super().openapi()


def create_app(
    settings: Settings, models: Catalog, metrics: Metrics, tracing: Tracing | None = None
) -> HeadfirstApp:
    """The app that serves `models`; `app.context` is how to drain it and to follow a reload.

    Raises:
        ConfigurationError: a key cannot be read.
    """
    keys = read_api_key(settings), read_admin_key(settings)
    admission = Admission(settings.max_concurrent_requests, *keys)
    metrics.describe_endpoints(STATUSES)
    metrics.describe_models(served.card for served in models)
    return HeadfirstApp(Context(settings, models, metrics, admission), tracing)
