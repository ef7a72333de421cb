"""Which prefixes are withdrawn for which facts."""

from __future__ import annotations

import asyncio
import time
from ipaddress import ip_network

import pytest

from speaker.liveness.lan import MAX_REPORTS, MAX_ROUTED, Lan, LanWatch, Network, Port
from speaker.plan import AnnouncementPlan, Plan, UplinkPlan
from speaker.report import LanReport

LAN, LAN6, OTHER = "10.1.0.0/24", "fd01::/64", "10.2.0.0/24"


def port(*networks: str, up: bool = True) -> Port:
    found: tuple[Network, ...] = tuple(ip_network(network) for network in networks)
    return up, found


BOX = {
    "lo": port("127.0.0.0/8", "10.9.0.1/32"),
    "zt0": port("10.50.0.0/16"),
    "eth1": port(LAN, LAN6, "fe80::/64"),
    "eth2": port(OTHER),
}


def lan(
    *prefixes: str, ports: dict[str, Port] = BOX, probed: tuple[str, ...] = (), others: tuple[str, ...] = ()
) -> Lan:
    found = Lan(up_delay=1.0)
    found.configure(prefixes, others, ("zt0",), probed)
    found.ports(ports)
    assert not found.judge(0.0) or found.withdrawn
    return found


def with_port(name: str, changed: Port) -> dict[str, Port]:
    return {**BOX, name: changed}


def without(name: str) -> dict[str, Port]:
    return {other: port for other, port in BOX.items() if other != name}


def test_nothing_is_withdrawn_before_the_interfaces_are_known() -> None:
    found = Lan()
    found.configure([LAN], (), ("zt0",), ())
    assert not found.judge(0.0)
    assert (found.withdrawn, found.due) == (frozenset(), None)


def test_prefixes_without_a_lan_are_always_announced() -> None:
    found = lan("10.9.0.1/32", "10.50.3.0/24", "192.0.2.0/24", LAN)
    assert found.interfaces == {LAN: "eth1"}
    found.ports({})
    found.judge(1.0)
    assert found.withdrawn == {LAN}
    assert found.unplaced() == ("10.9.0.1/32", "10.50.3.0/24", "192.0.2.0/24", LAN)


def test_a_default_route_is_in_no_lan() -> None:
    """Every network lies in it: else it would stay while any LAN lives, and make a LAN of every interface."""
    found = lan("0.0.0.0/0", "::/0")
    assert (found.interfaces, found.watched) == ({}, frozenset())
    found.ports({})
    assert not found.judge(1.0)
    assert not lan("0.0.0.0/0", probed=("0.0.0.0/0",)).reports()[0].reason


def test_an_interface_without_carrier_takes_its_prefixes_down_at_once_and_slowly_back() -> None:
    found = lan(LAN, LAN6, OTHER)
    found.ports(with_port("eth1", port(LAN, LAN6, up=False)))
    assert found.judge(10.0)
    assert found.withdrawn == {LAN, LAN6}
    assert found.due is None
    found.ports(BOX)
    assert not found.judge(20.0)
    assert found.due == 21.0
    assert not found.judge(20.9)
    assert found.judge(21.0)
    assert (found.withdrawn, found.due) == (frozenset(), None)


def test_a_flap_while_coming_back_starts_the_wait_again() -> None:
    found = lan(LAN)
    down = with_port("eth1", port(LAN, up=False))
    for ports, now in ((down, 10.0), (BOX, 11.0), (down, 11.5), (BOX, 11.6)):
        found.ports(ports)
        found.judge(now)
    assert found.due == 12.6
    assert not found.judge(12.5)
    assert found.judge(12.6)


def test_a_prefix_stays_with_an_interface_that_vanished() -> None:
    found = lan(LAN, OTHER)
    found.ports(without("eth1"))
    assert found.judge(1.0)
    assert found.reports()[0] == LanReport(LAN, "eth1", False, "eth1: no such interface")
    found.ports(BOX)
    assert not found.judge(2.0), "back, and not yet believed"
    assert found.judge(3.0)


def test_a_prefix_stays_with_an_interface_that_lost_its_address() -> None:
    found = lan(LAN)
    found.ports(with_port("eth1", port()))
    assert found.judge(1.0)
    assert found.reports()[0].reason == "eth1: no address in the prefix any more"
    found.ports(with_port("eth1", port(up=False)))
    found.judge(2.0)
    assert found.reports()[0].reason == "eth1: down or without carrier"


def test_an_address_on_another_interface_moves_the_prefix() -> None:
    found = lan(LAN)
    found.ports({**without("eth1"), "br0": port(LAN)})
    assert not found.judge(1.0)
    assert found.interfaces == {LAN: "br0"}


def test_a_first_hop_address_is_no_lan() -> None:
    found = lan(LAN)
    found.ports(with_port("eth1", port("10.1.0.254/32")))
    assert found.judge(1.0)
    assert found.unplaced() == (LAN,)


def test_the_longest_network_around_the_prefix_is_its_lan() -> None:
    found = lan("10.1.0.0/25", ports={**BOX, "eth3": port("10.0.0.0/8")})
    assert found.interfaces == {"10.1.0.0/25": "eth1"}


def test_a_prefix_over_several_lans_lives_while_one_of_them_does() -> None:
    found = lan("10.0.0.0/12")
    assert found.interfaces == {}
    assert found.watched == {"eth1", "eth2"}
    assert found.reports() == (LanReport("10.0.0.0/12", "eth1, eth2", True, ""),)
    found.ports(with_port("eth1", port(LAN, up=False)))
    assert not found.judge(1.0)
    found.ports({**BOX, "eth1": port(LAN, up=False), "eth2": port(OTHER, up=False)})
    assert found.judge(2.0)


def test_a_route_places_what_no_address_does_and_is_remembered() -> None:
    found = lan("10.3.0.0/16", "10.4.0.0/16")
    found.routes({"10.3.0.0/16": "eth2", "10.4.0.0/16": "zt0"})
    found.judge(1.0)
    assert found.interfaces == {"10.3.0.0/16": "eth2"}, "an uplink is no LAN"
    found.ports(with_port("eth2", port(OTHER, up=False)))
    found.routes({})  # Linux takes the routes with the interface.
    assert found.judge(2.0)
    assert found.withdrawn == {"10.3.0.0/16"}


def test_a_failing_probe_takes_its_prefix_down_and_says_why() -> None:
    found = lan(LAN, LAN6, probed=(LAN,))
    found.probes({LAN: "icmp probe of 10.1.0.9: no answer"})
    assert found.judge(1.0)
    assert found.reports() == (
        LanReport(LAN, "eth1", False, "icmp probe of 10.1.0.9: no answer"),
        LanReport(LAN6, "eth1", True, ""),
    )
    found.probes({})
    assert not found.judge(2.0)
    assert found.judge(3.0)


def test_a_probe_of_a_prefix_without_a_lan_counts_too() -> None:
    found = lan("192.0.2.0/24", probed=("192.0.2.0/24",))
    found.probes({"192.0.2.0/24": "tcp"})
    assert found.judge(1.0)
    assert found.reports() == (LanReport("192.0.2.0/24", "", False, "tcp"),)


def test_a_new_plan_keeps_what_was_learnt() -> None:
    found = lan(LAN)
    found.ports(without("eth1"))
    found.judge(1.0)
    found.configure([LAN, OTHER], (), ("zt0",), ())
    assert not found.judge(2.0)
    assert found.withdrawn == {LAN}
    found.configure([OTHER], (), ("zt0",), ())
    assert found.judge(3.0)
    assert found.withdrawn == frozenset()


def test_a_new_plan_while_coming_back_does_not_start_the_wait_again() -> None:
    found = lan(LAN)
    found.ports(without("eth1"))
    found.judge(1.0)
    found.ports(BOX)
    found.judge(2.0)
    found.configure([LAN, OTHER], (), ("zt0",), ())
    found.judge(2.5)
    assert found.due == 3.0


def test_a_first_hop_is_placed_and_never_withdrawn() -> None:
    found = lan(LAN, others=(OTHER,))
    assert found.interfaces == {OTHER: "eth2", LAN: "eth1"}
    found.ports(without("eth2"))
    assert not found.judge(1.0)
    assert found.interfaces[OTHER] == "eth2"


def test_a_lan_that_is_dead_at_the_start_is_not_announced() -> None:
    found = lan(LAN, ports=with_port("eth1", port(LAN, up=False)))
    assert found.withdrawn == {LAN}


def test_reports_and_routes_to_look_for_are_bounded_and_the_dead_come_first() -> None:
    many = [f"10.{n >> 8}.{n & 255}.0/24" for n in range(512, 512 + MAX_ROUTED + 10)]
    found = lan(*many, LAN, ports={**BOX, "eth2": port("10.2.0.0/15")})
    assert len(found.reports()) == MAX_REPORTS
    found.ports({**BOX, "eth1": port(LAN, up=False), "eth2": port("10.2.0.0/15")})
    found.judge(1.0)
    assert found.reports()[0].prefix == LAN
    assert len(found.unplaced()) <= MAX_ROUTED


@pytest.mark.slow
def test_a_hundred_thousand_prefixes_are_judged_in_milliseconds() -> None:
    many = [f"10.{n >> 8}.{n & 255}.0/24" for n in range(0x8000)]
    many += [f"11.{n >> 8}.{n & 255}.0/24" for n in range(0x8000)]
    found = lan(*many, ports={**BOX, "eth2": port("10.0.0.0/8")})
    down = {**BOX, "eth2": port("10.0.0.0/8", up=False)}
    started = time.process_time()
    found.ports(down)
    found.judge(1.0)
    spent = time.process_time() - started
    assert len(found.withdrawn) == 0x7FFF
    assert spent < 0.1


def plan(*prefixes: str) -> Plan:
    uplink = UplinkPlan(1, "wan", "zt0", "10.50.0.1", None, "fiber", 200, 0)
    announced = AnnouncementPlan(tuple(prefixes), ())
    return Plan(2, "g", "spoke", 65000, "10.50.0.1", ("10.50.0.0/16",), (uplink,), (announced,), (), (), 8)


def test_the_watch_comes_back_by_itself_after_the_delay() -> None:
    seen: list[tuple[float, frozenset[str]]] = []

    async def scene() -> None:
        loop = asyncio.get_running_loop()
        both = asyncio.Event()

        def changed() -> None:
            seen.append((loop.time(), watch.withdrawn))
            if len(seen) == 2:
                both.set()

        watch = LanWatch(changed, up_delay=0.05)
        watch.configure(plan(LAN))
        watch.ports(BOX)
        watch.ports(without("eth1"))
        watch.ports(BOX)
        assert watch.reports()[0].up is False
        await asyncio.wait_for(both.wait(), 5)
        watch.close()

    asyncio.run(scene())
    (down_at, down), (up_at, up) = seen
    assert down == {LAN}
    assert not up
    assert up_at - down_at >= 0.05


def test_a_closed_watch_is_silent() -> None:
    async def scene() -> list[str]:
        said: list[str] = []
        watch = LanWatch(lambda: said.append("changed"), up_delay=0.01)
        watch.configure(plan(LAN))
        for ports in (BOX, without("eth1"), BOX):
            watch.ports(ports)
        watch.close()
        await asyncio.sleep(0.03)
        return said

    assert asyncio.run(scene()) == ["changed"]


def test_a_router_is_cut_off_with_its_interface_and_is_no_prefix() -> None:
    found = Lan(up_delay=1.0)
    found.configure([LAN], (), ("zt0",), (), {"192.0.2.9": "eth9", "10.1.0.9": "eth1"})
    found.ports(BOX | {"eth9": port("192.0.2.0/24")})
    found.judge(0.0)
    assert (found.withdrawn, found.cut_off) == (frozenset(), frozenset())
    assert found.watched == {"eth1", "eth9"}
    found.ports(BOX)
    assert found.judge(1.0)
    assert (found.withdrawn, found.cut_off) == (frozenset(), frozenset({"192.0.2.9"}))
    found.ports(with_port("eth1", port(LAN, LAN6, up=False)))
    assert found.judge(2.0)
    assert found.withdrawn == {LAN}
    assert found.cut_off == {"192.0.2.9", "10.1.0.9"}
    found.ports(BOX | {"eth9": port("192.0.2.0/24")})
    assert not found.judge(3.0)
    assert found.judge(4.0)
    assert found.cut_off == frozenset()
    assert [report.prefix for report in found.reports()] == [LAN]


def test_a_router_that_left_the_plan_is_not_cut_off() -> None:
    found = Lan()
    found.configure([], (), ("zt0",), (), {"192.0.2.9": "eth9"})
    found.ports(BOX)
    found.judge(0.0)
    assert found.cut_off == {"192.0.2.9"}
    found.configure([], (), ("zt0",), ())
    found.judge(1.0)
    assert found.cut_off == frozenset()
