"""The routing table of one gateway: what it was told, what it uses, what it tells others.

Pure: no clock, socket, random or log. The agent feeds it updates and losses, calls `step`
until it says there is no more to do, and takes `changes` to neighbours and kernel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from speaker.plan import Plan
from speaker.rib.decision import Decider, Decision
from speaker.rib.export import Batch, Exporter, ExportGroup
from speaker.rib.facts import RouterFacts
from speaker.rib.hops import Hops
from speaker.rib.limits import MOST_FILTERED, Limits, LimitState
from speaker.rib.local import Originator, local_source
from speaker.rib.path import LIMITED, PathSet, Source, SourceKind, Tiers, Update
from speaker.rib.pathset import EMPTY, PathSets
from speaker.rib.policy import ImportPolicy
from speaker.rib.prefix import Family, Key
from speaker.rib.steps import CompiledPolicy, evaluate
from speaker.rib.table import Change, Counts, Table
from speaker.rib.why import Why, why

SLICE_ROWS = 10_000
"""Rows per call of `step`: about 5 ms."""

RouteChange = tuple[Family, Tiers | None, list[Key]]
"""These keys are now to be routed so; None: no route of ours; (): an unreachable one. Equal tiers are one object."""

_UNKNOWN = object()


class Rib:
    """Both families' tables, the peers' import policies, the decision and the export groups."""

    def __init__(self, router: RouterFacts, hops: Hops | None = None, most_filtered: int = MOST_FILTERED) -> None:
        """`hops` is filled with what is learnt of next hops; others may read it.

        `most_filtered`: refused paths that are kept of one client.
        """
        self.router = router
        self.hops = Hops(router.asn) if hops is None else hops
        sets = PathSets()
        self._tables = {family: Table(family, sets) for family in Family}
        self._limits = Limits(self._tables, most_filtered)
        for table in self._tables.values():
            table.sweeps.on_judged = self._limits.judged
        self._sessions: dict[str, tuple[Source, ImportPolicy]] = {}
        self._own_view: CompiledPolicy | None = None
        self._decider = self._new_decider()
        self._exporters: dict[ExportGroup, Exporter] = {}
        self._originator = Originator(local_source(router.router_id))

    # What comes in

    def set_session(self, source: Source, policy: ImportPolicy) -> None:
        """`source` may send updates from now on, judged by `policy`. To be called when its session comes up.

        The same peer with another router id or address is another router: what the former one sent is purged.
        """
        former = self._sessions.get(source.name)
        if former is not None and former[0] != source:
            self._purge(former[0])
            self._limits.drop(former[0])
        self._sessions[source.name] = source, policy
        if source.kind in LIMITED:
            self._limits.set_policy(source, policy, anew=False)
            self._limits.refreshed(source)

    def receive(self, source: Source, update: Update) -> None:
        """Take in one UPDATE. Withdrawals first: a prefix in both parts is announced (RFC 4271 4.3)."""
        policy = self._policy(source)
        limited = source.kind in LIMITED
        for family, path_id, keys in update.withdrawn:
            if limited:
                self._limits.withdraw(self._tables[family], source, keys, path_id)
            else:
                self._tables[family].withdraw(keys, source, path_id)
        for family, path_id, keys, attributes in update.announced:
            table = self._tables[family]
            for reason, judged, marks in policy.verdicts(family, keys):
                path = policy.path(source, path_id, attributes, reason, marks)
                if limited:
                    self._limits.announce(table, source, judged, path)
                else:
                    table.announce(judged, path)
                if source.kind is not SourceKind.LAN:  # Its next hop is no uplink.
                    self.hops.note(family, path)
        if update.end_of_rib is not None:
            self.end_of_rib(source, update.end_of_rib)

    def session_lost(self, source: Source, *, keep: bool) -> None:
        """The session of `source` is gone. `keep`: by loss of TCP, with graceful restart: its paths become stale.

        Against RFC 4724 4.2, paths that were stale before stay when a session is lost twice without
        End-of-RIB between: the loss may be our own BGP daemon's, and the peer said nothing. The agent's timer,
        started at the first loss, bounds it.
        """
        if not keep:
            self._purge(source)
            return
        for family, table in self._tables.items():
            table.sweeps.mark_stale(source)
            self.hops.mark_stale(source, family)

    def refresh_begins(self, source: Source, family: Family) -> None:
        """BoRR (RFC 7313): all that `source` does not repeat until `refresh_ends` will go."""
        self._tables[family].sweeps.mark_stale(source)
        self.hops.mark_stale(source, family)
        self._limits.refreshed(source)

    def refresh_ends(self, source: Source, family: Family) -> None:
        """EoRR (RFC 7313), or the time for it is over."""
        self._tables[family].sweeps.purge_stale(source)
        self.hops.drop_stale(source, family)

    def end_of_rib(self, source: Source, family: Family) -> None:
        """End-of-RIB (RFC 4724 2), or the restart time is over: what is still stale goes."""
        self._tables[family].sweeps.purge_stale(source)
        self.hops.drop_stale(source, family)

    def forget(self, source: Source) -> None:
        """The peer is no longer ours: all that it sent goes, and nothing more is taken from it."""
        self._sessions.pop(source.name, None)
        self._purge(source)
        self._limits.drop(source)

    def originate(self, plan: Plan) -> None:
        """Announce what `plan` announces, and nothing else: whole values are compared, the difference is applied."""
        self._originator.originate(self._tables, plan)

    def router_changed(self, router: RouterFacts, own_view: CompiledPolicy | None = None) -> bool:
        """New facts, same router; `own_view`: how it sees paths itself. True: routes may differ everywhere.

        Then tell the kernel `targets(everything)`. The import policies depend on the facts too: call
        `policy_changed` for each session.
        Raises ValueError when router id, AS or CLUSTER_ID differ: that is another router, with a Rib of its own.
        """
        former, former_view = self.router, self._own_view
        if (former.router_id, former.asn, former.cluster_id) != (router.router_id, router.asn, router.cluster_id):
            raise ValueError("router id, AS or CLUSTER_ID changed: make a new Rib")
        self.router, self._own_view = router, own_view
        as_before = (former.max_paths, former.blackhole) == (router.max_paths, router.blackhole)
        if as_before and former_view == own_view:
            return False
        self._decider = self._new_decider()
        return True

    def _new_decider(self) -> Decider:
        policy = self._own_view
        view = None if policy is None else lambda path: evaluate(policy, path.attributes, path.marks).attributes
        return Decider(self.router.max_paths, asn=self.router.asn, blackhole=self.router.blackhole, view=view)

    def policy_changed(self, source: Source, policy: ImportPolicy) -> None:
        """From now on `policy` judges `source`; what it sent before is judged again, from the attributes as received.

        Those are kept (once per distinct path, so they cost next to nothing): a ROUTE-REFRESH would be slower, and
        not every peer answers one. Nothing happens when the policy is equal to the one in force.
        """
        former = self._sessions.get(source.name)
        if former is not None and former == (source, policy):
            return
        self._sessions[source.name] = source, policy
        if source.kind in LIMITED:
            self._limits.set_policy(source, policy, anew=True)
        for table in self._tables.values():
            table.sweeps.reimport(source, policy)

    def limit_state(self, source: Source) -> LimitState:
        """How a client stands to the limit of its prefixes."""
        return self._limits.state(source)

    def to_ask(self) -> list[Source]:
        """Clients to ask for everything again (ROUTE-REFRESH): what was not kept of theirs may be accepted now."""
        return self._limits.to_ask()

    @property
    def pending(self) -> bool:
        """Whether `step` has work to do."""
        return any(table.sweeps.pending for table in self._tables.values()) or self._limits.pending

    def step(self, rows: int = SLICE_ROWS) -> bool:
        """Carry on with stale marks, purges, new policies and limits, for at most `rows` rows. True: call again.

        Updates may be received between two steps.
        """
        for table in self._tables.values():
            if table.sweeps.pending:
                table.sweeps.step(rows)
                return self.pending
        self._limits.step(rows)
        return self.pending

    # What goes out

    @property
    def changed(self) -> int:
        """How many keys `take` has to tell about, at most."""
        return sum(table.changed for table in self._tables.values())

    def take(self, limit: int) -> list[Change]:
        """What changed since the last call, at most `limit` keys, each (family, key) once; grouped by (old, new).

        Hand the same list to `routes` and to `batches` of every export group.
        """
        changes: list[Change] = []
        for table in self._tables.values():
            if limit > 0 and table.changed:
                before = table.changed
                changes += table.take(limit)
                limit -= before - table.changed
        return changes

    def changes(self, limit: int) -> list[tuple[Family, Key, PathSet, PathSet]]:
        """`take`, a tuple per key: (family, key, old, new)."""
        return [(family, key, old, new) for family, old, new, keys in self.take(limit) for key in keys]

    def routes(self, changes: Iterable[Change]) -> list[RouteChange]:
        """What `changes` mean for the kernel. Those that leave a route's tiers as they are do not appear."""
        return self._grouped((change, self._decider(change.old).route) for change in changes)

    def targets(self, changes: Iterable[Change]) -> list[RouteChange]:
        """How the keys of `changes` are to be routed, whatever was said before."""
        return self._grouped((change, _UNKNOWN) for change in changes)

    def _grouped(self, changes: Iterable[tuple[Change, Tiers | object | None]]) -> list[RouteChange]:
        routes: dict[tuple[Family, int], RouteChange] = {}
        for (family, _, new, keys), before in changes:
            tiers = self._decider(new).route
            if tiers is not before:
                routes.setdefault((family, id(tiers)), (family, tiers, []))[2].extend(keys)
        return list(routes.values())

    def batches(
        self, group: ExportGroup, changes: Iterable[Change], formers: Iterable[ExportGroup] = ()
    ) -> list[Batch]:
        """What `changes` mean for the neighbours of `group`: one batch per family, ready to be encoded.

        `formers`: the groups that they may have been told by until now, see `Exporter.batches`.
        """
        return self.exporter(group).batches(changes, tuple(map(self.exporter, formers)))

    def exporter(self, group: ExportGroup) -> Exporter:
        exporter = self._exporters.get(group)
        if exporter is None:
            exporter = self._exporters[group] = Exporter(group, self.router)
        return exporter

    def keep_exporters(self, groups: Collection[ExportGroup]) -> None:
        """Forget those of other groups, with all that they remember."""
        self._exporters = {group: exporter for group, exporter in self._exporters.items() if group in groups}

    def everything(self, family: Family, rows: int = SLICE_ROWS) -> Iterator[list[Change]]:
        """All rows, `rows` at a time, as changes from nothing: what a neighbour that came up is told by `batches`.

        Rows are read when their slice is. Give the neighbour all changes taken from now on too, in between: what
        it hears in that order ends as the table is.
        """
        keys = list(self._tables[family].rows)
        for start in range(0, len(keys), rows):
            yield self._tables[family].snapshot(keys[start : start + rows])

    # What is

    def decide(self, pathset: PathSet) -> Decision:
        return self._decider(pathset)

    def why(self, pathset: PathSet) -> list[Why]:
        """Why each of these paths is used or not, as `decide` has it. For people: nothing is remembered."""
        policy, facts = self._own_view, self.router
        view = None if policy is None else lambda path: evaluate(policy, path.attributes, path.marks)
        return why(pathset, facts.max_paths, facts.asn, blackhole=facts.blackhole, view=view)

    def desired(self, family: Family, key: Key) -> Tiers | None:
        """How the kernel shall route `key`; None: no route of ours (unknown, refused, our own, or connected)."""
        return self._decider(self.lookup(family, key)).route

    def lookup(self, family: Family, key: Key) -> PathSet:
        """All paths of `key`, the refused ones too; () when there are none."""
        return self._tables[family].rows.get(key, EMPTY)

    def walk(self, family: Family) -> Iterator[tuple[Key, PathSet]]:
        """All rows, those that leave meanwhile left out. The table may change between two of them."""
        rows = self._tables[family].rows
        for key in list(rows):
            pathset = rows.get(key)
            if pathset:
                yield key, pathset

    def size(self, family: Family) -> int:
        """Number of prefixes."""
        return len(self._tables[family].rows)

    def paths(self, family: Family) -> int:
        """Number of paths, the refused ones too."""
        return sum(counts.received for counts in self._tables[family].counts.values())

    def counts(self, source: Source, family: Family) -> Counts:
        """A copy. It follows a mark or purge that is under way."""
        found = self._tables[family].counts.get(source) or Counts()
        return replace(found, reasons=dict(found.reasons))

    def refused(self) -> dict[Source, dict[str, int]]:
        """Who has refused paths here: reason code -> how many are kept, both families."""
        found: dict[Source, Counter[str]] = {}
        for table in self._tables.values():
            for source, counts in table.counts.items():
                if counts.reasons:
                    found.setdefault(source, Counter()).update(counts.reasons)
        return {source: dict(reasons) for source, reasons in found.items()}

    def _purge(self, source: Source) -> None:
        self.hops.forget(source)
        self._limits.forget(source)
        for table in self._tables.values():
            table.sweeps.purge(source)

    def _policy(self, source: Source) -> ImportPolicy:
        session = self._sessions.get(source.name)
        if session is None or session[0] != source:
            raise LookupError(f"no session with {source.name} ({source.router_id.hex()}): call set_session first")
        return session[1]
