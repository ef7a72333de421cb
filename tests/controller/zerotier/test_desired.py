"""Inventory -> what the network and its members should be."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

from hypothesis import given, settings

from controller.inventory.allocate import allocate
from controller.inventory.model import Inventory
from controller.zerotier.desired import OWNED_RULES, desired, with_summaries
from controller.zerotier.port import ManagedRoute
from tests.controller.inventories import inventories, shuffled
from tests.controller.zerotier.segments import NETWORK, SEGMENT, SEGMENT6, small, wanted


def test_the_network() -> None:
    network = wanted(small(mtu=1400)).network
    assert (network.network, network.name, network.private, network.mtu) == (NETWORK, "demo", True, 1400)
    assert network.routes == (ManagedRoute(SEGMENT),)
    assert network.rules is None


def test_one_managed_route_of_each_family_and_rules_that_are_owned() -> None:
    network = wanted(small(segment6=SEGMENT6, segment_rules="owned")).network
    assert network.routes == (ManagedRoute(SEGMENT), ManagedRoute(SEGMENT6))
    assert network.rules == OWNED_RULES
    assert network.mtu == 1280


def test_every_uplink_client_and_host_is_a_member() -> None:
    found = wanted(small(segment6=SEGMENT6))
    assert {(each.name, each.label, *map(str, each.addresses)) for each in found.members.values()} == {
        ("berlin-1/u0", "uplink berlin-1/u0", "10.42.0.1", "fd42:42::1"),
        ("berlin-1/u1", "uplink berlin-1/u1", "10.42.0.2", "fd42:42::2"),
        ("hub-1/u0", "uplink hub-1/u0", "10.42.0.3", "fd42:42::3"),
        ("frr1", "client frr1", "10.42.0.4", "fd42:42::4"),
        ("nas", "host nas", "10.42.0.254", "fd42:42::fe"),
    }
    assert all(node_id == each.node_id for node_id, each in found.members.items())
    assert found.nameless == ("client frr2",)


def test_without_a_network_the_segment_is_somebody_elses() -> None:
    assert desired(small(network="")) is None
    assert desired(Inventory()) is None


def test_summaries_stand_behind_the_segment_in_one_order() -> None:
    summaries = [
        ManagedRoute(ip_network("10.9.0.0/16"), SEGMENT[2]),
        ManagedRoute(ip_network("10.1.0.0/16"), SEGMENT[1]),
    ]
    found = with_summaries(wanted(small()), summaries)
    assert [str(each.target) for each in found.network.routes] == ["10.1.0.0/16", "10.9.0.0/16", "10.42.0.0/24"]


@settings(max_examples=30)
@given(inventories())
def test_the_order_of_rows_means_nothing_and_no_address_is_given_twice(inventory: Inventory) -> None:
    assert inventory.fabric is not None
    full = allocate(replace(inventory, fabric=replace(inventory.fabric, network=NETWORK)))
    found = wanted(full)
    assert wanted(shuffled(full, 7)) == found
    addresses = [address for each in found.members.values() for address in each.addresses]
    assert len(addresses) == len(set(addresses))
    assert all(
        len({each.version for each in member.addresses}) == len(member.addresses) for member in found.members.values()
    )
