"""The table as text, and what is said without nft. tests/netns/test_nft.py loads it into real kernels."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest

from speaker.kernel import nft_sets, parse
from speaker.kernel.nft import MAX_USED, Nft, NftRules, render

SPOKE = NftRules(("zt0", "zt1"), "spoke", frozenset(), 300)
HUB = NftRules(("zt0",), "hub", frozenset({"02:00:00:00:00:02", "02:00:00:00:00:01"}), 300)

WHOLE = """\
table inet leyline {}
delete table inet leyline
table inet leyline {
	set uplinks { type ifname; elements = { "zt0" }; }
	set hub_macs { type ether_addr; elements = { 02:00:00:00:00:01, 02:00:00:00:00:02 }; }
	set used4 { type ipv4_addr; size 4096; flags dynamic,timeout; timeout 300s; }
	set used6 { type ipv6_addr; size 4096; flags dynamic,timeout; timeout 300s; }
	chain forward {
		type filter hook forward priority filter; policy accept;
		iifname @uplinks oifname @uplinks ether saddr @hub_macs reject with icmpx admin-prohibited
		oifname @uplinks meta nfproto ipv4 update @used4 { rt ip nexthop }
		oifname @uplinks meta nfproto ipv6 update @used6 { rt ip6 nexthop }
	}
	chain output {
		type filter hook output priority filter; policy accept;
		udp dport 3784 return
		icmp type { echo-request, echo-reply } icmp id 19545 return
		icmpv6 type { echo-request, echo-reply } icmpv6 id 19545 return
		oifname @uplinks meta nfproto ipv4 update @used4 { rt ip nexthop }
		oifname @uplinks meta nfproto ipv6 update @used6 { rt ip6 nexthop }
	}
}
"""


def test_the_whole_table_of_a_hub() -> None:
    assert render(HUB) == WHOLE


def test_a_spoke_forwards_nothing_from_segment_to_segment() -> None:
    (guard,) = [line.strip() for line in render(SPOKE).splitlines() if "reject" in line]
    assert guard == "iifname @uplinks oifname @uplinks reject with icmpx admin-prohibited"
    assert 'elements = { "zt0", "zt1" }' in render(SPOKE)


def test_next_hops_in_use_are_carried_over_by_family_and_bounded() -> None:
    script = render(SPOKE, {"fd00::2", "10.0.0.3", "10.0.0.2"})
    assert "timeout 300s; elements = { 10.0.0.2, 10.0.0.3 }; }" in script
    assert "timeout 300s; elements = { fd00::2 }; }" in script
    many = render(SPOKE, {str(ip_address(0x0A000000 + n)) for n in range(MAX_USED + 10)})
    assert many.count("10.0.") == MAX_USED


MSS = """\
	chain mss {
		type filter hook forward priority mangle; policy accept;
		oifname @uplinks tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu
		oifname @uplinks meta nfproto ipv4 tcp flags & (syn | rst) == syn tcp option maxseg size > 1240 tcp option maxseg size set 1240
		oifname @uplinks meta nfproto ipv6 tcp flags & (syn | rst) == syn tcp option maxseg size > 1220 tcp option maxseg size set 1220
		iifname @uplinks tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu
		iifname @uplinks meta nfproto ipv4 tcp flags & (syn | rst) == syn tcp option maxseg size > 1240 tcp option maxseg size set 1240
		iifname @uplinks meta nfproto ipv6 tcp flags & (syn | rst) == syn tcp option maxseg size > 1220 tcp option maxseg size set 1220
	}
"""  # noqa: E501


def test_the_segments_mtu_bounds_tcp_both_ways() -> None:
    script = render(HUB._replace(mss_mtu=1280))
    assert script.replace(MSS, "") == WHOLE
    assert script.index("set uplinks") < script.index("chain mss")


def test_equal_rules_have_equal_bytes() -> None:
    assert render(SPOKE._replace(uplinks=("zt1", "zt0", "zt1"))) == render(SPOKE)


@pytest.mark.parametrize("name", ["zt*", 'zt"0', "zt 0", "zt\\0", "", "a-name-too-long-for-linux"])
def test_interface_that_nft_would_read_otherwise_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="interface"):
        render(SPOKE._replace(uplinks=(name,)))


def test_what_is_no_mac_is_refused() -> None:
    with pytest.raises(ValueError, match="'02:00' is no Ethernet address"):
        render(HUB._replace(hub_macs=frozenset({"02:00"})))


def test_without_nft_nothing_breaks_and_the_way_out_is_named() -> None:
    nft = Nft("/nowhere/nft")
    assert (nft.available, nft.reason, nft.used()) == (False, "no rules were applied yet", None)
    assert nft.apply(SPOKE) == nft.reason == "nft is not installed (Debian: apt install nftables)"
    assert (nft.available, nft.used(), nft.restored) == (False, None, 0)


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def answer(*keys: bytes, kind: int = nft_sets.NFT_MSG_NEWSETELEM) -> bytes:
    """As Linux sends it: per element its key, then timeout and expiration."""
    listed = b"".join(
        attribute(0x8001, attribute(0x8001, attribute(1, key)) + attribute(4, bytes(8)) + attribute(5, bytes(8)))
        for key in keys
    )
    body = nft_sets.NFGENMSG.pack(1, 0, 0) + attribute(1, b"leyline\0") + attribute(2, b"used4\0")
    body += attribute(0x8003, listed)
    return struct.pack("=IHHII", 16 + len(body), kind, 2, nft_sets.SEQUENCE, 0) + body


def test_elements_are_read_as_addresses() -> None:
    keys = [ip_address(text).packed for text in ("10.0.0.1", "fd00::1")]
    assert nft_sets.addresses(answer(*keys) + answer(keys[0])) == ["10.0.0.1", "fd00::1", "10.0.0.1"]
    assert nft_sets.addresses(answer(keys[0], kind=3)) == []


def test_elements_that_are_no_addresses_are_an_error() -> None:
    with pytest.raises(parse.Malformed, match="5 octets"):
        nft_sets.addresses(answer(bytes(5)))
    with pytest.raises(parse.Malformed):
        nft_sets._each(struct.pack("=HH", 40, 1) + bytes(8))


def test_the_request_names_table_and_set_and_is_a_dump() -> None:
    message = nft_sets.request("leyline", "used6")
    ((type_, flags, _, start, end),) = parse.split(message)
    found = parse.attributes(message, start + 4, end)
    assert (type_, flags, found) == (nft_sets.NFT_MSG_GETSETELEM, 0x301, {1: b"leyline\0", 2: b"used6\0"})
