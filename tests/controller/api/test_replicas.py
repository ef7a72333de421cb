"""Two controllers on one PostgreSQL: a change at one wakes the gateways that wait at the other."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from controller.api.settings import Settings
from controller.store.engine import Database
from controller.store.migrate import migrate
from tests.controller.api.served import Served, serve, wait_until
from tests.postgres import Cluster

pytestmark = pytest.mark.postgres

LISTENERS = (
    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'leyline-listen' AND datname = current_database()"
)
CUT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE application_name = 'leyline-listen' AND datname = current_database()"
)


@pytest.fixture
def url(cluster: Cluster) -> str:
    found = cluster.new_database()
    database = Database(found)
    migrate(database)
    database.close()
    return found


@pytest.fixture
def replicas(url: str) -> Iterator[tuple[Served, Served]]:
    with serve(Settings(url)) as one, serve(Settings(url)) as two:
        one.with_small()
        wait_until(lambda: listeners(one) == 2)
        yield one, two


def listeners(served: Served) -> int:
    with served.context.store.database.read() as connection:
        found: int = connection.exec_driver_sql(LISTENERS).scalar_one()
        return found


def test_a_change_at_one_wakes_who_waits_at_the_other(replicas: tuple[Served, Served]) -> None:
    one, two = replicas
    gateway = two.as_gateway("paris-1")
    digest = gateway.poll("paris-1").json()["digest"]
    poll = gateway.in_background(lambda: gateway.poll("paris-1", digest, wait=30))
    two.waiting(1)
    one.admin.post("/prefixes", {"site": "berlin", "prefix": "10.1.9.0/24"})
    one.admin.post("/prefixes", {"site": "paris", "prefix": "10.2.9.0/24"})
    assert poll.result().json()["digest"] == one.context.store.digests()["paris-1"]
    assert two.admin.get("/prefixes/paris/global/10.2.9.0/24").status_code == 200, "nobody serves a stale state"


def test_what_was_missed_while_not_listening_is_found_afterwards(replicas: tuple[Served, Served]) -> None:
    one, two = replicas
    gateway = two.as_gateway("paris-1")
    digest = gateway.poll("paris-1").json()["digest"]
    poll = gateway.in_background(lambda: gateway.poll("paris-1", digest, wait=30))
    two.waiting(1)
    with one.context.store.database.write() as connection:
        connection.exec_driver_sql(CUT)
    wait_until(lambda: listeners(one) == 0)
    one.admin.post("/prefixes", {"site": "paris", "prefix": "10.2.9.0/24"})
    assert poll.result().json()["digest"] == one.context.store.digests()["paris-1"]
    wait_until(lambda: listeners(one) == 2)


def test_a_new_key_at_one_wakes_who_waits_at_the_other(replicas: tuple[Served, Served]) -> None:
    """It is no revision, and told like one."""
    one, two = replicas
    gateway = two.as_gateway("paris-1")
    digest = gateway.poll("paris-1").json()["digest"]
    poll = gateway.in_background(lambda: gateway.poll("paris-1", digest, wait=30))
    two.waiting(1)
    started = time.monotonic()
    assert one.admin.post("/gateways/berlin-1/rotate-md5?force=true").status_code == 200
    assert poll.result().json()["digest"] == one.context.store.digests()["paris-1"] != digest
    assert time.monotonic() - started < 20, "not by the end of the poll"
