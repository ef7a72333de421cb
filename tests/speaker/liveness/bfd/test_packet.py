"""The control packet: what goes out comes in again, and all that RFC 5880 6.8.6 refuses is refused with its reason."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speaker.liveness.bfd.packet import ADMIN_DOWN, DOWN, INIT, UP, Discard, Packet, decode, encode

U32 = st.integers(0, 2**32 - 1)
packets = st.builds(
    Packet,
    state=st.integers(0, 3),
    diagnostic=st.integers(0, 31),
    multiplier=st.integers(1, 255),
    my_discriminator=st.integers(1, 2**32 - 1),
    your_discriminator=st.integers(1, 2**32 - 1),
    desired_min_tx_us=U32,
    required_min_rx_us=U32,
    required_min_echo_rx_us=U32,
    poll=st.booleans(),
    final=st.booleans(),
    control_plane_independent=st.booleans(),
    demand=st.booleans(),
)
GOOD = Packet(UP, 0, 3, 0x01020304, 0x05060708, 100_000, 300_000, poll=True, control_plane_independent=True)


def changed(at: int, value: int, payload: bytes | None = None) -> bytes:
    data = bytearray(encode(GOOD) if payload is None else payload)
    data[at] = value
    return bytes(data)


@given(packets)
def test_round_trip(packet: Packet) -> None:
    assert decode(encode(packet)) == packet


def test_layout_of_rfc_5880() -> None:
    assert encode(GOOD).hex(" ") == "20 e8 03 18 01 02 03 04 05 06 07 08 00 01 86 a0 00 04 93 e0 00 00 00 00"


REFUSED = {
    "empty": (b"", "length"),
    "one octet short": (encode(GOOD)[:-1], "length"),
    "length says less than a header": (changed(3, 23), "length"),
    "length says more than came": (changed(3, 25), "length"),
    "version 0": (changed(0, 0x00), "version"),
    "version 2": (changed(0, 0x40), "version"),
    "multiplier 0": (changed(2, 0), "multiplier"),
    "multipoint": (changed(1, 0xC1), "multipoint"),
    "authentication": (changed(3, 28, changed(1, 0xC4)) + bytes(4), "authentication"),
    "authentication without room for it": (changed(1, 0xC4), "length"),
    "my discriminator 0": (encode(GOOD._replace(my_discriminator=0)), "my-discriminator"),
    "your discriminator 0 in Up": (encode(GOOD._replace(your_discriminator=0)), "your-discriminator"),
    "your discriminator 0 in Init": (encode(GOOD._replace(your_discriminator=0, state=INIT)), "your-discriminator"),
}


@pytest.mark.parametrize(("payload", "reason"), REFUSED.values(), ids=REFUSED)
def test_refused(payload: bytes, reason: str) -> None:
    with pytest.raises(Discard) as refused:
        decode(payload)
    assert refused.value.reason == reason


@pytest.mark.parametrize("state", [DOWN, ADMIN_DOWN])
def test_your_discriminator_0_is_how_a_session_begins(state: int) -> None:
    assert decode(encode(GOOD._replace(your_discriminator=0, state=state))).your_discriminator == 0


def test_octets_beyond_length_are_ignored() -> None:
    assert decode(encode(GOOD) + b"more") == GOOD


@given(
    st.one_of(
        st.binary(max_size=300), st.binary(min_size=24, max_size=40).map(lambda b: b"\x20" + b[1:3] + b"\x18" + b[4:])
    )
)
def test_decode_raises_nothing_but_its_own_error(payload: bytes) -> None:
    try:
        packet = decode(payload)
    except Discard:
        return
    assert packet.multiplier
    assert packet.my_discriminator
    assert encode(packet)[4:] == payload[4:24]


def test_numbers_that_do_not_fit_are_our_own_fault() -> None:
    with pytest.raises(struct.error):
        encode(GOOD._replace(desired_min_tx_us=2**32))
