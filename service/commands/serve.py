"""`headfirst serve`: load a model and answer over HTTP."""

import logging
import os
import sys
import time
from collections.abc import Sequence

import typer

from service.settings import ConfigurationError, Settings, load_settings, unknown_variables

logger = logging.getLogger("headfirst")

CONTEXT_SETTINGS = {"allow_extra_args": True, "ignore_unknown_options": True}
"""`Settings` reads the flags, not typer: they are made from one class, with the variables and the help."""

USAGE_ERROR = 2


def serve(context: typer.Context) -> None:
    """Load a model and answer over HTTP (serve --help lists all settings)."""
    raise typer.Exit(run(context.args))


def run(arguments: Sequence[str]) -> int:
    """Serves until a signal; the process's exit status: 0, or 2 after one line that says what is wrong."""
    try:
        settings = load_settings(arguments)
        settings.read_api_key()
    except ConfigurationError as error:
        return _refuse(error)

    # This takes seconds; help and wrong flags do without it.
    from models.bundle import BundleError
    from service import logs

    logs.configure(settings.log_format, settings.log_level)
    _warn(arguments)
    try:
        if settings.http_workers:
            return _run_processes(settings)
        _run(settings)
    except (ConfigurationError, BundleError) as error:
        return _refuse(error)
    except KeyboardInterrupt:
        # Ctrl-C before the server's own handler was there: nothing was accepted yet.
        return 130
    return 0


def _run(settings: Settings) -> None:
    import torch

    from models.bundle import Bundle
    from service.app import create_app
    from service.engine import Engine
    from service.loading import describe, log_loaded, settle
    from service.metrics import Metrics
    from service.routes.models import card
    from service.server import Server, bind

    started = time.monotonic()
    listening = bind(settings.host, settings.port)
    with listening:
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        bundle = Bundle.load(settings.bundle_path, settings.device, settings.model_name)
        model = card(bundle)
        metrics = Metrics(model.clusters)
        describe(metrics, model)
        engine = Engine(bundle, settings, metrics)
        app = create_app(settings, bundle, engine, metrics)
        # Kept by the app; made at its first use, it would let everybody wait for the first reader of /docs.
        app.openapi()
        server = Server(app, engine, settings.drain_timeout)
        log_loaded(bundle, started)
        settle()
        engine.start()
        try:
            server.run(sockets=[listening])
        finally:
            engine.stop()


def _run_processes(settings: Settings) -> int:
    from service.supervisor import Supervisor

    return Supervisor(settings).run()


def _warn(arguments: Sequence[str]) -> None:
    if any(argument.split("=")[0] == "--api-key" for argument in arguments):
        logger.warning(
            "the key on the command line is visible to every user of this machine; "
            "use HEADFIRST_API_KEY or --api-key-file"
        )
    for sentence in unknown_variables(os.environ):
        logger.warning(sentence)


def _refuse(error: Exception) -> int:
    message = " ".join(str(error).split())
    print(f"headfirst serve: {message}", file=sys.stderr)
    return USAGE_ERROR
