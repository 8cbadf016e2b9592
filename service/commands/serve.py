"""`headfirst serve`: load a model and answer over HTTP."""

import logging
import os
import signal
import sys
from collections.abc import Sequence

import typer

from service.settings.reading import load_settings, read_admin_key, read_api_key, unknown_variables
from service.settings.settings import ConfigurationError, Settings

logger = logging.getLogger("headfirst")

CONTEXT_SETTINGS = {"allow_extra_args": True, "ignore_unknown_options": True}
"""typer leaves the flags to `Settings`: one class makes flags, variables and help."""

USAGE_ERROR = 2


def serve(context: typer.Context) -> None:
    """Load a model and answer over HTTP (serve --help lists all settings)."""
    raise typer.Exit(run(context.args))


def run(arguments: Sequence[str]) -> int:
    """Serves until a signal. Returns the exit status: 0, or 2 after one line that says what is wrong."""
    try:
        settings = load_settings(arguments)
        read_api_key(settings)
        read_admin_key(settings)
    except ConfigurationError as error:
        return _refuse(error)

    # torch takes seconds to import; help and wrong flags are answered before.
    from models.bundle import BundleError
    from service import logs
    from service.http.telemetry import tracing

    logs.configure(settings.log_format, settings.log_level)
    # It means a reload, of which there is nothing yet; by itself it would end the server that starts.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    _warn(arguments)
    try:
        tracing.check(settings)
        if settings.workers:
            return _run_processes(settings)
        _run(settings)
    except (ConfigurationError, BundleError) as error:
        return _refuse(error)
    except KeyboardInterrupt:
        # Ctrl-C before the server's own handler was there: nothing was accepted yet.
        return 130
    return 0


def _run(settings: Settings) -> None:
    from service.processes.single import run_single

    run_single(settings)


def _run_processes(settings: Settings) -> int:
    from service.processes.supervisor import Supervisor

    return Supervisor(settings).run()


def _warn(arguments: Sequence[str]) -> None:
    if any(argument.split("=")[0] in ("--api-key", "--admin-key") for argument in arguments):
        logger.warning(
            "the key on the command line is visible to every user of this machine; use a variable or a file"
        )
    for sentence in unknown_variables(os.environ):
        logger.warning(sentence)


def _refuse(error: Exception) -> int:
    message = " ".join(str(error).split())
    print(f"headfirst serve: {message}", file=sys.stderr)
    return USAGE_ERROR
