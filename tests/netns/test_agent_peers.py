"""Peers that misbehave towards a real hub: what one does, the others do not feel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from msgspec.structs import replace

from speaker.bgp.path_attributes import RULES
from speaker.bgp.wire import UPDATE, end_of_rib, message
from speaker.rib.prefix import Family, key_of
from tests.bench.harness import rss_mb
from tests.interop import tinybgp
from tests.netns.namespaces import Namespace, segment, wait_until
from tests.netns.speakers import (
    ASN,
    PATIENCE,
    Speaker,
    address,
    connections,
    held,
    plan_of,
    prefixes,
    to_client,
    updates,
)
from tests.speaker.bgp_codec.build import AS_PATH, BASE, LOCAL_PREF, NEXT_HOP, ORIGIN, attribute, body
from tests.speaker.bgp_codec.test_rfc7606 import BROKEN, RESETS, SOUND, with_in_place

pytestmark = pytest.mark.root

HUB, OBSERVER, BAD = 1, 2, 3  # The vectors' next hop is 10.42.0.3.
GOOD = prefixes(BAD, 50, first=200)
OBSERVERS_OWN = prefixes(OBSERVER, 5)


@dataclass
class World:
    hub: Speaker
    members: dict[str, Namespace]
    observer: tinybgp.Session

    def dial_bad(self) -> tinybgp.Session:
        own = tinybgp.Speaker(ASN, address(BAD), restart_time=120)
        return tinybgp.dial(self.members["bad"].name, address(BAD), address(HUB), own, PATIENCE)

    def until_observed(self, expected: list[str]) -> None:
        """The other client holds exactly these."""
        wait_until(
            lambda: held(self.observer, OBSERVER).keys() == set(expected), PATIENCE, lambda: self.evidence(expected)
        )

    def evidence(self, expected: list[str]) -> str:
        seen = held(self.observer, OBSERVER).keys()
        return (
            f"missing at the observer: {sorted(set(expected) - seen)[:20]}\n"
            f"too much there: {sorted(seen - set(expected))[:20]}\n"
            f"the observer's session: {self.observer.closed or 'up'}\n{self.hub.evidence()}"
        )


@pytest.fixture
def world() -> Iterator[World]:
    sessions = [replace(to_client(HUB, client, longest=28), families=("ipv4", "ipv6")) for client in (OBSERVER, BAD)]
    numbers = {"hub": HUB, "observer": OBSERVER, "bad": BAD}
    own = tinybgp.Speaker(ASN, address(OBSERVER), restart_time=120)
    with ExitStack() as stack:
        place = Path(stack.enter_context(TemporaryDirectory(prefix="ll-agent-")))
        members = stack.enter_context(segment("agent", {name: [f"{address(own)}/16"] for name, own in numbers.items()}))
        hub = Speaker(members["hub"], "hub", place)
        hub.start(plan_of("hub", HUB, sessions, hub=True))
        observer = tinybgp.dial(members["observer"].name, address(OBSERVER), address(HUB), own, PATIENCE)
        stack.enter_context(observer)
        observer.send(*updates(OBSERVER, OBSERVERS_OWN), *map(end_of_rib, Family))
        yield World(hub, members, observer)


def test_a_flapping_peer(world: World) -> None:
    """Thirty connections that end in the one or the other way; the last one's routes are what everybody has."""
    routes = [f"20.{BAD}.{number // 16}.{number % 16 * 16}/28" for number in range(1000)]
    size_after = {}
    for flap in range(30):
        bad = world.dial_bad()
        bad.send(*updates(BAD, routes), *map(end_of_rib, Family))
        if flap % 3:  # The others end while the hub is still reading.
            world.until_observed(routes)
        bad.close(graceful=flap % 2 == 0)
        if flap % 3 and flap % 2 == 0:
            world.until_observed([])
        size_after[flap] = rss_mb(world.hub.pid("agent"))
    with world.dial_bad() as bad:
        bad.send(*updates(BAD, routes[100:]), *map(end_of_rib, Family))
        world.until_observed(routes[100:])
        wait_until(lambda: world.hub.has(routes[100:] + OBSERVERS_OWN), PATIENCE, world.hub.evidence)
        wait_until(lambda: held(bad, BAD).keys() == set(OBSERVERS_OWN), PATIENCE, world.hub.evidence)
        assert world.hub.settled(OBSERVER, BAD), world.hub.evidence()
    assert world.observer.closed == ""
    assert size_after[29] - size_after[5] < 4, f"MB after each connection: {size_after}"
    assert "Traceback" not in world.hub.log(), world.hub.evidence()


def prefix_octets(prefix: str) -> bytes:
    return key_of(ip_network(prefix))


def cases() -> Iterator[tuple[str, list[bytes], bool]]:
    """(what is broken, attributes, whether the prefix survives): section 7 of RFC 7606, and 3 d, 4."""
    for header, value, outcome, words in BROKEN:
        flags, code = bytes.fromhex(header)
        yield words, with_in_place(code, attribute(flags, code, bytes.fromhex(value))), outcome == "discard"
    for code, value in SOUND.items():
        lying = attribute(RULES[True][code].flags, code, bytes.fromhex(value), length=200)
        yield f"attribute {code} cut off", [*(own for own in BASE if own[1] != code), lying], False
    for missing in (ORIGIN, AS_PATH, NEXT_HOP, LOCAL_PREF):
        yield f"without attribute {missing[1]}", [own for own in BASE if own != missing], False


def test_broken_attributes_cost_their_own_prefixes(world: World) -> None:
    """Each broken UPDATE takes back its prefix, or loses its attribute; session and good routes stay."""
    broken = list(zip(prefixes(BAD, 200), cases(), strict=False))
    assert len(broken) == len(list(cases())), "every case has a prefix"
    everything = GOOD + [prefix for prefix, _ in broken]
    with world.dial_bad() as bad:
        bad.send(*updates(BAD, everything), *map(end_of_rib, Family))
        world.until_observed(everything)
        before = connections(world.hub.namespace)
        for prefix, (_, attributes, _) in broken:
            bad.send(message(UPDATE, body(attributes, prefix_octets(prefix))))
        survivors = [prefix for prefix, (_, _, survives) in broken if survives]
        world.until_observed(GOOD + survivors)
        assert bad.closed == "", world.hub.evidence()
        assert connections(world.hub.namespace) == before
        # The next UPDATE of the same session is read as if nothing had been.
        bad.send(*updates(BAD, everything))
        world.until_observed(everything)
        assert connections(world.hub.namespace) == before
    named = world.hub.log().count("UPDATE with faults")
    assert named == len(broken), "each is told in the log"
    assert "Traceback" not in world.hub.log(), world.hub.evidence()


def test_what_cannot_be_parsed_resets_its_session_only(world: World) -> None:
    """NOTIFICATION with the RFC's code; the observer's session lives on and sees the routes go and come."""
    observed = connections(world.members["observer"])
    for name, octets, (code, subcode) in RESETS:
        with world.dial_bad() as bad:
            bad.send(*updates(BAD, GOOD), *map(end_of_rib, Family))
            world.until_observed(GOOD)
            bad.send(message(UPDATE, octets))
            wait_until(lambda bad=bad: bad.closed != "", PATIENCE, world.hub.evidence)  # type: ignore[misc]
            expected = f"NOTIFICATION {code}/{subcode} " if len(octets) >= 4 else "NOTIFICATION 1/2 "
            assert bad.closed.startswith(expected), f"{name}: {bad.closed}\n{world.hub.evidence()}"
        world.until_observed([])
    with world.dial_bad() as bad:
        bad.send(*updates(BAD, GOOD), *map(end_of_rib, Family))
        world.until_observed(GOOD)
    assert world.observer.closed == ""
    assert connections(world.members["observer"]) == observed
    assert "Traceback" not in world.hub.log(), world.hub.evidence()
