"""Router's MAC (RFC 9135): hubs say it from the plan, nobody else's word counts, and it stays in the fabric."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from speaker.mac import mac_of
from speaker.plan import AnnouncementPlan, Plan
from speaker.rib.communities import link_bandwidth, mac_of_hop, routers_mac
from speaker.rib.facts import facts_of
from speaker.rib.hops import Hop
from speaker.rib.local import own_attributes
from speaker.rib.policy import HubImport, LanImport
from speaker.rib.prefix import Family
from speaker.rib.served import given
from tests.speaker.rib.given import ASN, FACTS, HUBS, hop
from tests.speaker.rib.test_hops import rib_with, said
from tests.speaker.rib.test_local import FIBER, LTE, plan
from tests.speaker.rib.test_policy import IMPORTS, judged

NETWORK, NODE = "8056c2e21c000001", "deadbeef42"
MAC, FORGED = mac_of(NODE, NETWORK), bytes.fromhex("020000000007")
OURS = replace(FACTS, network=NETWORK)
KNOWN = msgspec.structs.replace(
    IMPORTS, next_hops=tuple(msgspec.structs.replace(each, node_id=NODE) for each in IMPORTS.next_hops)
)
A, B = HUBS


def plan_of(role: str, **fields: Any) -> Plan:
    uplinks = (msgspec.structs.replace(FIBER, node_id=NODE), LTE)
    values = {"role": role, "version": 4, "network": NETWORK, "permanent_neighbours": True} | fields
    return plan(AnnouncementPlan(("10.1.1.0/24",), ()), uplinks=uplinks, **values)


def macs(extended: tuple[bytes, ...]) -> list[bytes]:
    return [each[2:] for each in extended if each[:2] == b"\x06\x03"]


def test_the_community_is_that_of_rfc_9135() -> None:
    assert routers_mac(MAC) == bytes.fromhex("0603") + MAC
    assert mac_of_hop([link_bandwidth(ASN, 8.0), routers_mac(MAC)]) == MAC
    assert mac_of_hop([]) == b""
    assert mac_of_hop([routers_mac(MAC), routers_mac(FORGED)]) == b"", "who says two things says nothing"
    with pytest.raises(ValueError, match="5 octets"):
        routers_mac(MAC[:5])


def test_a_hub_says_it_whatever_the_client_says() -> None:
    policy = HubImport(OURS, imports=KNOWN)
    for stated in ((), (routers_mac(FORGED),), (routers_mac(MAC),)):
        assert macs(judged(policy, extended_communities=stated).attributes.extended_communities) == [MAC]


@pytest.mark.parametrize(("facts", "imports"), [(FACTS, KNOWN), (OURS, IMPORTS)], ids=["switch off", "node unknown"])
def test_without_node_or_switch_a_client_can_say_none_either(facts: Any, imports: Any) -> None:
    policy = HubImport(facts, imports=imports)
    assert macs(judged(policy, extended_communities=(routers_mac(FORGED),)).attributes.extended_communities) == []


def test_nor_can_a_router_in_a_lan() -> None:
    policy = LanImport(OURS, imports=IMPORTS)
    assert macs(judged(policy, extended_communities=(routers_mac(FORGED),)).attributes.extended_communities) == []


def test_a_new_node_id_is_a_new_policy_that_judges_again() -> None:
    assert HubImport(OURS, imports=KNOWN) != HubImport(OURS, imports=IMPORTS)
    assert HubImport(OURS, imports=KNOWN) != HubImport(FACTS, imports=KNOWN)


def test_the_switch_is_in_the_facts() -> None:
    assert facts_of(plan_of("hub")).network == NETWORK
    assert facts_of(plan_of("hub", permanent_neighbours=False)).network == ""


@pytest.mark.parametrize(("role", "told"), [("hub", [MAC]), ("spoke", [])])
def test_a_hub_says_its_own_and_a_spoke_leaves_it_to_hubs(role: str, told: list[bytes]) -> None:
    of_role = plan_of(role)
    own = own_attributes(of_role, (), of_role.uplinks[0], Family.IPV4)
    assert own is not None
    assert macs(own.extended_communities) == told
    further = own_attributes(of_role, (), of_role.uplinks[1], Family.IPV4)
    assert further is not None
    assert macs(further.extended_communities) == [], "of this one no node is known"


def test_a_spoke_learns_it_with_the_path_and_forgets_it_with_the_path() -> None:
    rib = rib_with(A, B)
    rib.receive(A, said(3, extended_communities=(routers_mac(MAC),)))
    assert set(rib.hops) == {Hop(hop(3), 3, mac=MAC)}
    version = rib.hops.version
    rib.receive(A, said(3, extended_communities=(routers_mac(FORGED),)))
    assert set(rib.hops) == {Hop(hop(3), 3, mac=FORGED)}
    assert rib.hops.version > version, "whoever follows must look"
    rib.forget(A)
    assert not set(rib.hops)


def test_a_router_in_a_lan_is_not_told() -> None:
    own = own_attributes(plan_of("hub"), (), plan_of("hub").uplinks[0], Family.IPV4)
    assert own is not None
    assert macs(given(own, ASN, None, hop(9)).extended_communities) == []
