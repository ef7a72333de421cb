"""What ZeroTier keeps out of, box by box; and that its way out is never among it."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest

from speaker.plan import AnnouncementPlan, FirstHopPlan, Plan, SessionPlan
from speaker.zerotier.config import Wanted, without
from speaker.zerotier.keep_out import Interfaces, NoWayOut, kept_out
from tests.speaker.agent.test_neighbours import plan as plan_of
from tests.speaker.agent.test_neighbours import session as session_of


def plan(*sessions: SessionPlan, **fields: Any) -> Plan:
    values: dict[str, Any] = {
        "announcements": (AnnouncementPlan(("10.1.1.0/24",), ()),),
        "rejects": ("10.0.0.0/13", "10.42.0.0/16", "fd42::/64"),
    }
    return plan_of(*sessions, **values | fields)


def box(**addresses: str) -> Interfaces:
    return {name.replace("_", "."): [ip_interface(text) for text in each.split()] for name, each in addresses.items()}


def listed(wanted: Wanted, address: str) -> bool:
    return any(ip_address(address) in network for network in without(wanted.space, wanted.underlay))


TWO_ARMED = box(wan="203.0.113.5/24", lan0="10.1.1.1/24 fe80::1/64", zt1="10.42.0.9/16", lo="127.0.0.1/8", docker0="")


def test_lans_and_the_segments_interfaces_and_the_fabrics_space() -> None:
    wanted = kept_out(plan(), TWO_ARMED, {"wan"})
    assert wanted.interfaces == ("lan0", "zt1", "zt2")
    assert wanted.spared == ("docker0", "wan")
    for address in ("10.1.1.7", "10.2.3.4", "10.42.7.7", "fd42::1"):
        assert listed(wanted, address), address
    assert not listed(wanted, "203.0.113.9")


def test_a_gateway_with_one_arm_keeps_it() -> None:
    """Its LAN is its way out: neither the interface nor the addresses there may be listed."""
    wanted = kept_out(plan(), box(eth0="10.1.1.5/24", zt1="10.42.0.9/16"), {"eth0"})
    assert "eth0" not in wanted.interfaces
    assert not listed(wanted, "10.1.1.5")
    assert listed(wanted, "10.1.2.5")


def test_a_way_out_with_an_address_of_the_fabrics_space_keeps_it() -> None:
    """Behind a provider's NAT that uses what the fabric has declared."""
    wanted = kept_out(plan(), box(wan="10.5.6.7/24", lan0="10.1.1.1/24"), {"wan"})
    assert not listed(wanted, "10.5.6.1")
    assert listed(wanted, "10.5.7.1")


def test_the_declared_underlay_is_never_listed() -> None:
    wanted = kept_out(plan(underlay=("10.2.0.0/16",)), TWO_ARMED, {"wan"})
    assert not listed(wanted, "10.2.3.4")
    assert listed(wanted, "10.3.3.4")


def test_declared_space_that_no_reject_guards_is_kept_out_of_as_well() -> None:
    wanted = kept_out(plan(rejects=(), unguarded=("10.0.0.0/13", "2001:db8::/32")), TWO_ARMED, {"wan"})
    assert all(listed(wanted, each) for each in ("10.42.7.7", "10.1.1.7", "10.2.3.4", "2001:db8::7"))
    assert not listed(wanted, "203.0.113.9")


def test_without_declared_space_the_segment_and_our_own_are_kept_out_of() -> None:
    wanted = kept_out(plan(rejects=()), TWO_ARMED, {"wan"})
    assert [listed(wanted, each) for each in ("10.42.7.7", "10.1.1.7", "10.2.3.4")] == [True, True, False]


def test_the_interfaces_of_routers_and_first_hops_are_lans() -> None:
    lan = session_of("lan")
    by_router = plan(type(lan)(**{name: getattr(lan, name) for name in lan.__struct_fields__} | {"interface": "eth7"}))
    assert "eth7" in kept_out(by_router, TWO_ARMED, {"wan"}).interfaces
    by_first_hop = plan(announcements=(), first_hops=(FirstHopPlan("10.1.1.0/24", "10.1.1.1", 52, 250, 1000),))
    assert "lan0" in kept_out(by_first_hop, TWO_ARMED, {"wan"}).interfaces


@pytest.mark.parametrize("ways", [set(), {"zt1"}])
def test_without_a_way_out_nothing_is_said(ways: set[str]) -> None:
    """Also where a default route of the fabric's leads through the segment."""
    with pytest.raises(NoWayOut, match="no way out"):
        kept_out(plan(), TWO_ARMED, ways)


def test_every_way_out_is_spared() -> None:
    wanted = kept_out(plan(), box(wan="203.0.113.5/24", lte="10.1.1.9/24", lan0="10.1.1.1/24"), {"wan", "lte"})
    assert set(wanted.spared) == {"wan", "lte"}
    assert wanted.underlay == (ip_network("10.1.1.0/24"), ip_network("203.0.113.0/24"))
