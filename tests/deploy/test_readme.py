"""deploy/README.md names nothing that is not there."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import httpx
import yaml

from service.settings.reading import unknown_variables
from service.settings.settings import Settings, flag
from tests.deploy.manifests import Manifests
from tests.deploy.monitoring import ALERTS
from tests.deploy.tools import DEPLOY, ROOT, check, kubectl

TEXT = (DEPLOY / "README.md").read_text("utf-8")

NAMESPACE = "kubernetes.io/metadata.name"


def test_its_files_exist() -> None:
    paths = set(re.findall(r"\b(?:deploy|tests)/[\w./-]*\w", TEXT))
    assert paths
    assert {path for path in paths if not (ROOT / path).exists()} == set()


def test_its_overlays_and_components_exist() -> None:
    named = set(re.findall(r"\b(?:overlays|components|base)/[\w-]+", TEXT))
    assert {"overlays/local", "overlays/gpu", "components/traces"} <= named
    assert {path for path in named if not (DEPLOY / "kubernetes" / path).is_dir()} == {"base/kustomization"}


def test_its_links_lead_somewhere() -> None:
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", TEXT) if "://" not in target]
    assert targets
    for target in targets:
        path, _, anchor = target.partition("#")
        page = (DEPLOY / path).resolve() if path else DEPLOY / "README.md"
        headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
        # As GitHub makes them.
        anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert not anchor or anchor in anchors, target


def test_the_walk_through_loads_the_image_that_is_built_and_that_the_manifests_ask_for() -> None:
    built = re.search(r"^docker build .* -t (\S+) \.$", TEXT, re.MULTILINE)
    loaded = re.search(r"^kind load docker-image (\S+)$", TEXT, re.MULTILINE)
    assert built is not None
    assert loaded is not None
    assert built[1] == loaded[1] == Manifests("local").container["image"]


def test_its_build_arguments_are_the_dockerfiles() -> None:
    text = (ROOT / "Dockerfile").read_text()
    table = TEXT.partition("| build argument |")[2].partition("\n\n")[0]
    told = {name for row in table.splitlines()[2:] for name in re.findall(r"`([A-Z_]+)`", row.split("|")[1])}
    assert told == set(re.findall(r"^ARG ([A-Z_]+)", text, re.MULTILINE))
    base = re.search(r"^ARG BASE_IMAGE=(\S+)$", text, re.MULTILINE)
    assert base is not None
    assert f"`{base[1]}`" in table


def test_its_flags_and_variables_are_settings() -> None:
    variables = set(re.findall(r"\bHEADFIRST_[A-Z_]*[A-Z]\b", TEXT))
    assert unknown_variables(dict.fromkeys(variables, "")) == []
    flags = {flag(name) for name in Settings.model_fields}
    assert set(re.findall(r"`(--[a-z-]+-timeout)`", TEXT)) <= flags


def test_its_alerts_are_all_of_them() -> None:
    assert set(re.findall(r"`(Headfirst[A-Z]\w+)`", TEXT)) == ALERTS


def rendered(snippet: str, folder: Path) -> dict[str, Any]:
    """What a `kustomization.yaml` of the reader's own beside the overlays makes, by kind."""
    shutil.copytree(DEPLOY / "kubernetes", folder, dirs_exist_ok=True)
    (folder / "mine").mkdir()
    (folder / "mine" / "kustomization.yaml").write_text(snippet)
    documents = yaml.safe_load_all(check(kubectl(), "kustomize", folder / "mine"))
    return {document["kind"]: document for document in documents}


def test_its_kustomizations_are_right(tmp_path: Path) -> None:
    without_monitor, with_traces = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    kinds = rendered(without_monitor, tmp_path / "monitor")
    assert "Deployment" in kinds
    assert "ServiceMonitor" not in kinds
    kinds = rendered(with_traces, tmp_path / "traces")
    endpoint = httpx.URL(kinds["ConfigMap"]["data"]["HEADFIRST_OTEL_ENDPOINT"])
    assert unknown_variables(kinds["ConfigMap"]["data"]) == []
    collector, names = kinds["NetworkPolicy"]["spec"]["egress"]
    # The namespace that the address names, and no other but that of the names' server.
    assert endpoint.host.split(".")[1:] == [
        collector["to"][0]["namespaceSelector"]["matchLabels"][NAMESPACE],
        "svc",
    ]
    assert [port["port"] for port in collector["ports"]] == [endpoint.port]
    assert {port["port"] for port in names["ports"]} == {53}
    assert kinds["NetworkPolicy"]["spec"]["ingress"]
