"""Headfirst on Ray Serve: the same engine and the same app, a replica each.

    serve run deploy.ray.serve_app:app model=/models/mine threads=2 min_replicas=2

Arguments are those of `Scale` and the flags of `headfirst serve`. A client that sends `X-Session-Id` keeps to
one replica, whose state cache knows its text, as long as the replicas are the same; see `ROUTER`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, fields
from typing import Any, Final

from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig, RequestRouterConfig
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.settings.reading import load_settings
from service.settings.settings import Settings, flag

ROUTER: Final = "ray.serve.experimental.consistent_hash_router:ConsistentHashRouter"
"""Ray's own: a ring of replicas; a session goes to the next one on it, and a replica that comes or goes moves
only the sessions next to it. Requests without a session are spread evenly. A replica that is full passes a
request on to its successors."""

REPLICA_HEADER: Final = b"x-replica"

INSTEAD_OF_RELOAD: Final = (
    "On Ray models are not loaded again in place: deploy the application again (serve run or serve deploy),"
    " which replaces the replicas one after the other."
)


@dataclass(frozen=True)
class Scale:
    """How many replicas there are, and what each one takes.

    A replica computes all requests that wait as one batch, so that some of them waiting is good: more
    replicas are started when on average more than `target_requests` are being answered by each.
    """

    min_replicas: int = 1
    max_replicas: int = 8
    target_requests: float = 16.0
    max_requests: int = 256
    """A replica gets no more at once; the next ones wait in Ray's proxy."""
    max_waiting: int = 2048
    """Requests that wait in a proxy at most; further ones get Ray's 503."""
    cpus: float = 1.0
    gpus: float = 0.0
    upscale_seconds: float = 10.0
    downscale_seconds: float = 300.0
    """A replica that goes takes its cache of states along: leave slowly."""


@serve.ingress()
class Headfirst:
    """A replica: what `headfirst serve` is with one process, without its HTTP.

    Raises:
        ConfigurationError, BundleError: the flags or the model cannot be served; the deployment fails.
    """

    async def __init__(self, flags: list[str]) -> None:
        import torch

        from service import logs
        from service.fleet.fleet import Fleet
        from service.fleet.loading import load
        from service.fleet.memory import settle
        from service.http.api.examples import describe
        from service.http.app import create_app
        from service.http.telemetry import tracing
        from service.metrics.registry import Metrics

        settings = load_settings(flags)
        logs.configure(settings.log_format, settings.log_level)
        tracing.check(settings)
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        loaded = [load(source, settings, describe) for source in settings.sources]
        metrics = Metrics(max(each.card.clusters for each in loaded))
        self._fleet = Fleet(settings, metrics, loaded, describe)
        self._tracing = tracing.open_tracing(settings)
        self._app = create_app(settings, self._fleet.catalog, metrics, self._tracing)
        self._app.context.reload_instead = INSTEAD_OF_RELOAD
        self._app.openapi()
        self._drain_timeout = settings.drain_timeout
        del loaded
        settle()
        self._fleet.start()
        await self._fleet.changes.until(lambda: self._fleet.state != "starting")
        self.check_health()

    def __serve_build_asgi_app__(self) -> ASGIApp:
        return named(self._app, serve.get_replica_context().replica_id.unique_id)

    def check_health(self) -> None:
        """Ray asks this now and then, and replaces the replica where it raises."""
        self._fleet.check()
        if self._fleet.state == "dead":
            raise RuntimeError(self._fleet.reason)

    async def __del__(self) -> None:
        """Called when every request has been answered, or Ray's time for that is over."""
        await asyncio.to_thread(self._fleet.drain, self._drain_timeout)
        await asyncio.to_thread(self._fleet.stop)
        if self._tracing is not None:
            await asyncio.to_thread(self._tracing.close)


def named(app: ASGIApp, replica: str) -> ASGIApp:
    """`app`, each of its answers telling which replica gave it; Ray's proxy adds the request's id itself."""
    header = (REPLICA_HEADER, replica.encode())

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def named_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                others = [each for each in message.get("headers", ()) if each[0] != b"x-request-id"]
                message = {**message, "headers": [*others, header]}
            await send(message)

        await app(scope, receive, named_send)

    return answer


def app(arguments: dict[str, Any]) -> Application:
    """What `serve run` and a config file call, with the values that they give.

    Raises:
        ValueError: an argument is neither one of `Scale` nor a flag of `headfirst serve`.
    """
    # Given as text by `serve run`; as numbers by a config file.
    kinds = {field.name: type(field.default) for field in fields(Scale)}
    scale = Scale(**{name: kinds[name](value) for name, value in arguments.items() if name in kinds})
    flags: list[str] = []
    for name, value in arguments.items():
        if name not in kinds:
            if name not in Settings.model_fields:
                raise ValueError(f"{name} is neither a flag of headfirst serve nor one of {sorted(kinds)}")
            flags += [flag(name), str(value)]
    settings = load_settings(flags)
    deployment = serve.deployment(
        Headfirst,
        name="headfirst",
        max_ongoing_requests=min(scale.max_requests, settings.max_concurrent_requests),
        max_queued_requests=scale.max_waiting,
        autoscaling_config=AutoscalingConfig(
            min_replicas=scale.min_replicas,
            initial_replicas=scale.min_replicas,
            max_replicas=scale.max_replicas,
            target_ongoing_requests=scale.target_requests,
            upscale_delay_s=scale.upscale_seconds,
            downscale_delay_s=scale.downscale_seconds,
        ),
        request_router_config=RequestRouterConfig(request_router_class=ROUTER),
        ray_actor_options={"num_cpus": scale.cpus, "num_gpus": scale.gpus},
        # As `--drain-timeout`, and a little more to end in.
        graceful_shutdown_timeout_s=settings.drain_timeout + 5,
        health_check_period_s=5,
        health_check_timeout_s=30,
    )
    return deployment.bind(flags)
