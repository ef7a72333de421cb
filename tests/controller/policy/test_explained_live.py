"""In a fabric at rest, where everybody announces what is declared, no gateway differs from what was intended."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from ipaddress import ip_address

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from controller.inventory.document import parse_document
from controller.policy.answered import read
from controller.policy.differences import differences
from controller.policy.explained import intended
from controller.policy.intended import Intent
from speaker.agent.explain import explain
from speaker.agent.router import Router
from speaker.kernel.fib import Fib
from speaker.rib.prefix import Family
from tests.oracle.fabric import Fabric
from tests.oracle.fabrics import FEATURES, Size, sizes, worlds_of
from tests.oracle.rules import BLACKHOLE, NO_ADVERTISE, NO_EXPORT
from tests.oracle.test_fabric import plans_of, say, strangers_of
from tests.oracle.words import Announced, Document, World, declared
from tests.speaker.kernel.world import FakeWorld

DISTURBING = {"cut", "limits", "deaths", "connected"}
"""What makes a gateway do something else than intended."""


def spiced(document: Document, chance: random.Random) -> Document:
    """Where rules give a community, now and then a well-known one."""
    rules = []
    for rule in document["rules"]:
        action = rule["action"]
        if "add_communities" in action and chance.random() < 0.7:
            others = {name: value for name, value in action.items() if name != "remove_communities"}
            action = others | {"add_communities": [chance.choice([NO_ADVERTISE, BLACKHOLE, NO_EXPORT])]}
        rules.append(rule | {"action": action})
    return {**document, "rules": rules}


async def at_rest(world: World, chance: random.Random) -> Fabric:
    plans = plans_of(world.document)
    fabric = Fabric(plans, strangers_of(world.document), chance)
    say(fabric, world)
    fabric.apply(plans, world.connected)
    await fabric.come_up()
    await fabric.settle()
    return fabric


def announced(document: Document) -> dict[str, tuple[Announced, ...]]:
    """By whom the intended state expects it: gateways, and clients where a site has none."""
    found = declared(document)
    manned = {each["site"] for each in document["gateways"]}
    for client in document["clients"]:
        own = client.get("asn") not in (None, document["fabric"]["asn"])
        prefixes = [each["prefix"] for each in document["prefixes"] if each["site"] == client["site"]]
        found[client["name"]] = tuple(
            Announced(prefix, as_path=(client["asn"],) if own else (), next_hop=hop)
            for prefix in prefixes
            if client["site"] not in manned
            for hop in [client.get("address6") if ":" in prefix else client["address"]]
            if hop is not None
        )
    return found


def carried_out(router: Router, rejects: tuple[str, ...]) -> Fib:
    """A kernel that has what the routing table wants."""
    fib = FakeWorld().fib()
    fib.want_rejects(rejects)
    for family in Family:
        for key, _ in router.rib.walk(family):
            fib.want(family, key, router.rib.desired(family, key))
    assert fib.flush().converged
    return fib


@pytest.mark.slow
@given(st.frozensets(st.sampled_from(sorted(set(FEATURES) - DISTURBING))), sizes, st.integers(0, 100_000))
def test_nothing_differs(features: frozenset[str], size: Size, seed: int) -> None:
    world = worlds_of(random.Random(seed), size, features)[0]
    world = replace(world, announced=announced(world.document), cut=frozenset(), without_add_path=frozenset())
    world = replace(world, document=spiced(world.document, random.Random(seed)))
    plans = plans_of(world.document)
    intent = Intent(parse_document(world.document)[0])
    names = {
        str(hop): s.key for m in intent.members.values() for s in m.sources for hop in (s.address, s.address6) if hop
    }

    async def compared() -> None:
        fabric = await at_rest(world, random.Random(seed))
        for name, router in fabric.routers.items():
            assert router is not None
            fib = carried_out(router, plans[name].rejects)
            for prefix in intent.groups:
                address = ip_address(int(prefix.network_address))
                if address.version != prefix.version:
                    continue
                body = msgspec.json.decode(msgspec.json.encode(explain({"address": str(address)}, router.rib, fib)))
                wanted = intended(intent, intent.members[name], address)
                assert differences(wanted, read(body), names) == [], (name, str(address), body)

    with capture_logs():
        asyncio.run(asyncio.wait_for(compared(), 60))
