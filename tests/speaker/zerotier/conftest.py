"""A ZeroTier service that is none, and our client of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from speaker.zerotier.local import LocalService
from tests.speaker.zerotier.fake_service import FakeService, running


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeService]:
    with running(FakeService(tmp_path / "home")) as fake:
        yield fake


@pytest.fixture
def service(fake: FakeService) -> Iterator[LocalService]:
    service = LocalService(fake.home, timeout=2.0)
    yield service
    service.close()
