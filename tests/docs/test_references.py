"""What README.md and docs/*.md point at is there: links, headings, files, modules, REST, benchmarks, scenarios."""

from __future__ import annotations

import importlib
import re
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from controller.api.app import create_app
from controller.api.settings import Settings
from lab import document, runner, topology
from lab.loss import Tally
from tests.bench.__main__ import BENCHES
from tests.docs.pages import PAGES, ROOT, inline, prose, rows

LINK = re.compile(r"\]\(([^)\s]+)\)")
OUR_PATH = re.compile(r"(?:controller|docs|lab|migrations|speaker|tests|rib)/[\w./-]*")
OUR_NAME = re.compile(r"(?:controller|lab|speaker|tests)(?:\.\w+)+")
CALL = re.compile(r"(?:(GET|POST|PUT|PATCH|DELETE) )?(/api/v1/[^`\s]+)")


def place(page: str) -> Path:
    return ROOT if page == "README.md" else ROOT / "docs"


def anchors(text: str) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for link in LINK.findall(prose(page)):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = place(page) / name if name else place(page) / page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text()), link


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_named_exist(page: str) -> None:
    named = [code for code in inline(page) if OUR_PATH.fullmatch(code)]
    bases = [ROOT, ROOT / "speaker"]  # `rib/local.py` is how a speaker's module is called among speakers.
    assert [path for path in named if not any((base / path).exists() for base in bases)] == []


@pytest.mark.parametrize("page", PAGES)
def test_modules_and_their_names_exist(page: str) -> None:
    for code in inline(page):
        if OUR_NAME.fullmatch(code):
            resolve(code)


def resolve(dotted: str) -> Any:
    """What the name stands for. Raises ImportError and AttributeError."""
    parts = dotted.split(".")
    found = importlib.import_module(parts[0])
    for n, part in enumerate(parts[1:], 2):
        found = getattr(found, part, None) or importlib.import_module(".".join(parts[:n]))
    return found


@cache
def described() -> dict[str, Any]:
    """The OpenAPI document."""
    with TemporaryDirectory() as directory:
        return create_app(Settings(database=f"sqlite:///{directory}/leyline.sqlite")).openapi()["paths"]


CALLS = sorted({(page, *found) for page in PAGES for found in CALL.findall(PAGES[page])})


@pytest.mark.parametrize(("page", "method", "url"), CALLS, ids=[f"{page}: {url}" for page, _, url in CALLS])
def test_a_request_is_in_the_openapi_document(page: str, method: str, url: str) -> None:
    del page
    path, _, query = url.partition("?")
    (operations,) = [
        found for known, found in described().items() if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", known), path)
    ]
    operation = operations[(method or "GET").lower()]
    known = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"}
    assert {pair.partition("=")[0] for pair in query.split("&") if pair} <= known


def test_whatif_can_be_posted() -> None:
    assert "or `POST` with a body" in prose("intent.md").replace("\n", " ")
    assert "requestBody" in described()["/api/v1/whatif"]["post"]


@pytest.mark.parametrize(
    "parameter", sorted({found for page in PAGES for found in re.findall(r"`\?(\w+)=", PAGES[page])})
)
def test_what_a_change_may_be_asked_is_in_the_openapi_document(parameter: str) -> None:
    """`?dry_run=true` and `?force=true` are of every change but a rename."""
    names = {each["name"] for each in described()["/api/v1/apply"]["post"]["parameters"]}
    assert parameter in names
    for path in ("/api/v1/fabric", "/api/v1/sites/{key}"):
        assert parameter in {each["name"] for each in described()[path]["put"]["parameters"]}, path


def test_both_tables_of_benchmarks_have_a_row_for_each() -> None:
    names = [set(re.findall(r"`(\w+)`", cells[0])) for cells in rows("benchmarks.md", "benchmark")]
    width = [len(cells) for cells in rows("benchmarks.md", "benchmark")]
    told = set().union(*(name for name, cells in zip(names, width, strict=True) if cells == 5))
    last = set().union(*(name for name, cells in zip(names, width, strict=True) if cells == 4))
    assert told == last == set(BENCHES)


def test_scenarios_that_are_named_exist() -> None:
    named = [code for cells in rows("lab.md", "scenario") for code in re.findall(r"`([^`]+)`", cells[0])]
    assert len(named) > 10
    _, promised = PAGES["README.md"].split("expectation of a lab scenario with real packets:")
    in_readme = re.findall(r"`([a-z-]+)`", promised.partition("(")[0])
    assert "direct-path-cut" in in_readme
    assert set(named) | set(in_readme) <= set(runner.names())


def test_the_keys_of_a_topology_are_those_that_are_read() -> None:
    keys = {cells[0]: re.findall(r"`([^`]+)`", re.sub(r"\([^)]*\)", "", cells[1])) for cells in rows("lab.md", "where")}
    assert set(keys) == {"top", "`topology`", "a node, `defaults`, a kind, a group", "a link"}
    assert tuple(keys["a node, `defaults`, a kind, a group"]) == topology.NODE_KEYS
    source = Path(topology.__file__).read_text() + Path(document.__file__).read_text()
    for where in ("top", "`topology`", "a link"):
        assert [key for key in keys[where] if f'"{key}"' not in source] == []
    assert f"`mtu` ({topology.DEFAULT_MTU} if not given" in PAGES["lab.md"]


def test_a_tally_has_what_the_page_says() -> None:
    named = [name for cells in rows("lab.md", "of a `Tally`") for name in re.findall(r"`(\w+)", cells[0])]
    assert len(named) > 8
    fields = set(Tally.__dataclass_fields__)
    assert [name for name in named if name not in fields and not hasattr(Tally, name)] == []
