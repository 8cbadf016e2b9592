"""deploy/docker-compose.yml: no Docker runs in the tests, so what can be told from the file is."""

from __future__ import annotations

import re
from typing import Any

import pytest

from service.settings.reading import load_settings, unknown_variables
from service.settings.settings import Settings
from tests.deploy.tools import DEPLOY, load_yaml

COMPOSE = load_yaml(DEPLOY / "docker-compose.yml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
GPU = load_yaml(DEPLOY / "docker-compose.gpu.yml")["services"]["headfirst"]

each_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES.keys())


def test_three_services() -> None:
    assert set(SERVICES) == {"headfirst", "prometheus", "grafana"}


@each_service
def test_is_hardened(service: dict[str, Any]) -> None:
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["pids_limit"] > 0
    assert service["mem_limit"]
    assert any(mount.startswith("/tmp:") and "size=" in mount for mount in service["tmpfs"])  # noqa: S108
    assert not service.get("user", "10001").startswith(("0", "root"))


@each_service
def test_has_a_healthcheck_and_an_exact_version(service: dict[str, Any]) -> None:
    assert service["healthcheck"]["test"][0] == "CMD"
    assert {"interval", "timeout", "start_period", "retries"} <= set(service["healthcheck"])
    assert re.search(r":v?\d+\.\d+\.\d+$", service["image"])


@each_service
def test_is_reached_from_this_machine_alone(service: dict[str, Any]) -> None:
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


@each_service
def test_mounts_exist_and_are_read_only(service: dict[str, Any]) -> None:
    for mount in service.get("volumes", []):
        source, _, target = mount.partition(":")
        if source.startswith("."):
            assert (DEPLOY / source).exists()
            assert target.endswith(":ro")
        else:
            assert source in COMPOSE["volumes"]


@pytest.mark.parametrize("service", [SERVICES["headfirst"], GPU], ids=["cpu", "gpu"])
def test_every_variable_is_a_setting_of_a_right_value(
    service: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    environment: dict[str, str] = service["environment"]
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert unknown_variables(environment) == []
    assert load_settings([]).device == environment["HEADFIRST_DEVICE"]


def test_the_server_is_given_the_time_to_drain() -> None:
    server = SERVICES["headfirst"]
    drain = float(server["environment"]["HEADFIRST_DRAIN_TIMEOUT"])
    assert float(server["stop_grace_period"].removesuffix("s")) >= drain + 5


def test_the_build_finds_its_dockerfile() -> None:
    build = SERVICES["headfirst"]["build"]
    text = (DEPLOY / build["context"] / "Dockerfile").read_text()
    for argument in (*build["args"], *GPU["build"]["args"]):
        assert re.search(rf"^ARG {argument}=", text, re.MULTILINE)


def test_prometheus_asks_the_server_and_grafana_asks_prometheus() -> None:
    config = load_yaml(DEPLOY / "prometheus" / "prometheus.yml")
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    port = Settings.model_fields["port"].default
    assert jobs["headfirst"]["static_configs"] == [{"targets": [f"headfirst:{port}"]}]
    (source,) = load_yaml(DEPLOY / "grafana/provisioning/datasources/prometheus.yml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert source["jsonData"]["timeInterval"] == config["global"]["scrape_interval"]


def test_grafana_finds_the_dashboard() -> None:
    mounts = dict(mount.split(":")[:2] for mount in SERVICES["grafana"]["volumes"])
    (provider,) = load_yaml(DEPLOY / "grafana/provisioning/dashboards/headfirst.yml")["providers"]
    folder = next(source for source, target in mounts.items() if target == provider["options"]["path"])
    assert (DEPLOY / folder / "headfirst.json").is_file()
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/headfirst.json"
