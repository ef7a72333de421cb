"""Our UPDATE codec and BIRD: each reads what the other writes, reflects it, and refreshes it."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from speaker.bgp.decode import Decoder
from speaker.bgp.encode import Announced, encode_updates
from speaker.bgp.negotiated import Negotiated
from speaker.bgp.wire import ROUTE_REFRESH, end_of_rib, route_refresh
from speaker.rib.attributes import Attributes
from speaker.rib.prefix import Family, Key
from tests.interop.codec_routes import (
    BOTH,
    LINK,
    OWN,
    PEER,
    PLAIN,
    PREFIXES,
    RICH,
    announcement,
    keys,
    of_family,
    said,
    speaker,
)
from tests.interop.tinybgp import dial
from tests.netns.namespaces import Bird, Namespace, pair, wait_until

pytestmark = pytest.mark.root

BIRD_CONFIG = """
router id 10.9.0.2;
protocol device {}
ipv4 table master4; ipv6 table master6;
protocol static s4 {
  ipv4;
  route 203.0.113.128/25 via 10.9.0.7;
  route 198.51.100.0/24 via 10.9.0.7 {
    bgp_path.prepend(4200000000); bgp_path.prepend(65001); bgp_med = 50; bgp_local_pref = 333;
    bgp_origin = ORIGIN_INCOMPLETE; bgp_community.add((64512,7)); bgp_large_community.add((64512,1,1));
    bgp_ext_community.add((rt,64512,9));
  };
}
protocol static s6 { ipv6; route 2001:db8:1::/48 via fd09::7; }
template bgp tiny {
  local 10.9.0.2 as 64512; passive on; rr client; enable route refresh on;
  ipv4 { import all; export all; next hop keep; ADD_PATH };
  ipv6 { import all; export all; next hop keep; ADD_PATH };
}
protocol bgp one from tiny { neighbor 10.9.0.1 as 64512; }
protocol bgp two from tiny { neighbor 10.9.0.11 as 64512; }
"""

BIRD_SAYS = {
    "203.0.113.128/25": ["next-hop 10.9.0.7", "origin 0", "local-pref 100"],
    "198.51.100.0/24": [
        "next-hop 10.9.0.7",
        "origin 2",
        "as-path 65001 4200000000",
        "med 50",
        "local-pref 333",
        "communities 64512:7",
        "extended-communities 0002fc0000000009",
        "large-communities 64512:1:1",
    ],
    "2001:db8:1::/48": ["next-hop fd09::7", "origin 0", "local-pref 100"],
}

BIRD_SHOWS = {
    "origin": "EGP",
    "as_path": "65010 4200000001 {7 8}",
    "med": "9",
    "local_pref": "210",
    "atomic_aggr": "",
    "aggregator": "10.9.0.8 AS4200000001",
    "community": "(64512,5) (64512,6)",
    "originator_id": "10.9.0.9",
    "cluster_list": "10.9.1.1 10.9.1.2",
    "ext_community": "(rt, 64512, 9) (unknown 0x4004, 64512, 1290693416)",
    "large_community": "(64512, 1, 3) (64512, 4, 4294967295)",
    "c8 [t]": "68 65 6c 6c 6f",
}


@dataclass(frozen=True)
class Shown:
    prefix: str
    attributes: dict[str, str]  # As BIRD calls them, without "BGP.".


def bird_routes(bird: Bird, protocol: str = "one") -> list[Shown]:
    """Every path that BIRD has from us."""
    found: list[Shown] = []
    prefix = ""
    for line in bird.ask(f"show route all protocol {protocol}").splitlines():
        if start := re.match(r"(\S*)\s+(unicast|unreachable) \[", line):
            prefix = start[1] or prefix
            found.append(Shown(prefix, {}))
        elif value := re.match(r"\tBGP\.([^:]+):\s*(.*?)\s*$", line):
            found[-1].attributes[value[1]] = value[2]
    return found


@pytest.fixture(params=[True, False], ids=["add-path", "no add-path"])
def add_path(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def bird(add_path: bool, tmp_path: Path) -> Iterator[tuple[Namespace, Bird]]:
    with pair("codec", [*LINK[0], "10.9.0.11/24"], LINK[1]) as (ours, theirs):
        config = BIRD_CONFIG.replace("ADD_PATH", "add paths on;" if add_path else "")
        yield ours, theirs.bird(config, tmp_path / "bird")


@pytest.mark.parametrize("as4", [True, False], ids=["as4", "as2"])
def test_we_read_what_bird_writes(bird: tuple[Namespace, Bird], add_path: bool, as4: bool) -> None:
    ours, _ = bird
    with dial(ours.name, OWN, PEER, speaker(add_path, as4=as4)) as session:
        assert session.negotiated.as4 is as4
        assert bool(session.negotiated.add_path_receive) is add_path
        updates = session.until_end_of_rib(*BOTH)
    assert said(updates) == BIRD_SAYS
    ids = {path_id for update in updates for _, path_id, _, _ in update.announced}
    assert (0 not in ids) if add_path else (ids == {0})


@pytest.mark.parametrize("as4", [True, False], ids=["as4", "as2"])
def test_bird_reads_what_we_write(bird: tuple[Namespace, Bird], add_path: bool, as4: bool) -> None:
    ours, daemon = bird
    with dial(ours.name, OWN, PEER, speaker(add_path, as4=as4)) as session:
        for family in BOTH:
            groups = announcement(family) if add_path else announcement(family)[:1]
            session.send(*encode_updates(family, session.negotiated, [], groups), end_of_rib(family))
        wanted = sorted(prefix for family in BOTH for prefix in PREFIXES[family])
        if add_path:
            wanted = sorted([*wanted, *(PREFIXES[family][0] for family in BOTH)])
        wait_until(lambda: len(bird_routes(daemon)) == len(wanted), 10, lambda: daemon.ask("show route all"))
        routes = bird_routes(daemon)
        assert sorted(route.prefix for route in routes) == wanted
        for route in routes:
            if route.attributes["next_hop"] in ("10.9.0.3", "fd09::3"):
                assert {name: route.attributes[name] for name in BIRD_SHOWS} == BIRD_SHOWS
            else:
                assert route.prefix in (PREFIXES[Family.IPV4][0], PREFIXES[Family.IPV6][0])
                assert route.attributes["next_hop"] in ("10.9.0.4", "fd09::4")
                assert route.attributes["local_pref"] == "100"

        for family in BOTH:  # Path 4 goes, or without path ids all but the default route.
            gone = [(4, keys(PREFIXES[family][0]))] if add_path else [(0, keys(*PREFIXES[family][:3]))]
            session.send(*encode_updates(family, session.negotiated, gone, []))
        left = 8 if add_path else 2
        wait_until(lambda: len(bird_routes(daemon)) == left, 10, lambda: daemon.ask("show route all"))
        assert {route.attributes["local_pref"] for route in bird_routes(daemon)} == {"210"}


def routes_at_random(family: Family, count: int) -> list[Key]:
    """Prefixes of all lengths from /9 on, the same ones every time."""
    chance = random.Random(4271)
    found: dict[Key, None] = {}
    while len(found) < count:
        length = chance.choice((chance.randint(9, family.bits), 24 if family is Family.IPV4 else 48))
        octets = (length + 7) // 8
        first = 0x0A if family is Family.IPV4 else 0xFD
        bits = (first << length - 8 | chance.getrandbits(length - 8)) << octets * 8 - length
        found[bytes((length,)) + bits.to_bytes(octets, "big")] = None
    return list(found)


@pytest.mark.parametrize("family", Family)
def test_twenty_thousand_routes_through_bird(bird: tuple[Namespace, Bird], add_path: bool, family: Family) -> None:
    """We write, BIRD reflects (RFC 4456: ORIGINATOR_ID, CLUSTER_LIST), we read: all prefixes, all attributes."""
    ours, _ = bird
    part = routes_at_random(family, 20_000)
    sets = [
        of_family(family, replace(PLAIN, med=number, large_communities=((64512, 1, number),))) for number in range(50)
    ]
    meant = {key: sets[at % 50] for at, key in enumerate(part)}
    groups: list[Announced] = [(7, attributes, part[at::50]) for at, attributes in enumerate(sets)]
    with (
        dial(ours.name, OWN, PEER, speaker(add_path)) as first,
        dial(ours.name, "10.9.0.11", PEER, speaker(add_path, router_id="10.9.0.11")) as second,
    ):
        second.until_end_of_rib(*BOTH)
        before = len(second.messages)
        first.send(*encode_updates(family, first.negotiated, [], groups), end_of_rib(family))
        got: dict[Key, Attributes] = {}
        read = _reader(second.negotiated, got)
        second.wait_for(lambda _: read(second.bodies(before)) == len(meant), 60)
    reflected = {"originator_id": ip_address(OWN).packed, "cluster_list": (ip_address(PEER).packed,)}
    assert got == {key: replace(attributes, **reflected) for key, attributes in meant.items()}  # type: ignore[arg-type]


def _reader(negotiated: Negotiated, got: dict[Key, Attributes]) -> Callable[[list[bytes]], int]:
    """Decodes each body once into `got`; answers how many prefixes are there."""
    decoder = Decoder(negotiated, ibgp=True)
    done = 0

    def read(bodies: list[bytes]) -> int:
        nonlocal done
        for body in bodies[done:]:
            update = decoder.decode(body)
            assert update.faults == []
            for _, _, part, attributes in update.announced:
                got.update(dict.fromkeys(part, attributes))
        done = len(bodies)
        return len(got)

    return read


def test_refresh_with_bird(bird: tuple[Namespace, Bird], add_path: bool) -> None:
    """RFC 7313: our request is answered between BoRR and EoRR; between ours, what is missing is purged."""
    ours, daemon = bird
    with dial(ours.name, OWN, PEER, speaker(add_path)) as session:
        session.until_end_of_rib(*BOTH)
        before = len(session.messages)
        session.send(route_refresh(Family.IPV4))
        session.wait_for(lambda messages: (ROUTE_REFRESH, bytes.fromhex("00010201")) in messages[before:])
        answer = session.messages[before:]
        refreshes = [body[2] for kind, body in answer if kind == ROUTE_REFRESH]
        assert refreshes == [1, 2]

        every = encode_updates(Family.IPV4, session.negotiated, [], announcement(Family.IPV4)[:1])
        session.send(*every, end_of_rib(Family.IPV4))  # BIRD ignores BoRR before End-of-RIB.
        wait_until(lambda: len(bird_routes(daemon)) == 4, 10, lambda: daemon.ask("show route"))
        half = [(3, RICH, keys(*PREFIXES[Family.IPV4][:2]))]
        session.send(
            route_refresh(Family.IPV4, 1),
            *encode_updates(Family.IPV4, session.negotiated, [], half),
            route_refresh(Family.IPV4, 2),
        )
        wait_until(lambda: len(bird_routes(daemon)) == 2, 10, lambda: daemon.ask("show route"))
        assert sorted(route.prefix for route in bird_routes(daemon)) == sorted(PREFIXES[Family.IPV4][:2])
