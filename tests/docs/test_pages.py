"""The pages for users do what they say: their shell and Python blocks are run, in order, against a server."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.http.telemetry.endpoints import STATUSES
from service.metrics.registry import Metrics
from service.settings.settings import Settings, flag
from tests.docs import shell
from tests.docs.generators import DOCS, load_generator
from tests.docs.shell import ROOT
from tests.support.server_process import ServerProcess

PAGES = ("quick-start.md", "client.md", "openai.md", "operating.md")

ELSEWHERE = ("git clone", "make ", "lm_eval", "from openai")
"""Lines that begin so are run by other tests: clone and make by CI, the clients by tests/clients."""


def blocks(page: str) -> list[tuple[str, str]]:
    return [block for block in shell.blocks(DOCS / page) if block[0] in ("sh", "python")]


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    running = ServerProcess()
    try:
        running.wait_ready()
        yield running
    finally:
        running.stop()


def runs(language: str, code: str) -> str:
    """What of a block is run here."""
    if language == "python":
        return "" if code.startswith(ELSEWHERE) else code
    joined = code.replace("\\\n", " ")
    lines = [line for line in joined.splitlines() if not line.startswith(ELSEWHERE)]
    return "\n".join(lines).replace(".venv/bin/headfirst", "headfirst")


@pytest.mark.parametrize("page", PAGES)
def test_its_blocks_run(page: str, server: ServerProcess, tmp_path: Path) -> None:
    (tmp_path / "sentences.txt").write_text("The cat sat on the mat.\n")
    outputs = []
    for language, block in blocks(page):
        code = runs(language, block)
        if code.strip():
            outputs.append(shell.run(language, code, tmp_path, server.url.removeprefix("http://")))
    CHECKS[page](outputs, tmp_path)


def check_quick_start(outputs: list[str], place: Path) -> None:
    header, first, *_ = (place / "surprisal.csv").read_text().splitlines()
    (shown,) = re.findall(r"^```\n(line,.*?)^```$", (DOCS / "quick-start.md").read_text(), re.M | re.S)
    assert header == shown.splitlines()[0]
    assert first.split(",")[:3] == shown.splitlines()[1].split(",")[:3]
    assert float(first.split(",")[3]) == pytest.approx(float(shown.splitlines()[1].split(",")[3]), abs=1e-3)
    assert '"word":"much"' in outputs[1]
    assert outputs[2].startswith("much ")


def check_client(outputs: list[str], place: Path) -> None:
    assert "('much', " in outputs[0]
    assert "True 1" in outputs[0]
    assert len(outputs[2].splitlines()) == 3
    assert outputs[3].startswith("422 invalid_value k ")
    rows = {
        line.split(",")[3]: line.split(",") for line in (place / "surprisal.csv").read_text().splitlines()
    }
    assert rows["word"] == ["item", "condition", "position", "word", "start", "surprisal", "known"]
    assert float(rows["butter"][5]) < float(rows["socks"][5])
    totals = [float(line.split()[0]) for line in outputs[5].splitlines()]
    assert len(totals) == 3
    assert totals == sorted(totals, reverse=True)


def check_openai(outputs: list[str], place: Path) -> None:
    asked, refused = outputs
    assert '"text":" much' in asked
    assert "data: [DONE]" in asked
    assert '"param":"suffix"' in refused
    assert '"param":"tools"' in refused


def check_operating(outputs: list[str], place: Path) -> None:
    health, metrics, exemplar = outputs
    assert health.count("{") == 2
    assert metrics.startswith("# HELP headfirst_requests_total ")
    assert re.search(r'# \{request_id="', exemplar)


CHECKS = {
    "quick-start.md": check_quick_start,
    "client.md": check_client,
    "openai.md": check_openai,
    "operating.md": check_operating,
}


def test_the_scored_csv_takes_three_commands() -> None:
    language, code = blocks("quick-start.md")[0]
    clone, make, score = code.splitlines()
    assert (language, clone.split()[:2], make) == ("sh", ["git", "clone"], "make install")
    assert score.startswith(".venv/bin/headfirst score ")
    assert re.search(r"^install:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_settings_are_told_with_their_defaults() -> None:
    text = (DOCS / "operating.md").read_text("utf-8")
    fields = {flag(name): field for name, field in Settings.model_fields.items()}
    rows = re.findall(r"^\| (`--[^|]*) \| ([^|]*) \|", text, re.MULTILINE)
    assert len(rows) > 8
    for names, default in rows:
        told = [part.strip("` ") for part in default.split(",")]
        for name, value in zip(re.findall(r"`(--[\w-]+)`", names), told, strict=True):
            assert name in fields
            known = fields[name].default
            assert str(known) == value or (not known and value[0].islower()), name
    assert set(re.findall(r"`(--[\w-]+)`", text)) - {"--enable-feature=exemplar-storage"} <= set(fields)


def test_metrics_are_told_by_their_names() -> None:
    text = (DOCS / "operating.md").read_text("utf-8")
    names = {family.name for family in Metrics(1).registry.collect()}
    told = {name.removesuffix("_total") for name in re.findall(r"`(headfirst_\w+)", text)}
    assert told <= names


def anchors(page: Path) -> set[str]:
    """What GitHub makes of the headings of a page."""
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    plain = [
        re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", one).strip().lower().replace(" ", "-") for one in headings
    ]
    return {"".join(each for each in one if each.isalnum() or each in "-_") for one in plain}


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", ROOT / "deploy" / "README.md", *sorted(DOCS.glob("*.md"))]
)
def test_links_lead_somewhere(page: Path) -> None:
    for path, _, anchor in re.findall(r"\]\(([^)#:\s]*)(#([\w-]+))?\)", page.read_text("utf-8")):
        target = page.parent / path if path else page
        assert os.path.exists(target), path  # noqa: PTH110 -- goes through ..
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{path}#{anchor}"


INTERNAL_CODES = {"client_disconnected", "request_too_large", "unavailable"}
"""Never sent: counted alone, told as too_many_words, and of a class that has subclasses alone."""


@pytest.fixture(scope="module")
def reference() -> Any:
    return load_generator("generate_http")


def test_every_code_is_told(reference: Any) -> None:
    pattern = re.compile(r'\bcode(?:: str)? ?= ?"(\w+)"(?: if .* else "(\w+)")?')
    sources = [path.read_text("utf-8") for path in (ROOT / "service").rglob("*.py")]
    found = {code for text in sources for pair in pattern.findall(text) for code in pair if code}
    assert len(found) > 25
    told = [code for _, code, _ in reference.CODES]
    assert found - INTERNAL_CODES == set(told)
    assert len(told) == len(set(told))
    statuses = {(str(status), code) for status, code, _ in reference.CODES}
    table = re.findall(r"^\| (\d+) \| `(\w+)` \| `", reference.PAGE.read_text("utf-8"), re.MULTILINE)
    assert len(table) > 10
    assert set(table) <= statuses


def test_the_reference_is_as_the_app_says(reference: Any) -> None:
    module = reference
    text = module.page(module.document())
    assert text == module.PAGE.read_text("utf-8"), "run: python docs/generate_http.py"
    calls = set(re.findall(r"^## \w+ (/\S*)", text, re.MULTILINE))
    assert {"/v1/predict", "/v1/score", "/v1/completions", "/v2/models/{model}/infer", "/metrics"} <= calls
    refusing = {"/v1/chat/completions"}  # It only says what to ask instead.
    assert {path for path in STATUSES if path.startswith("/v1/")} - refusing <= calls
