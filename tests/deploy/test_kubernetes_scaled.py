"""deploy/kubernetes/overlays/scaled: scaled by what waits, sessions that stay, upgrades without a loss.

The definitions of these kinds are KEDA's and Envoy Gateway's and not kept here; deploy/README.md tells how
the manifests were checked against them. What they say is held against the server and against the base.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.contract.errors import NotFound
from service.http.telemetry.endpoints import STATUSES
from service.settings.settings import Settings
from tests.deploy import promql
from tests.deploy.manifests import VERSIONS, Manifests
from tests.deploy.tools import DEPLOY, linter, run

OTHERS = {
    "BackendTrafficPolicy": "gateway.envoyproxy.io/v1alpha1",
    "Gateway": "gateway.networking.k8s.io/v1",
    "HTTPRoute": "gateway.networking.k8s.io/v1",
    "HTTPRouteFilter": "gateway.envoyproxy.io/v1alpha1",
    "ScaledObject": "keda.sh/v1alpha1",
}
"""Kinds beside those of the overlay `cpu`."""


@functools.cache
def scaled() -> Manifests:
    return Manifests("scaled")


def spec(kind: str) -> dict[str, Any]:
    found: dict[str, Any] = scaled()[kind]["spec"]
    return found


def seconds(duration: str) -> float:
    match = re.fullmatch(r"(\d+)s", duration)
    assert match is not None
    return float(match[1])


def test_it_is_the_cpu_overlay_and_more() -> None:
    kinds = {document["kind"] for document in Manifests("cpu").documents}
    assert {document["kind"] for document in scaled().documents} == kinds - {"HorizontalPodAutoscaler"} | set(
        OTHERS
    )
    for kind, version in OTHERS.items():
        assert scaled()[kind]["apiVersion"] == version
    assert {document["metadata"]["namespace"] for document in scaled().documents} == {"headfirst"}
    assert scaled().container == {
        **Manifests("cpu").container,
        "envFrom": scaled().container["envFrom"],
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_the_schemas_agree_where_there_are_some(version: str, tmp_path: Path) -> None:
    path = tmp_path / "manifests.yaml"
    path.write_text(scaled().text)
    done = run(linter("kubernetes-validate"), "--strict", "--kubernetes-version", f"{version}.0", path)
    said = (done.stdout + done.stderr).splitlines()
    assert done.returncode == 0, said
    passed = [line for line in said if line.startswith("INFO") and "passed" in line]
    assert len(passed) == len(scaled().documents) - len(OTHERS) - 1  # and the ServiceMonitor


def test_one_autoscaler_owns_the_replicas() -> None:
    base, keda = Manifests("cpu")["HorizontalPodAutoscaler"], scaled()["ScaledObject"]
    spec = keda["spec"]
    assert spec["scaleTargetRef"] == base["spec"]["scaleTargetRef"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (
        base["spec"]["minReplicas"],
        base["spec"]["maxReplicas"],
    )
    config = spec["advanced"]["horizontalPodAutoscalerConfig"]
    assert config["behavior"] == base["spec"]["behavior"]
    # Taken over by its name.
    assert config["name"] == base["metadata"]["name"]
    assert keda["metadata"]["annotations"] == {"scaledobject.keda.sh/transfer-hpa-ownership": "true"}
    assert spec["minReplicaCount"] <= spec["fallback"]["replicas"] <= spec["maxReplicaCount"]


def test_it_scales_on_figures_that_the_server_has() -> None:
    triggers = {trigger["type"]: trigger for trigger in spec("ScaledObject")["triggers"]}
    assert set(triggers) == {"prometheus", "cpu"}
    queries = [trigger for trigger in spec("ScaledObject")["triggers"] if trigger["type"] == "prometheus"]
    series = promql.exposed()
    asked = []
    for trigger in queries:
        # A fallback knows only this kind of target, and only text is allowed as a value.
        assert trigger["metricType"] == "AverageValue"
        assert all(isinstance(value, str) for value in trigger["metadata"].values())
        assert float(trigger["metadata"]["threshold"]) > 0
        ((name, matchers),) = promql.selectors(trigger["metadata"]["query"])
        assert ("job", "=", "headfirst") in matchers
        assert ("namespace", "=", scaled()["Deployment"]["metadata"]["namespace"]) in matchers
        assert name in series
        asked.append(name)
    assert asked == ["headfirst_queue_duration_seconds_sum", "headfirst_queue_depth"]
    (cpu,) = Manifests("cpu")["HorizontalPodAutoscaler"]["spec"]["metrics"]
    assert triggers["cpu"]["metadata"]["value"] == str(cpu["resource"]["target"]["averageUtilization"])


def test_the_route_leads_to_the_service() -> None:
    (parent,) = spec("HTTPRoute")["parentRefs"]
    assert parent["name"] == scaled()["Gateway"]["metadata"]["name"]
    everything, inside = spec("HTTPRoute")["rules"]
    (backend,) = everything["backendRefs"]
    service = scaled()["Service"]
    assert backend["name"] == service["metadata"]["name"]
    assert backend["port"] in {port["port"] for port in service["spec"]["ports"]}
    assert [match["path"]["value"] for match in everything["matches"]] == ["/"]
    # One replica's figures, and what is for its keepers, are not for the world.
    hidden = [match["path"]["value"] for match in inside["matches"]]
    assert hidden == ["/metrics", "/admin"]
    assert all(any(path.startswith(each) for path in STATUSES) for each in hidden)
    assert "backendRefs" not in inside
    (filter_,) = inside["filters"]
    assert filter_["extensionRef"]["name"] == scaled()["HTTPRouteFilter"]["metadata"]["name"]
    answer = spec("HTTPRouteFilter")["directResponse"]
    assert answer["statusCode"] == NotFound.status
    assert yaml.safe_load(answer["body"]["inline"]) == yaml.safe_load(NotFound().body())


def test_sessions_stay() -> None:
    policy = spec("BackendTrafficPolicy")
    (target,) = policy["targetRefs"]
    route = scaled()["HTTPRoute"]
    assert target == {
        "group": route["apiVersion"].partition("/")[0],
        "kind": "HTTPRoute",
        "name": route["metadata"]["name"],
    }
    assert policy["loadBalancer"]["type"] == "ConsistentHash"
    hashed = policy["loadBalancer"]["consistentHash"]
    assert (hashed["type"], hashed["headers"]) == ("Headers", [{"name": "X-Session-Id"}])
    # Maglev wants a prime, and many more places than replicas.
    size = hashed["tableSize"]
    assert all(size % divisor for divisor in range(2, int(size**0.5) + 1))
    assert size > 100 * spec("ScaledObject")["maxReplicaCount"]


def test_an_upgrade_loses_no_request() -> None:
    """A pod that is about to end keeps answering until the proxies have seen that it is not ready."""
    policy, pod, container = spec("BackendTrafficPolicy"), scaled().pod, scaled().container
    health = policy["healthCheck"]["active"]
    assert health["http"]["path"] == "/health/ready"
    assert "/health/ready" in STATUSES
    drain = float(scaled()["ConfigMap"]["data"]["HEADFIRST_DRAIN_TIMEOUT"])
    pause = float(container["lifecycle"]["preStop"]["exec"]["command"][1])
    noticed = (seconds(health["interval"]) + seconds(health["timeout"])) * health["unhealthyThreshold"]
    assert noticed < drain
    assert pod["terminationGracePeriodSeconds"] >= pause + drain + 5
    # Refused connections and the 503 of a server that drains are asked again elsewhere, and nothing else is.
    retry = policy["retry"]
    assert set(retry["retryOn"]["triggers"]) == {
        "connect-failure",
        "refused-stream",
        "retriable-status-codes",
    }
    assert retry["retryOn"]["httpStatusCodes"] == [503]
    assert (
        seconds(policy["timeout"]["http"]["requestTimeout"])
        > Settings.model_fields["max_request_timeout"].default
    )
    rolling = spec("Deployment")["strategy"]["rollingUpdate"]
    assert rolling == {"maxUnavailable": 0, "maxSurge": 1}


def test_the_components_can_be_had_one_by_one() -> None:
    for name in ("queue-scaling", "session-affinity"):
        component = yaml.safe_load(
            (DEPLOY / "kubernetes" / "components" / name / "kustomization.yaml").read_text()
        )
        assert component["kind"] == "Component"
    used = yaml.safe_load((DEPLOY / "kubernetes" / "overlays" / "scaled" / "kustomization.yaml").read_text())
    assert [Path(each).name for each in used["components"]] == ["queue-scaling", "session-affinity"]


def test_a_machine_of_ones_own_needs_nothing_installed() -> None:
    local, cpu = Manifests("local"), Manifests("cpu")
    builtin = {document["kind"] for document in cpu.documents} - {"ServiceMonitor"}
    assert {document["kind"] for document in local.documents} == builtin
    resources = local.container["resources"]
    assert resources["limits"] == cpu.container["resources"]["limits"]
    assert resources["requests"]["cpu"] == "250m"
    assert local["ConfigMap"]["data"] == cpu["ConfigMap"]["data"]
