"""The overlays of deploy/kubernetes as kubectl renders them."""

from __future__ import annotations

import functools
from typing import Any

import yaml

from tests.deploy.tools import DEPLOY, check, kubectl

VERSIONS = ("1.27", "1.37")
"""The oldest that has every field used here, and the newest that the schemas know."""


@functools.cache
def rendered(overlay: str) -> str:
    return check(kubectl(), "kustomize", DEPLOY / "kubernetes" / "overlays" / overlay)


class Manifests:
    """An overlay as it would be applied."""

    def __init__(self, overlay: str) -> None:
        self.overlay = overlay
        self.text = rendered(overlay)
        self.documents: list[dict[str, Any]] = list(yaml.safe_load_all(self.text))

    def __getitem__(self, kind: str) -> dict[str, Any]:
        (found,) = (document for document in self.documents if document["kind"] == kind)
        return found

    @property
    def pod(self) -> dict[str, Any]:
        spec: dict[str, Any] = self["Deployment"]["spec"]["template"]["spec"]
        return spec

    @property
    def container(self) -> dict[str, Any]:
        (found,) = self.pod["containers"]
        assert isinstance(found, dict)
        return found
