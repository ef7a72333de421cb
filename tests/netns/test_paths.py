"""Echoes, ARP probes and rulesets on a real kernel.

`near` is the gateway, with zt0 on the segment and lan0 in its LAN; `far` is a hub, and holds the other ends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import pytest

from speaker.doctor import here, wire
from speaker.doctor.checks.forwarding import ANY_PORT
from speaker.doctor.nft_verdict import Packet, Ruleset
from speaker.kernel.nft import Nft, NftRules
from speaker.liveness.echo import Echoes
from speaker.liveness.path_probes import Probe
from tests.netns.namespaces import Namespace, inside, veth, wait_until

pytestmark = pytest.mark.root

NEAR, FAR, IN_LAN = "10.50.0.1", "10.50.0.9", "10.1.0.1"
PAIR, PAIR6 = ("zt0", FAR), ("zt0", "fd50::9")
PASSES = 1392


@dataclass
class World:
    near: Namespace
    far: Namespace


@pytest.fixture
def world() -> Iterator[World]:
    with Namespace("paths", "near") as near, Namespace("paths", "far") as far:
        for namespace in (near, far):  # New addresses are in force at once.
            namespace.run("sysctl", "-qw", "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0")
        veth(near, "zt0", [f"{NEAR}/16", "fd50::1/64"], far, "zt0", [f"{FAR}/16", "fd50::9/64"])
        veth(near, "lan0", [f"{IN_LAN}/24"], far, "lan0", [])
        far.run("ip", "route", "add", "10.1.0.0/24", "via", NEAR)
        for address in (FAR, PAIR6[1]):  # A new interface takes a second or two until IPv6 answers.
            wait_until(lambda address=address: " 0% packet" in pinged(near, address), 10)  # type: ignore[misc]
        yield World(near, far)


def pinged(near: Namespace, address: str) -> str:
    return near.run("ping", "-c1", "-W1", address, check=False)


def unicast(used: frozenset[str] | None) -> set[str]:
    """Without the kernel's own router solicitations."""
    assert used is not None
    return {address for address in used if not ip_address(address).is_multicast}


async def _echoed(sizes: dict[int, int], pair: tuple[str, str], source: str) -> dict[int, float]:
    """`sizes`: sequence -> size. Sequence -> round trip, of those that came back within a second."""
    heard: dict[int, float] = {}
    echoes = Echoes(lambda _, sequence, rtt: heard.update({sequence: rtt}))
    echoes.configure({("zt0", 6 if ":" in source else 4): source})
    try:
        for sequence, size in sizes.items():
            echoes.send(Probe(pair, sequence, size))
        await asyncio.sleep(1)
    finally:
        echoes.close()
    return heard


@pytest.mark.parametrize(("pair", "source"), [(PAIR, NEAR), (PAIR6, "fd50::1")], ids=["IPv4", "IPv6"])
def test_echoes_come_back_unless_they_are_too_long_on_the_way(world: World, pair: tuple[str, str], source: str) -> None:
    rule = f"add rule inet t input meta length > {PASSES} drop"
    chain = "add chain inet t input { type filter hook input priority 0; }"
    world.far.run("nft", "-f", "-", stdin=f"add table inet t\n{chain}\n{rule}\n")
    with inside(world.near.name):
        heard = asyncio.run(_echoed({1: 84, 2: PASSES, 3: PASSES + 1, 4: 1500}, pair, source))
    assert sorted(heard) == [1, 2]
    assert all(0 < rtt < 1 for rtt in heard.values()), heard


def test_more_than_the_interface_takes_is_refused_here(world: World) -> None:
    async def too_long() -> None:
        echoes = Echoes(lambda *_: None)
        try:
            with pytest.raises(OSError, match="Message too long"):
                echoes.send(Probe(PAIR, 1, 1501))
        finally:
            echoes.close()

    with inside(world.near.name):
        asyncio.run(too_long())


def test_echoes_are_no_use_of_a_next_hop_and_pings_are(world: World) -> None:
    with inside(world.near.name):
        nft = Nft()
        assert nft.apply(NftRules(("zt0",), "spoke", frozenset(), 60)) == ""
        for pair, source in ((PAIR, NEAR), (PAIR6, "fd50::1")):
            assert asyncio.run(_echoed({1: 84}, pair, source)), pair
        assert unicast(nft.used()) == set()
    pinged(world.near, FAR)
    with inside(world.near.name):
        assert unicast(nft.used()) == {FAR}


def test_answers_to_echoes_are_no_use_either(world: World) -> None:
    with inside(world.far.name):
        nft = Nft()
        assert nft.apply(NftRules(("zt0",), "hub", frozenset(), 60)) == ""
    with inside(world.near.name):
        assert asyncio.run(_echoed({1: 84}, PAIR, NEAR))
        assert asyncio.run(_echoed({1: 84}, PAIR6, "fd50::1"))
    with inside(world.far.name):
        assert unicast(nft.used()) == set()


def test_who_has_our_address_too_is_found_and_nobody_else(world: World) -> None:
    with inside(world.near.name):
        assert wire.who_else_has("zt0", NEAR) == ()
    world.far.run("ip", "address", "add", f"{NEAR}/32", "dev", "zt0")
    mac = world.far.run("cat", "/sys/class/net/zt0/address").strip()
    world.far.run("ip", "neighbour", "flush", "dev", "zt0")
    began = time.monotonic()
    with inside(world.near.name):
        assert wire.who_else_has("zt0", NEAR) == (mac,)
    assert time.monotonic() - began < 2
    neighbours = world.far.run("ip", "-4", "neighbour", "show", "dev", "zt0")
    assert NEAR not in neighbours, "the probe claims nothing, so nobody has learnt anything of it"


def test_an_echo_from_the_lan_tells_of_rules_that_drop_routed_traffic(world: World) -> None:
    with inside(world.near.name):
        assert wire.answers_from(NEAR, FAR, "zt0")
        assert wire.answers_from(IN_LAN, FAR, "zt0")
    chain = "add chain inet t input { type filter hook input priority 0; }"
    rule = "add rule inet t input ip saddr != 10.50.0.0/16 drop"  # What `drop not chr ipauth` does.
    world.far.run("nft", "-f", "-", stdin=f"add table inet t\n{chain}\n{rule}\n")
    with inside(world.near.name):
        assert wire.answers_from(NEAR, FAR, "zt0")
        assert not wire.answers_from(IN_LAN, FAR, "zt0")


BASELINES = {
    "default drop": ("policy drop;", "drop", "drop"),
    "usual": (
        "policy drop; ct state established,related accept; iifname lo accept; tcp dport 22 accept",
        "drop",
        "drop",
    ),
    "by interface": ('policy drop; iifname "zt*" accept', "accept", "accept"),
    "by set": ('policy drop; iifname { "lan0", "zt0" } oifname { "lan0", "zt0" } accept', "accept", "maybe"),
    "verdict map": ("policy drop; ct state vmap { established : accept, new : jump other }", "drop", "drop"),
    "last rule": ("policy accept; iifname lan0 accept; reject with icmpx admin-prohibited", "drop", "drop"),
    "by mark": ("policy drop; meta mark 7 accept", "maybe", "maybe"),
    "ports": ("policy drop; udp dport { 3784, 9993 } accept; tcp dport 170-180 accept", "drop", "accept"),
}
"""Rules of a chain -> what becomes of a packet from segment to segment, and of BGP's first one to us."""


@pytest.mark.parametrize("name", BASELINES)
def test_rulesets_as_nft_prints_them_are_understood(world: World, name: str) -> None:
    text, through, bgp = BASELINES[name]
    policy, *rules = text.split("; ")
    policy = policy.rstrip(";")
    body = "".join(f"\t\t{rule.rstrip(';')}\n" for rule in rules if rule)
    chains = "".join(
        f"\tchain {hook} {{\n\t\ttype filter hook {hook} priority 0; {policy};\n{body}\t}}\n"
        for hook in ("forward", "input")
    )
    world.near.run(
        "nft", "-f", "-", stdin=f"table inet base {{\n\tchain other {{\n\t\ttcp dport 22 accept\n\t}}\n{chains}}}\n"
    )
    with inside(world.near.name):
        ruleset = Ruleset(here.ruleset())
    packet = Packet(iifname="zt0", oifname="zt0", protocol="udp", dport=ANY_PORT)
    assert ruleset.judge("forward", packet).verdict == through
    ours = Packet(iifname="zt0", saddr=FAR, daddr=NEAR, protocol="tcp", dport=179)
    assert ruleset.judge("input", ours).verdict == bgp


def test_our_own_table_drops_nothing_that_the_doctor_would_miss(world: World) -> None:
    with inside(world.near.name):
        assert Nft().apply(NftRules(("zt0",), "hub", frozenset(), 60)) == ""
        items = here.ruleset()
    assert any((item.get("table") or {}).get("name") == "leyline" for item in items)
    assert Ruleset(items).judge("input", Packet(iifname="zt0", protocol="tcp", dport=179)).verdict == "accept"


def test_what_this_box_says_is_read(world: World, tmp_path: Path) -> None:
    del tmp_path
    with inside(world.near.name):
        interfaces = here.interfaces()
        towards = here.devices_towards([FAR, "10.1.0.7", "192.0.2.7", "fd50::9"])
    assert interfaces["zt0"].up
    assert interfaces["zt0"].mtu == 1500
    assert {NEAR, "fd50::1"} <= set(interfaces["zt0"].addresses)
    assert towards == {FAR: "zt0", "10.1.0.7": "lan0", "192.0.2.7": "", "fd50::9": "zt0"}, "and one has no route"
