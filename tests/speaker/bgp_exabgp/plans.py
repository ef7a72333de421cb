"""Plans that the tests of this directory render."""

from __future__ import annotations

from msgspec.structs import replace

from speaker.plan import ImportPlan, Plan, SessionPlan, UplinkPlan

TO_HUB = SessionPlan(
    peer="paris-hub",
    peer_role="hub",
    peer_asn=64512,
    peer_address="10.42.0.1",
    local_address="10.42.0.3",
    passive=False,
    families=("ipv4", "ipv6"),
    add_path=True,
    hold_time=9,
    restart_time=120,
    password="",
    imports=None,
)
TO_SPOKE = replace(
    TO_HUB,
    peer="berlin-1",
    peer_role="client",
    peer_address="10.42.0.3",
    local_address="10.42.0.1",
    passive=True,
    imports=ImportPlan(next_hops=(), allocations=()),
)


def plan_of(*sessions: SessionPlan, role: str = "spoke", router_id: str = "10.42.0.3") -> Plan:
    return Plan(
        version=3,
        gateway="berlin-1",
        role="hub" if role == "hub" else "spoke",
        asn=64512,
        router_id=router_id,
        segments=("10.42.0.0/16",),
        uplinks=(),
        announcements=(),
        sessions=sessions,
        rejects=(),
        max_paths=8,
    )


FIBER = UplinkPlan(3, "main", "zt0", "10.42.0.3", None, "fiber", 200, 0)
LTE = UplinkPlan(4, "lte", "zt#1{", "10.42.0.4", None, "lte", 100, 0)  # A name that Linux takes.

PLANS = {
    "spoke": plan_of(TO_HUB, replace(TO_HUB, peer="oslo-hub", peer_address="10.42.0.2")),
    "hub": plan_of(
        TO_SPOKE,
        replace(TO_SPOKE, peer="frr1", peer_address="10.42.0.9", families=("ipv4",), add_path=False),
        replace(TO_SPOKE, peer="oslo-hub", peer_role="peer", peer_address="10.42.0.2", passive=False, imports=None),
        role="hub",
        router_id="10.42.0.1",
    ),
    "password": plan_of(replace(TO_HUB, password="not a secret; {#}")),
    "no-restart": plan_of(replace(TO_HUB, restart_time=0, hold_time=3, families=("ipv6",))),
    "ebgp": plan_of(replace(TO_SPOKE, peer_asn=4200000001), role="hub", router_id="10.42.0.1"),
    "lan": plan_of(
        TO_HUB,
        replace(
            TO_HUB,
            peer="berlin-core",
            peer_role="lan",
            peer_asn=65001,
            peer_address="10.1.9.2",
            local_address="10.1.9.1",
            families=("ipv4",),
            add_path=False,
            interface="lan0",
        ),
    ),
    "two-uplinks": replace(
        plan_of(TO_HUB, replace(TO_HUB, peer="oslo-hub", peer_address="10.42.0.2", local_address="10.42.0.4")),
        uplinks=(FIBER, LTE),
    ),
    "alone": plan_of(),
}
