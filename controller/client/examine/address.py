"""Has every address one member only?"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from controller.client.examine.facts import Facts, Found, of_list

MOST = 100


def check(facts: Facts) -> Iterator[Found]:
    for conflict in of_list(facts.segment, "conflicts"):
        what = f"its address {conflict['address']} is also member {conflict['holder']}'s: ZeroTier gives it to both"
        fix = f"take it from {conflict['holder']} in ZeroTier, or declare another address in the inventory"
        yield Found("error", conflict["object"], what, fix)
    strangers = [each for each in of_list(facts.segment, "strangers") if each["authorised"]]
    for one, other in combinations(strangers[:MOST], 2):
        for address in sorted({*one["addresses"]} & {*other["addresses"]}):
            what = f"{address} is also member {other['node_id']}'s: neither is declared here"
            yield Found("warning", f"member {one['node_id']}", what, "take it from one of them in ZeroTier")
