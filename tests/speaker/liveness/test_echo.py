"""Echoes as bytes; over loopback where this user may open raw sockets."""

from __future__ import annotations

import asyncio
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speaker.kernel.nft import BFD_IS_NO_USE, PROBES_ARE_NO_USE
from speaker.liveness.bfd.network import PORT
from speaker.liveness.echo import IDENTIFIER, STAMP, Echoes, Reply, read, render
from speaker.liveness.path_probes import HEADERS, Probe
from speaker.liveness.probes import HEADER, checksum

TOKEN = b"8 octets"


def reply_to(version: int, packet: bytes) -> bytes:
    """What the far end's kernel makes of it: another type, and in IPv4 a raw socket shows the IP header."""
    answer = bytes([{4: 0, 6: 129}[version]]) + packet[1:]
    return bytes([0x45]) + bytes(19) + answer if version == 4 else answer


@pytest.mark.parametrize("version", [4, 6])
@given(size=st.integers(84, 9890), sequence=st.integers(0, 0xFFFF))
def test_an_echo_has_its_size_and_is_known_again(version: int, size: int, sequence: int) -> None:
    packet = render(version, sequence, size, STAMP.pack(TOKEN, 12345))
    assert len(packet) + {4: 20, 6: 40}[version] == size
    if version == 4:
        assert checksum(packet) == 0
    assert read(version, reply_to(version, packet), TOKEN) == Reply(sequence, 12345)
    assert read(version, reply_to(version, packet), b"another1") is None, "of the agent before"
    assert read(version, bytes([0x45]) + bytes(19) + packet if version == 4 else packet, TOKEN) is None, "no reply"


@given(version=st.sampled_from([4, 6]), junk=st.binary(max_size=80))
def test_junk_is_no_reply(version: int, junk: bytes) -> None:
    assert read(version, junk, TOKEN) is None


def test_somebody_elses_ping_is_no_reply() -> None:
    packet = render(4, 7, 84, STAMP.pack(TOKEN, 1))
    other = HEADER.pack(0, 0, 0, IDENTIFIER + 1, 7) + packet[HEADER.size :]
    assert read(4, bytes([0x45]) + bytes(19) + other, TOKEN) is None


def test_nftables_knows_probes_by_their_identifier_and_bfd_by_its_port() -> None:
    assert all(f"id {IDENTIFIER} " in rule for rule in PROBES_ARE_NO_USE)
    assert f"udp dport {PORT} " in BFD_IS_NO_USE


@pytest.mark.root
def test_over_loopback_with_the_kernels_times() -> None:
    async def whole() -> list[tuple[tuple[str, str], int, float]]:
        heard: list[tuple[tuple[str, str], int, float]] = []
        echoes = Echoes(lambda *answer: heard.append(answer))
        try:
            echoes.send(Probe(("lo", "127.0.0.1"), 1, 84))
            echoes.send(Probe(("lo", "127.0.0.1"), 2, 9000))
            echoes.send(Probe(("lo", "::1"), 3, 1280))
            with pytest.raises(OSError, match="Message too long"):
                echoes.send(Probe(("lo", "127.0.0.1"), 4, 65_540 - HEADERS[4] - 4 + 28))
            async with asyncio.timeout(10):
                while len(heard) < 3:
                    await asyncio.sleep(0.01)
        finally:
            echoes.close()
        return sorted(heard, key=lambda answer: answer[1])

    heard = asyncio.run(whole())
    assert [(pair, sequence) for pair, sequence, _ in heard] == [
        (("lo", "127.0.0.1"), 1),
        (("lo", "127.0.0.1"), 2),
        (("lo", "::1"), 3),
    ]
    assert all(0 < rtt < 1 for _, _, rtt in heard), heard


def test_the_stamp_fits_the_smallest_probe() -> None:
    assert STAMP.size + max(HEADERS.values()) <= 84
    assert struct.calcsize("@qq") == 16
