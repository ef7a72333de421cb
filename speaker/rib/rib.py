"""The routing table of one gateway: what it was told, what it uses, what it tells others.

Pure: no clock, socket, random or log. The agent feeds it updates and losses, calls `step`
until it says there is no more to do, and takes `changes` to neighbours and kernel.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from speaker.plan import Plan
from speaker.rib.decision import Decider, Decision
from speaker.rib.export import Batch, Exporter, ExportGroup
from speaker.rib.facts import RouterFacts
from speaker.rib.hops import Hops
from speaker.rib.local import Originator, local_source
from speaker.rib.path import PathSet, Source, Tiers, Update
from speaker.rib.pathset import EMPTY, PathSets
from speaker.rib.policy import ImportPolicy
from speaker.rib.prefix import Family, Key
from speaker.rib.table import Change, Counts, Table

SLICE_ROWS = 10_000
"""Rows per call of `step`: about 5 ms."""

RouteChange = tuple[Family, Tiers | None, list[Key]]
"""These keys are now to be routed so; None: no route of ours. Equal tiers are one object."""


class Rib:
    """Both families' tables, the peers' import policies, the decision and the export groups."""

    def __init__(self, router: RouterFacts, hops: Hops | None = None) -> None:
        """`hops` is filled with what is learnt of next hops; others may read it."""
        self.router = router
        self.hops = Hops(router.asn) if hops is None else hops
        sets = PathSets()
        self._tables = {family: Table(family, sets) for family in Family}
        self._sessions: dict[str, tuple[Source, ImportPolicy]] = {}
        self._decider = Decider(router.max_paths)
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
        self._sessions[source.name] = source, policy

    def receive(self, source: Source, update: Update) -> None:
        """Take in one UPDATE. Withdrawals first: a prefix in both parts is announced (RFC 4271 4.3)."""
        policy = self._policy(source)
        for family, path_id, keys in update.withdrawn:
            self._tables[family].withdraw(keys, source, path_id)
        for family, path_id, keys, attributes in update.announced:
            announce = self._tables[family].announce
            for verdict, judged in policy.verdicts(family, keys):
                path = policy.path(source, path_id, attributes, verdict)
                announce(judged, path)
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

    def originate(self, plan: Plan) -> None:
        """Announce what `plan` announces, and nothing else: whole values are compared, the difference is applied."""
        self._originator.originate(self._tables, plan)

    def router_changed(self, router: RouterFacts) -> bool:
        """New facts, same router. True: tiers may differ everywhere, so tell the kernel `routes(everything)`.

        The import policies depend on the facts too: call `policy_changed` for each session.
        Raises ValueError when router id, AS or CLUSTER_ID differ: that is another router, with a Rib of its own.
        """
        former = self.router
        if (former.router_id, former.asn, former.cluster_id) != (router.router_id, router.asn, router.cluster_id):
            raise ValueError("router id, AS or CLUSTER_ID changed: make a new Rib")
        self.router = router
        if former.max_paths == router.max_paths:
            return False
        self._decider = Decider(router.max_paths)
        return True

    def policy_changed(self, source: Source, policy: ImportPolicy) -> None:
        """From now on `policy` judges `source`; what it sent before is judged again, from the attributes as received.

        Those are kept (once per distinct path, so they cost next to nothing): a ROUTE-REFRESH would be slower, and
        not every peer answers one. Nothing happens when the policy is equal to the one in force.
        """
        former = self._sessions.get(source.name)
        if former is not None and former == (source, policy):
            return
        self._sessions[source.name] = source, policy
        for table in self._tables.values():
            table.sweeps.reimport(source, policy)

    @property
    def pending(self) -> bool:
        """Whether `step` has work to do."""
        return any(table.sweeps.pending for table in self._tables.values())

    def step(self, rows: int = SLICE_ROWS) -> bool:
        """Carry on with stale marks, purges and new policies, for at most `rows` rows. True: call again.

        Updates may be received between two steps.
        """
        for table in self._tables.values():
            if table.sweeps.pending:
                table.sweeps.step(rows)
                break
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
        routes: dict[tuple[Family, int], RouteChange] = {}
        for family, old, new, keys in changes:
            tiers = self._decider(new).tiers
            if tiers is not self._decider(old).tiers:
                routes.setdefault((family, id(tiers)), (family, tiers or None, []))[2].extend(keys)
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

    def desired(self, family: Family, key: Key) -> Tiers | None:
        """How the kernel shall route `key`; None: no route of ours (unknown, refused, our own, or connected)."""
        return self._decider(self.lookup(family, key)).tiers or None

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

    def counts(self, source: Source, family: Family) -> Counts:
        """A copy. It follows a mark or purge that is under way."""
        return replace(self._tables[family].counts.get(source) or Counts())

    def _purge(self, source: Source) -> None:
        self.hops.forget(source)
        for table in self._tables.values():
            table.sweeps.purge(source)

    def _policy(self, source: Source) -> ImportPolicy:
        session = self._sessions.get(source.name)
        if session is None or session[0] != source:
            raise LookupError(f"no session with {source.name} ({source.router_id.hex()}): call set_session first")
        return session[1]
