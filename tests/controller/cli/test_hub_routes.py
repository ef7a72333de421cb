"""What a hub has by BGP: nothing that it refuses or lacks may be called announced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from controller.client.errors import NoAnswer, Refused
from controller.client.hub_routes import lacking
from controller.inventory.allocate import allocate
from controller.inventory.model import Allocation, Prefix
from tests.controller.zerotier.segments import small

P, Q = "10.1.1.0/24", "10.1.2.0/24"
INVENTORY = allocate(
    replace(
        small(),
        allocations=(Allocation("berlin", ip_network("10.1.0.0/16"), 24),),
        prefixes=(Prefix("berlin", ip_network(P), gateways=("berlin-1", "hub-1")), Prefix("berlin", ip_network(Q))),
    )
)
NAMES = {each.name: str(each.uplinks[-1].address) for each in INVENTORY.gateways}


def path(next_hop: str, source: str = "berlin-1", rejected: str = "", *, stale: bool = False) -> dict[str, Any]:
    return {"next_hop": next_hop, "from": source, "rejected": rejected, "stale": stale}


BERLIN = path(NAMES["berlin-1"])
OWN = path("10.1.1.1", "local")


@pytest.mark.parametrize(
    ("paths", "lacks"),
    [
        ({P: [BERLIN, OWN], Q: [BERLIN]}, {}),
        ({P: [BERLIN, OWN]}, {"berlin-1": {Q}}),
        ({P: [BERLIN], Q: [BERLIN]}, {"hub-1": {P}}),
        ({P: [OWN], Q: [path(NAMES["berlin-1"], rejected="denied")]}, {"berlin-1": {P, Q}}),
        ({P: [OWN, BERLIN], Q: [path(NAMES["berlin-1"], stale=True)]}, {"berlin-1": {Q}}),
        ({P: [OWN, BERLIN], Q: [path("10.42.0.77")]}, {"berlin-1": {Q}}),
        ({P: [OWN, BERLIN], Q: [path(NAMES["berlin-1"], "hub-2")]}, {}),
    ],
    ids=["all", "not there", "not its own", "denied by a rule", "kept for a while", "somebody else's", "by hub-2"],
)
def test_what_a_hub_lacks(paths: Mapping[str, Sequence[Mapping[str, Any]]], lacks: Mapping[str, set[str]]) -> None:
    found = lacking(INVENTORY, [ip_network("10.1.0.0/16")], ["hub-1"], lambda _, prefix: paths.get(prefix, ()))
    assert found == {name: frozenset(prefixes) for name, prefixes in lacks.items()}


def test_only_what_matters_is_asked_of_the_first_hub_that_answers() -> None:
    asked = []

    def ask(hub: str, prefix: str) -> list[dict[str, Any]]:
        asked.append((hub, prefix))
        if hub == "old":
            raise Refused("it does not know routes", {})
        if hub == "hub-0":
            raise NoAnswer("it is silent")
        return [BERLIN]

    assert lacking(INVENTORY, [ip_network(Q)], ["old", "hub-0", "hub-1", "hub-9"], ask) == {}
    assert asked == [("old", Q), ("hub-0", Q), ("hub-1", Q)]
    assert lacking(INVENTORY, [ip_network(Q)], ["old", "hub-0"], ask) is None
    assert lacking(INVENTORY, [ip_network(Q)], [], ask) is None
