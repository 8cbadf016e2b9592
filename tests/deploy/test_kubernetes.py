"""deploy/kubernetes: rendered by kubectl, checked against Kubernetes' schemas and against the server."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.http.telemetry.endpoints import STATUSES
from service.settings.reading import load_settings, unknown_variables
from tests.deploy.manifests import VERSIONS, Manifests
from tests.deploy.tools import DEPLOY, linter, run

OVERLAYS = ("cpu", "gpu")

NO_SCHEMA = {"ServiceMonitor"}
"""Kinds of the Prometheus operator, unknown to Kubernetes' schemas; `test_the_monitor_...` looks at ours."""


@pytest.fixture(scope="module", params=OVERLAYS)
def manifests(request: pytest.FixtureRequest) -> Manifests:
    return Manifests(request.param)


def test_everything_is_there(manifests: Manifests) -> None:
    assert sorted(document["kind"] for document in manifests.documents) == [
        "ConfigMap",
        "Deployment",
        "HorizontalPodAutoscaler",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
        "ServiceAccount",
        "ServiceMonitor",
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_schemas_agree(manifests: Manifests, version: str, tmp_path: Path) -> None:
    path = tmp_path / "manifests.yaml"
    path.write_text(manifests.text)
    done = run(linter("kubernetes-validate"), "--strict", "--kubernetes-version", f"{version}.0", path)
    said = (done.stdout + done.stderr).splitlines()
    assert done.returncode == 0, said
    passed = [line for line in said if line.startswith("INFO") and "passed" in line]
    unknown = [line for line in said if line.startswith("WARN")]
    assert len(passed) == len(manifests.documents) - len(NO_SCHEMA)
    assert all(any(f"kind {kind} " in line for kind in NO_SCHEMA) for line in unknown)
    assert len(unknown) == len(NO_SCHEMA)


def test_the_schemas_would_find_a_misspelling(tmp_path: Path) -> None:
    path = tmp_path / "manifests.yaml"
    path.write_text(Manifests("cpu").text.replace("readOnlyRootFilesystem", "readonlyRootFilesystem"))
    assert run(linter("kubernetes-validate"), "--strict", path).returncode != 0


def test_there_is_memory_for_the_http_worker(manifests: Manifests) -> None:
    """With the default settings three processes run where the pod may use two processors or more."""
    resources = manifests.container["resources"]
    assert mebibytes(resources["requests"]["memory"]) >= 765  # as measured: see deployment.yaml
    assert mebibytes(resources["limits"]["memory"]) >= 2 * mebibytes(resources["requests"]["memory"])
    (volume,) = manifests.pod["volumes"]
    assert volume["emptyDir"]["medium"] == "Memory"
    room = mebibytes(resources["limits"]["memory"]) - mebibytes(volume["emptyDir"]["sizeLimit"])
    assert room >= mebibytes(resources["requests"]["memory"])


def mebibytes(quantity: str) -> int:
    units = {"Mi": 1, "Gi": 1024}
    return int(quantity[:-2]) * units[quantity[-2:]]


def test_the_pod_is_confined(manifests: Manifests) -> None:
    pod, container = manifests.pod, manifests.container
    assert pod["automountServiceAccountToken"] is False
    assert manifests["ServiceAccount"]["automountServiceAccountToken"] is False
    assert pod["serviceAccountName"] == manifests["ServiceAccount"]["metadata"]["name"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    context = container["securityContext"]
    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}
    (mount,) = container["volumeMounts"]
    (volume,) = pod["volumes"]
    assert (mount["name"], mount["mountPath"]) == (volume["name"], "/tmp")  # noqa: S108
    assert volume["emptyDir"]["sizeLimit"]


def test_the_user_is_the_images() -> None:
    text = (DEPLOY.parent / "Dockerfile").read_text()
    assert "\nUSER 10001:10001\n" in text


def test_kubernetes_sets_no_variable_that_looks_like_a_setting(manifests: Manifests) -> None:
    # A service named headfirst would give HEADFIRST_PORT=tcp://10.0.0.1:80.
    assert manifests.pod["enableServiceLinks"] is False


def test_the_configuration_is_read_by_the_server(
    manifests: Manifests, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration: dict[str, str] = manifests["ConfigMap"]["data"]
    (source,) = manifests.container["envFrom"]
    assert source["configMapRef"]["name"] == manifests["ConfigMap"]["metadata"]["name"]
    for name, value in configuration.items():
        monkeypatch.setenv(name, value)
    assert unknown_variables(configuration) == []
    settings = load_settings([])
    assert settings.device == {"cpu": "cpu", "gpu": "cuda"}[manifests.overlay]
    assert settings.host == "0.0.0.0"  # noqa: S104
    (port,) = manifests.container["ports"]
    assert port == {"name": "http", "containerPort": settings.port}
    variables = {variable["name"]: variable for variable in manifests.container["env"]}
    assert unknown_variables(dict.fromkeys(variables, "")) == []
    assert variables["HEADFIRST_API_KEY"]["valueFrom"]["secretKeyRef"]["optional"] is True
    if manifests.overlay == "cpu":
        assert manifests.container["resources"]["limits"]["cpu"] == str(settings.threads)


def test_a_pod_has_the_time_to_drain(manifests: Manifests) -> None:
    command, seconds = manifests.container["lifecycle"]["preStop"]["exec"]["command"]
    assert command == "sleep"
    drain = float(manifests["ConfigMap"]["data"]["HEADFIRST_DRAIN_TIMEOUT"])
    assert manifests.pod["terminationGracePeriodSeconds"] >= float(seconds) + drain + 5


def test_the_probes_ask_routes_that_exist(manifests: Manifests) -> None:
    paths = {
        name: manifests.container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")
    }
    assert {probe["port"] for probe in paths.values()} == {"http"}
    assert all(probe["path"] in STATUSES for probe in paths.values())
    assert paths["liveness"]["path"] == "/health/live"
    assert paths["readiness"]["path"] == "/health/ready"


def test_the_parts_find_each_other(manifests: Manifests) -> None:
    deployment, service = manifests["Deployment"], manifests["Service"]
    labels = deployment["spec"]["template"]["metadata"]["labels"].items()
    for chosen in (
        deployment["spec"]["selector"]["matchLabels"],
        service["spec"]["selector"],
        manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        manifests["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        *(spread["labelSelector"]["matchLabels"] for spread in manifests.pod["topologySpreadConstraints"]),
    ):
        assert chosen
        assert chosen.items() <= labels
    assert [port["targetPort"] for port in service["spec"]["ports"]] == ["http"]
    (rule,) = manifests["NetworkPolicy"]["spec"]["ingress"]
    assert [port["port"] for port in rule["ports"]] == ["http"]
    assert manifests["NetworkPolicy"]["spec"]["egress"] == []


def test_the_autoscaler_owns_the_replicas(manifests: Manifests) -> None:
    scaler, deployment = manifests["HorizontalPodAutoscaler"]["spec"], manifests["Deployment"]
    assert scaler["scaleTargetRef"] == {
        "apiVersion": deployment["apiVersion"],
        "kind": "Deployment",
        "name": deployment["metadata"]["name"],
    }
    assert "replicas" not in deployment["spec"]
    # Utilization is a share of what was asked for.
    assert "cpu" in manifests.container["resources"]["requests"]
    assert 1 <= scaler["minReplicas"] < scaler["maxReplicas"]


def test_the_monitor_finds_the_service_and_gives_the_rules_their_job(manifests: Manifests) -> None:
    monitor, service = manifests["ServiceMonitor"], manifests["Service"]
    assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
    assert set(monitor["spec"]) == {"jobLabel", "selector", "endpoints"}
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert endpoint["path"] in STATUSES
    assert service["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "headfirst"


def test_gpus_are_asked_for_where_they_are_meant() -> None:
    gpu, cpu = Manifests("gpu"), Manifests("cpu")
    assert gpu.container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in gpu.pod["tolerations"]
    assert "nvidia.com/gpu" not in cpu.text
    assert gpu.container["image"] == cpu.container["image"] + "-cuda"
    for manifests in (gpu, cpu):
        assert not manifests.container["image"].endswith(":latest")
