"""What a plan's rules need at a hub's import and for its own choice, ready to be used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from speaker.plan import ImportPlan, Plan
from speaker.rib.marks import NO_SETS, PrefixSets
from speaker.rib.steps import CompiledPolicy, Marks, compiled_policies


@dataclass(frozen=True)
class Intent:
    """The policies of a plan by number, and the prefix sets that they name."""

    policies: Mapping[int, CompiledPolicy] = field(default_factory=dict)
    viewed: PrefixSets = NO_SETS  # Those that are asked for after import: their numbers are the marks of a path.
    plan_sets: PrefixSets = NO_SETS  # All.
    own_view: CompiledPolicy | None = None

    def sets_for(self, imports: ImportPlan) -> PrefixSets:
        """Those whose numbers are marks, and those that the policies of these next hops ask for."""
        named = frozenset[int]().union(
            *(self.policies[hop.policy].prefix_sets for hop in imports.next_hops if hop.policy),
            (plan.number for plan in self.viewed.plans),
        )
        if len(named) == len(self.viewed.plans):
            return self.viewed
        return self.plan_sets if len(named) == len(self.plan_sets.plans) else PrefixSets.of(self.plan_sets.plans, named)

    def viewed_marks(self, marks: Marks) -> Marks:
        """Those of `marks` that are asked for after import."""
        viewed = {plan.number for plan in self.viewed.plans}
        return tuple(mark for mark in marks if mark in viewed)


NO_INTENT = Intent()


def intent_of(plan: Plan) -> Intent:
    """Raises ValueError for what is no community or prefix, and for a policy or prefix set that is not there."""
    policies = compiled_policies(plan)
    after = {session.view for session in plan.sessions} | {uplink.policy for uplink in plan.uplinks} | {plan.own_view}
    used = {hop.policy for session in plan.sessions if session.imports for hop in session.imports.next_hops}
    if missing := (after | used) - policies.keys() - {0}:
        raise ValueError(f"policy {min(missing)} is not in the plan")
    if not policies:
        return NO_INTENT
    named = frozenset[int]().union(*(policy.prefix_sets for policy in policies.values()))
    if absent := named - {each.number for each in plan.prefix_sets}:
        raise ValueError(f"prefix set {min(absent)} is not in the plan")
    viewed = frozenset[int]().union(*(policies[number].prefix_sets for number in after if number))
    return Intent(
        policies,
        viewed=PrefixSets.of(plan.prefix_sets, viewed),
        plan_sets=PrefixSets.of(plan.prefix_sets, named),
        own_view=policies.get(plan.own_view),
    )
