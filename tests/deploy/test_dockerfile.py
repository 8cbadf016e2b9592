"""The Dockerfile as text; test_image.py builds and runs it."""

from __future__ import annotations

import re

import pytest

from tests.deploy.tools import ROOT, check, linter, run

TEXT = (ROOT / "Dockerfile").read_text("utf-8")


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
