from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speaker.bgp.negotiated import Negotiated
from speaker.bgp.opens import GracefulRestart, OpenMessage, OpenUnreadable, negotiate, parse_open
from speaker.rib.prefix import Family

BOTH = frozenset(Family)


def open_body(*capabilities: tuple[int, bytes], asn: int = 64512, wide: bool = False) -> bytes:
    """An OPEN with one optional parameter per capability (RFC 5492), in the form of RFC 9072 when `wide`."""
    head = struct.pack("!BHH4s", 4, asn, 9, b"\x0a\0\0\x02")
    inside = [bytes((code, len(value))) + value for code, value in capabilities]
    if wide:
        parameters = b"".join(b"\x02" + struct.pack("!H", len(one)) + one for one in inside)
        return head + b"\xff\xff" + struct.pack("!H", len(parameters)) + parameters
    parameters = b"".join(bytes((2, len(one))) + one for one in inside)
    return head + bytes((len(parameters),)) + parameters


CAPABILITIES = (
    (1, b"\0\x01\0\x01"),
    (1, b"\0\x02\0\x01"),
    (1, b"\0\x19\0\x46"),  # EVPN: not ours
    (2, b""),
    (70, b""),
    (65, struct.pack("!L", 4200000000)),
    (69, b"\0\x01\x01\x03\0\x02\x01\x01\0\x19\x46\x03"),
    (64, b"\x80\x78\0\x01\x01\x80\0\x02\x01\0"),
    (71, b""),
)
EXPECTED = OpenMessage(
    asn=4200000000,
    hold_time=9,
    router_id=b"\x0a\0\0\x02",
    families=BOTH,
    add_path={Family.IPV4: 3, Family.IPV6: 1},
    as4=True,
    refresh=True,
    enhanced_refresh=True,
    graceful_restart=GracefulRestart(True, 120, BOTH, frozenset({Family.IPV4})),
)


@pytest.mark.parametrize("wide", [False, True])
def test_capabilities(wide: bool) -> None:
    assert parse_open(open_body(*CAPABILITIES, asn=23456, wide=wide)) == EXPECTED


def test_several_capabilities_in_one_parameter() -> None:
    inside = b"".join(bytes((code, len(value))) + value for code, value in CAPABILITIES)
    body = open_body(asn=23456)[:-1] + bytes((len(inside) + 2, 2, len(inside))) + inside
    assert parse_open(body) == EXPECTED


def test_an_open_without_capabilities_is_ipv4_only() -> None:
    assert parse_open(open_body()) == OpenMessage(64512, 9, b"\x0a\0\0\x02")


@given(st.binary(max_size=200))
def test_junk_is_unreadable_and_nothing_else(body: bytes) -> None:
    with contextlib.suppress(OpenUnreadable):
        parse_open(body)


@given(st.integers(0, 400), st.integers(0, 255), st.booleans())
def test_a_broken_open_is_unreadable_and_nothing_else(position: int, octet: int, wide: bool) -> None:
    body = bytearray(open_body(*CAPABILITIES, wide=wide))
    body[position % len(body)] = octet
    with contextlib.suppress(OpenUnreadable):
        parse_open(bytes(body))


def test_negotiation_needs_both_ends() -> None:
    ours = OpenMessage(1, 9, b"", BOTH, {Family.IPV4: 3, Family.IPV6: 3}, as4=True)
    assert negotiate(ours, EXPECTED) == Negotiated(
        families=BOTH,
        add_path_receive=frozenset({Family.IPV4}),
        add_path_send=BOTH,
        as4=True,
    )
    poor = parse_open(open_body())
    assert negotiate(ours, poor) == Negotiated(frozenset(), frozenset(), as4=False, families=frozenset({Family.IPV4}))
