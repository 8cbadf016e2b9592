"""Reads the settings: flags and variables into `Settings`, and the files that hold keys."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import SecretStr, ValidationError
from pydantic_settings import CliApp, SettingsError

from service.settings.settings import PREFIX, ConfigurationError, Settings, flag


def load_settings(arguments: Sequence[str]) -> Settings:
    """Settings from command-line arguments, `HEADFIRST_...` variables and defaults.

    Raises:
        ConfigurationError: an unknown flag, or a value of the wrong type or out of range.
        SystemExit: after `--help` was printed.
    """
    try:
        return CliApp.run(Settings, list(arguments))
    except ValidationError as error:
        raise ConfigurationError(_first_fault(error)) from None
    except SettingsError as error:
        message = " ".join(str(error).removeprefix("error parsing CLI: ").split())
        raise ConfigurationError(f"{message} (see headfirst serve --help)") from None


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """One sentence for each `HEADFIRST_...` variable that no setting reads: most likely a misspelling."""
    known = [name.upper() for name in Settings.model_fields]
    sentences = []
    for name in sorted(environment):
        setting = name.upper().removeprefix(PREFIX)
        if name.upper().startswith(PREFIX) and setting not in known:
            near = difflib.get_close_matches(setting, known, n=1)
            hint = f"; did you mean {PREFIX}{near[0]}?" if near else ""
            sentences.append(f"{name} is no setting and has no effect{hint}")
    return sentences


def read_api_key(settings: Settings) -> bytes | None:
    """The key as bytes, from the setting or the file's first line; None where requests need no key.

    Raises:
        ConfigurationError: the file cannot be read, or the key is not printable ASCII without spaces.
    """
    return _read_key("--api-key", settings.api_key, settings.api_key_file)


def read_admin_key(settings: Settings) -> bytes | None:
    """The key for /admin/reload, likewise; None where the API key serves for it, or it is closed."""
    return _read_key("--admin-key", settings.admin_key, settings.admin_key_file)


def _read_key(origin: str, given: SecretStr | None, file: Path | None) -> bytes | None:
    if given is not None:
        # A Kubernetes secret made of a file keeps the newline at its end, in the variable, too.
        key = given.get_secret_value().strip()
    elif file is not None:
        origin = f"{origin}-file {file}"
        try:
            key = file.read_text("utf-8").partition("\n")[0].strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a text file"
            raise ConfigurationError(f"{origin}: cannot read it: {reason}") from error
    else:
        return None
    if not key or not all("!" <= character <= "~" for character in key):
        raise ConfigurationError(f"{origin}: a key is one or more printable ASCII characters without spaces")
    return key.encode()


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_context=False)[0]
    message = fault["msg"].removeprefix("Value error, ")
    if not fault["loc"]:
        return message
    name = str(fault["loc"][0]).replace("-", "_")
    # The key must not reach the terminal or a log through its own error message.
    value = "" if name in ("api_key", "admin_key") else f", not {fault['input']!r}"
    return f"{flag(name)} ({PREFIX}{name.upper()}): {message[0].lower()}{message[1:]}{value}"
