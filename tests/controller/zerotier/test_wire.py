"""Values of the port survive the way to a controller and back; whatever else comes is an error that names the field."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import fields
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.zerotier import wire, written
from controller.zerotier.port import (
    ManagedRoute,
    MemberChange,
    NetworkChange,
    NotStored,
    Pool,
)
from tests.controller.zerotier.fake_controller import FakeController
from tests.controller.zerotier.recordings import CONTROLLER, FIXTURE, MEMBER

addresses = st.ip_addresses(v=4) | st.ip_addresses(v=6)
fours, sixes = st.ip_addresses(v=4), st.ip_addresses(v=6)


@st.composite
def routes(draw: st.DrawFn) -> ManagedRoute:
    """With a next hop of the same family, or none."""
    version = draw(st.sampled_from((4, 6)))
    bits = draw(st.integers(0, 32 if version == 4 else 128))
    target = ip_network((draw(fours if version == 4 else sixes), bits), strict=False)
    return ManagedRoute(target, draw(st.none() | (fours if version == 4 else sixes)))


names = st.text(st.characters(codec="utf-8"), max_size=20)
flags = st.none() | st.booleans()
pools = st.one_of(st.builds(Pool, fours, fours), st.builds(Pool, sixes, sixes))
rules = st.sampled_from(
    (
        {"type": "ACTION_ACCEPT"},
        {"type": "ACTION_DROP", "not": False},
        {"type": "MATCH_ETHERTYPE", "etherType": 2048, "not": True},
        {"type": "MATCH_ETHERTYPE", "etherType": 2048, "not": False, "or": True},
        {"type": "MATCH_CHARACTERISTICS", "mask": "1000000000000000"},
    )
)
network_changes = st.builds(
    NetworkChange,
    name=st.none() | names, private=flags, mtu=st.none() | st.integers(1280, 9890),
    auto_assign4=flags, auto_assign6=flags, auto_6plane=flags, auto_rfc4193=flags,
    routes=st.none() | st.lists(routes(), max_size=5).map(tuple),
    pools=st.none() | st.lists(pools, max_size=3).map(tuple),
    rules=st.none() | st.lists(rules, max_size=6).map(tuple),
)  # fmt: skip
member_changes = st.builds(
    MemberChange,
    authorised=flags, name=st.none() | names, no_auto_assign=flags,
    addresses=st.none() | st.lists(addresses, max_size=5, unique=True).map(tuple),
)  # fmt: skip


@given(st.lists(network_changes, max_size=3))
def test_what_a_controller_can_store_is_stored_and_nothing_else_moves(changes: list[NetworkChange]) -> None:
    controller = FakeController(CONTROLLER, lambda: 0)
    stored = wire.read_network(controller.put_network(FIXTURE, {}))
    for change in changes:
        before = stored
        stored = wire.read_network(controller.put_network(FIXTURE, wire.write_network(change, before)))
        written.check_network(FIXTURE, change, stored)
        left = [field.name for field in fields(change) if getattr(change, field.name) is None]
        assert [getattr(stored, name) for name in left] == [getattr(before, name) for name in left]


@given(st.lists(member_changes, max_size=3))
def test_members_likewise(changes: list[MemberChange]) -> None:
    controller = FakeController(CONTROLLER, lambda: 0)
    controller.put_network(FIXTURE, {})
    stored = wire.read_member(controller.put_member(FIXTURE, MEMBER, {}))
    for change in changes:
        before = stored
        stored = wire.read_member(controller.put_member(FIXTURE, MEMBER, wire.write_member(change)))
        written.check_member(FIXTURE, change, stored)
        left = [field.name for field in fields(change) if getattr(change, field.name) is None]
        assert [getattr(stored, name) for name in left] == [getattr(before, name) for name in left]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("id", "name", "routes", "mtu", "v4AssignMode", "v6AssignMode", "ipAssignmentPools", "rules", "tags",
          "capabilities", "ipAssignments", "authorized", "identity", "vMajor", "revision")  # fmt: skip


@given(json_values | st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=6))
def test_junk_is_read_or_unreadable_and_never_anything_else(document: Any) -> None:
    with suppress(wire.Unreadable):
        wire.read_network(document)
    with suppress(wire.Unreadable):
        wire.read_member(document)


def test_a_difference_in_any_field_is_told() -> None:
    """So that a new field of a change is never forgotten in the comparison."""
    controller = FakeController(CONTROLLER, lambda: 0)
    network = wire.read_network(controller.put_network(FIXTURE, {}))
    for field in fields(NetworkChange):
        stored = getattr(network, field.name)
        other: Any = {bool: not stored, int: 1, str: "other", tuple: ({"type": "ACTION_DROP"},)}[type(stored)]
        if field.name in ("routes", "pools"):
            other = ("other",)
        with pytest.raises(NotStored, match=field.name):
            written.check_network(FIXTURE, NetworkChange(**{field.name: other}), network)
