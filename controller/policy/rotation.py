"""How sessions stand, as both ends said last, and whether the key of a hub may be changed now. Pure.

A new key restarts every session that its hub waits for, and only gateways that hear of it come back. So it is safe
when all gateways hear the controller, and have their sessions with the other hubs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from controller.inventory.model import Inventory
from controller.policy.fabric import Session, compile_fabric
from speaker.report import Report, SessionReport

SILENT_SECONDS = 30.0
"""A gateway reports every ten seconds; one that was not heard for so long may not hear of a new plan either."""
SETTLES_SECONDS = 60.0
"""So long after a key changed a session must be younger than the key. Later none is older, whatever a clock says."""


@dataclass(frozen=True)
class Heard:
    """The last report of one gateway. `age` in seconds since it came; without a report it means nothing."""

    report: Report | None = None
    age: float = 0.0
    plan_digest: str = ""  # Of the plan that it is to carry out.


@dataclass(frozen=True)
class Missing:
    """A session that its hub waits for, and that does not stand. `gateway` is who dials."""

    gateway: str
    reason: str


@dataclass(frozen=True)
class HubStanding:
    """The sessions that one hub waits for, by who dials: those that are there, those of them that are not up."""

    gateways: tuple[str, ...]
    missing: tuple[Missing, ...]
    away: tuple[str, ...]


class Fleet:
    """All sessions between gateways of ours. `key_ages`: hub -> seconds since its key was changed."""

    def __init__(self, inventory: Inventory, heard: Mapping[str, Heard], key_ages: Mapping[str, float]) -> None:
        names = sorted(each.name for each in inventory.gateways)
        ours = set(names)
        self._hubs = sorted(each.name for each in inventory.gateways if each.role == "hub")
        self._sessions = [each for each in compile_fabric(inventory).sessions if {each.dialer, each.listener} <= ours]
        self._heard = {name: heard.get(name, Heard()) for name in names}
        self._key_ages = key_ages
        self._ends: dict[tuple[str, str], SessionReport] = {}
        for name, found in self._heard.items():
            for each in found.report.sessions if found.report is not None else ():
                end = (name, each.peer.partition("/")[0])
                if each.state == "up" or end not in self._ends:  # Of a peer's uplinks at most one has the session.
                    self._ends[end] = each

    @cached_property
    def away(self) -> frozenset[str]:
        """Who is not heard, and whom no hub hears either: it is off, and gets its keys with its plan when it returns.

        A hub is never away: what its clients say of it counts.
        """
        seen = {each.dialer for each in self._sessions if self._is_up(each.listener, each.dialer)}
        return frozenset(name for name in self._heard if self._silent(name) and name not in {*seen, *self._hubs})

    @cached_property
    def troubles(self) -> dict[str, str]:
        """Gateway -> why it cannot be relied on to take a new key; "" when it can."""
        return {name: self._trouble(name) for name in self._heard}

    @cached_property
    def hubs(self) -> dict[str, HubStanding]:
        found = {}
        for hub in self._hubs:
            waited = [each for each in self._sessions if each.listener == hub]
            there = [each for each in waited if each.dialer not in self.away]
            reasons = ((each.dialer, self._wrong(each)) for each in there)
            found[hub] = HubStanding(
                gateways=tuple(each.dialer for each in there),
                missing=tuple(Missing(name, why) for name, why in reasons if why),
                away=tuple(sorted(each.dialer for each in waited if each.dialer in self.away)),
            )
        return found

    def against(self, hub: str) -> Iterator[str]:
        """Why the key of `hub` should not be changed now, in words; nothing when it may."""
        for name, why in self.troubles.items():
            if why and name not in self.away:
                yield f"{name} {why}"
        for other, standing in self.hubs.items():
            for each in standing.missing if other != hub else ():
                if not (self.troubles[each.gateway] or self.troubles[other]):
                    yield f"{each.gateway} with {other}: {each.reason}"

    def _trouble(self, name: str) -> str:
        found = self._heard[name]
        if found.report is None:
            return "was never heard"
        if self._silent(name):
            return f"was not heard for {found.age:.0f} s"
        if found.report.plan_digest != found.plan_digest:
            error = found.report.plan_error
            return f"refuses its plan: {error}" if error else "has not taken its plan yet"
        return ""

    def _silent(self, name: str) -> bool:
        found = self._heard[name]
        return found.report is None or found.age > SILENT_SECONDS

    def _is_up(self, name: str, peer: str) -> bool:
        end = self._ends.get((name, peer))
        return end is not None and end.state == "up"

    def _wrong(self, session: Session) -> str:
        """Why it does not stand; "" when it does."""
        ends = ((session.dialer, session.listener), (session.listener, session.dialer))
        for name, _ in ends:
            if self.troubles[name]:
                return f"{name} {self.troubles[name]}"
        for name, peer in ends:
            end = self._ends.get((name, peer))
            if end is None or end.state != "up":
                reason = "" if end is None else end.reason
                return f"down at {name}: {reason or 'it was never up'}"
            if self._is_older_than_key(self._heard[name], end, session.listener):
                return f"at {name} it is still the one of before the key was changed"
        return ""

    def _is_older_than_key(self, heard: Heard, end: SessionReport, hub: str) -> bool:
        """A gateway may name its new plan before its sessions follow. Ages, for its clock may be another than ours."""
        key_age = self._key_ages.get(hub, SETTLES_SECONDS)
        if heard.report is None or key_age >= SETTLES_SECONDS:
            return False
        return heard.report.reported_at - end.since + heard.age > key_age
