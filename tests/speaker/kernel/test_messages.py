"""Requests as bytes: captured ones that a 6.18 kernel accepted, and what another implementation reads in them."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from speaker.kernel import messages as m
from speaker.kernel import parse
from speaker.kernel.port import NextHopRecord, RouteRecord
from speaker.rib.prefix import Family, key_of

HOP, GROUP = 0x4C000000, 0x4C800000
GATEWAY6 = bytes.fromhex("fd420042000000000000000000000002")

# Sent to a 6.18 kernel by this codec, and seen there with `ip nexthop` and `ip route` as the name says.
ACCEPTED = {
    "id 0x4c000000 via 10.42.0.2 dev eth0": (
        m.put_nexthop(HOP, 3, bytes([10, 42, 0, 2]), m.CREATE),
        "3000000068000106000000000000000002004c0000000000080001000000004c080006000a2a00020800050003000000",
    ),
    "id 0x4c000002 via fd42:42::2 dev eth0": (
        m.put_nexthop(HOP + 2, 3, GATEWAY6, m.CREATE),
        "3c0000006800010600000000000000000a004c0000000000080001000200004c"
        "14000600fd4200420000000000000000000000020800050003000000",
    ),
    "id 0x4c000003 blackhole": (
        m.put_blackhole(HOP + 3, Family.IPV4, m.CREATE),
        "2400000068000106000000000000000002004c0000000000080001000300004c04000400",
    ),
    "id 0x4c800000 group 0x4c000000/0x4c000001,255": (
        m.put_group(GROUP, [(HOP, 1), (HOP + 1, 255)], m.CREATE),
        "3c00000068000106000000000000000000004c0000000000080001000000804c06000300000000001400"
        "02000000004c000000000100004cfe000000",
    ),
    "10.1.2.0/24 nhid 0x4c800000 metric 1000": (
        m.put_route(Family.IPV4, bytes([24, 10, 1, 2]), m.CREATE, 1000, GROUP),
        "3400000018000106000000000000000002180000fe4c000100000000080001000a01020008000600e803000008001e000000804c",
    ),
    "11.0.0.0/8 nhid 0x4c800000 metric 1000": (
        m.put_route(Family.IPV4, bytes([8, 11]), m.CREATE, 1000, GROUP),
        "3400000018000106000000000000000002080000fe4c000100000000080001000b00000008000600e803000008001e000000804c",
    ),
    "unreachable 10.1.0.0/16 metric 4999": (
        m.put_route(Family.IPV4, bytes([16, 10, 1]), m.CREATE, 4999, 0),
        "2c00000018000106000000000000000002100000fe4c000700000000080001000a0100000800060087130000",
    ),
    "2001:db8:1::/48 nhid 0x4c800001 metric 1000": (
        m.put_route(Family.IPV6, bytes.fromhex("3020010db80001"), m.CREATE, 1000, GROUP + 1),
        "400000001800010600000000000000000a300000fe4c00010000000014000100"
        "20010db800010000000000000000000008000600e803000008001e000100804c",
    ),
    "unreachable 2001:db8::/32 metric 4999": (
        m.put_route(Family.IPV6, bytes.fromhex("2020010db8"), m.CREATE, 4999, 0),
        "380000001800010600000000000000000a200000fe4c00070000000014000100"
        "20010db80000000000000000000000000800060087130000",
    ),
}

# What iproute2 6.1 sends (`ip nexthop add ... proto 76`): the same attributes, in an order of its own.
IPROUTE2 = {
    "id 1275068416 encap mpls 16002 via 10.42.0.2 dev eth0": (
        m.put_nexthop(HOP, 3, bytes([10, 42, 0, 2]), m.CREATE, 16002),
        "44000000680005060000000000000000"
        "02004c0000000000080001000000004c"
        "0c0008800800010003e8210006000700"
        "01000000080006000a2a00020800050003000000",
    ),
    "id 1283457024 group 1275068416/1275068417,3 type resilient buckets 128 idle_timer 1 unbalanced_timer 60": (
        m.put_group(GROUP, [(HOP, 1), (HOP + 1, 3)], m.CREATE, resilient=True),
        "58000000680005060000000000000000"
        "00004c0000000000080001000000804c"
        "140002000000004c000000000100004c"
        "020000001c000c800600010080000000"
        "08000200640000000800030070170000"
        "0600030001000000",
    ),
}

networks = st.one_of(
    st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)).map(lambda v: IPv4Network(v, strict=False)),
    st.tuples(st.integers(0, 2**128 - 1), st.integers(0, 128)).map(lambda v: IPv6Network(v, strict=False)),
)


@pytest.mark.parametrize("name", ACCEPTED)
def test_request_is_the_one_a_kernel_accepted(name: str) -> None:
    made, captured = ACCEPTED[name]
    assert made.hex() == captured


@pytest.mark.parametrize("name", IPROUTE2)
def test_request_says_what_iproute2_says(name: str) -> None:
    made, captured = (value if isinstance(value, bytes) else bytes.fromhex(value) for value in IPROUTE2[name])
    size = m.HEADER.size + m.NEXTHOP.size
    assert made[m.HEADER.size : size] == captured[m.HEADER.size : size]
    assert parse.attributes(made, size, len(made)) == parse.attributes(captured, size, len(captured))
    assert parse.Request(made).nexthop == parse.Request(captured).nexthop


def test_label_is_read_back() -> None:
    for label in (None, 0, 16002, (1 << 20) - 1):
        read = parse.Request(m.put_nexthop(HOP, 3, GATEWAY6, m.CREATE, label)).nexthop
        assert read == NextHopRecord(HOP, 76, ifindex=3, gateway=GATEWAY6, label=label)


@pytest.mark.parametrize("label", [-1, 1 << 20])
def test_label_of_more_than_20_bits_is_refused(label: int) -> None:
    with pytest.raises(ValueError, match="label"):
        m.put_nexthop(HOP, 3, GATEWAY6, m.CREATE, label)


@given(network=networks, metric=st.integers(0, 2**32 - 1), nhid=st.integers(0, 2**32 - 1))
def test_route_reads_the_same_to_pyroute2_and_to_us(network: IPv4Network | IPv6Network, metric: int, nhid: int) -> None:
    family = Family.IPV4 if network.version == 4 else Family.IPV6
    message = m.put_route(family, key_of(network), m.REPLACE, metric, nhid)

    theirs = rtmsg(message)
    theirs.decode()
    assert ip_network(f"{theirs.get_attr('RTA_DST')}/{theirs['dst_len']}") == network
    assert (theirs["proto"], theirs["table"], theirs["type"]) == (76, 254, 1 if nhid else 7)
    assert theirs.get_attr("RTA_PRIORITY") == metric
    assert theirs["header"]["length"] == len(message)

    ours = parse.Request(message)
    assert (ours.family, ours.route) == (family, RouteRecord(key_of(network), metric, nhid, 1 if nhid else 7))


@given(network=networks)
def test_removal_names_protocol_and_metric_and_nothing_of_the_next_hop(network: IPv4Network | IPv6Network) -> None:
    family = Family.IPV4 if network.version == 4 else Family.IPV6
    theirs = rtmsg(m.delete_route(family, key_of(network), 1000))
    theirs.decode()
    assert (theirs["header"]["type"], theirs["proto"], theirs["type"], theirs["scope"]) == (25, 76, 0, 255)
    assert theirs.get_attr("RTA_PRIORITY") == 1000
    assert theirs.get_attr("RTA_NH_ID") is None


@given(members=st.lists(st.tuples(st.integers(1, 2**32 - 1), st.integers(1, 255)), min_size=1, max_size=64))
def test_group_round_trip(members: list[tuple[int, int]]) -> None:
    read = parse.Request(m.put_group(GROUP, members, m.CREATE)).nexthop
    assert read == NextHopRecord(GROUP, 76, group=tuple(members))


@pytest.mark.parametrize("weight", [0, 256, -1])
def test_weight_that_the_kernel_cannot_hold_is_refused(weight: int) -> None:
    with pytest.raises(ValueError, match="weight"):
        m.put_group(GROUP, [(HOP, weight)], m.CREATE)


def test_group_without_members_is_refused() -> None:
    with pytest.raises(ValueError, match="no members"):
        m.put_group(GROUP, [], m.CREATE)
