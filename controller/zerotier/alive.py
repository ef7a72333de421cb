"""Which gateways lead nowhere, by what gateways report. Pure. Silence alone proves nothing: hubs must see it too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from controller.inventory.model import Inventory
from controller.zerotier.summaries import ALL
from speaker.report import Report

SILENT_SECONDS = 15.0
"""Reports come every ten seconds: one may be late. Hubs must have lost it as well, so no second one is waited for."""
DOWN_SECONDS = 10.0
"""A session that is down for less may be a flap, and moving a route stalls every member."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A gateway's last report, and when it came, in Unix seconds."""

    at: float
    report: Report


def gone(inventory: Inventory, heard: Mapping[str, Heard], now: float) -> dict[str, frozenset[str]]:
    """Gateway -> its prefixes that lead nowhere: ALL when it is silent and every hub that is heard has lost it; else
    those whose LAN it says is dead. Who is not named is not known to be gone."""
    fresh = _fresh(heard, now)
    hubs = list(_hubs(inventory, fresh))
    found: dict[str, frozenset[str]] = {}
    for gateway in inventory.gateways:
        name = gateway.name
        if name in fresh:
            if dead := frozenset(lan.prefix for lan in fresh[name].lans if lan.reason):
                found[name] = dead
        elif _lost_by_all(name, hubs, now, DOWN_SECONDS):
            found[name] = frozenset({ALL})
    return found


def lost_for(name: str, inventory: Inventory, heard: Mapping[str, Heard], now: float, seconds: float) -> bool:
    """Every hub that is heard has had no session with this gateway for so long, and one at least knows it.

    False while no hub is heard: it may be the controller that is cut off.
    """
    return _lost_by_all(name, _hubs(inventory, _fresh(heard, now)), now, seconds)


def _fresh(heard: Mapping[str, Heard], now: float) -> dict[str, Report]:
    return {name: each.report for name, each in heard.items() if now - each.at <= SILENT_SECONDS}


def _hubs(inventory: Inventory, fresh: Mapping[str, Report]) -> Iterator[Report]:
    return (fresh[each.name] for each in inventory.gateways if each.role == "hub" and each.name in fresh)


def _lost_by_all(name: str, hubs: Iterable[Report], now: float, seconds: float) -> bool:
    """At least one hub knows it, and none has a session with it."""
    sessions = [session for hub in hubs for session in hub.sessions if session.peer == name]
    return bool(sessions) and all(each.state != "up" and now - each.since >= seconds for each in sessions)
