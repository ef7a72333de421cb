"""An UPDATE is made once for all who are to hear the same, however many they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from speaker.plan import PolicyPlan, StepPlan
from tests.speaker.agent.test_router import BERLIN, HUB, PARIS, Bench, RecordingTransport, plan, run, session

OTHERS = [f"10.42.0.{number}" for number in range(10, 40)]
WITH_A_VIEW = OTHERS[:5]


class CountingTransport(RecordingTransport):
    """Remembers who was sent the same bytes, too."""

    def __init__(self) -> None:
        super().__init__()
        self.groups: list[set[str]] = []

    def send(self, peers: Sequence[str], messages: Iterable[bytes]) -> None:
        self.groups.append(set(peers))
        super().send(peers, messages)


def a_hub() -> Bench:
    client = session(PARIS, "client", 2)
    clients = [
        msgspec.structs.replace(client, peer=f"gw-{each}", peer_address=each, view=1 if each in WITH_A_VIEW else 0)
        for each in OTHERS
    ]
    hub = plan(HUB, [session(BERLIN, "client", 1), *clients])
    view = PolicyPlan(1, (StepPlan("dearer", preference_add=1),))
    return Bench(msgspec.structs.replace(hub, policies=(view,)), transport=CountingTransport())


def test_an_update_is_made_once_for_each_group_of_clients() -> None:
    async def story() -> None:
        hub = a_hub()
        for each in (BERLIN, *OTHERS):
            hub.up(each)
            hub.says_all(each)
        await hub.settle()
        transport = hub.transport
        assert isinstance(transport, CountingTransport)
        transport.groups.clear()
        hub.says(BERLIN, "10.1.1.0/24", "10.1.2.0/24")
        await hub.settle()
        hub.says(BERLIN, withdrawn=["10.1.1.0/24"])
        await hub.settle()
        viewers, plain = set(WITH_A_VIEW), {BERLIN, *OTHERS} - set(WITH_A_VIEW)
        assert sorted(map(len, transport.groups)) == [5, 5, 26, 26]
        assert all(each in (viewers, plain) for each in transport.groups)

    run(story())
