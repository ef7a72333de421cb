"""URLs, transactions, and which errors mean "not now"."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import exc, text

from controller.store.engine import BadDatabaseUrl, Database, StoreUnavailable, parse_url, unavailable_reason


@pytest.mark.parametrize(
    ("url", "way_out"),
    [
        ("nonsense", "use sqlite:////path/to/file"),
        ("sqlite://", "SQLite needs a file"),
        ("sqlite:///:memory:", "SQLite needs a file"),
        ("sqlite+aiosqlite:////tmp/x", "write sqlite:////path/to/file"),
        ("mysql://host/name", "mysql is not supported"),
        ("postgresql+asyncpg://host/name", "write postgresql://user@host/name"),
    ],
)
def test_a_url_that_cannot_be_used_names_the_way_out(url: str, way_out: str) -> None:
    with pytest.raises(BadDatabaseUrl) as caught:
        parse_url(url)
    assert way_out in str(caught.value)


def test_a_password_with_percent_signs_survives() -> None:
    assert parse_url("postgresql://u:p%25w%40d@h/n").password == "p%w@d"


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    Database(f"sqlite:///{tmp_path}/new.sqlite").close()
    assert stat.S_IMODE((tmp_path / "new.sqlite").stat().st_mode) == 0o600


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="cannot open"):
        Database(f"sqlite:///{tmp_path}/file/below.sqlite")


def test_what_raises_is_rolled_back_ddl_too(database: Database) -> None:
    def fail_halfway() -> None:
        with database.write() as connection:
            connection.execute(text("CREATE TABLE half (a INTEGER)"))
            connection.execute(text("UPDATE head SET revision = 99"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_halfway()
    with database.read() as connection:
        assert connection.execute(text("SELECT revision FROM head")).scalar_one() == 0
    with pytest.raises(exc.DBAPIError), database.read() as connection:
        connection.execute(text("SELECT * FROM half"))


def test_a_reader_sees_one_moment(database: Database) -> None:
    with database.read() as reader:
        assert reader.execute(text("SELECT revision FROM head")).scalar_one() == 0
        with database.write() as writer:
            writer.execute(text("UPDATE head SET revision = 1"))
        assert reader.execute(text("SELECT revision FROM head")).scalar_one() == 0
    with database.read() as reader:
        assert reader.execute(text("SELECT revision FROM head")).scalar_one() == 1


def test_a_locked_row_is_unavailable_after_the_stated_time(database: Database) -> None:
    second = Database(database.url.render_as_string(hide_password=False), busy_timeout=0.2)
    with database.write() as holder:
        holder.execute(text("UPDATE head SET revision = 1"))
        with pytest.raises(StoreUnavailable), second.write() as connection:
            connection.execute(text("UPDATE head SET revision = 2"))
    second.close()


def test_a_wrong_statement_is_a_bug_and_not_unavailable(database: Database) -> None:
    with pytest.raises(exc.DBAPIError), database.read() as connection:
        connection.execute(text("SELECT nothing FROM nowhere"))


def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "x.sqlite").write_bytes(b"this is no database at all" * 100)
    broken = Database(f"sqlite:///{tmp_path}/x.sqlite")
    with pytest.raises(StoreUnavailable, match="not a database"), broken.read() as connection:
        connection.execute(text("SELECT 1 FROM head"))


@pytest.mark.parametrize("error", [ValueError("x"), None, sqlite3.IntegrityError("x"), psycopg.DataError("x")])
def test_reasons_are_given_for_unavailability_only(error: Exception | None) -> None:
    assert unavailable_reason(error) is None
