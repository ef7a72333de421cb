"""Fixtures: an empty, migrated database of either kind; tests that take `database` run on both."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import cache
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


@cache
def migrated() -> bytes:
    """An SQLite file at head. Tests take copies: migrating takes longer than most of them."""
    with tempfile.TemporaryDirectory() as place:
        opened = Database(f"sqlite:///{place}/controller.sqlite")
        migrate(opened)
        opened.close()
        return Path(place, "controller.sqlite").read_bytes()


@pytest.fixture(params=BOTH)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/controller.sqlite"
    url: str = request.getfixturevalue("cluster").new_database()
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url, busy_timeout=0.5)
    if opened.is_postgres:
        migrate(opened)
    else:
        Path(str(opened.url.database)).write_bytes(migrated())
    yield opened
    opened.close()


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Database]:
    """For what does not depend on the kind of database."""
    place = tmp_path / "only.sqlite"
    place.write_bytes(migrated())
    opened = Database(f"sqlite:///{place}", busy_timeout=0.5)
    yield opened
    opened.close()
