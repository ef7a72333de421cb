"""The walk over the routes of groups that turned void, or came back: what it finds, leaves alone, and overtakes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from speaker.kernel import table as module
from speaker.kernel.messages import HEADER, REPLACE, put_route
from speaker.kernel.port import METRIC_ROUTE, UNREACHABLE, Fault
from speaker.kernel.table import BATCH, SLICE, RouteBatch, Table
from speaker.kernel.targets import Group
from speaker.rib.prefix import Family, Key
from tests.speaker.kernel.world import FakeWorld, name_of, via


def keys(number: int, first: int = 0) -> list[Key]:
    """/24s from 20.0.0.0 on."""
    return [bytes([24, 20 + (n >> 16), n >> 8 & 255, n & 255]) for n in range(first, first + number)]


def group(nhid: int) -> Group:
    found = Group(nhid, None)
    found.holds(((nhid + 1, 1),))
    return found


def put(table: Table, wanted: list[Key], target: Group) -> None:
    table.want_all(wanted, target)
    while table.take_puts() is not None or table.waiting:
        pass


def walked(table: Table, *stale: Group) -> Iterator[RouteBatch]:
    table.begin_walk({one if one.void else one.reject for one in stale})
    while table.walking:
        batch = table.take_walked()
        if batch is not None:
            yield batch


@pytest.fixture
def ipv4() -> Table:
    return Table(Family.IPV4, METRIC_ROUTE)


@pytest.mark.parametrize(
    ("family", "prefixes"),
    [
        (Family.IPV4, ["10.0.0.0/8", "10.1.0.0/16", "10.1.1.0/24", "10.1.1.128/25", "10.1.1.1/32"]),
        (Family.IPV6, ["2001:db8::/32", "2001:db8:1::/48", "2001:db8:1:1::/64", "2001:db8::1/128"]),
    ],
)
def test_each_length_and_family_has_its_message(family: Family, prefixes: list[str]) -> None:
    table, void = Table(family, METRIC_ROUTE), group(100)
    wanted = [name_of(prefix)[1] for prefix in prefixes]
    put(table, wanted, void)
    void.set_void(True)
    (out,) = walked(table, void)
    assert out.data == b"".join(put_route(family, key, REPLACE, METRIC_ROUTE, 0) for key in out.keys)
    void.set_void(False)
    (back,) = walked(table, void)
    assert back.data == b"".join(put_route(family, key, REPLACE, METRIC_ROUTE, 100) for key in back.keys)
    assert sorted(out.keys) == sorted(back.keys) == sorted(wanted)


def test_some_turn_void_while_others_come_back(ipv4: Table) -> None:
    goes, comes, lives = group(100), group(200), group(300)
    comes.set_void(True)
    for number, target in enumerate((goes, comes, lives)):
        put(ipv4, keys(10, 10 * number), target)
    goes.set_void(True)
    comes.set_void(False)
    (batch,) = walked(ipv4, goes, comes)
    assert {key: ipv4.actual[key] for key in batch.keys} == {
        **dict.fromkeys(keys(10), goes.reject),
        **dict.fromkeys(keys(10, 10), comes),
    }
    assert [one.routes for one in (goes, goes.reject, comes, comes.reject, lives)] == [0, 10, 10, 0, 10]
    assert list(walked(ipv4, goes, comes)) == []


def test_a_batch_is_hardly_more_than_a_batch_and_nothing_waits_for_a_long_look(ipv4: Table) -> None:
    void, lives = group(100), group(200)
    put(ipv4, keys(2 * SLICE), lives)
    put(ipv4, keys(10 * BATCH, 2 * SLICE), void)
    void.set_void(True)
    ipv4.begin_walk({void})
    assert ipv4.take_walked() is None  # Only a slice of the others was looked at.
    assert ipv4.walking
    sizes = []
    while ipv4.walking:
        batch = ipv4.take_walked()
        if batch is not None:
            sizes.append(len(batch.keys))
            assert len(batch.data) == sizes[-1] * HEADER.unpack_from(batch.data)[0]
    assert sum(sizes) == 10 * BATCH
    assert max(sizes) < 2 * BATCH


def test_what_is_wished_anew_is_left_alone(ipv4: Table) -> None:
    """It goes where it shall be, and not to `unreachable` before."""
    void, other = group(100), group(200)
    put(ipv4, keys(30), void)
    ipv4.want_all(keys(10), other)
    ipv4.want_all(keys(10, 10), None)
    void.set_void(True)
    (batch,) = walked(ipv4, void)
    assert sorted(batch.keys) == keys(10, 20)


def test_who_comes_back_before_its_group_is_there_waits_for_it(ipv4: Table) -> None:
    void = group(100)
    put(ipv4, keys(10), void)
    void.set_void(True)
    list(walked(ipv4, void))
    void.holds(None)
    void.set_void(False)
    assert list(walked(ipv4, void)) == []
    assert all(ipv4.wanted(key) is void and ipv4.actual[key] is void.reject for key in keys(10))
    void.holds(((101, 1),))
    ipv4.wake()
    batch = ipv4.take_puts()
    assert batch is not None
    assert sorted(batch.keys) == keys(10)
    assert (void.routes, void.reject.routes) == (10, 0)


@pytest.mark.parametrize("changes", [1, 50], ids=["once", "all the while"])
def test_routes_that_come_and_go_meanwhile(ipv4: Table, monkeypatch: pytest.MonkeyPatch, changes: int) -> None:
    monkeypatch.setattr(module, "BATCH", 10)
    monkeypatch.setattr(module, "WALK", 5)
    void, lives = group(100), group(200)
    put(ipv4, keys(300), void)
    void.set_void(True)
    moved: list[Key] = []
    come = 0
    for number, batch in enumerate(walked(ipv4, void)):
        moved += batch.keys
        if number < changes:
            put(ipv4, keys(1, 1000 + number), lives)
            ipv4.want(keys(300)[-1 - number], None)
            assert ipv4.take_removals() is not None
            come += 1
    assert len(moved) == len(set(moved))
    assert {target for key, target in ipv4.actual.items() if key in set(keys(300))} == {void.reject}
    assert (void.routes, lives.routes) == (0, come)


def test_void_routes_go_before_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody sends to the ones and is left in the dark; to the others nobody got through so far either."""
    monkeypatch.setattr(module, "BATCH", 10)
    world = FakeWorld()
    fib = world.fib()
    fib.want_many(Family.IPV4, keys(100), via("10.42.0.2"))
    assert fib.flush().converged
    fib.want_many(Family.IPV4, keys(100, 1000), via("10.42.0.3"))
    fib.set_liveness(frozenset({("eth0", bytes([10, 42, 0, 2]))}), {})
    gone = len(world.kernel.routes_by_name)
    submit, seen = world.kernel.submit, []

    def watched(messages: bytes) -> list[Fault]:
        faults = submit(messages)
        void = sum(route.kind == UNREACHABLE for route in world.kernel.ours().values())
        seen.append((void, len(world.kernel.ours()) - gone))
        return faults

    monkeypatch.setattr(world.kernel, "submit", watched)
    assert fib.flush().converged
    assert seen[-1] == (100, 100)
    assert all(new == 0 or void == 100 for void, new in seen)
