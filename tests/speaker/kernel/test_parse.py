"""What a 6.18 kernel answered, captured; and junk, which must be told from it."""

from __future__ import annotations

import errno
import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speaker.kernel import messages as m
from speaker.kernel import parse
from speaker.kernel.port import NextHopRecord, RouteRecord
from speaker.rib.prefix import Family

NEXTHOPS = bytes.fromhex(
    "3000000068000200070000004366000002fd4c0000000000080001000000004c0800050003000000080006000a2a0002"
    "3c0000006800020007000000436600000afd4c0000000000080001000200004c080005000300000014000600fd420042"
    "0000000000000000000000022400000068000200070000004366000002004c0000000000080001000300004c04000400"
    "4400000068000200070000004366000000004c0000000000080001000000804c0600030000000000140002000000004c"
    "000000000100004cfe00000008000e0000000080"
    "1400000003000200070000004366000000000000"
)
REJECT4 = "3400000018002200070000004366000002100000fe4c00070000000008000f00fe000000080001000a0100000800060087130000"
ROUTE4 = (
    "3c00000018002200070000004366000002180000fe4c00010000000008000f00fe000000080001000a01020008000600e8030000"
    "08001e000000804c"
)
ROUTE4_SHORT = (
    "3c00000018002200070000004366000002080000fe4c00010000000008000f00fe000000080001000b00000008000600e8030000"
    "08001e000000804c"
)
ROUTE6 = (
    "740000001800220007000000436600000a300000fe4c00010000000008000f00fe0000001400010020010db8000100000000"
    "00000000000008000600e803000008001e000100804c24000c00" + "00" * 32 + "0500140000000000"
)
REJECT6 = (
    "740000001800220007000000436600000a200000fe4c00070000000008000f00fe0000001400010020010db8000000000000"
    "000000000000080006008713000008000400010000" + "0024000c00" + "00" * 32 + "0500140000000000"
)
DONE = "1400000003002200070000004366000000000000"

NET_10_1_2 = RouteRecord(bytes([24, 10, 1, 2]), 1000, 0x4C800000, 1)
NET_11 = RouteRecord(bytes([8, 11]), 1000, 0x4C800000, 1)
ALL_10_1 = RouteRecord(bytes([16, 10, 1]), 4999, 0, 7)
NET_DB8_1 = RouteRecord(bytes.fromhex("3020010db80001"), 1000, 0x4C800001, 1)
ALL_DB8 = RouteRecord(bytes.fromhex("2020010db8"), 4999, 0, 7)


def test_nexthops_of_every_kind() -> None:
    assert parse.nexthops(NEXTHOPS) == [
        NextHopRecord(0x4C000000, 76, ifindex=3, gateway=bytes([10, 42, 0, 2])),
        NextHopRecord(0x4C000002, 76, ifindex=3, gateway=bytes.fromhex("fd420042000000000000000000000002")),
        NextHopRecord(0x4C000003, 76, blackhole=True),
        NextHopRecord(0x4C800000, 76, group=((0x4C000000, 1), (0x4C000001, 255))),
    ]


@pytest.mark.parametrize(
    ("captured", "records"),
    [
        pytest.param(ROUTE4 + ROUTE4_SHORT, [NET_10_1_2, NET_11], id="IPv4, all alike"),
        pytest.param(REJECT4 + ROUTE4 + ROUTE4_SHORT, [ALL_10_1, NET_10_1_2, NET_11], id="IPv4, mixed"),
        pytest.param(ROUTE6 + ROUTE6, [NET_DB8_1, NET_DB8_1], id="IPv6, all alike"),
        pytest.param(ROUTE6 + REJECT6, [NET_DB8_1, ALL_DB8], id="IPv6, of one length but two layouts"),
        pytest.param(DONE, [], id="end"),
    ],
)
def test_routes(captured: str, records: list[RouteRecord]) -> None:
    assert parse.routes(bytes.fromhex(captured)) == records


def test_fast_and_slow_path_agree() -> None:
    both = parse.routes(bytes.fromhex(ROUTE4)) + parse.routes(bytes.fromhex(ROUTE6))
    # A message of another length in the datagram is what sends it down the slow path.
    slow = parse.routes(bytes.fromhex(ROUTE4 + REJECT4))[:1] + parse.routes(bytes.fromhex(ROUTE6 + DONE))
    assert both == slow


@pytest.mark.parametrize("octet", [16 + 5, 36 - 4], ids=["protocol", "RTA_TABLE"])
def test_foreign_routes_are_not_seen(octet: int) -> None:
    message = bytearray.fromhex(ROUTE4)
    message[octet] ^= 1
    assert parse.routes(bytes(message) + bytes.fromhex(REJECT4)) == [ALL_10_1]


def test_foreign_protocol_is_not_seen_on_the_fast_path() -> None:
    message = bytearray.fromhex(ROUTE4)
    message[16 + 5] = 186
    assert parse.routes(bytes(message)) == []


def test_end_of_a_dump_alone_and_behind_data() -> None:
    assert parse.dump_part(bytes.fromhex(ROUTE4), 7) == parse.DumpPart(True, False, False, None)
    assert parse.dump_part(bytes.fromhex(DONE), 7).done
    assert parse.dump_part(bytes.fromhex(ROUTE4 + DONE), 7).done
    assert not parse.dump_part(bytes.fromhex(DONE), 8).ours


def test_interrupted_dump_is_seen_on_data_and_on_done() -> None:
    for captured in (ROUTE4, DONE):
        message = bytearray.fromhex(captured)
        message[6] |= m.NLM_F_DUMP_INTR
        assert parse.dump_part(bytes(message), 7).interrupted


def test_dump_that_ends_in_an_error_says_so() -> None:
    message = bytearray.fromhex(DONE)
    message[16:20] = struct.pack("=i", -errno.ENOMEM)
    part = parse.dump_part(bytes(message), 7)
    assert part.done
    assert part.fault is not None
    assert part.fault.errno == errno.ENOMEM


def test_fault_names_the_request_and_the_reason() -> None:
    request = m.put_route(Family.IPV4, bytes([24, 10, 1, 3]), m.CREATE, 1000, 0x4C999999)
    text = b"Nexthop id does not exist\0"
    payload = struct.pack("=i", -errno.EINVAL) + request + struct.pack("=HH", 4 + len(text), 1) + text + b"\0\0"
    fault = parse.fault(payload, m.NLM_F_ACK_TLVS, 0, len(payload))
    assert fault is not None
    assert (fault.errno, fault.text) == (errno.EINVAL, "Nexthop id does not exist")
    assert parse.Request(fault.message).route == RouteRecord(bytes([24, 10, 1, 3]), 1000, 0x4C999999, 1)


def test_fault_without_words_gets_the_error_number_s() -> None:
    request = m.delete_nexthop(0x4C000000)
    payload = struct.pack("=i", -errno.ENOENT) + request
    fault = parse.fault(payload, 0, 0, len(payload))
    assert fault is not None
    assert fault.text == "No such file or directory"


def test_acknowledgement_is_no_fault() -> None:
    assert parse.fault(bytes(20), 0, 0, 20) is None


@given(junk=st.binary(max_size=200))
def test_junk_is_malformed_and_nothing_else(junk: bytes) -> None:
    _digest(junk)


@given(
    captured=st.sampled_from([NEXTHOPS, bytes.fromhex(ROUTE4 + ROUTE4), bytes.fromhex(ROUTE6 + REJECT6 + DONE)]),
    edits=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=5),
    cut=st.integers(0, 300),
)
def test_damaged_answers_are_malformed_and_nothing_else(
    captured: bytes, edits: list[tuple[int, int]], cut: int
) -> None:
    damaged = bytearray(captured)
    for position, value in edits:
        damaged[position % len(damaged)] = value
    _digest(bytes(damaged[: max(cut, 1)]))


def _digest(data: bytes) -> None:
    for read in (
        parse.routes,
        parse.nexthops,
        lambda d: parse.dump_part(d, 7),
        lambda d: parse.fault(d, m.NLM_F_ACK_TLVS, 0, len(d)),
        lambda d: list(parse.requests(d)),
        lambda d: parse.link(d, 0, len(d)),
        lambda d: parse.address_index(d, 0, len(d)),
    ):
        with suppress(parse.Malformed):
            read(data)
