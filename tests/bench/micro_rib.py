"""What the routing table alone costs: `python -m tests.bench.micro_rib` (1,000,000 routes, 1,000 attribute sets)."""

from collections.abc import Callable
from time import process_time

from speaker.plan import AllocationPlan, ImportPlan, NextHopPlan
from speaker.rib.attributes import Attributes
from speaker.rib.export import ExportGroup
from speaker.rib.facts import RouterFacts
from speaker.rib.path import Source, SourceKind, Update
from speaker.rib.policy import HubImport, ImportPolicy, SpokeImport
from speaker.rib.prefix import Family
from speaker.rib.rib import Rib
from speaker.rib.table import Change

ROUTES, SETS, IN_UPDATE = 1_000_000, 1_000, 500
HOP = bytes((10, 200, 0, 3))


def run(kind: SourceKind, policy: ImportPolicy, facts: RouterFacts, use: Callable[[Rib, list[Change]], object]) -> str:
    rib, source = Rib(facts), Source("x", kind, HOP, HOP)
    rib.set_session(source, policy)
    sets = [Attributes(HOP, med=number) for number in range(SETS)]
    keys = [bytes((24, 10 + (n >> 16), n >> 8 & 255, n & 255)) for n in range(ROUTES)]
    pieces = [(keys[n : n + IN_UPDATE], sets[n * SETS // ROUTES]) for n in range(0, ROUTES, IN_UPDATE)]
    updates = [Update(announced=[(Family.IPV4, 3, piece, made)]) for piece, made in pieces]
    start = process_time()
    for number, update in enumerate(updates):
        rib.receive(source, update)
        if number % 40 == 39:
            use(rib, rib.take(20_000))
    return f"{kind.value}: {ROUTES / (process_time() - start):,.0f} routes/s, {rib.size(Family.IPV4):,} rows"


if __name__ == "__main__":
    facts, group = RouterFacts(bytes(4), 64512, 8, bytes(4)), ExportGroup(SourceKind.CLIENT)
    imports = ImportPlan((NextHopPlan(3, "10.200.0.3", None, 200, (), 0),), (AllocationPlan("0.0.0.0/1", 24),))
    print(run(SourceKind.CLIENT, HubImport(facts, imports=imports), facts, lambda rib, new: rib.batches(group, new)))
    print(run(SourceKind.HUB, SpokeImport(facts), facts, lambda rib, new: rib.routes(new)))
