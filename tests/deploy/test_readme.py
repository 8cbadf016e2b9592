"""deploy/README.md names nothing that is not there."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import yaml

from service.settings import Settings, flag, unknown_variables
from tests.deploy.test_prometheus import ALERTS
from tests.deploy.tools import DEPLOY, ROOT, check, kubectl

TEXT = (DEPLOY / "README.md").read_text("utf-8")


def test_its_files_exist() -> None:
    paths = set(re.findall(r"\b(?:deploy|tests)/[\w./-]*\w", TEXT))
    assert paths
    assert {path for path in paths if not (ROOT / path).exists()} == set()


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


def test_its_kustomization_leaves_the_monitor_out(tmp_path: Path) -> None:
    snippet = re.search(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    assert snippet is not None
    shutil.copytree(DEPLOY / "kubernetes", tmp_path, dirs_exist_ok=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "kustomization.yaml").write_text(snippet[1])
    documents = yaml.safe_load_all(check(kubectl(), "kustomize", tmp_path / "mine"))
    kinds = {document["kind"] for document in documents}
    assert "Deployment" in kinds
    assert "ServiceMonitor" not in kinds
