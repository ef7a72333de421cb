"""Every vector file says what it says it says: bytes written by hand, or captured from BIRD and FRR."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.speaker.bgp_codec.vector import VECTORS, load

FILES = sorted(VECTORS.glob("*.txt"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_says(path: Path) -> None:
    vector = load(path)
    assert vector.decoded() == vector.says


def test_there_are_vectors() -> None:
    assert len(FILES) >= 15
