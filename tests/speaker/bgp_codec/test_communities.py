"""Communities as text and back, and the link bandwidth community of RFC 10005."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speaker.rib.communities import (
    bandwidth_of,
    community,
    community_text,
    large_community,
    large_text,
    link_bandwidth,
    parse_large,
    without_hop_communities,
)

u32 = st.integers(0, 2**32 - 1)
ROUTERS_MAC = bytes.fromhex("0603020000000003")
ROUTE_TARGET = bytes.fromhex("0002fc0000000001")


@given(st.tuples(u32, u32, u32))
def test_large_communities_return(value: tuple[int, int, int]) -> None:
    assert large_community(large_text(value)) == value


@given(u32)
def test_communities_return(value: int) -> None:
    assert community(community_text(value)) == value


def test_those_of_a_plan_are_sorted_and_unique() -> None:
    assert parse_large(["64512:10:1", "64512:2:1", "64512:10:1"]) == ((64512, 2, 1), (64512, 10, 1))


BAD_LARGE = ["", "1:2", "1:2:3:4", "1:2:x", "1:-2:3", "1:2:", " 1:2:3", "1:2:４", "1:2:99999999999", "4294967296:0:0"]


@pytest.mark.parametrize("text", BAD_LARGE)
def test_no_large_community(text: str) -> None:
    with pytest.raises(ValueError, match=r"write AS:function:value|each number is at most 4294967295") as error:
        large_community(text)
    assert repr(text) in str(error.value)


@pytest.mark.parametrize("text", ["", "65536:0", "1", "1:2:3", "no-export"])
def test_no_community(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no community: (write AS:value|each number is at most 65535)"):
        community(text)


def test_link_bandwidth_bytes() -> None:
    """1 Gbit/s is 125,000,000 octets/s is 0x4CEE6B28 as float32."""
    assert link_bandwidth(64512, 1_000_000_000) == bytes.fromhex("4004fc004cee6b28")
    assert link_bandwidth(4200000000, 0) == bytes.fromhex("40045ba000000000")


@pytest.mark.parametrize("bits", [-1, float("nan"), float("inf"), 1e40])
def test_no_bandwidth(bits: float) -> None:
    with pytest.raises(ValueError, match="is no bandwidth"):
        link_bandwidth(64512, bits)


@given(st.integers(8, 10**13))
def test_bandwidth_returns_within_the_precision_of_its_float(bits: int) -> None:
    assert bandwidth_of([ROUTE_TARGET, link_bandwidth(64512, bits)]) == pytest.approx(bits / 8, rel=2**-23)


def test_the_lowest_bandwidth_counts() -> None:
    """RFC 10005: transitive or not."""
    transitive = b"\0" + link_bandwidth(64512, 800)[1:]
    assert bandwidth_of([link_bandwidth(64512, 1600), transitive, link_bandwidth(64512, 2400)]) == 100


@pytest.mark.parametrize("octets", [0.0, -0.0, -1.0, float("nan"), float("inf"), float("-inf")])
def test_bandwidths_that_no_weight_can_be_made_of(octets: float) -> None:
    assert bandwidth_of([b"\x40\x04\xfc\x00" + struct.pack("!f", octets)]) is None


def test_no_bandwidth_at_all() -> None:
    assert bandwidth_of([]) is None
    assert bandwidth_of([ROUTE_TARGET, ROUTERS_MAC]) is None


def test_what_speaks_of_the_next_hop_is_removed() -> None:
    transitive = b"\0" + link_bandwidth(64512, 800)[1:]
    given_ones = [ROUTE_TARGET, link_bandwidth(64512, 800), transitive, ROUTERS_MAC]
    assert without_hop_communities(given_ones) == (ROUTE_TARGET,)
