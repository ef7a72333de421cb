"""What a kernel promises to the FIB. Run on FakeKernel and, as root, on a real one: the fake lies about nothing."""

from __future__ import annotations

import errno

import pytest

from speaker.kernel import messages as m
from speaker.kernel import parse
from speaker.kernel.port import TABLE_LAN, NextHopRecord, RouteRecord
from speaker.rib.prefix import Family
from tests.speaker.kernel.world import World, name_of

HOP, HOP2, HOP6, GROUP, GROUP6 = 0x4C000000, 0x4C000001, 0x4C000002, 0x4C800000, 0x4C800001
NOBODY, NOBODY6, SHARED = 0x4C000010, 0x4C000011, 0x4C800002
GATEWAY, GATEWAY2 = bytes([10, 42, 0, 2]), bytes([10, 42, 0, 3])
GATEWAY6 = bytes.fromhex("fd420042000000000000000000000002")
PREFIXES = ["10.1.1.0/24", "2001:db8:1::/48"]


def route(prefix: str, flags: int = m.CREATE, metric: int = 1000, group: int | None = None) -> bytes:
    family, key = name_of(prefix)
    nhid = (GROUP if family is Family.IPV4 else GROUP6) if group is None else group
    return m.put_route(family, key, flags, metric, nhid)


def removal(prefix: str, metric: int = 1000) -> bytes:
    return m.delete_route(*name_of(prefix), metric)


class KernelContract:
    @pytest.fixture
    def objects(self, world: World) -> World:
        """Two gateways in one group, one IPv6 gateway in another."""
        faults = world.kernel.submit(
            m.put_nexthop(HOP, world.index, GATEWAY, m.CREATE)
            + m.put_nexthop(HOP2, world.index, GATEWAY2, m.CREATE)
            + m.put_nexthop(HOP6, world.index, GATEWAY6, m.CREATE)
            + m.put_group(GROUP, [(HOP, 1), (HOP2, 3)], m.CREATE)
            + m.put_group(GROUP6, [(HOP6, 1)], m.CREATE)
        )
        assert faults == []
        return world

    def errors(self, world: World, *messages: bytes) -> list[int]:
        return [fault.errno for fault in world.kernel.submit(b"".join(messages))]

    @pytest.mark.parametrize("prefix", [*PREFIXES, "0.0.0.0/0", "::/0"])
    def test_a_table_of_ours_is_another_one(self, objects: World, prefix: str) -> None:
        family, key = name_of(prefix)
        group = GROUP if family is Family.IPV4 else GROUP6

        def standing(*table: int) -> list[RouteRecord]:
            return sorted(record for chunk in objects.kernel.routes(family, *table) for record in chunk)

        assert standing(TABLE_LAN) == []
        messages = [
            m.put_route(family, key, m.CREATE, 1000, group, TABLE_LAN),
            m.put_route(family, key, m.CREATE, 4999, 0, TABLE_LAN),
        ]
        assert self.errors(objects, *messages) == []
        assert standing(TABLE_LAN) == [RouteRecord(key, 1000, group, 1), RouteRecord(key, 4999, 0, 7)]
        assert standing() == []
        assert self.errors(objects, removal(prefix)) == [errno.ESRCH]
        assert self.errors(objects, m.delete_route(family, key, 1000, 0, TABLE_LAN)) == []
        assert standing(TABLE_LAN) == [RouteRecord(key, 4999, 0, 7)]

    @pytest.mark.parametrize("prefix", PREFIXES)
    def test_route_goes_in_and_out(self, objects: World, prefix: str) -> None:
        family, key = name_of(prefix)
        group = GROUP if family is Family.IPV4 else GROUP6
        assert self.errors(objects, route(prefix), route(prefix, metric=4999, group=0)) == []
        assert sorted(r for chunk in objects.kernel.routes(family) for r in chunk) == [
            RouteRecord(key, 1000, group, 1),
            RouteRecord(key, 4999, 0, 7),
        ]
        assert self.errors(objects, removal(prefix)) == []
        assert [r.metric for chunk in objects.kernel.routes(family) for r in chunk] == [4999]

    @pytest.mark.parametrize("prefix", PREFIXES)
    def test_create_refuses_what_is_there_and_replace_what_is_not(self, objects: World, prefix: str) -> None:
        assert self.errors(objects, route(prefix, m.REPLACE)) == [errno.ENOENT]
        assert self.errors(objects, route(prefix), route(prefix)) == [errno.EEXIST]
        assert self.errors(objects, route(prefix, m.REPLACE, group=0), route(prefix, m.REPLACE)) == []

    @pytest.mark.parametrize("prefix", PREFIXES)
    def test_removal_of_nothing_is_refused(self, objects: World, prefix: str) -> None:
        assert self.errors(objects, removal(prefix)) == [errno.ESRCH]

    @pytest.mark.parametrize("prefix", PREFIXES)
    def test_foreign_route_is_in_the_way_but_safe(self, objects: World, prefix: str) -> None:
        objects.add_foreign(prefix, 1000)
        assert self.errors(objects, route(prefix), removal(prefix)) == [errno.EEXIST, errno.ESRCH]
        assert objects.foreign() == {(prefix, 1000)}
        assert objects.routes(name_of(prefix)[0]) == {}

    def test_one_refused_message_does_not_stop_the_others(self, objects: World) -> None:
        unknown = route("10.1.2.0/24", group=0x4CFFFFF0)
        faults = objects.kernel.submit(route("10.1.1.0/24") + unknown + route("10.1.3.0/24"))
        assert [(fault.errno, fault.text) for fault in faults] == [(errno.EINVAL, "Nexthop id does not exist")]
        refused = parse.Request(faults[0].message).route
        assert refused is not None
        assert refused.key == bytes([24, 10, 1, 2])
        assert set(objects.routes()) == {("10.1.1.0/24", 1000), ("10.1.3.0/24", 1000)}

    def test_a_batch_of_nothing_but_faults_is_answered_whole(self, objects: World) -> None:
        unknown = [m.put_route(Family.IPV4, bytes([24, 10, n >> 8, n & 255]), m.CREATE, 1000, 1) for n in range(2500)]
        assert self.errors(objects, *unknown) == [errno.EINVAL] * 2500

    def test_ipv6_route_over_ipv4_gateways_is_refused(self, objects: World) -> None:
        assert self.errors(objects, route("2001:db8:1::/48", group=GROUP)) == [errno.EINVAL]

    def test_ipv4_route_over_ipv6_gateways(self, objects: World) -> None:
        assert self.errors(objects, route("10.1.1.0/24", group=GROUP6)) == []
        assert objects.routes() == {("10.1.1.0/24", 1000): {"fd42:42::2": 1}}

    def test_objects_create_refuses_what_is_there_and_replace_what_is_not(self, objects: World) -> None:
        again = m.put_nexthop(HOP, objects.index, GATEWAY, m.CREATE)
        group_again = m.put_group(GROUP, [(HOP, 1)], m.CREATE)
        assert self.errors(objects, again, group_again) == [errno.EEXIST, errno.EEXIST]
        missing = m.put_nexthop(HOP + 9, objects.index, GATEWAY, m.REPLACE)
        group_missing = m.put_group(GROUP + 9, [(HOP, 1)], m.REPLACE)
        assert self.errors(objects, missing, group_missing) == [errno.ENOENT, errno.ENOENT]

    def test_group_of_an_unknown_gateway_is_refused(self, objects: World) -> None:
        assert self.errors(objects, m.put_group(GROUP + 5, [(HOP + 99, 1)], m.CREATE)) == [errno.EINVAL]

    def test_a_group_does_not_become_a_gateway(self, objects: World) -> None:
        assert self.errors(objects, m.put_nexthop(GROUP, objects.index, GATEWAY, m.REPLACE)) == [errno.EINVAL]

    def test_replacing_a_group_moves_its_routes(self, objects: World) -> None:
        assert self.errors(objects, route("10.1.1.0/24"), m.put_group(GROUP, [(HOP2, 7)], m.REPLACE)) == []
        assert objects.routes() == {("10.1.1.0/24", 1000): {"10.42.0.3": 7}}

    def test_a_deleted_gateway_leaves_its_groups(self, objects: World) -> None:
        assert self.errors(objects, route("10.1.1.0/24"), m.delete_nexthop(HOP)) == []
        assert objects.routes() == {("10.1.1.0/24", 1000): {"10.42.0.3": 3}}

    def test_the_last_gateway_takes_group_and_routes_along(self, objects: World) -> None:
        assert self.errors(objects, route("10.1.1.0/24"), m.delete_nexthop(HOP), m.delete_nexthop(HOP2)) == []
        assert objects.routes() == {}
        assert {record.id for record in objects.kernel.nexthops()} == {HOP6, GROUP6}

    def test_deleting_what_is_not_there_is_refused(self, objects: World) -> None:
        assert self.errors(objects, m.delete_nexthop(HOP + 77)) == [errno.ENOENT]

    def test_an_interface_that_goes_down_takes_everything_along(self, objects: World) -> None:
        assert self.errors(objects, *map(route, PREFIXES), route("10.1.0.0/16", metric=4999, group=0)) == []
        objects.link_down()
        assert objects.kernel.nexthops() == []
        assert objects.routes(Family.IPV6) == {}
        assert objects.routes() == {("10.1.0.0/16", 4999): {}}
        assert self.errors(objects, m.put_nexthop(HOP, objects.index, GATEWAY, m.CREATE)) == [errno.ENETDOWN]
        objects.link_up()
        assert objects.kernel.nexthops() == []
        assert self.errors(objects, m.put_nexthop(HOP, objects.index, GATEWAY, m.CREATE)) == []

    def test_a_gateway_on_no_interface_is_refused(self, objects: World) -> None:
        assert self.errors(objects, m.put_nexthop(HOP + 5, 9999, GATEWAY, m.CREATE)) == [errno.EINVAL]

    @pytest.fixture
    def shared(self, objects: World) -> World:
        """A resilient group of both gateways with a route in it, and a blackhole per family."""
        messages = (
            m.put_group(SHARED, [(HOP, 1), (HOP2, 3)], m.CREATE, resilient=True),
            route("10.1.1.0/24", group=SHARED),
            m.put_blackhole(NOBODY, Family.IPV4, m.CREATE),
            m.put_blackhole(NOBODY6, Family.IPV6, m.CREATE),
        )
        assert self.errors(objects, *messages) == []
        return objects

    def test_objects_are_read_as_they_were_put(self, shared: World) -> None:
        found = {record.id: record for record in shared.kernel.nexthops()}
        assert found[SHARED] == NextHopRecord(SHARED, 76, group=((HOP, 1), (HOP2, 3)), resilient=True)
        assert found[GROUP] == NextHopRecord(GROUP, 76, group=((HOP, 1), (HOP2, 3)))
        assert found[NOBODY] == NextHopRecord(NOBODY, 76, blackhole=True)
        assert found[NOBODY6] == NextHopRecord(NOBODY6, 76, blackhole=True, family=Family.IPV6)

    @pytest.mark.parametrize("resilient", [False, True])
    def test_a_group_becomes_a_blackhole_and_a_group_again(self, shared: World, resilient: bool) -> None:
        group = SHARED if resilient else GROUP
        assert self.errors(shared, route("10.1.2.0/24", group=group)) == []
        for members in ([(NOBODY, 1)], [(HOP2, 1)], [(NOBODY, 1)], [(HOP, 5), (HOP2, 6)]):
            assert self.errors(shared, m.put_group(group, members, m.REPLACE, resilient)) == []
            assert {r.id: r.group for r in shared.kernel.nexthops()}[group] == tuple(members)
        assert shared.routes()["10.1.2.0/24", 1000] == {"10.42.0.2": 5, "10.42.0.3": 6}

    def test_a_blackhole_outlives_the_gateways(self, shared: World) -> None:
        replacement = m.put_group(SHARED, [(NOBODY, 1)], m.REPLACE, resilient=True)
        assert self.errors(shared, replacement, m.delete_nexthop(HOP), m.delete_nexthop(HOP2)) == []
        shared.link_down()
        assert {r.id for r in shared.kernel.nexthops()} == {NOBODY, NOBODY6, SHARED}
        assert [r.nhid for chunk in shared.kernel.routes(Family.IPV4) for r in chunk] == [SHARED]

    def test_a_deleted_gateway_leaves_a_resilient_group(self, shared: World) -> None:
        assert self.errors(shared, m.delete_nexthop(HOP)) == []
        assert shared.routes() == {("10.1.1.0/24", 1000): {"10.42.0.3": 3}}

    def test_a_blackhole_is_alone_or_nowhere(self, shared: World) -> None:
        for group, resilient in ((GROUP, False), (SHARED, True)):
            message = m.put_group(group, [(HOP, 1), (NOBODY, 1)], m.REPLACE, resilient)
            assert self.errors(shared, message) == [errno.EINVAL]

    def test_a_group_keeps_its_type(self, shared: World) -> None:
        assert self.errors(shared, m.put_group(SHARED, [(HOP, 1)], m.REPLACE)) == [errno.EINVAL]
        assert self.errors(shared, m.put_group(GROUP, [(HOP, 1)], m.REPLACE, resilient=True)) == [errno.EINVAL]

    def test_ipv6_routes_want_an_ipv6_blackhole(self, shared: World) -> None:
        assert self.errors(shared, route("2001:db8:1::/48")) == []
        assert self.errors(shared, m.put_group(GROUP6, [(NOBODY, 1)], m.REPLACE)) == [errno.EINVAL]
        assert self.errors(shared, m.put_group(GROUP6, [(NOBODY6, 1)], m.REPLACE)) == []

    def test_ipv4_routes_take_either_blackhole(self, shared: World) -> None:
        assert self.errors(shared, m.put_group(SHARED, [(NOBODY6, 1)], m.REPLACE, resilient=True)) == []

    def test_without_lo_there_is_no_new_blackhole(self, shared: World) -> None:
        assert self.errors(shared, m.put_group(SHARED, [(NOBODY, 1)], m.REPLACE, resilient=True)) == []
        shared.lo_down()
        assert {NOBODY, NOBODY6, SHARED} <= {r.id for r in shared.kernel.nexthops()}
        assert set(shared.routes()) == {("10.1.1.0/24", 1000)}
        assert self.errors(shared, m.put_blackhole(NOBODY + 5, Family.IPV4, m.CREATE)) == [errno.ENETDOWN]
