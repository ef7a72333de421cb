"""Rule sets that break routing, and sound ones: the recorded ones, and those of ZeroTier's manual."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from controller.zerotier.port import NetworkState
from controller.zerotier.rules_check import CODES, check_rules
from tests.controller.zerotier.segments import NETWORK, SEGMENT, SEGMENT6

ACCEPT, DROP = {"type": "ACTION_ACCEPT"}, {"type": "ACTION_DROP"}
NOT_IPAUTH = {"type": "MATCH_CHARACTERISTICS", "mask": "1000000000000000", "not": True}
BEFORE_IPAUTH = "# before the rule that asks for `chr ipauth`, or instead of it:"


def ethertype(number: int, **flags: bool) -> dict[str, Any]:
    return {"type": "MATCH_ETHERTYPE", "etherType": number, **flags}


IP_ARP_ONLY = (*(ethertype(each, **{"not": True}) for each in (0x800, 0x806, 0x86DD)), DROP, ACCEPT)


def codes(*rules: dict[str, Any], six: bool = False, **fields: Any) -> list[str]:
    state = NetworkState(NETWORK, rules=rules, **fields)
    return [each.code for each in check_rules(state, SEGMENT, SEGMENT6 if six else None)]


def test_accept_all_is_sound() -> None:
    assert codes(ACCEPT) == []
    assert codes(ACCEPT, six=True) == []


def test_ipauth_is_named_and_so_is_the_way_out() -> None:
    (four, mpls) = check_rules(NetworkState(NETWORK, rules=(NOT_IPAUTH, DROP, ACCEPT)), SEGMENT, None)
    assert four.code == "rules-no-ipauth"
    assert four.rule == 2
    assert "that is all routed traffic" in four.message
    assert four.snippet.splitlines() == [BEFORE_IPAUTH, "accept ethertype ipv4;"]
    assert (mpls.code, mpls.snippet) == ("rules-no-mpls", "accept ethertype 0x8847;")


def test_one_rule_that_drops_two_families_is_one_finding() -> None:
    state = NetworkState(NETWORK, rules=(NOT_IPAUTH, DROP, ACCEPT))
    first, *_ = check_rules(state, SEGMENT, SEGMENT6)
    assert "(routed IPv4, routed IPv6: rule 2 drops it.)" in first.message
    assert first.snippet.splitlines()[1:] == ["accept ethertype ipv4;", "accept ethertype ipv6;"]
    assert codes(NOT_IPAUTH, DROP, ACCEPT, six=True) == ["rules-no-ipauth", "rules-no-mpls", "rules-no-neighbours"]


def test_ipauth_of_ipv4_alone() -> None:
    assert codes(ethertype(0x800), NOT_IPAUTH, DROP, ACCEPT) == ["rules-no-ipauth"]


def test_ip_and_arp_only_loses_mpls() -> None:
    assert codes(*IP_ARP_ONLY, six=True) == ["rules-no-mpls"]
    assert codes(ethertype(0x8847), ACCEPT, *IP_ARP_ONLY, six=True) == []


def test_a_missing_accept() -> None:
    every = ["rules-no-arp", "rules-no-bgp", "rules-no-bfd", "rules-no-routed", "rules-no-mpls"]
    assert codes() == every
    assert codes(ethertype(0x800), ACCEPT) == ["rules-no-arp", "rules-no-mpls"]
    assert codes(ethertype(0x800), ACCEPT, six=True)[2:] == ["rules-no-neighbours", "rules-no-bfd", "rules-no-routed"]
    (finding, *_) = check_rules(NetworkState(NETWORK), SEGMENT, None)
    assert "no rule accepts it" in finding.message


def test_bgp_or_bfd_alone() -> None:
    udp = {"type": "MATCH_IP_PROTOCOL", "ipProtocol": 17}
    bfd = {"type": "MATCH_IP_DEST_PORT_RANGE", "start": 3784, "end": 3784}
    assert codes(ethertype(0x800), udp, bfd, DROP, ACCEPT) == ["rules-no-bfd"]
    assert codes({"type": "MATCH_IP_PROTOCOL", "ipProtocol": 6}, DROP, ACCEPT) == ["rules-no-bgp"]


def test_bfd_over_ipv6() -> None:
    udp = {"type": "MATCH_IP_PROTOCOL", "ipProtocol": 17}
    (finding,) = check_rules(NetworkState(NETWORK, rules=(ethertype(0x86DD), udp, DROP, ACCEPT)), SEGMENT, SEGMENT6)
    assert (finding.code, finding.rule, finding.snippet) == ("rules-no-bfd", 3, "accept ethertype ipv6;")
    assert "(BFD over IPv6: rule 3 drops it.)" in finding.message
    assert codes(ethertype(0x86DD), udp, DROP, ACCEPT) == [], "no segment of IPv6"
    icmp6 = {"type": "MATCH_IP_PROTOCOL", "ipProtocol": 58, "not": True}
    assert codes(ethertype(0x86DD), icmp6, DROP, ACCEPT, six=True) == ["rules-no-bfd"]


@pytest.mark.parametrize("end", ["SOURCE", "DEST"])
def test_port_179_at_either_end(end: str) -> None:
    """BGP's answers come from port 179."""
    bgp = {"type": f"MATCH_IP_{end}_PORT_RANGE", "start": 179, "end": 179}
    assert codes(bgp, DROP, ACCEPT) == ["rules-no-bgp"]
    tcp = {"type": "MATCH_IP_PROTOCOL", "ipProtocol": 6}
    assert codes(ethertype(0x800), tcp, bgp, DROP, ACCEPT) == ["rules-no-bgp"]
    assert codes({**bgp, "start": 0, "end": 65535}, DROP, ACCEPT) == ["rules-no-bgp", "rules-no-bfd"]
    assert codes({**bgp, "start": 80, "end": 80}, DROP, ACCEPT) == []


def test_ports_of_bfd() -> None:
    """From 49152 on at the sender's (RFC 5881, 4), 3784 at the other end."""
    sender = {"type": "MATCH_IP_SOURCE_PORT_RANGE", "start": 49152, "end": 65535}
    assert codes(sender, DROP, ACCEPT) == ["rules-no-bfd"]
    assert codes({**sender, "end": 50000}, DROP, ACCEPT) == []


def test_accepting_the_senders_own_addresses_alone_is_named_as_what_it_is() -> None:
    ipauth = {**NOT_IPAUTH, "not": False}
    four, mpls = check_rules(NetworkState(NETWORK, rules=(ipauth, ACCEPT, DROP)), SEGMENT, None)
    assert (four.code, four.rule, mpls.code) == ("rules-no-ipauth", 3, "rules-no-mpls")
    assert four.snippet.splitlines() == [BEFORE_IPAUTH, "accept ethertype ipv4;"]
    assert codes(ipauth, ACCEPT) == ["rules-no-ipauth", "rules-no-mpls"], "no rule accepts it"
    assert codes(ethertype(0x806), ACCEPT, ethertype(0x800), ipauth, ACCEPT, DROP)[0] == "rules-no-ipauth"
    assert codes(DROP)[-2:] == ["rules-no-routed", "rules-no-mpls"]


def test_or_makes_one_condition_of_several() -> None:
    both = (ethertype(0x800), ethertype(0x806, **{"or": True}))
    assert codes(*both, DROP, ACCEPT) == ["rules-no-arp", "rules-no-bgp", "rules-no-bfd", "rules-no-routed"]


def test_addresses_of_the_segment() -> None:
    inside = {"type": "MATCH_IPV4_SOURCE", "ip": "10.42.0.0/16"}
    assert codes({**inside, "not": True}, ethertype(0x800), DROP, ACCEPT) == []  # Which LANs there are is not known.
    assert codes({**inside, "ip": "10.42.0.0/24", "not": True}, ethertype(0x800), DROP, ACCEPT) == ["rules-no-routed"]
    assert codes(inside, DROP, ACCEPT) == ["rules-no-bgp", "rules-no-bfd"]
    assert codes({**inside, "ip": "nonsense"}, DROP, ACCEPT) == []


@pytest.mark.parametrize(
    "rule",
    [
        {"type": "MATCH_TAGS_EQUAL", "id": 1, "value": 2},
        {"type": "MATCH_SOURCE_ZEROTIER_ADDRESS", "zt": "a000000001"},
        {"type": "MATCH_RANDOM", "probability": 1},
        {"type": "MATCH_CHARACTERISTICS", "mask": "2"},  # TCP's SYN.
        {"type": "MATCH_CHARACTERISTICS", "mask": "no number"},
        {"type": "MATCH_OF_TOMORROW"},
    ],
)
def test_what_a_rule_asks_and_nobody_knows_is_not_said(rule: dict[str, Any]) -> None:
    assert codes(rule, DROP, ACCEPT) == []
    assert codes(rule, ACCEPT, DROP) == []


def test_capabilities_may_accept_what_no_rule_does() -> None:
    assert codes(ethertype(0x800), ACCEPT, capabilities=({"id": 1},)) == []
    assert codes(ethertype(0x8847), {"type": "ACTION_BREAK"}, ACCEPT) == ["rules-no-mpls"]
    assert codes(ethertype(0x8847), {"type": "ACTION_BREAK"}, ACCEPT, capabilities=({"id": 1},)) == []


def test_tee_and_redirect_drop_nothing() -> None:
    assert codes({"type": "ACTION_TEE", "address": "a000000001"}, ACCEPT) == []
    assert codes({"type": "ACTION_REDIRECT", "address": "a000000001"}) == []


def test_settings_of_the_network() -> None:
    assert codes(ACCEPT, multicast_limit=0, broadcast=False) == ["multicast-limit", "broadcast-off"]


def test_every_code_is_seen_here() -> None:
    text = Path(__file__).read_text()
    assert [code for code in CODES if f'"{code}"' not in text] == []
