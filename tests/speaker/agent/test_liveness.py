"""From BFD's word to the FIB: what is told, and when. No process, no kernel."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Mapping
from ipaddress import ip_address
from pathlib import Path
from time import time
from typing import Any

import pytest
from msgspec.structs import replace

from speaker.agent import liveness as module
from speaker.agent.liveness import Liveness
from speaker.kernel.choice import Relay
from speaker.liveness.bfd.control import Status, Want
from speaker.liveness.reach import Demand, Lingering
from speaker.plan import LivenessPlan, Plan
from speaker.rib.hops import Hop, Hops
from speaker.rib.prefix import Family
from tests.speaker.liveness.test_reach import HUBS, four, plan, six, to_peer, uplink
from tests.speaker.rib.given import ASN, path
from tests.speaker.rib.given import HUBS as HUB_SOURCES

SPOKE = plan("spoke", [uplink(11, "zt0"), uplink(12, "zt1")], [to_peer(11, 1, "hub"), to_peer(11, 2, "hub")])
HUB = plan("hub", [uplink(1, "zt0")], [to_peer(1, 11, "client", (11, 12)), to_peer(1, 21, "client", (21,))])
REMOTE = "10.42.0.21"


class RecordingFib:
    def __init__(self) -> None:
        self.dead: frozenset[tuple[str, bytes]] = frozenset()
        self.relays: Mapping[bytes, tuple[Relay, ...]] = {}
        self.held: frozenset[tuple[str, bytes]] = frozenset()
        self.silent: frozenset[tuple[str, bytes]] = frozenset()
        self.told = 0
        self.installed = frozenset({four(21), six(21)})
        self.groups: list[set[bytes]] = []

    def set_liveness(
        self,
        dead: frozenset[tuple[str, bytes]],
        relays: Mapping[bytes, tuple[Relay, ...]],
        held: frozenset[tuple[str, bytes]],
        silent: frozenset[tuple[str, bytes]],
    ) -> None:
        self.dead, self.relays, self.held, self.silent = dead, relays, held, silent
        self.told += 1

    def next_hops(self) -> frozenset[bytes]:
        return self.installed

    def beside(self, next_hops: Collection[bytes]) -> frozenset[bytes]:
        return frozenset(hop for group in self.groups if group & {*next_hops} for hop in group)


class Bench:
    """Liveness with a client that is not connected: what it wants is kept, what it hears is said here."""

    def __init__(self, the_plan: Plan, *, usable: tuple[str, ...] = ("zt0", "zt1")) -> None:
        self.fib = RecordingFib()
        self.hops = Hops(ASN)
        self.wakes = self.reports = 0
        self.usable = usable
        self.wants: list[Want] = []
        self.liveness = Liveness(
            the_plan, Path("/nowhere/bfd.sock"), self.fib, self.hops, lambda: self.usable, self._wake, self._report
        )
        self.liveness.client.want = self.wants.append  # type: ignore[method-assign,assignment]

    def _wake(self) -> None:
        self.wakes += 1

    def _report(self) -> None:
        self.reports += 1

    def say(
        self,
        remote: str,
        state: str,
        *,
        device: str = "zt0",
        ever_up: bool = True,
        downs: int = 0,
        since: float = 0.0,
    ) -> None:
        status = Status(device, "10.42.0.11", remote, state, 1, state, since, ever_up, downs, True, 300_000)
        self.liveness.client.statuses[device, remote] = status
        self.liveness._changed(status)

    async def kill(self, remote: str) -> None:
        self.say(remote, "Up")
        self.say(remote, "Down", downs=1)
        await asyncio.sleep(0)

    def gone(self, remote: str) -> None:
        self.liveness.client.statuses.pop(("zt0", remote))
        self.liveness._gone("zt0", remote)

    def learn(self, number: int, *hubs: int) -> None:
        relays = tuple((ASN, 6, int.from_bytes(four(hub), "big")) for hub in hubs)
        for family, hop in ((Family.IPV4, four(number)), (Family.IPV6, six(number))):
            self.hops.note(family, path(HUB_SOURCES[0], number, next_hop=hop, large_communities=relays))
        self.liveness.look(())

    @property
    def sessions(self) -> frozenset[tuple[str, str]]:
        return frozenset(self.wants[-1].sessions)


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 20))


async def started(the_plan: Plan, **options: Any) -> Bench:
    bench = Bench(the_plan, **options)
    await bench.liveness.hear_first()
    return bench


def test_a_dead_session_reaches_the_fib_in_the_same_turn() -> None:
    async def story() -> None:
        bench = await started(SPOKE)
        bench.learn(21, 1)
        bench.liveness.guarded = True
        bench.say("10.42.0.1", "Up")
        bench.say(REMOTE, "Up")
        await asyncio.sleep(0)
        assert bench.fib.told == 0
        bench.say(REMOTE, "Down", downs=1)  # Nothing is awaited from here on.
        assert bench.fib.dead == {("zt0", four(21)), ("zt0", six(21))}
        assert bench.fib.relays == {four(21): (Relay("zt0", four(1)),), six(21): (Relay("zt0", six(1)),)}
        assert (bench.wakes, bench.liveness.failovers) == (1, 1)
        assert ("zt0", REMOTE) in bench.sessions

    run(story())


def test_a_burst_is_judged_first_and_once_more() -> None:
    async def story() -> None:
        bench = await started(HUB)
        for number in (11, 12, 21):
            bench.say(f"10.42.0.{number}", "Up")
        await asyncio.sleep(0)
        for number in (11, 12, 21):
            bench.say(f"10.42.0.{number}", "Down", downs=1)
        assert bench.fib.told == 1
        await asyncio.sleep(0)
        assert bench.fib.told == 2
        assert {hop for _, hop in bench.fib.dead} >= {four(11), four(12), four(21)}

    run(story())


def test_no_detour_while_loops_are_not_guarded_against() -> None:
    async def story() -> None:
        bench = await started(SPOKE)
        bench.learn(21, 1)
        bench.say("10.42.0.1", "Up")
        await bench.kill(REMOTE)
        assert bench.fib.dead
        assert not bench.fib.relays
        bench.liveness.guarded = True
        bench.liveness.look(())
        assert set(bench.fib.relays) == {four(21), six(21)}

    run(story())


def test_a_hold_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """The timer task: the only one that wakes when nothing is heard."""
    monkeypatch.setattr(module, "REPLAY_SECONDS", 0.01)

    async def story() -> None:
        bench = await started(replace(SPOKE, liveness=LivenessPlan(up_delay_ms=50)))
        timer = asyncio.create_task(bench.liveness.run())
        await asyncio.sleep(0)
        await bench.kill(REMOTE)
        assert not bench.fib.held
        bench.say(REMOTE, "Up", downs=1)
        assert bench.fib.held == bench.fib.dead == {("zt0", four(21))}, "better than nothing"
        while bench.fib.dead:
            await asyncio.sleep(0.01)
        timer.cancel()

    run(story())


def test_what_is_learnt_later_is_dead_too() -> None:
    """An IPv6 next hop whose far uplink was found dead before anybody told of it."""

    async def story() -> None:
        bench = await started(SPOKE)
        await bench.kill(REMOTE)
        assert bench.fib.dead == {("zt0", four(21))}
        for family, hop in ((Family.IPV4, four(21)), (Family.IPV6, six(21))):
            bench.hops.note(family, path(HUB_SOURCES[0], 21, next_hop=hop))
        bench.liveness.routes_moved()
        assert bench.fib.dead == {("zt0", four(21)), ("zt0", six(21))}

    run(story())


def test_who_would_be_next_is_asked_while_another_is_used() -> None:
    async def story() -> None:
        bench = await started(replace(SPOKE, liveness=LivenessPlan(idle_seconds=10)))
        bench.liveness.complete()
        bench.fib.groups = [{four(21), four(31)}, {four(41), four(42)}]
        bench.liveness.look((REMOTE,))
        beside = {(device, f"10.42.0.{number}") for device in ("zt0", "zt1") for number in (21, 31)}
        assert bench.sessions == HUBS | beside
        await bench.kill(REMOTE)
        assert bench.sessions == HUBS | beside
        bench.liveness._demand = Demand()  # Idle for long enough.
        bench.liveness.look(())
        assert bench.sessions == HUBS | beside, "it is dead: what it falls to is in use"
        bench.say(REMOTE, "Down", ever_up=False)  # It said AdminDown.
        bench.liveness.look(())
        assert bench.sessions == HUBS

    run(story())


def test_who_never_answers_is_told_to_the_fib_and_reported_until_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 1000.0
    monkeypatch.setattr(module, "monotonic", lambda: clock)

    async def story() -> None:
        nonlocal clock
        bench = await started(SPOKE)
        bench.learn(21)
        bench.say(REMOTE, "Down", ever_up=False, since=time())
        clock += 8.0
        bench.liveness.look(())
        assert not bench.fib.silent, "three detection times of 3 s"
        clock += 2.0
        bench.liveness.look(())
        assert bench.fib.silent == {("zt0", four(21)), ("zt0", six(21))}
        assert not bench.fib.dead
        verdict, _ = bench.liveness.pairs()["zt0", REMOTE]
        assert (verdict.state, verdict.reason, verdict.dead) == ("unknown", "never answered", False)
        assert verdict.since == pytest.approx(1000.0, abs=0.1)
        bench.say(REMOTE, "Up")
        assert not bench.fib.silent, "in the same turn"
        assert bench.liveness.pairs()["zt0", REMOTE][0].reason == ""

    run(story())


def test_a_new_agent_gives_the_silent_no_time_anew() -> None:
    async def story() -> None:
        bench = Bench(SPOKE)
        bench.say(REMOTE, "Down", ever_up=False, since=time() - 60)
        await bench.liveness.hear_first()
        assert bench.fib.silent == {("zt0", four(21))}

    run(story())


def test_a_silent_one_has_a_detour_too_when_somebody_is_dead() -> None:
    """It may be cut off from us only: a hub reaches it."""

    async def story() -> None:
        bench = await started(SPOKE)
        bench.liveness.guarded = True
        bench.learn(31, 1)
        bench.say("10.42.0.1", "Up")
        bench.say("10.42.0.31", "Down", ever_up=False)
        assert not bench.fib.relays
        await bench.kill(REMOTE)
        assert bench.fib.relays == {four(31): (Relay("zt0", four(1)),), six(31): (Relay("zt0", six(1)),)}

    run(story())


def test_a_dead_pair_outlives_its_session_only_while_paths_lead_there() -> None:
    async def story() -> None:
        bench = await started(SPOKE)
        bench.liveness.complete()
        await bench.kill(REMOTE)
        bench.gone(REMOTE)
        assert bench.fib.dead
        assert ("zt0", REMOTE) in bench.sessions
        bench.fib.installed = frozenset()
        bench.liveness.look(())
        await asyncio.sleep(0)
        assert not bench.fib.dead
        assert bench.sessions == HUBS

    run(story())


def test_a_new_agent_ends_no_session_before_it_knows_the_paths() -> None:
    async def story() -> None:
        bench = Bench(SPOKE)
        bench.fib.installed = frozenset()
        bench.say(REMOTE, "Down", downs=1)
        bench.say("10.42.0.22", "Up")
        assert bench.fib.dead
        assert not bench.wants
        await bench.liveness.hear_first()
        assert bench.sessions == HUBS | {("zt0", REMOTE), ("zt0", "10.42.0.22")}
        bench.liveness.complete()
        assert bench.sessions == HUBS

    run(story())


def test_a_drained_gateway_says_admin_down_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        bench = await started(SPOKE)
        bench.liveness.configure(replace(SPOKE, drained=True))
        assert not bench.wants[-1].admin_down
        monkeypatch.setattr(module, "DRAIN_SECONDS", 0.0)
        bench.liveness.look(())
        assert bench.wants[-1].admin_down
        bench.liveness.configure(SPOKE)
        assert not bench.wants[-1].admin_down

    run(story())


def test_a_hub_relays_to_whom_it_reaches_and_forgets_slowly() -> None:
    async def story() -> None:
        bench = await started(HUB, usable=("zt0",))
        assert bench.liveness.relayed() == frozenset()
        bench.say("10.42.0.12", "Up")
        assert bench.liveness.relayed() == {12}
        bench.say("10.42.0.12", "Down", downs=1)
        assert bench.liveness.relayed() == {12}, "a flap announces nothing"

    run(story())


def test_a_client_is_dead_when_all_its_uplinks_have_been_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 1000.0
    monkeypatch.setattr(module, "monotonic", lambda: clock)

    async def story() -> None:
        nonlocal clock
        bench = await started(HUB, usable=("zt0",))
        first, _ = HUB.sessions
        for number in (11, 12):
            bench.say(f"10.42.0.{number}", "Up")
        bench.say("10.42.0.11", "Down", downs=1)
        clock += 60
        assert not bench.liveness.client_is_dead(first), "it has another uplink"
        bench.say("10.42.0.12", "Down", downs=1)
        await asyncio.sleep(0)
        clock += module.GONE_SECONDS - 0.1
        assert not bench.liveness.client_is_dead(first), "a moment of deafness"
        clock += 0.2
        assert bench.liveness.client_is_dead(first)

    run(story())


def test_a_hub_is_never_heard_by_the_uplink_that_asked_it_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 1000.0
    monkeypatch.setattr(module, "monotonic", lambda: clock)

    async def story() -> None:
        nonlocal clock
        bench = await started(SPOKE)
        hub, (first, second) = "10.42.0.1", (uplink.address for uplink in SPOKE.uplinks)
        bench.say(hub, "Down", ever_up=False, since=time())
        bench.say(hub, "Up", device="zt1")
        assert not bench.liveness.never_heard(first, hub), "it has only just been asked"
        clock += 10
        assert bench.liveness.never_heard(first, hub)
        assert not bench.liveness.never_heard(second, hub)
        assert not bench.liveness.dead_for_long(first, hub), "who has no BFD is silent, and may carry traffic"
        bench.say(hub, "Up")
        assert not bench.liveness.never_heard(first, hub)

    run(story())


def test_an_uplink_is_deaf_until_it_hears_a_hub_while_another_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 1000.0
    monkeypatch.setattr(module, "monotonic", lambda: clock)

    async def story() -> None:
        nonlocal clock
        bench = await started(SPOKE)
        for hub in (1, 2):
            for device in ("zt0", "zt1"):
                bench.say(f"10.42.0.{hub}", "Down", device=device, ever_up=False, since=time())
        assert bench.liveness.deaf() == frozenset()
        clock += 10
        assert bench.liveness.deaf() == frozenset(), "nobody hears a hub: that may be a firewall, or the hubs"
        bench.say("10.42.0.1", "Up", device="zt1")
        assert bench.liveness.deaf() == {"zt0"}
        bench.say("10.42.0.2", "Up", device="zt0")
        assert bench.liveness.deaf() == frozenset(), "one hub is enough"
        bench.say("10.42.0.2", "Down", device="zt0", downs=1)
        clock += 60
        assert bench.liveness.deaf() == frozenset(), "it was heard, so receivers judge for themselves"

    run(story())


def test_a_hub_is_never_deaf() -> None:
    async def story() -> None:
        bench = await started(HUB, usable=("zt0",))
        bench.say("10.42.0.11", "Down", ever_up=False, since=time() - 60)
        assert bench.liveness.deaf() == frozenset()

    run(story())


def nobody(address: str) -> bool:  # noqa: ARG001
    """BGP with this address is down."""
    return False


def test_hubs_that_never_answered_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that was booted behind a broken uplink has no route, and must not take its LAN from one that has."""
    clock = 1000.0
    monkeypatch.setattr(module, "monotonic", lambda: clock)

    async def story() -> None:
        nonlocal clock
        bench = await started(SPOKE)
        for device, hub in (("zt0", 1), ("zt1", 1), ("zt0", 2), ("zt1", 2)):
            bench.say(f"10.42.0.{hub}", "Down", device=device, ever_up=False, since=time())
        assert bench.liveness.any_hub(nobody), "they have hardly been asked"
        clock += 10
        assert not bench.liveness.any_hub(nobody)
        assert bench.liveness.any_hub("10.42.0.2".__eq__), "BFD is filtered on the way, and BGP is not"
        bench.say("10.42.0.1", "Up", device="zt1")
        assert bench.liveness.any_hub(nobody)

    run(story())


def test_without_bfd_no_hub_is_silent() -> None:
    async def story() -> None:
        bench = await started(SPOKE)
        assert bench.liveness.any_hub(nobody), "nobody was asked"
        bench = await started(replace(SPOKE, sessions=()))
        assert bench.liveness.any_hub(nobody), "a gateway without hubs"
        bench.usable = ()
        assert not bench.liveness.any_hub(nobody)

    run(story())


def test_a_new_agent_listens_to_whom_the_former_one_listened() -> None:
    """leyline-bfd would take leave of them, and they would not notice when this gateway dies."""

    async def story() -> None:
        bench, hubs = Bench(SPOKE), {"10.42.0.1", "10.42.0.2", "fd42::1", "fd42::2"}
        bench.liveness.client.statuses["zt0", REMOTE] = passive(REMOTE)
        await bench.liveness.hear_first()
        assert REMOTE in bench.wants[-1].accept
        bench.liveness.keep([four(22), six(22)])
        bench.liveness.complete()
        assert bench.wants[-1].accept == hubs | {"10.42.0.22", str(ip_address(six(22)))}
        bench.liveness.keep(())
        assert bench.wants[-1].accept == hubs

    run(story())


def passive(remote: str) -> Status:
    return Status("zt0", "10.42.0.11", remote, "Up", 0, "Up", 0.0, True, 0, False, 300_000)


def test_no_hub_is_left() -> None:
    async def story() -> None:
        bench = await started(SPOKE)
        assert bench.liveness.any_hub(nobody), "unknown is alive"
        for device, number in (("zt0", 1), ("zt1", 1), ("zt0", 2), ("zt1", 2)):
            bench.say(f"10.42.0.{number}", "Up", device=device)
            bench.say(f"10.42.0.{number}", "Down", device=device, downs=1)
            await asyncio.sleep(0)
            assert bench.liveness.any_hub(nobody) is not ((device, number) == ("zt1", 2))
        bench.usable = ()
        assert not bench.liveness.any_hub(nobody)

    run(story())


def test_hops_are_what_the_registry_says() -> None:
    """The bench's own words: a hop noted is a hop known."""
    bench = Bench(SPOKE)
    bench.hops.note(Family.IPV4, path(HUB_SOURCES[0], 21))
    assert set(bench.hops) == {Hop(four(21), 21)}


def test_a_hub_takes_its_word_back_later_where_many_paths_say_it() -> None:
    """A client that died goes by BGP's hold time anyway: half a million paths need not be announced anew before."""

    async def story() -> None:
        bench = await started(HUB, usable=("zt0",))
        bench.say("10.42.0.12", "Up")
        assert bench.liveness.relayed(frozenset({12})) == {12}
        bench.say("10.42.0.12", "Down", downs=1)
        bench.liveness._relayed = Lingering(0.0)  # Its seconds are over.
        assert bench.liveness.relayed() == frozenset()
        assert bench.liveness.relayed(frozenset({12})) == {12}

    run(story())
