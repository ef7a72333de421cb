"""Fixtures: an empty, migrated database of either kind; tests that take `database` run on both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.store.engine import Database
from controller.store.migrate import migrate
from tests.postgres import Cluster

BOTH = [pytest.param("sqlite"), pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with Cluster() as running:
        yield running


@pytest.fixture(params=BOTH)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/controller.sqlite"
    url: str = request.getfixturevalue("cluster").new_database()
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url, busy_timeout=0.5)
    migrate(opened)
    yield opened
    opened.close()


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Database]:
    """For what does not depend on the kind of database."""
    opened = Database(f"sqlite:///{tmp_path}/only.sqlite", busy_timeout=0.5)
    migrate(opened)
    yield opened
    opened.close()
