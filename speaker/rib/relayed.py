"""How a gateway sees paths through far uplinks that ZeroTier relays to it: as before, and a little less dear. Pure.

It is a step at the end of the gateway's own view, which decides its own kernel's routes and what it tells routers in
its LAN. What a hub reflects does not go through it: nobody else's traffic moves because of what one gateway sees.
"""

from __future__ import annotations

from collections.abc import Collection

from msgspec.structs import replace

from speaker.plan import Plan, PolicyPlan, StepPlan
from speaker.rib.communities import UPLINK

RELAYED = "relayed by ZeroTier"
"""Name of the step; no rule has such a name, for it has spaces."""


def with_relayed(plan: Plan, uplinks: Collection[int]) -> Plan:
    """`plan` as it is carried out while the paths to these far uplinks (their numbers) are relayed."""
    if not uplinks or not plan.relayed_preference:
        return plan
    far = tuple(f"{plan.asn}:{UPLINK}:{number}" for number in sorted(uplinks))
    step = StepPlan(RELAYED, large=(far,), preference_add=plan.relayed_preference)
    own = next((policy.steps for policy in plan.policies if policy.number == plan.own_view), ())
    number = max((policy.number for policy in plan.policies), default=0) + 1
    return replace(plan, policies=(*plan.policies, PolicyPlan(number, (*own, step))), own_view=number)


def declared(policy: PolicyPlan) -> tuple[StepPlan, ...]:
    """The steps of `policy` that the controller wrote."""
    return tuple(step for step in policy.steps if step.rule != RELAYED)
