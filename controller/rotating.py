"""Changing the MD5 key of one hub, and how sessions stand meanwhile.

One call is one hub. Who wants all of them changed asks for one after the other, and the next one is refused while
the sessions of the last one are not back (controller.policy.rotation).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from controller.inventory.fields import closest
from controller.inventory.model import Gateway
from controller.policy.rotation import Fleet, Heard, HubStanding
from controller.policy.whatif import some
from controller.service import Controller
from controller.store.md5 import Md5Key, new_key, no_key
from controller.store.state import State
from controller.store.store import Changing, StoredReport
from speaker.report import ReportUnreadable, decode_report


class HubUnknown(Exception):
    """There is no gateway of this name."""


class RotationRefused(Exception):
    """The key of this hub cannot, or should not, be changed now. The text has the way out."""


@dataclass(frozen=True)
class Rotated:
    """`gateways` have a new plan; `waited_for` are those whose sessions with the hub restart, `away` the others."""

    hub: str
    has_key: bool
    changed_at: float
    gateways: list[str]
    waited_for: list[str]
    away: list[str]


@dataclass(frozen=True)
class HubKey:
    hub: str
    has_key: bool
    changed_at: float | None  # None: it never had a key.
    standing: HubStanding


@dataclass(frozen=True)
class Keys:
    """`wanted`: as the inventory says. `troubles`: gateway -> why it cannot be relied on; those that are away not."""

    wanted: bool
    hubs: list[HubKey]
    troubles: dict[str, str]


class Rotating:
    """Thread-safe, as the controller that it changes plans by."""

    def __init__(self, controller: Controller, clock: Callable[[], float] = time.time) -> None:
        self._controller = controller
        self._store = controller.store
        self._clock = clock

    def keys(self) -> Keys:
        state, keys = self._store.state(), self._store.md5_keys()
        fleet = self._fleet(state, keys, self._store.digests())
        hubs = []
        for name, standing in fleet.hubs.items():
            key = keys.get(name)
            hubs.append(HubKey(name, bool(key and key.secret), key.changed_at if key else None, standing))
        troubles = {name: why for name, why in fleet.troubles.items() if why and name not in fleet.away}
        return Keys(_wanted(state), hubs, troubles)

    def rotate(self, hub: str, *, actor: str, force: bool = False) -> Rotated:
        """A new key where the fabric wants keys, else none any more. `force`: though it may cost sessions.

        Raises HubUnknown, RotationRefused, InventoryRefused, StoreUnavailable; nothing is changed then.
        """
        now = self._clock()
        standing: list[HubStanding] = []

        def first(change: Changing) -> None:
            keys = change.md5_keys()
            _check(change.state, keys, hub)
            fleet = self._fleet(change.state, keys, change.digests())
            against = list(fleet.against(hub))
            if against and not force:
                raise RotationRefused(
                    f"{'; '.join(some(against))}: a new key for {hub} now may cost gateways their last session."
                    " Put that right first (leyline fabric md5-keys shows how it stands), or force it"
                    " (--force, ?force=true)"
                )
            standing.append(fleet.hubs[hub])
            key = new_key(now) if _wanted(change.state) else no_key(now)
            change.save_md5_keys({**keys, hub: key})
            detail = {"key": "new" if key.secret else "taken away", "forced": against[:10] if force else []}
            change.log(actor, "rotate-md5", f"gateway {hub}", now=now, detail=detail)

        gateways = self._controller.refresh_plans(first)
        has_key = bool(self._store.md5_keys()[hub].secret)
        return Rotated(hub, has_key, now, gateways, list(standing[0].gateways), list(standing[0].away))

    def _fleet(self, state: State, keys: Mapping[str, Md5Key], digests: Mapping[str, str]) -> Fleet:
        now, reports = self._clock(), self._store.reports()
        heard = {name: _heard(reports.get(name), digest, now) for name, digest in digests.items()}
        return Fleet(state.inventory, heard, {name: now - key.changed_at for name, key in keys.items()})


def _heard(stored: StoredReport | None, digest: str, now: float) -> Heard:
    if stored is None:
        return Heard(plan_digest=digest)
    try:
        return Heard(decode_report(stored.body), now - stored.received_at, digest)
    except ReportUnreadable:  # Of another release: the next one comes within seconds.
        return Heard(plan_digest=digest)


def _wanted(state: State) -> bool:
    return state.inventory.fabric is not None and state.inventory.fabric.md5


def _check(state: State, keys: Mapping[str, Md5Key], hub: str) -> None:
    """Raises HubUnknown and RotationRefused for what no force can help."""
    found = state.by_key["gateways"].get(hub)
    if not isinstance(found, Gateway):
        raise HubUnknown(f"there is no gateway {hub}{closest(hub, list(state.by_key['gateways']))}")
    if found.role != "hub":
        raise RotationRefused(f"{hub} is a {found.role}: keys are those of hubs, for the sessions that they wait for")
    if not _wanted(state) and not (hub in keys and keys[hub].secret):
        raise RotationRefused(f"{hub} has no key, and none is wanted: declare `md5: true` of the fabric first")
