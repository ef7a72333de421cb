"""The FIB on a kernel in memory: what goes in, in which order, and what is left alone."""

from __future__ import annotations

import asyncio
import errno
from itertools import pairwise

import pytest

from speaker.kernel.fake import FakeRoute
from speaker.kernel.fib import Fib
from speaker.kernel.port import KernelError, NextHopRecord
from speaker.rib.path import Member
from speaker.rib.prefix import Family
from tests.speaker.kernel.world import SEGMENTS, FakeWorld, name_of, via, want

A, B = via("10.42.0.2"), via("10.42.0.2", "10.42.0.3")
A6 = via("fd42:42::2")


@pytest.fixture
def world() -> FakeWorld:
    return FakeWorld()


@pytest.fixture
def fib(world: FakeWorld) -> Fib:
    fib = world.fib()
    fib.set_may_remove(True)
    return fib


# What goes in


def test_routes_go_in_behind_their_gateways_and_groups(world: FakeWorld, fib: Fib) -> None:
    want(fib, "10.1.1.0/24", A)
    want(fib, "10.1.2.0/24", B)
    want(fib, "2001:db8::/48", A6)
    outcome = fib.flush()
    assert (outcome.installed, outcome.converged) == (3, True)
    assert world.routes() == {
        ("10.1.1.0/24", 1000): {"10.42.0.2": 1},
        ("10.1.2.0/24", 1000): {"10.42.0.2": 1, "10.42.0.3": 1},
    }
    assert world.routes(Family.IPV6) == {("2001:db8::/48", 1000): {"fd42:42::2": 1}}
    assert world.kernel.log == ["put nexthop"] * 5 + ["put group"] * 3 + ["put route"] * 3  # Two are blackholes.
    assert fib.counts() == {"ipv4": 2, "ipv6": 1}
    assert fib.groups == 3


def test_a_second_pass_is_empty(world: FakeWorld, fib: Fib) -> None:
    want(fib, "10.1.1.0/24", A)
    fib.flush()
    world.kernel.log.clear()
    want(fib, "10.1.1.0/24", via("10.42.0.2"))  # Equal, not the same object.
    assert fib.flush().installed == 0
    assert world.kernel.log == []


def test_a_route_that_moves_is_made_before_the_old_group_goes(world: FakeWorld, fib: Fib) -> None:
    want(fib, "10.1.1.0/24", A)
    fib.flush()
    world.kernel.log.clear()
    want(fib, "10.1.1.0/24", via("10.42.0.3"))
    fib.flush()
    assert world.kernel.log == ["put nexthop", "put group", "put route"]
    assert world.routes() == {("10.1.1.0/24", 1000): {"10.42.0.3": 1}}


def test_unused_objects_go_at_the_second_audit_that_finds_them_so(world: FakeWorld, fib: Fib) -> None:
    """Not at once: paths that come and go find their group again."""
    tiers = (*A, *via("10.42.0.7"))
    want(fib, "10.1.1.0/24", A)
    want(fib, "10.1.2.0/24", tiers)
    fib.flush()
    want(fib, "10.1.1.0/24", via("10.42.0.3"))
    want(fib, "10.1.2.0/24", None)
    fib.flush()
    world.kernel.log.clear()
    assert fib.audit() == 0
    assert world.kernel.log == []
    assert fib.audit() == 0
    assert world.kernel.log == ["delete group"] * 2
    assert fib.audit() == 0
    assert world.kernel.log == ["delete group"] * 2 + ["delete nexthop"] * 2
    assert [fib.audit(), len(world.kernel.log)] == [0, 4]
    assert len(world.kernel.nexthops_by_id) == 3  # A group, its gateway, and the blackhole.


def test_an_unused_group_that_is_wanted_again_stays(world: FakeWorld, fib: Fib) -> None:
    want(fib, "10.1.1.0/24", A)
    fib.flush()
    want(fib, "10.1.1.0/24", None)
    fib.flush()
    fib.audit()
    want(fib, "10.1.1.0/24", A)
    world.kernel.log.clear()
    assert [fib.audit(), fib.audit(), fib.audit()] == [0, 0, 0]
    assert world.kernel.log == ["put route"]


def test_routes_go_in_before_others_come_out(world: FakeWorld, fib: Fib) -> None:
    want(fib, "10.1.1.0/24", A)
    fib.flush()
    world.kernel.log.clear()
    want(fib, "10.1.1.0/24", None)
    want(fib, "10.1.0.0/16", A)
    outcome = fib.flush()
    assert world.kernel.log == ["put route", "delete route"]
    assert (outcome.installed, outcome.removed) == (1, 1)


def test_no_usable_path_is_unreachable_and_not_absent(world: FakeWorld, fib: Fib) -> None:
    want(fib, "10.1.1.0/24", A)
    fib.flush()
    want(fib, "10.1.1.0/24", ())
    fib.flush()
    assert world.routes() == {("10.1.1.0/24", 1000): {}}
    want(fib, "10.1.1.0/24", A)
    fib.flush()
    assert world.routes() == {("10.1.1.0/24", 1000): {"10.42.0.2": 1}}


def test_rejects_lie_beneath_and_are_a_whole_set(world: FakeWorld, fib: Fib) -> None:
    fib.want_rejects(["10.1.0.0/16", "2001:db8::/32"])
    want(fib, "10.1.0.0/16", A)
    fib.flush()
    assert world.routes() == {("10.1.0.0/16", 4999): {}, ("10.1.0.0/16", 1000): {"10.42.0.2": 1}}
    assert world.routes(Family.IPV6) == {("2001:db8::/32", 4999): {}}
    fib.want_rejects(["10.2.0.0/16"])
    fib.flush()
    assert world.routes() == {("10.2.0.0/16", 4999): {}, ("10.1.0.0/16", 1000): {"10.42.0.2": 1}}
    assert world.routes(Family.IPV6) == {}
    assert fib.counts() == {"ipv4": 1, "ipv6": 0}


def test_weights_are_the_kernel_s(world: FakeWorld, fib: Fib) -> None:
    want(fib, "10.1.1.0/24", ((Member(bytes([10, 42, 0, 2]), 255), Member(bytes([10, 42, 0, 3]), 900)),))
    fib.flush()
    assert world.routes() == {("10.1.1.0/24", 1000): {"10.42.0.2": 255, "10.42.0.3": 255}}


def test_many_routes_go_in_batches_and_all_arrive(world: FakeWorld, fib: Fib) -> None:
    keys = [bytes([24, 20 + (n >> 8), n & 255, 0]) for n in range(6000)]
    assert fib.want_many(Family.IPV4, keys, B) == []
    assert fib.flush().installed == 6000
    assert {key for _, key, _ in world.kernel.ours()} == set(keys)
    assert fib.want_many(Family.IPV4, keys, None) == []
    assert fib.flush().removed == 6000
    for _ in range(3):
        fib.audit()
    assert (world.kernel.ours(), world.kernel.nexthops_by_id) == ({}, {})


@pytest.mark.slow
def test_sorted_prefixes_are_strewn(world: FakeWorld, fib: Fib) -> None:
    keys = [bytes([24, 20 + (n >> 8), n & 255, 0]) for n in range(5000)]
    fib.want_many(Family.IPV4, keys, A)
    fib.flush()
    order = [key for _, key, _ in world.kernel.ours()]
    assert order != keys
    assert sum(abs(keys.index(a) - keys.index(b)) > 10 for a, b in pairwise(order)) > 4900


# Silence is not absence


def test_nothing_is_removed_before_it_may_be(world: FakeWorld) -> None:
    before = world.fib()
    before.want_rejects(["10.9.0.0/16"])
    want(before, "10.1.1.0/24", A)
    want(before, "10.1.2.0/24", B)
    before.flush()
    world.kernel.log.clear()

    after = world.fib()
    assert world.kernel.log == []
    after.want_rejects([])
    want(after, "10.1.1.0/24", A)
    outcome = after.flush()
    assert (world.kernel.log, outcome.converged) == ([], True)
    assert ("10.1.2.0/24", 1000) in world.routes()

    after.set_may_remove(True)
    after.flush()
    assert world.routes() == {("10.1.1.0/24", 1000): {"10.42.0.2": 1}}
    for _ in range(3):
        after.audit()
    assert world.kernel.log == ["delete route"] * 2 + ["delete group", "delete nexthop"]


def test_a_restart_moves_only_what_changed(world: FakeWorld) -> None:
    before = world.fib()
    want(before, "10.1.1.0/24", A)
    want(before, "10.1.2.0/24", B)
    before.flush()
    world.kernel.log.clear()

    after = world.fib()
    want(after, "10.1.1.0/24", via("10.42.0.2"))
    want(after, "10.1.2.0/24", via("10.42.0.2"))
    want(after, "10.1.3.0/24", via("10.42.0.2", "10.42.0.3"))
    assert after.flush().installed == 2
    assert world.kernel.log == ["put route", "put route"]
    assert world.routes() == {
        ("10.1.1.0/24", 1000): {"10.42.0.2": 1},
        ("10.1.2.0/24", 1000): {"10.42.0.2": 1},
        ("10.1.3.0/24", 1000): {"10.42.0.2": 1, "10.42.0.3": 1},
    }


def test_groups_that_are_alike_are_kept_apart_by_a_restart(world: FakeWorld) -> None:
    """Two sets of tiers with the same first tier are two groups: a failure will tell them apart."""
    first, second = (*A, *via("10.42.0.8")), (*A, *via("10.42.0.9"))
    before = world.fib()
    want(before, "10.1.1.0/24", first)
    want(before, "10.1.2.0/24", second)
    before.flush()
    world.kernel.log.clear()
    after = world.fib()
    want(after, "10.1.1.0/24", first)
    want(after, "10.1.2.0/24", second)
    after.set_may_remove(True)
    after.flush()
    assert world.kernel.log == []
    assert after.groups == 2


# {absent, extra, modified} x {ours, foreign}


@pytest.fixture
def settled(world: FakeWorld, fib: Fib) -> Fib:
    world.add_foreign("10.7.0.0/16", 20)
    fib.want_rejects(["10.1.0.0/16"])
    want(fib, "10.1.1.0/24", A)
    want(fib, "10.1.2.0/24", B)
    want(fib, "2001:db8::/48", A6)
    assert fib.flush().converged
    return fib


def assert_repaired(world: FakeWorld, fib: Fib, differences: int) -> None:
    assert fib.audit() == differences
    assert world.routes() == {
        ("10.1.0.0/16", 4999): {},
        ("10.1.1.0/24", 1000): {"10.42.0.2": 1},
        ("10.1.2.0/24", 1000): {"10.42.0.2": 1, "10.42.0.3": 1},
    }
    assert world.routes(Family.IPV6) == {("2001:db8::/48", 1000): {"fd42:42::2": 1}}
    assert ("10.7.0.0/16", 20) in world.foreign()
    assert (fib.audit(), fib.flush().converged) == (0, True)
    assert fib.repaired == differences


def route_name(prefix: str, metric: int = 1000) -> tuple[Family, bytes, int]:
    return (*name_of(prefix), metric)


def test_nothing_to_repair(world: FakeWorld, settled: Fib) -> None:
    assert_repaired(world, settled, 0)


@pytest.mark.parametrize(("prefix", "metric"), [("10.1.2.0/24", 1000), ("10.1.0.0/16", 4999), ("2001:db8::/48", 1000)])
def test_absent_route_of_ours_comes_back(world: FakeWorld, settled: Fib, prefix: str, metric: int) -> None:
    del world.kernel.routes_by_name[route_name(prefix, metric)]
    assert_repaired(world, settled, 1)


@pytest.mark.parametrize("metric", [1000, 4999, 77])
def test_extra_route_of_ours_goes(world: FakeWorld, settled: Fib, metric: int) -> None:
    world.kernel.routes_by_name[route_name("10.66.0.0/16", metric)] = FakeRoute(76, 0, 7)
    assert_repaired(world, settled, 1)


def test_extra_route_of_ours_stays_while_nothing_may_be_removed(world: FakeWorld, settled: Fib) -> None:
    settled.set_may_remove(False)
    world.kernel.routes_by_name[route_name("10.66.0.0/16")] = FakeRoute(76, 0, 7)
    world.kernel.nexthops_by_id[0x4C000777] = NextHopRecord(0x4C000777, 76, 1, bytes([10, 42, 0, 77]))
    world.kernel.nexthops_by_id[0x4C800777] = NextHopRecord(0x4C800777, 76, group=((0x4C000777, 1),))
    settled.audit()
    assert ("10.66.0.0/16", 1000) in world.routes()
    assert {0x4C000777, 0x4C800777} <= world.kernel.nexthops_by_id.keys()


def test_route_that_somebody_removed_is_no_failure(world: FakeWorld, settled: Fib) -> None:
    del world.kernel.routes_by_name[route_name("10.1.1.0/24")]
    del world.kernel.routes_by_name[route_name("10.1.2.0/24")]
    want(settled, "10.1.1.0/24", B)
    want(settled, "10.1.2.0/24", None)
    assert settled.flush().converged
    assert ("10.1.1.0/24", 1000) in world.routes()


@pytest.mark.parametrize("route", [FakeRoute(76, 0, 7), FakeRoute(76, 0, 1), FakeRoute(76, 12, 1)])
def test_modified_route_of_ours_is_put_right(world: FakeWorld, settled: Fib, route: FakeRoute) -> None:
    world.kernel.routes_by_name[route_name("10.1.2.0/24")] = route
    assert_repaired(world, settled, 1)


def test_absent_group_comes_back_with_its_routes(world: FakeWorld, settled: Fib) -> None:
    world.kernel._delete_nexthop(world.kernel.ours()[route_name("10.1.2.0/24")].nhid)
    assert_repaired(world, settled, 2)


def test_absent_gateway_comes_back_to_its_groups(world: FakeWorld, settled: Fib) -> None:
    shared = next(r for r in world.kernel.nexthops_by_id.values() if r.gateway == bytes([10, 42, 0, 2]))
    world.kernel._delete_nexthop(shared.id)
    assert_repaired(world, settled, 4)  # The gateway, the group that it was alone in, its route, and the other group.


def test_extra_objects_of_ours_go(world: FakeWorld, settled: Fib) -> None:
    world.kernel.nexthops_by_id[0x4C000777] = NextHopRecord(0x4C000777, 76, 1, bytes([10, 42, 0, 77]))
    world.kernel.nexthops_by_id[0x4C000778] = NextHopRecord(0x4C000778, 76, blackhole=True)
    world.kernel.nexthops_by_id[0x4C800777] = NextHopRecord(0x4C800777, 76, group=((0x4C000777, 1),))
    assert_repaired(world, settled, 3)
    settled.audit()
    assert not {0x4C000777, 0x4C000778, 0x4C800777} & world.kernel.nexthops_by_id.keys()


def test_modified_group_is_put_right(world: FakeWorld, settled: Fib) -> None:
    id_ = world.kernel.ours()[route_name("10.1.2.0/24")].nhid
    kept = world.kernel.nexthops_by_id[id_].group[:1]
    world.kernel.nexthops_by_id[id_] = NextHopRecord(id_, 76, group=kept)
    assert_repaired(world, settled, 1)


def test_modified_gateway_is_put_right(world: FakeWorld, settled: Fib) -> None:
    id_ = next(r.id for r in world.kernel.nexthops_by_id.values() if r.gateway == bytes([10, 42, 0, 3]))
    world.kernel.nexthops_by_id[id_] = NextHopRecord(id_, 76, 1, bytes([10, 42, 0, 99]))
    assert_repaired(world, settled, 1)


def test_gateway_where_we_have_a_group_is_put_right(world: FakeWorld, settled: Fib) -> None:
    id_ = world.kernel.ours()[route_name("10.1.2.0/24")].nhid
    world.kernel._delete_nexthop(id_)
    world.kernel.nexthops_by_id[id_] = NextHopRecord(id_, 76, 1, bytes([10, 42, 0, 99]))
    assert settled.audit() == 3
    assert settled.audit() == 0
    assert ("10.1.2.0/24", 1000) in world.routes()


def test_foreign_things_are_never_touched(world: FakeWorld, settled: Fib) -> None:
    """FakeKernel complains about every touch by itself."""
    world.kernel.nexthops_by_id[12] = NextHopRecord(12, 11, 1, bytes([10, 42, 0, 2]))
    world.kernel.nexthops_by_id[13] = NextHopRecord(13, 76, 1, bytes([10, 42, 0, 2]))  # Protocol 76, but not our range.
    world.kernel.nexthops_by_id[0x4C000500] = NextHopRecord(0x4C000500, 11, 1, bytes([10, 42, 0, 50]))
    world.kernel.routes_by_name[route_name("10.1.1.0/24", 20)] = FakeRoute(11, 12)
    before = (world.kernel.foreign(), dict(world.kernel.nexthops_by_id))
    assert_repaired(world, settled, 0)
    assert (world.kernel.foreign(), world.kernel.nexthops_by_id) == before


def test_ids_that_somebody_took_are_left_out(world: FakeWorld) -> None:
    world.kernel.nexthops_by_id[0x4C000000] = NextHopRecord(0x4C000000, 11, 1, bytes([10, 42, 0, 50]))
    world.kernel.nexthops_by_id[0x4C800000] = NextHopRecord(0x4C800000, 11, group=((0x4C000000, 1),))
    fib = world.fib()
    want(fib, "10.1.1.0/24", A)
    assert fib.flush().converged
    assert world.routes() == {("10.1.1.0/24", 1000): {"10.42.0.2": 1}}


def test_ids_that_somebody_takes_later_are_exchanged(world: FakeWorld, settled: Fib) -> None:
    """As zebra does with ids that go: a gateway becomes its group, and ours must not touch it any more."""
    world.link_down()
    settled.set_link("eth0", None)
    world.link_up()
    world.kernel.nexthops_by_id[9] = NextHopRecord(9, 11, 1, bytes([10, 42, 0, 2]))
    for id_ in (0x4C000000, 0x4C000003, 0x4C800000, 0x4C800001):
        world.kernel.nexthops_by_id[id_] = NextHopRecord(id_, 11, group=((9, 1),))
    world.kernel.log.clear()
    settled.set_link("eth0", 1)
    assert settled.flush().converged
    assert world.kernel.log.count("put route") == 3
    assert_repaired(world, settled, 0)


def test_ids_that_somebody_overwrote_are_exchanged(world: FakeWorld, settled: Fib) -> None:
    world.kernel.nexthops_by_id[9] = NextHopRecord(9, 11, 1, bytes([10, 42, 0, 2]))
    id_ = world.kernel.ours()[route_name("10.1.2.0/24")].nhid
    world.kernel.nexthops_by_id[id_] = NextHopRecord(id_, 11, group=((9, 1),))
    assert settled.audit() > 0
    assert world.kernel.ours()[route_name("10.1.2.0/24")].nhid != id_
    assert settled.audit() == 0
    assert id_ in world.kernel.nexthops_by_id


def test_foreign_route_in_the_way_is_reported_and_the_rest_goes_on(world: FakeWorld, fib: Fib) -> None:
    world.add_foreign("10.1.1.0/24", 1000)
    want(fib, "10.1.1.0/24", A)
    want(fib, "10.1.2.0/24", A)
    outcome = fib.flush()
    assert outcome.failed == [(*name_of("10.1.1.0/24"), errno.EEXIST, "Route exists")]
    assert (outcome.installed, outcome.failures, fib.refused) == (1, 1, 1)
    assert not fib.installed(*name_of("10.1.1.0/24"))
    assert fib.installed(*name_of("10.1.2.0/24"))
    # The kernel was read once to be sure, found as we thought, and is not read for ever.
    world.kernel.failures["dump"] = 1
    assert fib.flush().faults == []
    world.kernel.failures.clear()
    # It goes; the next audit puts ours in its place.
    del world.kernel.routes_by_name[route_name("10.1.1.0/24")]
    fib.audit()
    assert world.routes() == {("10.1.1.0/24", 1000): {"10.42.0.2": 1}, ("10.1.2.0/24", 1000): {"10.42.0.2": 1}}
    assert fib.refused == 0


# Interfaces


def test_interface_goes_and_comes_back_under_another_index(world: FakeWorld, fib: Fib) -> None:
    fib.want_rejects(["10.1.0.0/16"])
    want(fib, "10.1.1.0/24", A)
    want(fib, "2001:db8::/48", A6)
    fib.flush()
    world.link_down()
    fib.set_link("eth0", None)
    outcome = fib.flush()
    assert (outcome.remaining, outcome.failures, fib.counts()) == (2, 0, {"ipv4": 0, "ipv6": 0})
    assert world.routes() == {("10.1.0.0/16", 4999): {}}  # What keeps the traffic from the default route.
    want(fib, "10.1.3.0/24", B)
    world.kernel.links[5] = True
    fib.set_link("eth0", 5)
    assert fib.flush().converged
    assert set(world.routes()) == {("10.1.0.0/16", 4999), ("10.1.1.0/24", 1000), ("10.1.3.0/24", 1000)}
    assert {r.ifindex for r in world.kernel.nexthops_by_id.values() if r.gateway} == {5}
    assert fib.audit() == 0


def test_a_flap_that_we_saw_only_afterwards(world: FakeWorld, fib: Fib) -> None:
    want(fib, "10.1.1.0/24", A)
    fib.flush()
    world.link_down()
    world.link_up()
    want(fib, "10.1.2.0/24", A)
    fib.flush()  # Into a group that is not there.
    fib.set_link("eth0", None)
    fib.set_link("eth0", 1)
    assert fib.flush().converged
    assert set(world.routes()) == {("10.1.1.0/24", 1000), ("10.1.2.0/24", 1000)}


def test_a_flap_that_nobody_told_us_of(world: FakeWorld, fib: Fib) -> None:
    want(fib, "10.1.1.0/24", A)
    fib.flush()
    world.link_down()
    world.link_up()
    want(fib, "10.1.2.0/24", A)
    assert fib.flush().converged  # The refusal made it read the kernel.
    assert set(world.routes()) == {("10.1.1.0/24", 1000), ("10.1.2.0/24", 1000)}


def test_two_uplinks_one_goes(world: FakeWorld) -> None:
    """The near one goes: its members move to the other, and the routes that the kernel dropped are put anew."""
    world.kernel.links = {1: True, 2: True}
    fib = Fib(world.kernel, ["eth0", "eth1"], segments=SEGMENTS)
    fib.set_may_remove(True)
    fib.set_link("eth0", 1)
    fib.set_link("eth1", 2)
    fib.set_liveness(frozenset({("eth0", bytes([10, 42, 0, 102]))}), {})
    want(fib, "10.1.1.0/24", via("10.42.0.2", "10.42.0.102"))
    want(fib, "10.1.2.0/24", via("10.42.0.2"))
    fib.flush()
    assert sorted(r.ifindex for r in world.kernel.nexthops_by_id.values() if r.gateway) == [1, 2]
    world.kernel.log.clear()
    world.kernel.link_down(1)
    assert set(world.routes()) == {("10.1.1.0/24", 1000)}
    fib.set_link("eth0", None)
    assert fib.flush().converged
    assert world.kernel.log == ["put nexthop", "put group", "put group", "put route"]
    wanted = {
        ("10.1.1.0/24", 1000): {"10.42.0.2": 1, "10.42.0.102": 1},
        ("10.1.2.0/24", 1000): {"10.42.0.2": 1},
    }
    assert world.routes() == wanted
    assert {r.ifindex for r in world.kernel.nexthops_by_id.values() if r.gateway} == {2}
    world.kernel.link_up(1)
    fib.set_link("eth0", 1)
    world.kernel.log.clear()
    assert fib.flush().converged
    assert world.kernel.log == ["put nexthop", "put group", "put group"]  # And back, no route touched.
    assert world.routes() == wanted
    assert fib.audit() == 0


def test_next_hop_that_is_refused_leaves_the_others_of_its_group(world: FakeWorld, fib: Fib) -> None:
    world.kernel.failures["nexthop"] = 1
    want(fib, "10.1.1.0/24", B)
    outcome = fib.flush()
    assert outcome.faults == ["next hop 10.42.0.2 on eth0: Cannot allocate memory"]
    assert world.routes() == {("10.1.1.0/24", 1000): {"10.42.0.3": 1}}
    fib.set_link("eth0", 1)  # An address came.
    assert fib.flush().converged
    assert world.routes() == {("10.1.1.0/24", 1000): {"10.42.0.2": 1, "10.42.0.3": 1}}


# Failures


@pytest.mark.parametrize("kind", ["nexthop", "group", "route", "removal", "submit", "answer", "dump"])
def test_any_one_failure_is_overcome(world: FakeWorld, settled: Fib, kind: str) -> None:
    world.kernel.failures[kind] = 1
    want(settled, "10.1.1.0/24", via("10.42.0.4"))
    want(settled, "10.1.2.0/24", None)
    want(settled, "10.1.3.0/24", B)
    if kind == "dump":
        with pytest.raises(KernelError):
            settled.audit()
    else:
        settled.flush()
    assert world.kernel.failures[kind] == 0, "the failure was not met"
    settled.audit()
    assert settled.flush().converged
    assert world.routes() == {
        ("10.1.0.0/16", 4999): {},
        ("10.1.1.0/24", 1000): {"10.42.0.4": 1},
        ("10.1.3.0/24", 1000): {"10.42.0.2": 1, "10.42.0.3": 1},
    }
    assert settled.audit() == 0


def test_a_dead_socket_is_told_and_overcome(world: FakeWorld, fib: Fib) -> None:
    world.kernel.failures["answer"] = 1
    want(fib, "10.1.1.0/24", A)
    outcome = fib.flush()
    assert not outcome.converged
    assert outcome.faults == ["[Errno 105] answer: no buffer space"]
    assert fib.flush().converged
    assert fib.audit() == 0


# The guard


@pytest.mark.parametrize(
    ("prefix", "reason"),
    [
        ("10.42.7.0/24", "10.42.7.0/24 is inside the segment 10.42.0.0/16"),
        ("10.42.0.0/16", "10.42.0.0/16 is inside the segment 10.42.0.0/16"),
        ("fd42:42::/96", "fd42:42::/96 is inside the segment fd42:42::/64"),
        ("10.0.0.0/8", ""),
        ("10.43.0.0/16", ""),
        ("fd42:42:0:1::/64", ""),
        ("a2a::/32", ""),  # Begins with the octets of the IPv4 segment.
    ],
)
def test_guard(world: FakeWorld, fib: Fib, prefix: str, reason: str) -> None:
    assert want(fib, prefix, A6) == reason
    assert fib.guarded == bool(reason)
    fib.flush()
    assert len(world.kernel.ours()) == (not reason)
    assert want(fib, prefix, None) == ""


def test_guard_tells_which_of_many(fib: Fib) -> None:
    keys = [name_of(prefix)[1] for prefix in ("10.1.1.0/24", "10.42.1.0/24")]
    assert [key for key, _ in fib.want_many(Family.IPV4, keys, A)] == keys[1:]


# The writer thread


def test_wishes_that_change_during_a_flush(world: FakeWorld, fib: Fib) -> None:
    keys = [bytes([24, 20 + (n >> 8), n & 255, 0]) for n in range(12000)]

    async def scenario() -> None:
        fib.want_many(Family.IPV4, keys, A)
        flush = asyncio.create_task(fib.flush_async())
        while len(world.kernel.log) < 3000:
            await asyncio.sleep(0)
        fib.want_many(Family.IPV4, keys[:4000], None)
        fib.want_many(Family.IPV4, keys[4000:8000], B)
        await flush
        outcome = await fib.flush_async()
        assert outcome.converged

    asyncio.run(scenario())
    fib.close()
    groups = {key: len(world.kernel.gateways((Family.IPV4, key, 1000)) or {}) for _, key, _ in world.kernel.ours()}
    assert groups == {key: 2 if index < 8000 else 1 for index, key in enumerate(keys) if index >= 4000}
    assert fib.audit() == 0


@pytest.mark.slow
def test_interface_lost_during_a_flush(world: FakeWorld, fib: Fib) -> None:
    keys = [bytes([24, 20 + (n >> 8), n & 255, 0]) for n in range(12000)]

    async def scenario() -> None:
        fib.want_many(Family.IPV4, keys, A)
        flush = asyncio.create_task(fib.flush_async())
        while len(world.kernel.log) < 3000:
            await asyncio.sleep(0)
        world.kernel.links[1] = False
        fib.set_link("eth0", None)
        await flush
        world.kernel.link_down(1)
        world.kernel.link_up(1)
        fib.set_link("eth0", 1)
        while not (await fib.flush_async()).converged:
            pass
        assert await fib.audit_async() == 0

    asyncio.run(asyncio.wait_for(scenario(), 30))
    fib.close()
    assert len(world.kernel.ours()) == 12000


def test_cancelled_flush_loses_nothing(world: FakeWorld, fib: Fib) -> None:
    keys = [bytes([24, 20 + (n >> 8), n & 255, 0]) for n in range(12000)]

    async def scenario() -> None:
        fib.want_many(Family.IPV4, keys, A)
        flush = asyncio.create_task(fib.flush_async())
        while not world.kernel.log:
            await asyncio.sleep(0)
        flush.cancel()
        with pytest.raises(asyncio.CancelledError):
            await flush
        assert (await fib.flush_async()).converged

    asyncio.run(scenario())
    fib.close()
    assert len(world.kernel.ours()) == 12000
    assert fib.audit() == 0
