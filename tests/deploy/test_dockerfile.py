"""The Dockerfile as text; test_image.py builds and runs it."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.deploy.tools import ROOT, check, linter, run

TEXT = (ROOT / "Dockerfile").read_text("utf-8")
EXTRAS: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
    "optional-dependencies"
]


def test_hadolint_has_nothing_to_say() -> None:
    assert check(linter("hadolint"), "--no-color", ROOT / "Dockerfile") == ""


def test_hadolint_would_find_a_fault() -> None:
    done = run(linter("hadolint"), "--no-color", "-", input="FROM debian:latest\nRUN sudo true\n")
    assert done.returncode == 1
    assert "DL3004" in done.stdout


def test_torch_is_the_version_that_everything_else_is_tested_with() -> None:
    pinned = re.search(r"^torch==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    built = re.search(r"^ARG TORCH_VERSION=(\S+)$", TEXT, re.MULTILINE)
    assert pinned is not None
    assert built is not None
    assert built[1] == pinned[1]


def default_extras() -> list[str]:
    found = re.search(r"^ARG EXTRAS=(\S+)$", TEXT, re.MULTILINE)
    assert found is not None
    return found[1].split(",")


def test_the_extras_are_those_that_a_server_may_need() -> None:
    # Not parquet: Arrow is 170 MB, and no server reads it.
    assert default_extras() == ["otel", "moses", "chinese"]
    constraints = (ROOT / "constraints.txt").read_text().lower()
    for requirement in (each for extra in default_extras() for each in EXTRAS[extra]):
        assert f"\n{requirement.partition('>')[0]}==" in constraints


@pytest.mark.parametrize(
    ("given", "installed"),
    [("", "."), ("otel", ".[otel]"), ("moses,parquet", ".[moses,parquet]")],
)
def test_the_extras_are_installed_with_the_package(given: str, installed: str) -> None:
    found = re.search(r'--constraint constraints\.txt ("\.\S*")$', TEXT, re.MULTILINE)
    assert found is not None
    assert (
        check("sh", "-euc", f"printf %s {found[1]}", env={"EXTRAS": given, "PATH": "/usr/bin:/bin"})
        == installed
    )


def test_an_extra_that_does_not_exist_ends_the_build() -> None:
    # pip itself only warns.
    program = "import sys; known = ['otel', 'moses']; " + " ".join(
        re.findall(r"^ +(unknown .*;) \\$", TEXT, re.MULTILINE)
    )
    fault = run("python3", "-c", program.replace("${EXTRAS}", "otel,mosses"))
    assert (fault.returncode, fault.stderr) == (
        1,
        "EXTRAS: no extra is called 'mosses'; there are ['otel', 'moses']\n",
    )
    for right in ("", "otel,moses"):
        assert check("python3", "-c", program.replace("${EXTRAS}", right)) == ""


def test_another_choice_of_extras_leaves_torchs_layer_alone() -> None:
    """A build argument is part of every RUN after it."""
    assert TEXT.index("install --no-cache-dir") < TEXT.index("ARG EXTRAS") < TEXT.index("EXTRAS:+")


def test_only_what_the_image_is_built_from_enters_the_build() -> None:
    lines = (ROOT / ".dockerignore").read_text().split()
    entering = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = {
        name.removeprefix("./")
        for line in re.findall(r"^COPY (?!--from)(.+) \./?\S*$", TEXT, re.MULTILINE)
        for name in line.split()
    }
    assert "*" in lines
    assert entering == copied
    assert all((ROOT / name).exists() for name in entering)


@pytest.mark.parametrize("word", ["http://", "https://", "--trusted-host", "curl ", "wget "])
def test_no_address_is_written_in_it(word: str) -> None:
    assert word not in TEXT
