"""Golden files: compared, or rewritten by `make golden`, and then read as product."""

from __future__ import annotations

import os
from pathlib import Path

REWRITE = os.environ.get("LEYLINE_GOLDEN") == "rewrite"


def compare(path: Path, text: str) -> None:
    """Asserts that `path` holds `text`; under LEYLINE_GOLDEN=rewrite makes it so."""
    if REWRITE:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert path.exists(), f"{path} is missing: run `make golden` and read it"
    assert text == path.read_text()
