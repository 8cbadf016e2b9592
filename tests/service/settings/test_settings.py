"""Settings: flags, variables, limits, one line for each fault."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service.settings.reading import load_settings, read_admin_key, read_api_key, unknown_variables
from service.settings.settings import ConfigurationError, Settings, flag


@pytest.fixture(autouse=True)
def no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"HEADFIRST_{name.upper()}", raising=False)


def test_defaults_of_the_contract() -> None:
    settings = load_settings([])
    assert (settings.host, settings.port, settings.device) == ("127.0.0.1", 8080, "auto")
    assert (settings.max_k, settings.max_inputs, settings.max_body_bytes) == (1000, 1024, 8 * 1024 * 1024)
    assert (settings.request_timeout, settings.drain_timeout) == (30.0, 30.0)
    assert read_api_key(settings) is None
    (source,) = settings.sources
    assert (source.name, source.path.name, source.path.parent.name) == ("default", "default", "models")
    assert read_admin_key(settings) is None


OTHER_VALUES = {
    "model": "somewhere",
    "model_name": "mine",
    "device": "cuda:1",
    "threads": "3",
    "engine_threads": "3",
    "host": "::1",
    "port": "0",
    "http_workers": "3",
    "api_key": "secret",
    "api_key_file": "key.txt",
    "admin_key": "secret",
    "admin_key_file": "key.txt",
    "request_timeout": "1.5",
    "max_request_timeout": "99.5",
    "drain_timeout": "0",
    "log_format": "json",
    "log_level": "warning",
    "mode": "fast",
    "unknown": "class",
    "max_inputs": "17",
    "root_path": "/models",
    "forwarded_allow_ips": "10.0.0.0/8",
    "allowed_hosts": "words.example.org",
    "otel_endpoint": "http://localhost:4318",
}


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_field_is_a_flag_and_a_variable(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    value = OTHER_VALUES.get(name, "2345")
    by_flag = getattr(load_settings([flag(name), value]), name)
    assert by_flag != getattr(load_settings([]), name)
    monkeypatch.setenv(f"HEADFIRST_{name.upper()}", value)
    assert getattr(load_settings([]), name) == by_flag


def test_a_flag_wins_over_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADFIRST_PORT", "1")
    assert load_settings(["--port", "2"]).port == 2


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_field_is_explained(name: str) -> None:
    description = Settings.model_fields[name].description
    assert description is not None
    assert description.endswith(".")


def test_help_lists_every_flag_and_variable(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        load_settings(["--help"])
    assert stopped.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for name in Settings.model_fields:
        assert f"{flag(name)} " in text
        assert f"[env: HEADFIRST_{name.upper()}]" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "99999"], "--port .HEADFIRST_PORT.: .*65535, not '99999'"),
        (["--port", "http"], "--port .* valid integer"),
        (["--port"], "--port: expected one argument"),
        (["--device", "tpu"], "--device .HEADFIRST_DEVICE.: should be auto, cpu, cuda or cuda:N, not 'tpu'"),
        (["--device", "cuda:٣"], "--device"),
        (["--threads", "0"], "--threads"),
        (["--max-k", "0"], "--max-k .* greater than or equal to 1, not '0'"),
        (["--max-context-words", "1"], "--max-context-words"),
        (["--drain-timeout", "-1"], "--drain-timeout"),
        (["--drain-timeout", "inf"], "--drain-timeout .* finite"),
        (["--request-timeout", "nan"], "--request-timeout .* finite"),
        (["--request-timeout", "500"], "--request-timeout must not be over --max-request-timeout"),
        (["--max-inputs", "2000"], "--max-inputs must not be over --max-queue-requests"),
        (["--log-format", "xml"], "--log-format .* 'text' or 'json', not 'xml'"),
        (["--log-level", "loud"], "--log-level"),
        (["--model-name", ""], "--model-name"),
        (["--no-such-flag", "1"], "unrecognized arguments: --no-such-flag 1"),
        (["--max", "1"], "unrecognized arguments: --max 1"),
        (["extra"], "unrecognized arguments: extra"),
        (["--api-key", "a", "--api-key-file", "b"], "--api-key or --api-key-file, not both"),
        (["--admin-key", "a", "--admin-key-file", "b"], "--admin-key or --admin-key-file, not both"),
        (["--engine-timeout", "0"], "--engine-timeout .* greater than 0"),
        (
            ["--model", "a=/x", "--model", "a=/y"],
            "two models have the name 'a'; give them others as NAME=PATH",
        ),
        (["--model", "/x/a", "--model", "/y/a"], "two models have the name 'a'"),
        (["--model", "=/x"], "no name before the = of '=/x'"),
        (["--model", "a="], "path must not be empty"),
        (["--model", ""], "path must not be empty"),
        (["--model", "n" * 201 + "=/x"], "at most 200 characters"),
        (["--model", "a\tb=/x"], "printable"),
        (["--model", ",".join(f"m{i}=/x" for i in range(33))], "--model can be given 32 times at most"),
        (["--model", "a=/x,b=/y", "--model-name", "c"], "--model-name is for one --model"),
    ],
)
def test_a_wrong_value_is_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as refused:
        load_settings(arguments)
    assert "\n" not in str(refused.value)


def served(*arguments: str) -> list[tuple[str, str]]:
    return [(source.name, str(source.path)) for source in load_settings(arguments).sources]


def test_models_and_their_names() -> None:
    assert served("--model", "/x/tiny") == [("tiny", "/x/tiny")]
    assert served("--model", "/x/tiny", "--model-name", "mine") == [("mine", "/x/tiny")]
    assert served("--model-name", "mine")[0][0] == "mine"
    assert served("--model", "en=/x/tiny", "--model", "/y/zh") == [("en", "/x/tiny"), ("zh", "/y/zh")]
    assert served("--model", "en=/x=1") == [("en", "/x=1")]
    assert served("--model", "./a=b") == [("a=b", "a=b")]


@pytest.mark.parametrize(
    "value", ["en=/x, zh=/y z", '["en=/x", "zh=/y z"]', "en=/x,zh = /y z"], ids=["commas", "JSON", "spaces"]
)
def test_models_in_a_variable(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HEADFIRST_MODEL", value)
    assert served() == [("en", "/x"), ("zh", "/y z")]
    assert served("--model", "one=/z") == [("one", "/z")]


def test_a_link_that_is_led_elsewhere_renames_no_model(tmp_path: Path) -> None:
    for name in ("v1", "v2"):
        (tmp_path / name).mkdir()
    link = tmp_path / "current"
    link.symlink_to(tmp_path / "v1")
    settings = load_settings(["--model", str(link)])
    link.unlink()
    link.symlink_to(tmp_path / "v2")
    assert settings.model_copy(update={"max_k": 2}).sources[0].name == "v1"


def test_a_wrong_variable_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADFIRST_MAX_K", "many")
    with pytest.raises(ConfigurationError, match=re.escape("--max-k (HEADFIRST_MAX_K)")):
        load_settings([])


def test_the_key_is_in_no_message() -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_settings(["--api-key", "se cret", "--port", "x"])
    assert "se cret" not in str(refused.value)
    settings = load_settings(["--api-key", "se cret"])
    assert "se cret" not in repr(settings)
    with pytest.raises(ConfigurationError, match="--api-key: a key is") as refused:
        read_api_key(settings)
    assert "se cret" not in str(refused.value)


def test_an_empty_key_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="--api-key"):
        load_settings(["--api-key", ""])


def test_the_admin_key(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("topsecret\n")
    assert read_admin_key(load_settings(["--admin-key-file", str(file)])) == b"topsecret"
    settings = load_settings(["--admin-key", "other secret", "--api-key", "mine"])
    assert read_api_key(settings) == b"mine"
    with pytest.raises(ConfigurationError, match="--admin-key: a key is") as refused:
        read_admin_key(settings)
    assert "other secret" not in str(refused.value) + repr(settings)


def test_a_variable_may_end_in_a_newline(monkeypatch: pytest.MonkeyPatch) -> None:
    # As `kubectl create secret generic headfirst --from-file=api-key=key.txt` makes it.
    monkeypatch.setenv("HEADFIRST_API_KEY", "topsecret\n")
    assert read_api_key(load_settings([])) == b"topsecret"


def test_key_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("topsecret\nnot this\n")
    assert read_api_key(load_settings(["--api-key-file", str(file)])) == b"topsecret"
    assert read_api_key(load_settings(["--api-key", "other"])) == b"other"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read it: No such file or directory"),
        (b"", "one or more printable"),
        (b"\n", "one or more printable"),
        (b"two words", "printable ASCII"),
        (b"\xff\xfe", "not a text file"),
        ("schlüssel".encode(), "printable ASCII"),
    ],
)
def test_a_bad_key_file(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=message):
        read_api_key(load_settings(["--api-key-file", str(file)]))


def test_misspelled_variables_are_told() -> None:
    environment = {"HEADFIRST_MAXK": "1", "HEADFIRST_PORT": "1", "HEADFIRST_QQQQQQQ": "", "PATH": "/"}
    assert unknown_variables(environment) == [
        "HEADFIRST_MAXK is no setting and has no effect; did you mean HEADFIRST_MAX_K?",
        "HEADFIRST_QQQQQQQ is no setting and has no effect",
    ]


def test_settings_are_read_without_torch() -> None:
    """Help and a wrong flag answer at once; torch takes seconds to import."""
    code = (
        "import sys; from service.settings.reading import load_settings; load_settings([]).sources;"
        " sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("given", "hosts"),
    [
        ({}, {"localhost", ".localhost", "127.0.0.1", "[::1]"}),
        ({"host": "localhost"}, {"localhost", ".localhost", "127.0.0.1", "[::1]"}),
        ({"host": "127.0.0.2"}, {"localhost", ".localhost", "127.0.0.1", "[::1]", "127.0.0.2"}),
        ({"host": "::"}, {"*"}),
        ({"api_key": "k"}, {"*"}),
        ({"api_key_file": "k"}, {"*"}),
        ({"allowed_hosts": "a.example,.b.example"}, {"a.example", ".b.example"}),
        ({"allowed_hosts": "*"}, {"*"}),
    ],
)
def test_which_hosts_are_allowed(given: dict[str, Any], hosts: set[str]) -> None:
    assert set(Settings(**given).hosts) == hosts


@pytest.mark.parametrize(
    "arguments",
    [
        ["--allowed-hosts", "http://a"],
        ["--allowed-hosts", "a:80"],
        ["--forwarded-allow-ips", "proxy"],
        ["--root-path", "models"],
        ["--root-path", "/models/"],
        ["--keep-alive", "0"],
        ["--write-timeout", "inf"],
    ],
)
def test_what_is_no_host_network_or_path(arguments: list[str]) -> None:
    with pytest.raises(ConfigurationError, match=arguments[0]):
        load_settings(arguments)
