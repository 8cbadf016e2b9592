"""The server's settings: one class, from which flags, environment variables and help are made.

Every field is a flag of `headfirst serve` in kebab case (`max_k` is `--max-k`) and a variable with our
prefix (`HEADFIRST_MAX_K`). A flag wins over a variable, a variable over the default. A field's docstring is
its help.
"""

import re
import sys
from functools import cached_property
from importlib import resources
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PrivateAttr, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.settings.model_sources import ModelSource, parse_sources, split_list
from service.settings.processors import processors

MIB = 1024 * 1024
PREFIX = "HEADFIRST_"
LOOPBACK = ("localhost", ".localhost", "127.0.0.1", "[::1]")
"""The names by which programs of the same machine call a server that listens on loopback alone."""


class ConfigurationError(ValueError):
    """A setting is wrong; the message is one line that names it and says what is allowed."""


class Settings(BaseSettings):
    """Start the server: load a model and answer over HTTP. Each flag is also a HEADFIRST_... variable."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        extra="ignore",
        frozen=True,
        protected_namespaces=(),
        use_attribute_docstrings=True,
        cli_prog_name="headfirst serve",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
        cli_show_env_vars=True,
        cli_exit_on_error=False,
    )

    model: Annotated[tuple[str, ...], NoDecode] = ()
    """Model bundles to serve: NAME=PATH or PATH, given again for each, or separated by commas; requests that
    name no model get the first. None means the model that ships with the package."""
    model_name: str | None = Field(None, min_length=1, max_length=200)
    """Name under which a single model is served; none means the bundle directory's name."""
    device: str = "auto"
    """Where the model runs: auto (a GPU if there is one), cpu, cuda or cuda:N."""
    threads: int | None = Field(None, ge=1, le=1024)
    """CPU threads for the model; none leaves the choice to torch."""
    engine_threads: int | None = Field(None, ge=1, le=64)
    """Batches that run at once, sharing --threads; none means 2 (on a CPU with one thread: 1)."""
    mode: Literal["exact", "fast"] = "exact"
    """How requests that name no mode are answered; fast: the same words, log-probabilities within a bound."""
    unknown: Literal["spelled", "class"] = "spelled"
    """What an unknown word costs where a request does not say: its spelling, if its model can spell, or the
    probability of all unknown words together."""
    unknown_penalty: float = Field(0.0, ge=0, allow_inf_nan=False)
    """Nats that are subtracted from the class where unknown words are not spelled."""

    host: str = Field("127.0.0.1", min_length=1)
    """Address to listen on; 0.0.0.0 is every IPv4 address of this machine."""
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Names that requests may have in Host, given again for each, or separated by commas; .example.com is all
    below it, * any. None means any, but on a loopback address without a key those of this machine alone: a
    browser's page could reach the server by a name of its own."""
    port: int = Field(8080, ge=0, le=65535)
    """Port to listen on; 0 takes a free one and logs it."""
    api_key: SecretStr | None = Field(None, min_length=1)
    """Key that clients send as 'Authorization: Bearer KEY'; better given by HEADFIRST_API_KEY or a file."""
    api_key_file: Path | None = None
    """File that holds the key on its first line."""
    admin_key: SecretStr | None = Field(None, min_length=1)
    """Key for /admin/reload, and no other for it then; without it the API key opens that, too."""
    admin_key_file: Path | None = None
    """File that holds the key for /admin/reload on its first line."""

    root_path: str = Field("", pattern=r"^(/[A-Za-z0-9._~-]+)*$")
    """Path under which a proxy serves this server and that it takes away, such as /models; for the page at
    /docs. A proxy's X-Forwarded-Prefix wins."""
    forwarded_allow_ips: Annotated[tuple[str, ...], NoDecode] = ()
    """Proxies whose X-Forwarded-For names the client in the log: addresses or networks, given again for each,
    or separated by commas."""

    http_workers: int | None = Field(None, ge=0, le=64)
    """Processes that answer HTTP around one engine process; 0 does everything in one process, in 220 MiB less
    memory. None means 1 where there are two processors or more, else 0."""

    max_batch_tokens: int = Field(4096, ge=1)
    """Tokens that the model computes in one batch at most."""
    max_queue_requests: int = Field(1024, ge=1)
    """Inputs that wait at most; more are refused with 429."""
    max_queue_tokens: int = Field(262_144, ge=1)
    """Tokens that wait at most; more are refused with 429."""
    score_step_tokens: int = Field(256, ge=1)
    """Tokens of bulk scoring in one step; a prediction waits for no more than this. With 1024 bulk is a tenth
    faster, and predictions beside it come two to three times later."""
    state_cache_bytes: int = Field(64 * MIB, ge=0)
    """Memory for body states of earlier texts, in bytes, divided evenly by the models; 0 turns the cache
    off."""
    engine_timeout: float = Field(120.0, gt=0, allow_inf_nan=False)
    """Seconds that one batch may take: an engine that takes longer hangs. Its process is killed and started
    again; without HTTP workers the liveness fails."""

    max_k: int = Field(1000, ge=1)
    """Largest k of /v1/predict."""
    max_inputs: int = Field(1024, ge=1)
    """Inputs in one request at most."""
    max_input_chars: int = Field(1_000_000, ge=1)
    """Characters in one input at most."""
    max_input_words: int = Field(100_000, ge=1)
    """Words in one input at most."""
    max_body_bytes: int = Field(8 * MIB, ge=1)
    """Bytes of a request's body at most; more are refused with 413."""
    max_waiting_body_bytes: int = Field(256 * MIB, ge=1)
    """Bytes of bodies that are not complete yet, of all connections together, each HTTP worker its part; more
    get 429."""
    max_answer_bytes: int = Field(64 * MIB, ge=1)
    """Bytes of one answer at most, by what was asked for; more are refused with 422."""
    max_context_words: int = Field(512, ge=2)
    """Last words of a text that /v1/predict uses at most."""
    max_completion_words: int = Field(1024, ge=1)
    """Words that one completion of /v1/completions has at most."""
    max_concurrent_requests: int = Field(512, ge=1)
    """Requests to the model that run at once, each HTTP worker its part; more get 429."""

    request_timeout: float = Field(30.0, gt=0, allow_inf_nan=False)
    """Seconds until a request that names no time of its own is answered with 504."""
    max_request_timeout: float = Field(300.0, gt=0, allow_inf_nan=False)
    """Most seconds that a request can ask for; more are cut to this."""
    write_timeout: float = Field(30.0, gt=0, allow_inf_nan=False)
    """Seconds for which a client may take nothing of its answer; then its connection is ended."""
    keep_alive: float = Field(75.0, gt=0, allow_inf_nan=False)
    """Seconds for which a connection may be idle between two requests; more than a balancer in front keeps
    one, so that it is the balancer that closes it."""
    drain_timeout: float = Field(30.0, ge=0, allow_inf_nan=False)
    """Seconds that running requests have to finish after SIGTERM or Ctrl-C."""

    otel_endpoint: str | None = Field(None, pattern=r"^https?://[^/]")
    """OpenTelemetry collector (OTLP over HTTP), such as http://localhost:4318, that gets a trace of each
    request; OpenTelemetry's own OTEL_... variables do it, too."""
    log_format: Literal["text", "json"] = "text"
    """Log lines for people or for machines."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe level that is logged; the line of each request is at info."""

    _sources: tuple[ModelSource, ...] = PrivateAttr()

    @field_validator("model", "allowed_hosts", "forwarded_allow_ips", mode="before")
    @classmethod
    def _split(cls, values: object) -> object:
        return split_list(values) if isinstance(values, str) else values

    @field_validator("allowed_hosts")
    @classmethod
    def _check_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if re.fullmatch(r"\*|(\*?\.)?[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]", host.strip()) is None:
                raise ValueError("should be names or addresses without a port, .example.com, [::1] or *")
        return hosts

    @field_validator("forwarded_allow_ips")
    @classmethod
    def _check_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            ip_network(network.strip())
        return networks

    @field_validator("device")
    @classmethod
    def _check_device(cls, device: str) -> str:
        if re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", device, re.ASCII) is None:
            raise ValueError("should be auto, cpu, cuda or cuda:N")
        return device

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.api_key is not None and self.api_key_file is not None:
            raise ValueError("give --api-key or --api-key-file, not both")
        if self.admin_key is not None and self.admin_key_file is not None:
            raise ValueError("give --admin-key or --admin-key-file, not both")
        if self.max_inputs > self.max_queue_requests:
            raise ValueError("--max-inputs must not be over --max-queue-requests")
        if self.request_timeout > self.max_request_timeout:
            raise ValueError("--request-timeout must not be over --max-request-timeout")
        default = Path(str(resources.files("models") / "default"))
        self._sources = parse_sources(self.model, self.model_name, default)
        return self

    @cached_property
    def workers(self) -> int:
        """How many processes answer HTTP around the engine's; 0 means that there is one process for all.

        On two cores one worker answered a lone client a tenth faster than none, and 8 to 41 per cent more
        under load; at one and a half times the capacity none answered 5 per cent more.
        """
        if self.http_workers is not None:
            return self.http_workers
        # Elsewhere a process that has used the system's frameworks is not safe to fork.
        return 1 if processors() >= 2 and sys.platform == "linux" else 0

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names that requests may have in `Host`; see `allowed_hosts`."""
        keyed = self.api_key is not None or self.api_key_file is not None
        if self.allowed_hosts or keyed or not _is_loopback(self.host):
            return self.allowed_hosts or ("*",)
        return (*LOOPBACK, self.host)

    @property
    def sources(self) -> tuple[ModelSource, ...]:
        """The models to be served. Names are settled once: a link that is led elsewhere renames none."""
        return self._sources

    @property
    def bundle_path(self) -> Path:
        """The first model's directory."""
        return self.sources[0].path


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def flag(name: str) -> str:
    """The flag of a field: `max_k` is `--max-k`."""
    return "--" + name.replace("_", "-")
