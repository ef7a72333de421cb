"""What is told to whom: well-known communities that rules give, and routers that are not ours, against the oracle."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.inventory.document import parse_document
from controller.inventory.model import Action, Client, Inventory, Match, Rule, Viewer
from controller.policy.deciding import Candidate, Decision
from controller.policy.explained import intended as explained
from controller.policy.intended import Intent
from tests.controller.policy.intents import fabric, gateway
from tests.controller.policy.test_explained_live import announced, spiced
from tests.oracle.fabrics import Size, worlds_of
from tests.oracle.tables import expected
from tests.oracle.words import Told, World

NO_ADVERTISE, NO_EXPORT, NO_EXPORT_SUBCONFED, BLACKHOLE = "65535:65282", "65535:65281", "65535:65283", "65535:666"
HUB, HUB_2 = gateway("hub-1", "core", role="hub"), gateway("hub-2", "core", role="hub")
BERLIN, CORE = "10.1.1.0/24", "10.2.1.0/24"  # Of sites berlin, core, lima, oslo, paris.
FEATURES = ("ipv6", "drained", "anycast", "closed", "rules", "viewers", "max_paths", "blackhole")


def inventory(*rules: Rule, blackhole: bool = False, **parts: Any) -> Inventory:
    """Berlin with fibre and LTE, paris with a fibre; a client by iBGP at oslo, one by eBGP at lima."""
    clients = (
        Client("frr", "oslo", "fiber"),
        Client("bird", "lima", "fiber", asn=65001),
    )
    built = fabric(
        HUB, HUB_2, gateway("berlin-1", "berlin", "fiber", "lte"), gateway("paris-1", "paris"),
        rules=rules, clients=parts.pop("clients", clients), **parts,
    )  # fmt: skip
    assert built.fabric is not None
    return replace(built, fabric=replace(built.fabric, blackhole=blackhole))


def decision(inventory: Inventory, viewer: str, prefix: str = BERLIN) -> Decision:
    intent = Intent(inventory)
    return intent.route(intent.members[viewer], ip_network(prefix)).decision


def tiers(inventory: Inventory, viewer: str, prefix: str = BERLIN) -> list[list[str]]:
    return [[source.key for source in tier] for tier in decision(inventory, viewer, prefix).tiers]


def why(inventory: Inventory, viewer: str, prefix: str = BERLIN) -> dict[str, str]:
    return {each.source.key: each.beaten for each in decision(inventory, viewer, prefix).candidates if each.tier != 1}


def giving(community: str, *classes: str, viewer: Viewer | None = None) -> Rule:
    return Rule("give", Action(add_communities=(community,)), Match(sites=("berlin",), circuit_classes=classes), viewer)


BOTH = [["berlin-1/fiber"], ["berlin-1/lte"]]


@pytest.mark.parametrize(
    ("community", "told_to"),
    [
        (NO_ADVERTISE, ["hub-1", "hub-2"]),
        (NO_EXPORT, ["hub-1", "hub-2", "paris-1", "frr"]),
        (NO_EXPORT_SUBCONFED, ["hub-1", "hub-2", "paris-1", "frr"]),
    ],
)
def test_what_hubs_keep_from_whom(community: str, told_to: list[str]) -> None:
    found = inventory(giving(community))
    assert [name for name in ("hub-1", "hub-2", "paris-1", "frr", "bird") if tiers(found, name)] == told_to
    name = {NO_ADVERTISE: "NO_ADVERTISE", NO_EXPORT: "NO_EXPORT"}.get(community, "NO_EXPORT_SUBCONFED")
    how = "" if community == NO_ADVERTISE else " by eBGP"
    assert set(why(found, "bird").values()) == {f"rule give gives it {name}: it is not told{how}"}


def test_a_community_for_one_viewer_keeps_it_from_this_one_and_no_hub() -> None:
    found = inventory(giving(NO_ADVERTISE, "fiber", viewer=Viewer(sites=("paris", "core"))))
    assert tiers(found, "paris-1") == [["berlin-1/lte"]]
    assert tiers(found, "frr") == tiers(found, "hub-1") == BOTH


def test_a_later_rule_takes_it_away_again() -> None:
    back = Rule("tell", Action(remove_communities=(NO_ADVERTISE,)), viewer=Viewer(sites=("paris",)))
    found = inventory(giving(NO_ADVERTISE), back)
    assert (tiers(found, "paris-1"), tiers(found, "frr")) == (BOTH, [])


def test_a_hub_keeps_its_own_from_another_hub_too() -> None:
    rule = Rule("give", Action(add_communities=(NO_ADVERTISE,)), Match(gateways=("hub-1",)))
    (own,) = (each for each in inventory().prefixes if each.site == "core")
    found = inventory(rule, prefixes=(replace(own, gateways=("hub-1",)),))
    assert tiers(found, "hub-2", CORE) == tiers(found, "paris-1", CORE) == []
    assert tiers(replace(found, rules=()), "hub-2", CORE) == [["hub-1/fiber"]]


def test_a_blackhole_is_unreachable_where_the_fabric_honours_it_and_the_viewer_is_ours() -> None:
    found = inventory(giving(BLACKHOLE, "fiber"), blackhole=True)
    for viewer in ("paris-1", "hub-1"):
        assert decision(found, viewer).discard
        assert tiers(found, viewer) == []
        assert set(why(found, viewer)) == {"berlin-1/fiber", "berlin-1/lte"}
    assert tiers(found, "frr") == BOTH
    assert tiers(inventory(giving(BLACKHOLE, "fiber")), "paris-1") == BOTH
    assert tiers(inventory(giving(BLACKHOLE, "lte"), blackhole=True), "paris-1") == BOTH, "only of the best"
    intent = Intent(found)
    said = explained(intent, intent.members["paris-1"], ip_network(BERLIN)[7])
    assert (said.what, said.prefix) == ("unreachable", BERLIN)
    assert said.text == "unreachable: a path says so (BLACKHOLE, RFC 7999)"


def test_to_an_ebgp_client_preference_is_med() -> None:
    found = inventory()
    assert tiers(found, "bird") == BOTH
    meds = {each.source.key: each.med for each in decision(found, "bird").candidates}
    assert meds == {"berlin-1/fiber": 2**32 - 1 - 200, "berlin-1/lte": 2**32 - 1 - 100}
    assert why(found, "bird") == {
        "berlin-1/lte": "MED 4294967195 is higher than 4294967095 of another path from its AS:"
        " LOCAL_PREF 100 is lower than 200 of berlin-1/fiber, told as MED"
    }
    ruled = inventory(Rule("near", Action(med=5), Match(circuit_classes=("lte",)), Viewer(sites=("lima", "paris"))))
    assert tiers(ruled, "bird") == [["berlin-1/lte"], ["berlin-1/fiber"]]
    assert tiers(ruled, "paris-1") == BOTH, "inside, LOCAL_PREF comes first"


def test_to_an_ebgp_client_prepending_is_longer_and_comes_before_med() -> None:
    found = inventory(Rule("far", Action(prepend=2), Match(circuit_classes=("fiber",)), Viewer(sites=("lima",))))
    assert tiers(found, "bird") == [["berlin-1/lte"], ["berlin-1/fiber"]]
    assert why(found, "bird") == {
        "berlin-1/fiber": "AS_PATH of 3 is longer than 1 of berlin-1/lte: rules prepend the fabric's AS"
    }
    assert tiers(found, "frr") == BOTH


def test_an_ebgp_client_drops_what_another_one_of_its_as_announces() -> None:
    clients = tuple(Client(name, site, "fiber", asn=65001) for name, site in (("bird", "lima"), ("bird2", "oslo")))
    found = inventory(clients=clients)
    (its,) = (p.prefix for p in found.prefixes if p.site == "oslo")
    assert tiers(found, "bird", str(its)) == []
    assert why(found, "bird", str(its)) == {"bird2": "AS_PATH has the viewer's own AS 65001: it drops it"}
    assert tiers(found, "paris-1", str(its)) == [["bird2"]]


def test_a_client_has_no_reject_beneath_its_routes() -> None:
    intent = Intent(inventory())
    said = explained(intent, intent.members["bird"], ip_network("10.1.77.0/24")[1])
    assert (said.what, said.text) == ("none", "nobody declares it: other routes decide")
    assert explained(intent, intent.members["paris-1"], ip_network("10.1.77.0/24")[1]).what == "declared"


# Against the oracle


def at_rest(world: World, chance: random.Random) -> World:
    document = spiced(world.document, chance)
    return World(document, announced(document))


sizes = st.builds(Size, st.integers(1, 5), st.integers(1, 3), st.integers(0, 4), st.integers(0, 3), st.integers(0, 8))


@pytest.mark.slow
@given(sizes, st.integers(0, 100_000), st.frozensets(st.sampled_from(FEATURES)))
def test_kernels_and_what_clients_are_told_are_the_oracles(size: Size, seed: int, features: frozenset[str]) -> None:
    chance = random.Random(seed)
    features |= {"rules", "clients", "ebgp"}
    world = at_rest(worlds_of(chance, size, features)[0], chance)
    found, findings = parse_document(world.document)
    assert findings == []
    wanted, intent = expected(world), Intent(found)
    for name, member in intent.members.items():
        routes = {p: intent.route(member, p) for p in intent.groups}
        if member.is_ours:
            kernel = {
                str(p): tuple(frozenset(hops(tier, p.version)) for tier in each.decision.tiers)
                for p, each in routes.items()
                if not each.own and (each.usable or each.decision.discard)
            }
            assert kernel == wanted.kernels[name], name
            continue
        told = {
            row(candidate, str(p), p.version, ibgp=member.kind == "ibgp")
            for p, each in routes.items()
            for candidate in each.decision.allowed
            if candidate.source.origin.member != name
        }
        for hub, table in wanted.tables[name].items():
            assert told == {of_told(each) for each in table}, (name, hub)
        for p, each in routes.items():
            first = each.decision.tiers[0] if each.decision.tiers else ()
            if not each.own and member.kind == "ebgp":
                table = next(iter(wanted.tables[name].values()), frozenset())
                assert set(hops(first, p.version)) <= best([t for t in table if t.prefix == str(p)]), (name, str(p))
                assert bool(first) == any(t.prefix == str(p) for t in table)


def hops(tier: Any, version: int) -> list[str]:
    return [str(source.address if version == 4 else source.address6) for source in tier]


Row = tuple[str, str, int | None, int | None, int | None]


def row(candidate: Candidate, prefix: str, version: int, *, ibgp: bool) -> Row:
    """(prefix, next hop, LOCAL_PREF, MED, length of AS_PATH where it is not of another eBGP client)."""
    judged, source = candidate.judged, candidate.source
    length = None if source.asn else (0 if ibgp else 1 + min(judged.prepend, 32))
    return prefix, *hops([source], version), judged.preference if ibgp else None, candidate.med, length  # type: ignore[return-value]


def of_told(told: Told) -> Row:
    outside = told.as_path and told.as_path[0] in (65001, 65002)
    return told.prefix, told.next_hop, told.local_pref, told.med, None if outside else len(told.as_path)


def best(told: list[Told]) -> set[str]:
    """Next hops of what RFC 4271 9.1.2.2 leaves up to step d, of what came by eBGP."""
    shortest = min((len(each.as_path) for each in told), default=0)
    left = [each for each in told if len(each.as_path) == shortest]
    lowest: Mapping[int, int] = {
        asn: min(each.med or 0 for each in left if each.as_path[0] == asn) for asn in {e.as_path[0] for e in left}
    }
    return {each.next_hop for each in left if (each.med or 0) == lowest[each.as_path[0]]}
