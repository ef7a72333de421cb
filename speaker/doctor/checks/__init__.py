"""One concern, one file: a pure function from facts to what is wrong, where, and how to fix it."""

from __future__ import annotations

from speaker.doctor.checks import (
    address,
    agent,
    clock,
    exabgp,
    firewall,
    forwarding,
    kernel_routes,
    keys,
    mtu,
    nat,
    network_rules,
    overlay_loop,
    rp_filter,
    service,
    sessions,
    sysctls,
    udp_blocked,
)
from speaker.doctor.finding import Check

CHECKS: dict[str, Check] = {
    "agent": agent.check,
    "sessions": sessions.check,
    "exabgp": exabgp.check,
    "service": service.check,
    "udp-blocked": udp_blocked.check,
    "address": address.check,
    "mtu": mtu.check,
    "overlay-loop": overlay_loop.check,
    "network-rules": network_rules.check,
    "nat": nat.check,
    "kernel-routes": kernel_routes.check,
    "sysctls": sysctls.check,
    "rp-filter": rp_filter.check,
    "firewall": firewall.check,
    "forwarding": forwarding.check,
    "clock": clock.check,
    "keys": keys.check,
}
"""Name -> check, in the order in which they are worth reading."""
