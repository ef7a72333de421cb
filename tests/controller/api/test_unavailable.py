"""A database that is locked, full or gone: 503, nothing half-applied, and it recovers by itself."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import event

from controller.api.settings import Settings
from controller.store.engine import Database
from controller.store.migrate import migrate
from controller.store.store import Polled
from tests.controller.api.served import DEADLINE_SECONDS, Served, problem, serve, wait_until
from tests.controller.store.fabrics import small
from tests.postgres import Cluster

REGION = {"name": "asia"}

HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def lock_held(path: str) -> Iterator[None]:
    """By another process, as a backup or a stray shell would."""
    command = [sys.executable, "-I", "-c", HOLDER, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield
        holder.communicate("")


def test_sqlite_locked_by_another_process(api: Served) -> None:
    api.with_small()
    assert api.context.store.database.url.database is not None
    with lock_held(api.context.store.database.url.database):
        answer = api.admin.post("/regions", REGION)
        assert "locked" in problem(answer, 503, "store-unavailable")["detail"]
        assert int(answer.headers["retry-after"]) > 0
        assert api.admin.get("/fabric").status_code == 200, "WAL: readers go on"
    assert api.admin.get("/regions/asia").status_code == 404
    assert api.admin.post("/regions", REGION).json()["revision"] == 2


@pytest.mark.slow
def test_sqlite_full_stores_nothing_of_a_change(sqlite: Database) -> None:
    with serve(Settings(str(sqlite.url), busy_timeout_seconds=0.5)) as api:
        engine = api.context.store.database.engine
        api.with_small()
        before = api.context.store.revisions(None, 9)
        with api.context.store.database.read() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        listener = ("begin", lambda connection: connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}"))
        event.listen(engine, *listener)
        regions = {"regions": [{"name": f"region-{n:050}"} for n in range(2000)]}
        assert "full" in problem(api.admin.post("/apply", regions), 503, "store-unavailable")["detail"]
        event.remove(engine, *listener)
        assert api.context.store.revisions(None, 9) == before
        assert len(api.admin.get("/regions").json()["items"]) == 2
        with api.context.store.database.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 1000000")


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    """One that may be stopped under our feet."""
    with Cluster() as running:
        yield running


@pytest.mark.postgres
def test_postgres_stopped_and_started_again(own_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    url = own_cluster.new_database()
    database = Database(url)
    migrate(database)
    database.close()
    with serve(Settings(url, busy_timeout_seconds=0.5)) as api:
        api.with_small()
        gateway = api.as_gateway("paris-1")
        digest = gateway.poll("paris-1").json()["digest"]
        look, looked = api.context.store.poll, threading.Event()

        def watched(public: str, name: str, known: str) -> Polled:
            found = look(public, name, known)
            looked.set()
            return found

        monkeypatch.setattr(api.context.store, "poll", watched)
        poll = gateway.in_background(lambda: gateway.poll("paris-1", digest, wait=30))
        assert looked.wait(DEADLINE_SECONDS), "it is counted as waiting before it has looked"
        api.waiting(1)
        own_cluster.stop()
        for answer in (
            api.admin.get("/fabric"),
            api.admin.post("/regions", REGION),
            gateway.poll("paris-1", digest),
            api.nobody.get("/healthz"),
        ):
            problem(answer, 503, "store-unavailable")
            assert int(answer.headers["retry-after"]) > 0
        assert poll.waiting, "who waits needs no database"
        own_cluster.start()
        wait_until(lambda: api.nobody.get("/healthz").status_code == 200)
        assert api.admin.get("/revisions").json()["items"][0]["revision"] == 1
        assert api.admin.post("/regions", REGION).json()["revision"] == 2
        assert api.admin.post("/prefixes", {"site": "paris", "prefix": "10.2.9.0/24"}).status_code == 201
        assert poll.result().json()["digest"] != digest
        own_cluster.stop()
        own_cluster.start()
        assert api.admin.get("/fabric").status_code == 200, "nobody pays for connections that died unnoticed"


@pytest.mark.postgres
def test_a_change_whose_connection_is_cut_is_not_half_there(cluster: Cluster) -> None:
    url = cluster.new_database()
    database = Database(url)
    migrate(database)
    with serve(Settings(url, busy_timeout_seconds=0.5)) as api:
        engine = api.context.store.database.engine

        def cut(connection, _cursor, statement: str, *_: object) -> None:  # type: ignore[no-untyped-def]
            if statement.startswith("INSERT INTO revisions"):
                with database.write() as other:
                    pid = connection.connection.driver_connection.info.backend_pid
                    other.exec_driver_sql(f"SELECT pg_terminate_backend({pid}, 5000)")

        event.listen(engine, "before_cursor_execute", cut)
        problem(api.admin.post("/apply", small()), 503, "store-unavailable")
        event.remove(engine, "before_cursor_execute", cut)
        assert api.admin.get("/fabric").json() == {}
        assert api.apply(small())["revision"] == 1
    database.close()
