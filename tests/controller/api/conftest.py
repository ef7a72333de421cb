from __future__ import annotations

from collections.abc import Iterator

import pytest

from controller.api.settings import Settings
from controller.store.engine import Database
from tests.controller.api.served import Served, serve
from tests.controller.store.databases import cluster, database, database_url, sqlite

__all__ = ["cluster", "database", "database_url", "sqlite"]


def settings_for(database: Database) -> Settings:
    return Settings(database.url.render_as_string(hide_password=False), busy_timeout_seconds=0.5)


@pytest.fixture
def served(database: Database) -> Iterator[Served]:
    """On both databases."""
    with serve(settings_for(database)) as running:
        yield running


@pytest.fixture
def api(sqlite: Database) -> Iterator[Served]:
    """For what does not depend on the kind of database."""
    with serve(settings_for(sqlite)) as running:
        yield running
