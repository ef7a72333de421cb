"""What the inventory alone says that gateways should use is what the oracle says that they do, failures included."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from controller.inventory.document import parse_document
from controller.policy.intended import Intent
from tests.oracle.fabrics import Size, worlds_of
from tests.oracle.tables import expected
from tests.oracle.words import Tiers, World

FEATURES = ("ipv6", "drained", "anycast", "default", "closed", "rules", "viewers", "max_paths", "deaths")
"""Those that the inventory knows of: what strangers announce and which session is cut it cannot know."""

sizes = st.builds(Size, st.integers(1, 6), st.integers(1, 3), st.integers(0, 5), st.just(0), st.integers(0, 6))


@given(sizes, st.integers(0, 100_000), st.frozensets(st.sampled_from(FEATURES)))
def test_the_intended_state_equals_the_oracle(size: Size, seed: int, features: frozenset[str]) -> None:
    for world in worlds_of(random.Random(seed), size, features):
        wanted = expected(replace(world, connected={})).kernels
        for name, routes in intended(world).items():
            assert routes == wanted[name], name


def intended(world: World) -> dict[str, dict[str, Tiers]]:
    """Gateway that lives -> prefix -> tiers of next hops."""
    inventory, findings = parse_document(world.document)
    assert findings == []
    intent = Intent(inventory)
    failed = frozenset(s.key for name in world.down for s in intent.members[name].sources)
    found: dict[str, dict[str, Tiers]] = {}
    for name, member in intent.members.items():
        if name in world.down:
            continue
        found[name] = {}
        for prefix in intent.groups:
            route = intent.route(member, prefix, failed)
            if route.own or not route.usable:
                continue
            hops = [
                frozenset(str(source.address if prefix.version == 4 else source.address6) for source in tier)
                for tier in route.decision.tiers
            ]
            found[name][str(prefix)] = tuple(hops)
    return found
