"""Empty -> head on both databases; no drift; nothing half-done; migrations stand alone."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from sqlalchemy import exc, inspect, text

from controller.store.engine import Database, StoreNotMigrated, StoreUnavailable
from controller.store.migrate import (
    MIGRATIONS,
    MigrationFailed,
    _one_transaction,
    check_drift,
    current_revision,
    head_revision,
    migrate,
    require_migrated,
)
from controller.store.tables import metadata


@pytest.fixture
def empty(database_url: str) -> Database:
    return Database(database_url, busy_timeout=0.5)


def test_empty_to_head_and_no_drift(empty: Database) -> None:
    assert migrate(empty) == (None, head_revision())
    check_drift(empty)
    require_migrated(empty)
    tables = set(inspect(empty.engine).get_table_names())
    assert tables == {*metadata.tables, "alembic_version"}
    empty.close()


def test_migrating_twice_changes_nothing(empty: Database) -> None:
    migrate(empty)
    with empty.write() as connection:
        connection.execute(text("INSERT INTO regions (name) VALUES ('eu')"))
    assert migrate(empty) == (head_revision(), head_revision())
    with empty.read() as connection:
        assert connection.execute(text("SELECT name FROM regions")).scalar_one() == "eu"
    empty.close()


def test_drift_is_seen(empty: Database) -> None:
    migrate(empty)
    with empty.write() as connection:
        connection.execute(text("ALTER TABLE regions ADD COLUMN colour TEXT"))
    with pytest.raises(Exception, match="colour"):
        check_drift(empty)
    empty.close()


def test_an_empty_database_names_the_way_out(empty: Database) -> None:
    with pytest.raises(StoreNotMigrated, match="leyline controller migrate"):
        require_migrated(empty)
    empty.close()


def test_a_database_of_a_newer_release_is_left_alone(empty: Database) -> None:
    migrate(empty)
    with empty.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for call in (require_migrated, migrate):
        with pytest.raises(StoreNotMigrated, match="upgrade the controller"):
            call(empty)
    assert current_revision(empty) == "9999"
    empty.close()


def test_a_migration_that_fails_leaves_no_trace(empty: Database) -> None:
    def fail_halfway() -> None:
        with _one_transaction(empty) as connection:
            connection.execute(text("CREATE TABLE half (a INTEGER)"))
            connection.execute(text("SELECT * FROM nowhere"))

    with pytest.raises(exc.DBAPIError):
        fail_halfway()
    assert inspect(empty.engine).get_table_names() == []
    empty.close()


def test_rows_that_refer_to_nothing_stop_a_migration_on_sqlite(sqlite: Database) -> None:
    """foreign_keys is off while tables are copied, so it is asked at the end."""

    def orphan() -> None:
        with _one_transaction(sqlite) as connection:
            connection.execute(
                text("INSERT INTO sites (name, region, number, provider, tags) VALUES ('a', 'nowhere', 1, '', '[]')")
            )

    with pytest.raises(MigrationFailed, match="sites row"):
        orphan()
    with sqlite.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM sites")).scalar_one() == 0
        assert connection.execute(text("PRAGMA foreign_keys")).scalar_one() == 1
        assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"


def test_postgres_does_not_wait_for_ever(empty: Database) -> None:
    if not empty.is_postgres:
        with empty.read() as connection:
            assert connection.execute(text("PRAGMA busy_timeout")).scalar_one() == 500
        return
    with _one_transaction(empty) as connection:
        shown = [
            connection.execute(text(f"SHOW {name}")).scalar_one() for name in ("lock_timeout", "statement_timeout")
        ]
    assert shown == ["10s", "10min"]
    empty.close()


def test_a_locked_database_says_so(empty: Database) -> None:
    migrate(empty)
    second = Database(empty.url.render_as_string(hide_password=False), busy_timeout=0.2)
    with empty.write() as holder:
        holder.execute(text("UPDATE head SET revision = 5"))
        if empty.is_postgres:
            with pytest.raises(StoreUnavailable), second.write() as connection:
                connection.execute(text("UPDATE head SET revision = 6"))
        else:
            with pytest.raises(StoreUnavailable, match="locked"):
                migrate(second)
    second.close()
    empty.close()


@pytest.mark.parametrize("path", sorted((MIGRATIONS / "versions").glob("*.py")), ids=lambda path: path.stem)
def test_migrations_import_nothing_of_ours(path: Path) -> None:
    """The code moves on; what a migration did to yesterday's tables must not."""
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(path.read_text()))
        for name in (
            [each.name for each in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= {"alembic", "sqlalchemy", "__future__", "collections"}
