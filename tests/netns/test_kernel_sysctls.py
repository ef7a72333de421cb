"""Knobs of a real kernel, in a namespace."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from speaker.kernel.sysctls import apply_sysctls, knobs, path_of
from tests.netns.kernel_world import LinuxWorld, linux_world
from tests.netns.namespaces import veth, wait_until

pytestmark = pytest.mark.root

TCP_MD5SIG = 14


@pytest.fixture
def world() -> Iterator[LinuxWorld]:
    with linux_world() as world:
        yield world


def test_all_are_set_and_what_is_missing_is_told(world: LinuxWorld) -> None:
    veth(world.near, "eth1", [], world.far, "eth1", [])
    world.near.run("sysctl", "-qw", "net.ipv4.nexthop_compat_mode=1")
    outcome = apply_sysctls(["eth0", "eth1"])
    assert outcome.failed == {}
    # The neighbour table's limits belong to the first namespace only.
    assert set(outcome.missing) <= {"net.ipv4.neigh.default.gc_thresh3", "net.ipv6.neigh.default.gc_thresh3"}
    assert outcome.changed["net.ipv4.ip_forward"] == "0 -> 1"
    assert outcome.changed["net.ipv4.nexthop_compat_mode"] == "1 -> 0"
    for knob in knobs(["eth0", "eth1"], []):
        if knob.name not in outcome.missing:
            assert world.near.run("cat", f"/proc/sys/{path_of(knob.name)}").strip() == str(knob.value), knob.name
    assert apply_sysctls(["eth0", "eth1"]).changed == {}


ADVERTISE = """
import socket, struct
with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as sender:
    sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
    index = socket.if_nametoindex("eth0")
    sender.sendto(struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0), ("ff02::1", 0, 0, index))
"""


def advertised(world: LinuxWorld) -> bool:
    """Whether there is a default route after another router advertisement (RFC 4861 4.2)."""
    world.far.run("ip", "-6", "address", "replace", "fe80::2/64", "dev", "eth0", "nodad")
    world.far.run(sys.executable, "-c", ADVERTISE, check=False)  # The interface may not have its carrier yet.
    return "proto ra" in world.near.run("ip", "-6", "route", "show", "default")


def test_what_a_router_advertises_survives_forwarding(world: LinuxWorld) -> None:
    world.near.run("sysctl", "-qw", "net.ipv6.conf.eth0.accept_ra=1")
    wait_until(lambda: advertised(world), 10)
    assert apply_sysctls(["eth0"]).changed["net.ipv6.conf.eth0.accept_ra"] == "1 -> 2"
    assert advertised(world)


def test_with_forwarding_on_there_is_nothing_advertised_to_lose(world: LinuxWorld) -> None:
    """So nobody need look for it among all routes again."""
    world.near.run("sysctl", "-qw", "net.ipv6.conf.eth0.accept_ra=1")
    wait_until(lambda: advertised(world), 10)
    world.near.run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
    assert not advertised(world)
    assert "accept_ra" not in " ".join(apply_sysctls(["eth0"]).changed)


def test_a_route_by_hand_is_no_advertisement(world: LinuxWorld) -> None:
    world.near.run("ip", "-6", "route", "add", "default", "via", "fd42:42::2", "dev", "eth0", "proto", "ra")
    assert Path("/proc/sys/net/ipv6/conf/eth0/accept_ra").exists()
    flags = {line.split()[8] for line in world.near.run("cat", "/proc/net/ipv6_route").splitlines()}
    assert all(int(flag, 16) & 0x40000 == 0 for flag in flags), "`proto ra` alone is no advertisement"
    assert "accept_ra" not in " ".join(apply_sysctls(["eth0"]).changed)


def test_a_hub_can_hold_the_key_of_every_client(world: LinuxWorld) -> None:
    """They are in the option memory of its listening socket, 136 bytes each; some kernels grant 20480 bytes."""
    keys = 2_000
    assert world
    before = Path("/proc/sys/net/core/optmem_max").read_text()
    try:
        Path("/proc/sys/net/core/optmem_max").write_text("20480\n")
        assert taken(keys) < 200
        apply_sysctls(["eth0"], md5_keys=keys)
        assert taken(keys) == keys
    finally:
        Path("/proc/sys/net/core/optmem_max").write_text(before)


def taken(keys: int) -> int:
    """How many of so many keys one socket takes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for n in range(keys):
            peer = struct.pack("HH4s120x", socket.AF_INET, 0, ip_address(0x0A2A0000 + n).packed)
            key = struct.pack("2xH4x80s", 43, b"k" * 43)
            try:
                listener.setsockopt(socket.IPPROTO_TCP, TCP_MD5SIG, peer + key)
            except OSError:
                return n
    return keys
