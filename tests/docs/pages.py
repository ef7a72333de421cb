"""README.md and docs/*.md as data: fenced blocks, code in the prose, links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = {path.name: path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
"""Name of the file -> its text."""

_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`]+)`")


class Block(NamedTuple):
    page: str
    language: str  # Empty where none is named.
    text: str


def blocks(language: str | None = None, page: str = "") -> list[Block]:
    """In the order of the pages; all of them if nothing is named."""
    return [
        Block(name, *found)
        for name, text in PAGES.items()
        for found in _FENCED.findall(text)
        if page in ("", name) and language in (None, found[0])
    ]


def prose(page: str) -> str:
    """The page without its fenced blocks."""
    return _FENCED.sub("", PAGES[page])


def inline(page: str) -> list[str]:
    """What stands between backticks in the prose; line breaks are blanks."""
    return [" ".join(found.split()) for found in _INLINE.findall(prose(page))]


def rows(page: str, heading: str) -> Iterator[list[str]]:
    """The cells of each row of every table whose first column is called `heading`."""
    within = False
    for line in prose(page).splitlines():
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not cells:
            within = False
        elif within and set(cells[0]) != {"-"}:
            yield cells
        elif cells[0] == heading:
            within = True


def command_lines(page: str) -> list[str]:
    """Of all its blocks."""
    return [line for block in blocks(page=page) for line in lines_of(block)]


def lines_of(block: Block) -> list[str]:
    """What follows `$ `, or every line of a block that names no language and draws nothing.

    A line that ends in a backslash goes on in the next one.
    """
    if block.language in ("console", "text"):
        return [line[2:] for line in block.text.splitlines() if line.startswith("$ ")]
    if block.language or is_drawing(block) or is_of_frr(block):
        return []
    return [re.sub(r"\s+# .*", "", line) for line in re.sub(r"\\\n\s+", "", block.text).splitlines()]


def is_of_frr(block: Block) -> bool:
    return block.text.startswith("router bgp ")


def is_drawing(block: Block) -> bool:
    return "─" in block.text and not block.text.startswith("$ ")
