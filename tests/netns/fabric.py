"""The fabric that most tests of the agent use: hub 1, spoke 2, and BIRD 3 as another client of the hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from speaker import plan as p
from tests.netns.namespaces import Namespace, segment, wait_until
from tests.netns.speakers import PATIENCE, Client, Speaker, address, plan_of, prefixes, to_client, to_hub

HUB, SPOKE, BIRD, OTHER = 1, 2, 3, 4
OWN = prefixes(SPOKE, 20)
THEIRS, EXTRA = prefixes(BIRD, 20), prefixes(BIRD, 5, first=20)


def hub_plan(*clients: int) -> p.Plan:
    return plan_of("hub", HUB, [to_client(HUB, client) for client in clients or (SPOKE, BIRD)], hub=True)


def spoke_plan(announced: list[str] = OWN) -> p.Plan:
    return plan_of("spoke", SPOKE, [to_hub(SPOKE, HUB)], announced)


class Fabric:
    def __init__(self, members: dict[str, Namespace], place: Path) -> None:
        self.place = place
        self.members = members
        self.hub = Speaker(members["hub"], "hub", place)
        self.spoke = Speaker(members["spoke"], "spoke", place)
        self.hub.start(hub_plan())
        self.spoke.start(spoke_plan())
        self.bird = Client(members["bird"], BIRD, HUB, place, len(THEIRS), len(EXTRA))
        self.until_settled()

    def until_settled(self, theirs: list[str] = THEIRS + EXTRA, own: list[str] = OWN) -> float:
        """Seconds until everybody has everything."""
        return wait_until(lambda: self.settled(theirs, own), PATIENCE, self.evidence)

    def settled(self, theirs: list[str], own: list[str]) -> bool:
        return (
            self.spoke.has(theirs)
            and self.bird.received() == set(own)
            and self.bird.up()
            and self.hub.has(theirs + own)
            and self.spoke.settled(HUB)
            and self.hub.settled(SPOKE, BIRD)
        )

    def evidence(self) -> str:
        return "\n".join([self.spoke.evidence(), self.hub.evidence(), self.bird.evidence()])


@contextmanager
def fabric() -> Iterator[Fabric]:
    addresses = {"hub": HUB, "spoke": SPOKE, "bird": BIRD, "other": OTHER}
    with (
        TemporaryDirectory(prefix="ll-agent-") as name,
        segment("agent", {member: [f"{address(number)}/16"] for member, number in addresses.items()}) as members,
    ):
        yield Fabric(members, Path(name))
