"""Empty -> head on both databases; no drift; nothing half-done; migrations stand alone."""

from __future__ import annotations

import ast
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import exc, inspect, text

from controller.inventory.document import plain, to_document
from controller.inventory.model import Fabric
from controller.store.engine import Database, StoreNotMigrated, StoreUnavailable
from controller.store.migrate import (
    MIGRATIONS,
    MigrationFailed,
    _config,
    _one_transaction,
    check_drift,
    current_revision,
    head_revision,
    migrate,
    require_migrated,
)
from controller.store.state import load_inventory
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


FIRST = """
INSERT INTO fabric (id, name, asn, segment, hold_time, restart_time, max_paths)
    VALUES (1, 'demo', 64512, '10.42.0.0/16', 9, 120, 16);
INSERT INTO regions (name) VALUES ('eu');
INSERT INTO circuit_classes (name, preference) VALUES ('gold', 300);
INSERT INTO sites (name, region, number, provider, tags) VALUES ('berlin', 'eu', 1, '', '[]');
INSERT INTO allocations (site, tenant, prefix, longest) VALUES ('berlin', 'global', '10.1.0.0/16', 24);
INSERT INTO prefixes (site, tenant, prefix) VALUES ('berlin', 'global', '10.1.1.0/24');
INSERT INTO gateways (name, site, role) VALUES ('berlin-1', 'berlin', 'hub');
INSERT INTO attachments (number, address, node_id, circuit_class, bandwidth)
    VALUES (1, '10.42.0.1', 'a000000001', 'gold', 0);
INSERT INTO uplinks (gateway, name, position, interface, number) VALUES ('berlin-1', 'main', 0, 'zt0', 1);
INSERT INTO plans (gateway, digest, body) VALUES ('berlin-1', 'abc', 'abc');
INSERT INTO audit (id, at, actor, action, object, detail) VALUES (1, 0, 'a', 'b', 'c', '{}')
"""
"""What a controller of the first release may have stored."""


def test_data_of_the_first_release_is_kept(empty: Database) -> None:
    with _one_transaction(empty) as connection:
        command.upgrade(_config(connection), "0001")
    with empty.write() as connection:
        for statement in FIRST.split(";"):
            connection.execute(text(statement))
    assert migrate(empty) == ("0001", head_revision())
    check_drift(empty)
    with empty.read() as connection:
        found = to_document(load_inventory(connection))
        assert connection.execute(text("SELECT digest FROM plans")).scalar_one() == "abc"
        assert connection.execute(text("SELECT count(*) FROM audit")).scalar_one() == 1
    uplink = {"name": "main", "number": 1, "node_id": "a000000001", "interface": "zt0", "address": "10.42.0.1"}
    assert found == {
        "fabric": plain(Fabric("demo", 64512, IPv4Network("10.42.0.0/16"))),
        "regions": [{"name": "eu"}],
        "circuit_classes": [{"name": "gold", "preference": 300}],
        "sites": [{"name": "berlin", "number": 1, "region": "eu"}],
        "allocations": [{"site": "berlin", "prefix": "10.1.0.0/16", "longest": 24, "tenant": "global"}],
        "prefixes": [{"site": "berlin", "prefix": "10.1.1.0/24", "tenant": "global"}],
        "gateways": [
            {"name": "berlin-1", "site": "berlin", "role": "hub", "uplinks": [{**uplink, "circuit_class": "gold"}]}
        ],
    }
    with pytest.raises(exc.DBAPIError, match="append-only"), empty.write() as connection:
        connection.execute(text("UPDATE audit SET actor = 'mallory'"))
    empty.close()


def test_the_step_back_and_forth_keeps_data(empty: Database) -> None:
    """Nobody is told to go back, but a step that cannot is one that was not understood."""
    migrate(empty)
    with empty.write() as connection:
        connection.execute(text("INSERT INTO regions (name) VALUES ('eu')"))
        connection.execute(text("INSERT INTO circuit_classes (name, preference, bfd) VALUES ('gold', 3, '\"fast\"')"))
        connection.execute(
            text("INSERT INTO sites (name, region, number, provider, tags) VALUES ('a', 'eu', 1, '', '')")
        )
        connection.execute(
            text(
                "INSERT INTO allocations (site, tenant, prefix, longest, anycast) VALUES ('a', 'global', 'p', 24, true)"
            )
        )
    for target in ("0001", "head"):
        with _one_transaction(empty) as connection:
            (command.downgrade if target == "0001" else command.upgrade)(_config(connection), target)
    check_drift(empty)
    with empty.read() as connection:
        assert connection.execute(text("SELECT name, preference, bfd FROM circuit_classes")).one() == ("gold", 3, None)
        assert connection.execute(text("SELECT site, prefix, anycast FROM allocations")).one() == ("a", "p", False)
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
