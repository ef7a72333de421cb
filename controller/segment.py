"""The segment, kept: one pass over it, what is known of it, and the operator's word about what was there before.

controller.zerotier says what to do and does it; controller.store remembers. This module puts the two together.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_network
from typing import Any

import msgspec

from controller.heard import heard
from controller.inventory.model import Fabric, Inventory
from controller.segment_status import MOST_LISTED, as_answer
from controller.store.engine import StoreError
from controller.store.segment import SegmentStore
from controller.store.store import Store
from controller.zerotier.alive import gone
from controller.zerotier.desired import desired
from controller.zerotier.difference import MAX_REMOVALS, THE_NETWORK, Pace
from controller.zerotier.port import Network, SegmentApi, ZeroTierError
from controller.zerotier.reconcile import one_pass
from controller.zerotier.state import LEAVE_SECONDS, REMOVAL_SECONDS, Pass, rest_seconds
from controller.zerotier.summaries import summaries

Connect = Callable[[str], SegmentApi]
"""Network id -> the service that keeps it. Raises ZeroTierError, such as when the token cannot be read."""

WAIT_SECONDS = 30.0
"""How long an operator's wish waits for the pass that runs already."""
RESTING = "resting"
"""In the stored status, for controllers only: managed routes that were taken away lately, and how long they rest."""
OUT_SECONDS = 3.0
"""How long whoever revokes waits until ZeroTier has confirmed it; two are what it takes."""
NO_NETWORK = "no network is declared: the segment is somebody else's business. Set `network` of the fabric"
NO_SERVICE = (
    "no ZeroTier controller is configured: start `leyline controller serve` with --zerotier-url or"
    " --zerotier-central, and --zerotier-token-file"
)


class SegmentUnmanaged(Exception):
    """There is nothing to synchronise; the message says why."""


class SegmentBusy(Exception):
    """Another pass is running, here or in another controller."""


class NotToAdopt(Exception):
    """What was named cannot be adopted; the message says why."""


@dataclass(frozen=True)
class _Ledger:
    """What one pass asks of the store."""

    store: SegmentStore
    network: str
    now: float

    def owned(self) -> frozenset[str]:
        return self.store.owned(self.network)

    def take(self, node_ids: Iterable[str]) -> None:
        self.store.take(self.network, node_ids, self.now)

    def left(self) -> Mapping[str, float]:
        return self.store.left(self.network)

    def leave(self, node_id: str) -> None:
        self.store.leave(self.network, node_id, self.now)

    def drop(self, node_id: str) -> None:
        self.store.drop(self.network, node_id)


class Segment:
    """Thread-safe; one pass at a time. `connect` is None without a service."""

    def __init__(self, store: Store, connect: Connect | None, *, now: Callable[[], float] = time.time) -> None:
        self.store = store
        self.memory = SegmentStore(store.database)
        self._connect = connect
        self._now = now
        self._api: tuple[str, SegmentApi] | None = None
        self._lost: dict[str, frozenset[str]] | None = None
        self._unfinished = False
        self._one = threading.Lock()

    def unmanaged(self, inventory: Inventory) -> str:
        """Why nothing is done; empty when something is."""
        if inventory.fabric is None or not inventory.fabric.network:
            return NO_NETWORK
        return "" if self._connect else NO_SERVICE

    def synchronise(self, wait: float = WAIT_SECONDS) -> Pass:
        """One pass. Raises SegmentUnmanaged, SegmentBusy, StoreUnavailable; what the service does is in the answer."""
        if not self._one.acquire(timeout=wait):
            raise SegmentBusy("a pass is running; it ends within seconds: try again")
        try:
            inventory = self.store.state().inventory
            if reason := self.unmanaged(inventory):
                raise SegmentUnmanaged(reason)
            with self.memory.alone() as alone:
                if not alone:
                    raise SegmentBusy("another controller of this database is at it: try again")
                return self._pass(inventory)
        finally:
            self._one.release()

    def _pass(self, inventory: Inventory) -> Pass:
        wanted, fabric = desired(inventory), inventory.fabric
        assert wanted is not None
        assert fabric is not None
        now = self._now()
        try:
            api = self._api_of(fabric)
        except ZeroTierError as error:
            done = Pass(now, error=str(error))
        else:
            ledger = _Ledger(self.memory, fabric.network, now)
            lost = gone(inventory, heard(self.store), now)
            done = one_pass(
                wanted,
                fabric,
                api,
                ledger,
                time.monotonic,
                now,
                lambda routes: summaries(inventory, lost, routes),
                pace=_pace(self._known(fabric.network), now),
                note=lambda targets, members: self._rest(fabric.network, targets, rest_seconds(members)),
                leavers=self._leavers_if_known,
            )
            self._lost = lost
            self._unfinished = done.condition == "busy"
        if done.error:
            self._api = None  # The token may be another one by now: it is read again.
        former = self._known(fabric.network)
        failed = former.get("failed_in_a_row", 0) + 1 if done.condition == "failing" else 0
        done = replace(done, failed_in_a_row=failed)
        answer = as_answer(done, wanted, former) | {RESTING: _resting(former, now)}
        self._save(fabric.network, answer, now, settled=done.condition == "settled")
        return done

    def _known(self, network: str) -> dict[str, Any]:
        """What is stored of the last pass; or empty."""
        stored = self.memory.status(network)
        known: dict[str, Any] = msgspec.json.decode(stored.body) if stored else {}
        return known

    def _save(self, network: str, known: Mapping[str, Any], at: float, *, settled: bool) -> None:
        self.memory.save_status(network, msgspec.json.encode(known), at, settled=settled)

    def _rest(self, network: str, targets: Iterable[Network], rest: float) -> None:
        """Remembers that these routes go now: another controller, or this one after a restart, may be the next."""
        now, stored, known = self._now(), self.memory.status(network), self._known(network)
        new = {str(each): {"at": now, "rest": rest} for each in targets}
        known |= {RESTING: _resting(known, now) | new}
        self._save(network, known, stored.at if stored else now, settled=False)

    def due(self) -> bool:
        """Is a pass due before its time? The last one, whoever asked for it, left something to be written; or a gateway
        has gone, or come back, so that managed summaries may move.

        Asks no service. Raises StoreUnavailable.
        """
        if self._unfinished:
            return True
        inventory = self.store.state().inventory
        fabric = inventory.fabric
        if self._lost is None or fabric is None or self.unmanaged(inventory):
            return False
        if not (inventory.hosts or fabric.managed_floor):
            return False
        return gone(inventory, heard(self.store), self._now()) != self._lost

    def must_leave(self) -> bool:
        """Is a member still in that Leyline let in, and that is no longer declared, as far as the store knows?

        Asks no service. Raises StoreUnavailable.
        """
        return bool(self._leavers())

    def _leavers(self) -> frozenset[str]:
        inventory = self.store.state().inventory
        wanted = None if self.unmanaged(inventory) else desired(inventory)
        if wanted is None or not wanted.members:
            return frozenset()
        return self.memory.owned(wanted.network.network) - wanted.members.keys() - {THE_NETWORK}

    def _leavers_if_known(self) -> frozenset[str]:
        """A database that is away for a moment is no reason to end a pass."""
        try:
            return self._leavers()
        except StoreError:
            return frozenset()

    def unconfirmed(self, node_ids: Iterable[str], wait: float = OUT_SECONDS) -> tuple[list[str], str]:
        """Those of a gateway's nodes, just revoked, that ZeroTier has not confirmed to be out, and why; for a pass that
        does it this waits so long at most. Raises StoreUnavailable."""
        since, deadline, asked = self._now(), time.monotonic() + wait, set(node_ids)
        while True:
            inventory = self.store.state().inventory
            if reason := self.unmanaged(inventory):
                return sorted(asked), reason
            assert inventory.fabric is not None
            network = inventory.fabric.network
            if not (left := asked & self.memory.owned(network)):
                return [], ""
            stored = self.memory.status(network)
            failed = stored is not None and stored.at >= since and self.status()["condition"] == "failing"
            if failed or time.monotonic() >= deadline:
                return sorted(left), "the ZeroTier service has not confirmed it yet: `leyline segment show` says why"
            time.sleep(0.05)

    def _api_of(self, fabric: Fabric) -> SegmentApi:
        assert self._connect is not None
        if self._api is None or self._api[0] != fabric.network:
            self._api = fabric.network, self._connect(fabric.network)
        return self._api[1]

    def status(self) -> dict[str, Any]:
        """As `GET /api/v1/segment` answers. Raises StoreUnavailable."""
        inventory = self.store.state().inventory
        fabric = inventory.fabric
        network = fabric.network if fabric else ""
        reason = self.unmanaged(inventory)
        answer: dict[str, Any] = {
            "network": network,
            "condition": "unmanaged" if reason else "waiting",
            "reason": reason,
        }
        if fabric is not None and network:
            answer |= {"mtu": fabric.mtu, "segment_rules": fabric.segment_rules}
        stored = self.memory.status(network) if network and not reason else None
        known = msgspec.json.decode(stored.body) if stored else {}
        known.pop(RESTING, None)
        if stored is not None and known:  # Else the first pass is not over.
            answer |= known
            answer |= {"last_pass": stored.at, "settled_at": stored.settled_at}
            if answer["condition"] == "failing" and self.must_leave():
                answer["next_pass"] = min(answer.get("next_pass", stored.at), stored.at + LEAVE_SECONDS)
        return answer

    def adopt(self, node_ids: Sequence[str] | None, *, network: bool, actor: str) -> list[str]:
        """Makes what is declared ours. `node_ids` None: every member that is not yet. Returns labels of what was not.

        Raises NotToAdopt, SegmentUnmanaged, StoreUnavailable.
        """
        inventory = self.store.state().inventory
        wanted, fabric = desired(inventory), inventory.fabric
        if (reason := self.unmanaged(inventory)) or wanted is None or fabric is None:
            raise SegmentUnmanaged(reason)
        for node_id in node_ids or ():
            if node_id not in wanted.members:
                raise NotToAdopt(f"node {node_id} is not declared: declare it as a host, client or uplink first")
        named = {THE_NETWORK} if network else set()
        named.update(wanted.members if node_ids is None else node_ids)
        new = named - self.memory.owned(fabric.network)
        labels = sorted(wanted.members[each].label if each else f"network {fabric.network}" for each in new)
        if labels:
            now = self._now()
            self.memory.take(fabric.network, new, now)
            detail: Mapping[str, Any] = {"objects": labels[:MOST_LISTED], "total": len(labels)}
            with self.store.changing() as change:
                change.log(actor, "adopt", f"network {fabric.network}", now=now, detail=detail)
        return labels


def _resting(known: Mapping[str, Any], now: float) -> dict[str, dict[str, float]]:
    """Routes that rest still. What lies ahead counts as well, for the clocks of two controllers differ; but not what
    lies far ahead, for this clock has been put back then."""
    return {target: each for target, each in known.get(RESTING, {}).items() if abs(now - each["at"]) < each["rest"]}


def _pace(known: Mapping[str, Any], now: float) -> Pace:
    """After what was taken away lately, by whichever controller."""
    resting = _resting(known, now)
    moving = any(abs(now - each["at"]) < REMOVAL_SECONDS for each in resting.values())
    return Pace(0 if moving else MAX_REMOVALS, frozenset(map(ip_network, resting)))
