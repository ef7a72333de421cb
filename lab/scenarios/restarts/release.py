"""A release of Leyline installed in a node, as pip would: code and metadata in a directory of their own."""

from __future__ import annotations

import re
import shutil
from importlib.metadata import distribution, version
from pathlib import Path
from tempfile import TemporaryDirectory

from lab.node import Node

INSTALLED = "/run/leyline-current"
"""A link to the release in use; it is what a speaker finds its code by."""
DISTRIBUTION = "leyline-sdwan"
PACKAGES = ("controller", "speaker")
ROOT = Path(__file__).parents[3]


def install(node: Node, number: str) -> None:
    """Put this very code into the node as version `number`. It is not in use yet."""
    with TemporaryDirectory(prefix="leyline-release-") as name:  # A node has a /run of its own, and nobody else's.
        scratch = Path(name)
        for package in PACKAGES:
            ignored = shutil.ignore_patterns("__pycache__", "migrations")
            shutil.copytree(ROOT / package, scratch / package, ignore=ignored)
        info = scratch / f"leyline_sdwan-{number}.dist-info"
        info.mkdir()
        for file in ("METADATA", "entry_points.txt"):
            text = distribution(DISTRIBUTION).read_text(file) or ""
            (info / file).write_text(re.sub(r"(?m)^Version: .*$", f"Version: {number}", text))
        node.run(["cp", "-r", name, f"/run/leyline-{number}"])


def use(node: Node, number: str) -> None:
    """From now on whatever starts is this version. What runs goes on as it is."""
    node.run(["ln", "-sfn", f"/run/leyline-{number}", INSTALLED])


def next_version() -> str:
    return f"{version(DISTRIBUTION)}.post1"
