"""Probes of hosts in our LANs: ICMP echo, or a TCP connection. So many failures in a row, and the LAN is dead."""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import socket
import struct
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address

from speaker.plan import ProbePlan

ECHO = {4: (8, 0), 6: (128, 129)}  # IP version -> (echo, echo reply); RFC 792, RFC 4443.
ICMP = {4: socket.IPPROTO_ICMP, 6: socket.IPPROTO_ICMPV6}
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
HEADER = struct.Struct("!BBHHH")  # type, code, checksum, identifier, sequence
PAYLOAD = b"leyline probe"
RECEIVE_SIZE = 2048


class Prober:
    """Runs the probes of a plan on the event loop, one attempt at a time each, bounded by the probe's interval.

    A probe that has not failed `multiplier` times in a row is well: a new one takes nothing down.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._probes: dict[ProbePlan, str] = {}  # probe -> the interface that it is bound to; "" for none
        self._failing: dict[ProbePlan, str] = {}
        self._moved = asyncio.Event()

    @property
    def failing(self) -> dict[str, str]:
        """prefix -> why its LAN counts as dead. `changed` is called when this moved."""
        return {probe.prefix: reason for probe, reason in self._failing.items()}

    def configure(self, probes: Iterable[ProbePlan], interfaces: Mapping[str, str]) -> None:
        """The probes from now on. `interfaces`: prefix -> interface (LanWatch.interfaces).

        A probe leaves by the LAN's interface alone: an answer that came over the fabric, through another gateway of
        the site, would say that a dead LAN is well.
        """
        wanted = {probe: interfaces.get(probe.prefix, "") for probe in probes}
        if wanted == self._probes:
            return
        self._probes = wanted
        gone = self._failing.keys() - wanted.keys()
        for probe in gone:
            del self._failing[probe]
        self._moved.set()
        if gone:
            self._changed()

    async def run(self) -> None:
        """For ever."""
        running: dict[tuple[ProbePlan, str], asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._moved.clear()
                wanted = set(self._probes.items())
                for item in running.keys() - wanted:
                    running.pop(item).cancel()
                for item in wanted - running.keys():
                    running[item] = tasks.create_task(self._watch(*item))
                await self._moved.wait()

    async def _watch(self, probe: ProbePlan, interface: str) -> None:
        loop = asyncio.get_running_loop()
        failures = probe.multiplier if probe in self._failing else 0
        interval = probe.interval_ms / 1000
        while True:
            started = loop.time()
            fault = await attempt(probe, interface, interval)
            failures = failures + 1 if fault else 0
            self._note(probe, fault if failures >= probe.multiplier else "")
            await asyncio.sleep(max(0.0, started + interval - loop.time()))

    def _note(self, probe: ProbePlan, fault: str) -> None:
        was = probe in self._failing
        if fault:
            target = f"{probe.address} port {probe.port}" if probe.kind == "tcp" else probe.address
            self._failing[probe] = f"{probe.kind} probe of {target}: {fault}, {probe.multiplier} times in a row"
        else:
            self._failing.pop(probe, None)
        if was != bool(fault):
            self._changed()


async def attempt(probe: ProbePlan, interface: str, seconds: float) -> str:
    """One probe: "" when it was answered, else what went wrong."""
    try:
        async with asyncio.timeout(seconds):
            await (_connect if probe.kind == "tcp" else _echo)(probe, interface)
    except TimeoutError:
        return "no answer"
    except PermissionError as error:
        return error.strerror or str(error)
    except OSError as error:  # asyncio has words of its own for it, with the address in them.
        return os.strerror(error.errno) if error.errno else str(error)
    return ""


async def _connect(probe: ProbePlan, interface: str) -> None:
    """Raises OSError."""
    family = FAMILY[ip_address(probe.address).version]
    with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as sock:
        _prepare(sock, interface)
        await asyncio.get_running_loop().sock_connect(sock, (probe.address, probe.port))


async def _echo(probe: ProbePlan, interface: str) -> None:
    """Raises OSError. Waits until the very echo is answered."""
    version = ip_address(probe.address).version
    loop = asyncio.get_running_loop()
    identifier, sequence = secrets.randbits(16), secrets.randbits(16)
    with _icmp_socket(version) as sock:
        _prepare(sock, interface)
        sock.connect((probe.address, 0))  # Only this host's packets come in.
        await loop.sock_sendall(sock, echo(version, identifier, sequence))
        while True:
            packet = await loop.sock_recv(sock, RECEIVE_SIZE)
            if answers(version, packet, identifier if sock.type == socket.SOCK_RAW else None, sequence):
                return


def _prepare(sock: socket.socket, interface: str) -> None:
    sock.setblocking(False)
    if interface:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())


def _icmp_socket(version: int) -> socket.socket:
    """Raw as root; else the kernel's ping socket, where net.ipv4.ping_group_range lets us. Raises OSError."""
    try:
        return socket.socket(FAMILY[version], socket.SOCK_RAW | socket.SOCK_CLOEXEC, ICMP[version])
    except PermissionError:
        pass
    try:
        return socket.socket(FAMILY[version], socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, ICMP[version])
    except PermissionError:
        text = "not permitted: run as root, or put the group into net.ipv4.ping_group_range"
        raise PermissionError(errno.EACCES, text) from None


def echo(version: int, identifier: int, sequence: int) -> bytes:
    """An ICMP echo. For IPv6 the kernel fills the checksum in. Pure."""
    kind = ECHO[version][0]
    packet = HEADER.pack(kind, 0, 0, identifier, sequence) + PAYLOAD
    return HEADER.pack(kind, 0, checksum(packet) if version == 4 else 0, identifier, sequence) + PAYLOAD


def answers(version: int, packet: bytes, identifier: int | None, sequence: int) -> bool:
    """Is `packet` the reply? A raw IPv4 socket gives the IP header too; without `identifier` it is a ping socket's."""
    if version == 4 and identifier is not None:
        packet = packet[(packet[0] & 0x0F) * 4 :] if packet else b""
    if len(packet) < HEADER.size:
        return False
    kind, _, _, answered, number = HEADER.unpack_from(packet)
    return kind == ECHO[version][1] and number == sequence and identifier in (None, answered)


def checksum(packet: bytes) -> int:
    """RFC 1071. Pure."""
    padded = packet + bytes(len(packet) % 2)
    total = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int(~total & 0xFFFF)
