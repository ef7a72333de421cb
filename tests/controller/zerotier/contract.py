"""What every service behind the port must do; the same checks for recorded answers, for the fakes, and for a real one.

Each check gets a `Subject` of its own. Those of STORY write only what the recorded exchanges wrote, in their order;
those of STATEFUL need a service with a memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest

from controller.zerotier.port import (
    ManagedRoute,
    MemberChange,
    NetworkChange,
    NoSuchNetwork,
    NotStored,
    Pool,
    Refused,
    SegmentApi,
    Unauthorised,
)
from tests.controller.zerotier.recordings import MEMBER

SEGMENT = IPv4Network("10.43.0.0/16")
ADDRESS, OTHER = IPv4Address("10.43.0.11"), IPv4Address("10.43.0.12")
STRANGER = "61d5d0a78e"
ACCEPT_ALL = ({"type": "ACTION_ACCEPT"},)
IP_AND_ARP = (
    {"type": "MATCH_ETHERTYPE", "etherType": 2048, "not": True},
    {"type": "MATCH_ETHERTYPE", "etherType": 2054, "not": True},
    {"type": "MATCH_ETHERTYPE", "etherType": 34525, "not": True},
    {"type": "ACTION_DROP"},
    {"type": "ACTION_ACCEPT"},
)


@dataclass
class Subject:
    """`network`: private, on-link route SEGMENT, one pool, named fixture, no members. `gone`: does not exist."""

    network: str
    api: Callable[[str, str], SegmentApi]  # (network, token)
    token: str
    gone: str

    @property
    def segment(self) -> SegmentApi:
        return self.api(self.network, self.token)


def reads_the_network(subject: Subject) -> None:
    state = subject.segment.network()
    assert (state.network, state.name, state.private) == (subject.network, "fixture", True)
    assert state.routes == (ManagedRoute(SEGMENT),)
    assert state.pools == (Pool(IPv4Address("10.43.1.1"), IPv4Address("10.43.1.254")),)
    assert (state.auto_assign4, state.auto_assign6, state.auto_6plane, state.auto_rfc4193) == (False,) * 4
    assert state.rules == ACCEPT_ALL


def tells_a_missing_network(subject: Subject) -> None:
    with pytest.raises(NoSuchNetwork, match=subject.gone):
        subject.api(subject.gone, subject.token).network()


def refuses_a_wrong_token(subject: Subject) -> None:
    with pytest.raises(Unauthorised) as caught:
        subject.api(subject.network, "wr0ng").describe()
    assert "wr0ng" not in str(caught.value)


def says_what_it_is(subject: Subject) -> None:
    service = subject.segment.describe()
    assert service.address == subject.network[:10]
    assert service.version


def lets_a_member_in_that_never_asked(subject: Subject) -> None:
    member = subject.segment.write_member(MEMBER, MemberChange(authorised=True))
    assert (member.node_id, member.authorised, member.addresses, member.version) == (MEMBER, True, (), "")


def merges_fields_of_a_member(subject: Subject) -> None:
    segment = subject.segment
    segment.write_member(MEMBER, MemberChange(authorised=True))
    segment.write_member(MEMBER, MemberChange(addresses=(ADDRESS,)))
    member = segment.write_member(MEMBER, MemberChange(name="edge-1", no_auto_assign=True))
    assert (member.authorised, member.addresses, member.name) == (True, (ADDRESS,), "edge-1")


def changes_the_mtu_and_nothing_else(subject: Subject) -> None:
    segment = subject.segment
    before = segment.network()
    after = segment.write_network(NetworkChange(mtu=1400))
    assert (after.mtu, after.routes, after.pools, after.name) == (1400, before.routes, before.pools, before.name)


def replaces_the_routes_whole(subject: Subject) -> None:
    routes = (ManagedRoute(SEGMENT), ManagedRoute(IPv4Network("10.200.0.0/24"), ADDRESS))
    assert set(subject.segment.write_network(NetworkChange(routes=routes)).routes) == set(routes)


def throws_a_member_out_and_forgets_it(subject: Subject) -> None:
    segment = subject.segment
    segment.write_member(MEMBER, MemberChange(authorised=True))
    assert not segment.write_member(MEMBER, MemberChange(authorised=False)).authorised
    segment.delete_member(MEMBER)
    segment.delete_member(MEMBER)  # Gone is gone.


def refuses_what_members_would_never_get(subject: Subject) -> None:
    many = tuple(ManagedRoute(IPv4Network((0x0AC80000 + 256 * n, 24)), ADDRESS) for n in range(129))
    for change, word in (
        (NetworkChange(mtu=9891), "9890"),
        (NetworkChange(mtu=1279), "1280"),
        (NetworkChange(routes=many), "128"),
    ):
        with pytest.raises(Refused, match=word):
            subject.segment.write_network(change)
    with pytest.raises(Refused, match="lower case"):
        subject.segment.write_member(MEMBER.upper(), MemberChange(authorised=True))


def lists_members_by_node_id(subject: Subject) -> None:
    segment = subject.segment
    assert segment.members() == {}
    first = segment.write_member(MEMBER, MemberChange(authorised=True, addresses=(ADDRESS,), name="a"))
    second = segment.write_member(STRANGER, MemberChange(name="b"))
    assert segment.members() == {MEMBER: first, STRANGER: second}
    segment.delete_member(STRANGER)
    assert set(segment.members()) == {MEMBER}


def replaces_the_addresses_whole(subject: Subject) -> None:
    segment = subject.segment
    six = IPv6Address("fd00::11")
    segment.write_member(MEMBER, MemberChange(addresses=(ADDRESS, six)))
    assert segment.write_member(MEMBER, MemberChange(addresses=(OTHER,))).addresses == (OTHER,)
    assert segment.write_member(MEMBER, MemberChange(addresses=())).addresses == ()


def tells_what_was_dropped_silently(subject: Subject) -> None:
    """A next hop of the other family is stored as none: the route would be on-link."""
    route = ManagedRoute(IPv4Network("10.200.0.0/24"), IPv6Address("2001:db8::1"))
    with pytest.raises(NotStored, match="routes") as caught:
        subject.segment.write_network(NetworkChange(routes=(route,)))
    assert (caught.value.field, caught.value.wanted) == ("routes", (route,))
    assert caught.value.stored == (ManagedRoute(IPv4Network("10.200.0.0/24")),)


def turns_auto_assignment_off_family_by_family(subject: Subject) -> None:
    segment = subject.segment
    on = segment.write_network(NetworkChange(auto_assign4=True, auto_assign6=True, auto_rfc4193=True))
    assert (on.auto_assign4, on.auto_assign6, on.auto_rfc4193, on.auto_6plane) == (True, True, True, False)
    off = segment.write_network(NetworkChange(auto_assign4=False, auto_assign6=False))
    assert (off.auto_assign4, off.auto_assign6, off.auto_rfc4193) == (False, False, True)


def takes_one_route_per_family_and_no_pools(subject: Subject) -> None:
    routes = (ManagedRoute(SEGMENT), ManagedRoute(IPv6Network("fd00:43::/64")))
    state = subject.segment.write_network(NetworkChange(routes=routes, pools=(), private=True, name="segment"))
    assert (set(state.routes), state.pools, state.name) == (set(routes), (), "segment")


def writes_rules_that_leyline_owns(subject: Subject) -> None:
    segment = subject.segment
    assert segment.write_network(NetworkChange(rules=IP_AND_ARP)).rules == IP_AND_ARP
    assert segment.write_network(NetworkChange(rules=ACCEPT_ALL)).rules == ACCEPT_ALL


def counts_no_revision_for_an_identical_write(subject: Subject) -> None:
    segment = subject.segment
    change = MemberChange(authorised=True, addresses=(ADDRESS,))
    assert segment.write_member(MEMBER, change).revision == segment.write_member(MEMBER, change).revision


def tells_a_missing_network_when_members_are_touched(subject: Subject) -> None:
    segment = subject.api(subject.gone, subject.token)
    with pytest.raises(NoSuchNetwork):
        segment.members()
    with pytest.raises(NoSuchNetwork):
        segment.write_member(MEMBER, MemberChange(authorised=True))
    with pytest.raises(NoSuchNetwork):
        segment.delete_member(MEMBER)


STORY: tuple[Callable[[Subject], None], ...] = (
    reads_the_network,
    tells_a_missing_network,
    refuses_a_wrong_token,
    says_what_it_is,
    lets_a_member_in_that_never_asked,
    merges_fields_of_a_member,
    changes_the_mtu_and_nothing_else,
    replaces_the_routes_whole,
    throws_a_member_out_and_forgets_it,
    refuses_what_members_would_never_get,
)
STATEFUL: tuple[Callable[[Subject], None], ...] = (
    lists_members_by_node_id,
    replaces_the_addresses_whole,
    tells_what_was_dropped_silently,
    turns_auto_assignment_off_family_by_family,
    takes_one_route_per_family_and_no_pools,
    writes_rules_that_leyline_owns,
    counts_no_revision_for_an_identical_write,
    tells_a_missing_network_when_members_are_touched,
)
