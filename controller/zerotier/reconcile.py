"""One pass: read, compare whole, write, read back. Remembers nothing but, in the ledger, what is ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

from controller.inventory.model import Fabric
from controller.zerotier.desired import Desired, with_summaries
from controller.zerotier.difference import FULL, LEAVE, THE_NETWORK, Difference, Pace, difference, is_in, removed
from controller.zerotier.port import (
    Garbled,
    ManagedRoute,
    Members,
    Network,
    NetworkChange,
    NetworkState,
    NoSuchNetwork,
    NotStored,
    Refused,
    SegmentApi,
    Service,
    ZeroTierError,
)
from controller.zerotier.rules_check import RulesFinding, check_rules
from controller.zerotier.state import FORGET_SECONDS, Failure, Pass
from controller.zerotier.summaries import Summaries

MAX_WRITES = 500
PASS_SECONDS = 20.0
"""Bounds of one pass; what is left comes in the next one, a second later."""
LOOK_SECONDS = 0.25
"""How often a pass looks whether somebody has to leave at once."""
MAX_FAILURES = 20
"""Objects that fail in one pass; then it is the service that fails."""

OF_ONE_OBJECT = (NotStored, Refused, Garbled)
"""What one bad object may bring about. Everything else ends the pass."""


class Ledger(Protocol):
    """Which members are ours, and the network itself (THE_NETWORK). Kept for good: a member that is no longer
    declared must be put out, also when the controller was restarted meanwhile."""

    def owned(self) -> frozenset[str]: ...

    def take(self, node_ids: Iterable[str]) -> None: ...

    def left(self) -> Mapping[str, float]:
        """Who was ours, and was put out: when, Unix time."""

    def leave(self, node_id: str) -> None:
        """It is ours no longer, and was put out just now."""

    def drop(self, node_id: str) -> None:
        """Nothing is remembered of it."""


Clock = Callable[[], float]
Summarise = Callable[[tuple[ManagedRoute, ...]], Summaries]
"""Routes of the network as they are -> managed summaries that it should have. Pure."""
Note = Callable[[tuple[Network, ...], int], None]
"""Told before managed routes are taken away: their targets, and how many members the network has."""


class _Enough(Exception):
    """The pass has reached one of its bounds."""


class _Time:
    """How long a pass may take. `leavers`: who must leave by now; `known`: whom this pass has put out, or tried to."""

    def __init__(self, clock: Clock, leavers: Callable[[], frozenset[str]]) -> None:
        self._clock, self._leavers = clock, leavers
        self._deadline = clock() + PASS_SECONDS
        self._look_at = clock() + LOOK_SECONDS
        self.known: frozenset[str] = frozenset()

    def in_time(self) -> bool:
        return self._clock() < self._deadline

    def undisturbed(self) -> bool:
        """And nobody else must leave: that does not wait until all the others are written. The next pass does it."""
        now = self._clock()
        if now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            if self._leavers() - self.known:
                self._deadline = now
        return now < self._deadline


@dataclass
class _Seen:
    """The actual state, as read and as written since."""

    network: NetworkState | None
    members: Members
    owned: frozenset[str]
    left: dict[str, float] = field(default_factory=dict)
    service: Service | None = None
    written: int = 0
    removed: tuple[Network, ...] = ()
    failures: list[Failure] = field(default_factory=list)


def one_pass(
    wanted: Desired,
    fabric: Fabric,
    api: SegmentApi,
    ledger: Ledger,
    clock: Clock,
    now: float,
    summarise: Summarise = lambda _routes: Summaries(),
    *,
    pace: Pace = FULL,
    note: Note = lambda _targets, _members: None,
    leavers: Callable[[], frozenset[str]] = frozenset,
) -> Pass:
    """Brings the segment to `wanted`. Raises nothing that the service causes. `clock` is monotonic, in seconds.

    `pace`: what managed routes may do, after what they did before, which `note` has heard.
    `leavers`: who must leave, asked now and then; the pass ends early for somebody who was declared when it began.
    """
    seen = _Seen(None, Members(), frozenset())
    error = ZeroTierError("")
    found = Summaries()
    time = _Time(clock, leavers)
    try:
        _read(seen, wanted, api, ledger, time)
        found = summarise(seen.network.routes if seen.network else ())
        wanted = with_summaries(wanted, found.routes)
        _write(seen, wanted, api, ledger, time, pace, note)
        _forget(seen, wanted, api, ledger, time, now)
    except _Enough:
        pass
    except ZeroTierError as told:
        error = told
    left = _left(seen, wanted) if seen.service is not None else None
    return Pass(
        now,
        seen.service,
        seen.written,
        left,
        tuple(seen.failures),
        _rules(seen, fabric),
        str(error),
        error.after,
        _count(seen.members),
        removed=seen.removed,
        summaries=found,
        left=seen.left,
    )


def _read(seen: _Seen, wanted: Desired, api: SegmentApi, ledger: Ledger, time: _Time) -> None:
    service = api.describe()
    try:
        seen.network = api.network()
        seen.members = api.members()
    except NoSuchNetwork:
        pass  # Writing it makes it, or says why not.
    except Garbled:
        _put_out_unread(seen, wanted, api, ledger, time)
        raise
    seen.owned = ledger.owned()
    seen.left = dict(ledger.left())
    seen.service = service


def _put_out_unread(seen: _Seen, wanted: Desired, api: SegmentApi, ledger: Ledger, time: _Time) -> None:
    """Who must leave leaves, though it cannot be read who is in: the ledger knows whom we let in."""
    if not wanted.members:
        return
    for node_id in sorted(ledger.owned() - {THE_NETWORK} - wanted.members.keys()):
        with _one(seen, f"member {node_id}", time.in_time):
            api.write_member(node_id, LEAVE)
            ledger.leave(node_id)


def _write(seen: _Seen, wanted: Desired, api: SegmentApi, ledger: Ledger, time: _Time, pace: Pace, note: Note) -> None:
    """Who must leave leaves first. Ownership is noted before the write, as is what goes: a crash loses nothing."""
    if not wanted.members and (there := difference(wanted, seen.network, seen.members, seen.owned).leaving):
        text = f"no member is declared; the {len(there)} that Leyline let in stay: de-authorise them in ZeroTier"
        seen.failures.append(Failure("fabric", text))
    time.known = seen.owned - wanted.members.keys()
    first = _left(seen, wanted)
    ledger.take(first.takes)
    seen.owned |= first.takes
    for node_id in first.leaving:
        with _one(seen, f"member {node_id}", time.in_time):
            seen.members[node_id] = api.write_member(node_id, LEAVE)
            seen.members.unreadable.pop(node_id, None)
    for node_id in _gone(seen, wanted):
        (ledger.leave if node_id in seen.members else ledger.drop)(node_id)
        seen.owned -= {node_id}
    seen.left = dict(ledger.left())
    rest = _left(seen, wanted, pace)
    for part in _parts(seen.network, rest.network):
        with _one(seen, f"network {wanted.network.network}", time.undisturbed):
            if going := _removals(seen.network, part):
                note(going, _count(seen.members))
            seen.removed += going
            seen.network = api.write_network(part)
    for node_id, change in rest.members.items():
        with _one(seen, wanted.members[node_id].label, time.undisturbed):
            seen.members[node_id] = api.write_member(node_id, change)


def _forget(seen: _Seen, wanted: Desired, api: SegmentApi, ledger: Ledger, time: _Time, now: float) -> None:
    """Deletes the records of those that were ours and were put out long ago; never those of anybody else."""
    if not wanted.members:
        return
    for node_id, at in sorted(seen.left.items()):
        if node_id in wanted.members or node_id in seen.members.unreadable:
            continue
        actual = seen.members.get(node_id)
        if actual is not None and not is_in(actual):
            if now - at >= FORGET_SECONDS:
                with _one(seen, f"member {node_id}", time.undisturbed):
                    api.delete_member(node_id)
                    del seen.members[node_id]
            if node_id in seen.members:
                continue
        ledger.drop(node_id)  # Who was let in by somebody else is a stranger from now on.
        del seen.left[node_id]


@contextmanager
def _one(seen: _Seen, label: str, in_time: Callable[[], bool]) -> Iterator[None]:
    """Around the write of one object: what only that one brings about does not stop the rest."""
    if seen.written >= MAX_WRITES or not in_time():
        raise _Enough
    try:
        yield
        seen.written += 1
    except OF_ONE_OBJECT as error:
        seen.failures.append(Failure(label, str(error)))
        if len(seen.failures) >= MAX_FAILURES:
            raise _Enough from None


def _parts(actual: NetworkState | None, change: NetworkChange | None) -> Iterator[NetworkChange]:
    """Rules by themselves, and last: a service may refuse them, and nothing else has to wait for that."""
    if change is None or actual is None or change.rules is None:
        yield from () if change is None else (change,)
        return
    if (others := replace(change, rules=None)) != NetworkChange():
        yield others
    yield NetworkChange(rules=change.rules)


def _count(members: Members) -> int:
    return len(members) + len(members.unreadable)


def _removals(actual: NetworkState | None, change: NetworkChange) -> tuple[Network, ...]:
    if actual is None or change.routes is None:
        return ()
    return tuple(route.target for route in removed(actual.routes, change.routes))


def _left(seen: _Seen, wanted: Desired, pace: Pace = FULL) -> Difference:
    """What differs now. An empty declaration puts nobody out: it is far more likely a mistake than a wish."""
    found = difference(wanted, seen.network, seen.members, seen.owned, pace, seen.members.unreadable)
    return found if wanted.members else replace(found, leaving=())


def _gone(seen: _Seen, wanted: Desired) -> Iterator[str]:
    """Ours, not declared, and out."""
    for node_id in sorted(seen.owned - {THE_NETWORK} - wanted.members.keys()):
        actual = seen.members.get(node_id)
        if node_id not in seen.members.unreadable and (actual is None or not actual.authorised):
            yield node_id


def _rules(seen: _Seen, fabric: Fabric) -> tuple[RulesFinding, ...]:
    return () if seen.network is None else check_rules(seen.network, fabric.segment, fabric.segment6)
