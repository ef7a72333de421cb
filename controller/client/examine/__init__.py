"""One concern, one file: a pure function from what the controller says to what is wrong, where, and how to fix it."""

from __future__ import annotations

from controller.client.examine import (
    address,
    clock,
    delivery,
    gateways,
    keys,
    mtu,
    network_rules,
    overlay_loop,
    relayed,
    segment,
    service,
    sessions,
)
from controller.client.examine.facts import Check

CHECKS: dict[str, Check] = {
    "gateways": gateways.check,
    "sessions": sessions.check,
    "segment": segment.check,
    "network-rules": network_rules.check,
    "address": address.check,
    "service": service.check,
    "mtu": mtu.check,
    "delivery": delivery.check,
    "overlay-loop": overlay_loop.check,
    "relayed": relayed.check,
    "clock": clock.check,
    "keys": keys.check,
}
"""Name -> check, in the order in which they are worth reading."""
