"""Builds the image without a Docker daemon and runs it as a container engine would.

Debian's buildah builds with chroot isolation on a base made by debootstrap. What it can't do here is left
to the kernel: a mount namespace with the image's root bound read-only, and chroot to it as the image's user.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.deploy.tools import ROOT, check

SUITE = "bookworm"
BASE = f"localhost/headfirst-test-base:{SUITE}"
STORE = ROOT / "build" / "image-test"

# In a mount namespace of its own, so that nothing is left to undo: the root read-only, /tmp in memory.
_ENTER = """
root=$1; user=$2; group=$3; shift 3
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t tmpfs -o mode=1777,nosuid,nodev,size=256m tmpfs "$root/tmp"
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
exec setpriv --bounding-set=-all,+setuid,+setgid,+sys_chroot --no-new-privs \
  chroot --userspec="$user:$group" --groups="$group" "$root" "$@"
"""


def buildah(*arguments: str | Path) -> str:
    """Runs buildah on a storage of the tests' own and returns its standard output."""
    storage = ("--storage-driver", "vfs", "--root", STORE / "storage", "--runroot", STORE / "run")
    return check("buildah", *storage, *arguments, timeout=1500)


def make_base() -> None:
    """Commits a Debian with Python under the name `BASE`, unless the storage has it from an earlier run."""
    buildah("rm", "--all")  # What an interrupted run left.
    known = json.loads(buildah("images", "--json") or "[]")
    if any(BASE in (image.get("names") or []) for image in known or []):
        return
    folder = STORE / "base"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    include = "--include=python3,python3-venv,ca-certificates"
    check("debootstrap", "--variant=minbase", include, SUITE, folder / "root", _mirror(), timeout=1500)
    for leftover in ("var/cache/apt", "var/lib/apt/lists"):
        shutil.rmtree(folder / "root" / leftover)
    check("tar", "-C", folder / "root", "-cf", folder / "root.tar", ".")
    (folder / "Dockerfile").write_text('FROM scratch\nADD root.tar /\nCMD ["/bin/bash"]\n')
    buildah("bud", "--isolation", "chroot", "--tag", BASE, folder)
    shutil.rmtree(folder)


def _mirror() -> str:
    """The mirror from which this machine takes Debian's own packages."""
    targets = check("apt-get", "indextargets", "--format", "$(LABEL) $(SITE)", "Created-By: Packages")
    return next(line.split()[1] for line in targets.splitlines() if line.split()[0] == "Debian")


def pip_volumes(folder: Path) -> list[str]:
    """Options for buildah, so that pip in the build reaches what it reaches here: settings and paths."""
    settings: dict[str, str] = {}
    for line in check("pip", "config", "list").splitlines():
        name, _, value = line.partition("=")
        # Variables are listed first and win over files.
        settings.setdefault(name.rpartition(".")[2], value.strip("'"))
    kept = ("index-url", "extra-index-url", "find-links", "cert", "trusted-host", "proxy", "default-timeout")
    settings = {name: settings[name] for name in kept if name in settings}
    path = folder / "pip.conf"
    path.write_text("\n".join(["[global]", *(f"{name} = {value}" for name, value in settings.items())]))
    mounted = {f"{path}:/etc/pip.conf:ro"}
    for word in (word for value in settings.values() for word in value.split()):
        local = Path(word.removeprefix("file://"))
        if local.is_absolute() and local.exists():
            # An index on disk links to files beside it.
            source = local.parent if word.startswith("file://") else local
            mounted.add(f"{source}:{source}:ro")
    return [option for volume in sorted(mounted) for option in ("--volume", volume)]


def build(tag: str, folder: Path) -> None:
    """Builds the repository's Dockerfile on `BASE`; TORCH_INDEX_URL in the environment is passed on."""
    arguments = ["--build-arg", f"BASE_IMAGE={BASE}"]
    if index := os.environ.get("TORCH_INDEX_URL"):
        arguments += ["--build-arg", f"TORCH_INDEX_URL={index}"]
    # Only Docker's own format has a HEALTHCHECK.
    arguments += ["--isolation", "chroot", "--format", "docker", "--tag", tag]
    buildah("bud", *arguments, *pip_volumes(folder), ROOT)


class Image:
    """A built image: its configuration, its size, and its files, mounted until `remove`."""

    def __init__(self, tag: str) -> None:
        self.tag = tag
        described = json.loads(buildah("inspect", "--type", "image", tag))
        self.config: dict[str, Any] = described["Docker"]["config"]
        self.labels: dict[str, str] = self.config["Labels"]
        self.container = buildah("from", "--pull-never", tag).strip()
        self.root = Path(buildah("mount", self.container).strip())

    @property
    def environment(self) -> dict[str, str]:
        return dict(variable.split("=", 1) for variable in self.config["Env"])

    def megabytes(self) -> float:
        """Bytes of all files, each counted once whatever its links, in millions."""
        return int(check("du", "-s", "--block-size=1", self.root).split()[0]) / 1e6

    def start(self, **environment: str) -> subprocess.Popen[str]:
        """Starts the entry point as the image's user on a read-only root; the network is this machine's."""
        user, _, group = self.config["User"].partition(":")
        command = [*self._env(environment), *self.config["Entrypoint"]]
        enter = ["unshare", "--mount", "--propagation", "private", "sh", "-euc", _ENTER, "sh"]
        return subprocess.Popen(
            [*enter, str(self.root), user, group, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run_beside(self, process: subprocess.Popen[str], *command: str, **environment: str) -> list[str]:
        """The command line that runs `command` in the running container, as its user."""
        user, _, group = self.config["User"].partition(":")
        enter = ["nsenter", "--target", str(process.pid), "--mount", "--root", "--wd"]
        ids = ["--setgid", group, "--setuid", user]
        return [*enter, *ids, *self._env(environment), *command]

    def remove(self) -> None:
        """Removes the image and its files; the base stays for the next run."""
        buildah("rm", self.container)
        buildah("rmi", "--force", self.tag)
        buildah("rmi", "--prune")

    def _env(self, more: dict[str, str]) -> list[str]:
        """The environment and the working directory that the image gives, and more variables."""
        variables = [f"{name}={value}" for name, value in (self.environment | more).items()]
        return ["env", "-i", f"--chdir={self.config['WorkingDir']}", *variables]

    def health_command(self) -> list[str]:
        """The HEALTHCHECK, in its form without a shell."""
        test: list[str] = self.config["Healthcheck"]["Test"]
        assert test[0] == "CMD"
        return test[1:]
