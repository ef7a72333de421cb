"""Sessions of our launcher: who listens where, how soon they come back, and changes of the configuration."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace

from speaker.bgp.events import PeerDown, PeerUp
from speaker.bgp.exabgp.config import render
from speaker.bgp.exabgp.reconfigure import ReconfigureFailed, reconfigure
from speaker.plan import Plan, SessionPlan
from tests.interop.exabgp_support import (
    OURS,
    SESSION,
    THEIRS,
    Ears,
    Engine,
    asynchronous,
    bird_config,
    fabric,
    listening,
    plan_of,
    until,
    updates,
)
from tests.netns.namespaces import Namespace

pytestmark = pytest.mark.root

AREA = "exases"
SPOKE = replace(SESSION, peer="hub")
HUB = replace(SESSION, peer="spoke", peer_role="client", peer_address=OURS, local_address=THEIRS, passive=True)
OTHER = "10.0.0.3"


@dataclass
class Pair:
    spoke: Engine
    hub: Engine
    spoke_ears: Ears
    hub_ears: Ears
    spoke_namespace: Namespace
    hub_namespace: Namespace


def hub_plan(*sessions: SessionPlan) -> Plan:
    return plan_of(*sessions, role="hub", router_id=THEIRS)


@contextlib.asynccontextmanager
async def spoke_and_hub(directory: Path, password: str = "") -> AsyncIterator[Pair]:
    with fabric(AREA, directory, replace(SPOKE, password=password)) as (spoke, namespace):
        hub = Engine(namespace, directory / "hub", hub_plan(replace(HUB, password=password)))
        hub.start()
        spoke.start()
        async with listening(spoke) as spoke_ears, listening(hub) as hub_ears:
            yield Pair(spoke, hub, spoke_ears, hub_ears, spoke.namespace, namespace)


def lost(ears: Ears) -> list[PeerDown]:
    """Ends of sessions, without attempts that failed."""
    return [down for down in ears.of(PeerDown) if down.established]


def kill(engine: Engine) -> None:
    assert engine.process is not None
    os.kill(engine.process.pid, signal.SIGKILL)
    engine.process.wait()


@asynchronous
async def test_only_a_hub_listens_and_only_on_its_overlay_address(tmp_path: Path) -> None:
    async with spoke_and_hub(tmp_path) as fabric_pair:
        assert fabric_pair.spoke_namespace.run("ss", "-Hltn").split() == []
        assert fabric_pair.hub_namespace.run("ss", "-Hltn").split()[3] == f"{THEIRS}:179"


@asynchronous
async def test_a_hub_starts_before_its_address_is_there(tmp_path: Path) -> None:
    with fabric(AREA, tmp_path, SPOKE) as (spoke, namespace):
        namespace.run("ip", "address", "del", f"{THEIRS}/24", "dev", "eth0")
        hub = Engine(namespace, tmp_path / "hub", hub_plan(HUB))
        hub.start()
        async with listening(hub, up=False) as ears:
            await until(lambda: ears.client.hello is not None, 10, hub.evidence)
            namespace.run("ip", "address", "add", f"{THEIRS}/24", "dev", "eth0")
            spoke.start()
            await until(lambda: bool(ears.of(PeerUp)), 10, hub.evidence)


@asynchronous
async def test_a_port_that_is_taken_is_said_and_ends_the_launcher(tmp_path: Path) -> None:
    with fabric(AREA, tmp_path, SPOKE) as (_, namespace):
        namespace.bird(bird_config(tmp_path), tmp_path / "bird")
        hub = Engine(namespace, tmp_path / "hub", hub_plan(HUB))
        hub.start()
        assert hub.process is not None
        assert await asyncio.to_thread(hub.process.wait, 15) != 0
        assert "cannot listen on 10.0.0.2 port 179: does another BGP daemon hold it?" in hub.evidence()


@asynchronous
async def test_md5_on_both_ends(tmp_path: Path) -> None:
    async with spoke_and_hub(tmp_path, password="a b#c;{}'"[:-1]) as fabric_pair:
        assert fabric_pair.spoke_ears.of(PeerUp)


@asynchronous
async def test_a_wrong_md5_key_brings_no_session(tmp_path: Path) -> None:
    with fabric(AREA, tmp_path, replace(SPOKE, password="one")) as (spoke, namespace):
        hub = Engine(namespace, tmp_path / "hub", hub_plan(replace(HUB, password="two")))
        hub.start()
        spoke.start()
        async with listening(spoke, up=False) as ears:
            await until(lambda: ears.client.hello is not None, 10, spoke.evidence)
            before = time.monotonic()
            await until(lambda: time.monotonic() > before + 3, 5)  # Attempts go on every 1.5 s.
            assert not ears.of(PeerUp)


@asynchronous
async def test_another_md5_key_on_both_ends_is_a_graceful_restart_and_no_more(tmp_path: Path) -> None:
    """No NOTIFICATION, so both ends keep their routes (RFC 4724), and the listener takes the new key."""
    async with spoke_and_hub(tmp_path, password="one") as pair:
        ends = ((pair.hub, pair.hub_ears, hub_plan, HUB), (pair.spoke, pair.spoke_ears, plan_of, SPOKE))
        for turn, password in ((2, "two"), (3, "three")):
            texts = [engine.text(made(replace(end, password=password))) for engine, _, made, end in ends]
            both = zip(ends, texts, strict=True)
            await asyncio.gather(*(reconfigure(ears.client, e.config, text) for (e, ears, _, _), text in both))
            for engine, ears, _, _ in ends:
                await until(lambda: len(ears.of(PeerUp)) == turn, 30, engine.evidence)  # noqa: B023
        for _, ears, _, _ in ends:
            assert [down.notification for down in lost(ears)] == [False, False]


@asynchronous
async def test_a_hub_that_is_restarted_is_back_within_five_seconds(tmp_path: Path) -> None:
    async with spoke_and_hub(tmp_path) as fabric_pair:
        for turn in (2, 3):
            kill(fabric_pair.hub)
            await until(lambda: len(lost(fabric_pair.spoke_ears)) >= turn - 1, 5)  # noqa: B023
            await asyncio.sleep(1)  # The hub is away for a second.
            fabric_pair.hub.start()
            took = await until(lambda: len(fabric_pair.spoke_ears.of(PeerUp)) == turn, 10, fabric_pair.hub.evidence)  # noqa: B023
            assert took < 5
        assert not [down for down in fabric_pair.spoke_ears.of(PeerDown) if down.notification]


@asynchronous
async def test_updates_that_arrive_while_the_bridge_is_dead_cost_no_session(tmp_path: Path) -> None:
    """Full UPDATEs: their lines are longer than what ExaBGP's buffer holds back."""
    async with spoke_and_hub(tmp_path) as fabric_pair:
        hub, ears = fabric_pair.hub, fabric_pair.hub_ears
        for _ in range(3):
            ups = len(ears.of(PeerUp))
            assert hub.process is not None
            hub.process.send_signal(signal.SIGSTOP)  # So that it reads UPDATEs before it sees that the hook died.
            hub.kill_bridge()
            fabric_pair.spoke_ears.client.send([THEIRS], updates(range(20_000)))
            await until(lambda: waiting_in_socket(hub) > 100_000, 5)
            hub.process.send_signal(signal.SIGCONT)
            await until(lambda: len(ears.of(PeerUp)) > ups, 10, lambda: str(ears.events[-5:]))  # noqa: B023
        assert not lost(fabric_pair.spoke_ears)


def waiting_in_socket(engine: Engine) -> int:
    """Octets that ExaBGP has not read from its BGP session."""
    return int(engine.namespace.run("ss", "-Htn", "state", "established").split()[0])


@asynchronous
async def test_a_path_that_swallows_packets_is_tried_often_enough(tmp_path: Path) -> None:
    """The kernel would send SYNs after 1, 2, 3, 4, 5, 7, 11, 19 s: the path heals after 12 s, and 19 is too late."""
    with fabric(AREA, tmp_path, SPOKE) as (spoke, namespace):
        hub = Engine(namespace, tmp_path / "hub", hub_plan(HUB))
        hub.start()
        namespace.run("nft", "-f", "-", stdin=SWALLOW)
        spoke.start()
        async with listening(spoke, up=False) as ears:
            await until(lambda: ears.client.hello is not None, 10, spoke.evidence)
            await asyncio.sleep(12)  # What is tested is a wait.
            namespace.run("nft", "delete", "table", "inet", "swallow")
            took = await until(lambda: bool(ears.of(PeerUp)), 10, spoke.evidence)
            assert took < 3


NO_RESETS = """
table inet quiet { chain output { type filter hook output priority 0; tcp flags rst drop; }; }
"""
SWALLOW = """
table inet swallow { chain input { type filter hook input priority 0; tcp dport 179 drop; }; }
"""


@asynchronous
async def test_a_peer_that_comes_back_before_its_old_connection_timed_out(tmp_path: Path) -> None:
    """RFC 4724 5. The spoke dies behind a cut link, so no FIN reaches the hub, whose hold timer still runs."""
    async with spoke_and_hub(tmp_path) as fabric_pair:
        fabric_pair.hub_namespace.run("nft", "-f", "-", stdin=SWALLOW)
        fabric_pair.spoke_namespace.run("nft", "-f", "-", stdin=NO_RESETS)
        kill(fabric_pair.spoke)
        fabric_pair.spoke_namespace.run("ss", "-K", "dst", THEIRS)  # As after a power cut: nothing remembers it.
        fabric_pair.hub_namespace.run("nft", "delete", "table", "inet", "swallow")
        fabric_pair.spoke.start()
        took = await until(lambda: len(fabric_pair.hub_ears.of(PeerUp)) == 2, 20, fabric_pair.hub.evidence)
        assert took < 5
        assert [down.notification for down in lost(fabric_pair.hub_ears)] == [False]
        assert lost(fabric_pair.hub_ears)[0].reason == "the peer connected anew"


@asynchronous
async def test_a_peer_that_stops_reading_is_given_up_after_its_hold_time(tmp_path: Path) -> None:
    """5.0.15 by itself waits for ever to send it a NOTIFICATION."""
    with fabric(AREA, tmp_path) as (engine, namespace):
        bird = namespace.bird(bird_config(tmp_path), tmp_path / "bird")
        engine.start()
        async with listening(engine) as ears:
            bird.process.send_signal(signal.SIGSTOP)
            for _ in range(8):
                ears.client.send([THEIRS], updates(range(200_000), per_message=400))
            await until(lambda: bool(lost(ears)), 20, engine.evidence)
            assert engine.process is not None
            used = cpu_seconds(engine.process.pid)
            assert used < 6, "waiting for a peer that does not read must not spin"
            assert [down.notification for down in lost(ears)] == [False]
            assert "(4,0)" in lost(ears)[0].reason
            bird.process.send_signal(signal.SIGCONT)
            await until(lambda: len(ears.of(PeerUp)) == 2, 20, engine.evidence)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@asynchronous
async def test_a_peer_that_leaves_too_much_unread_is_told_cease(tmp_path: Path) -> None:
    with fabric(AREA, tmp_path, LEYLINE_PEER_QUEUE=str(4 << 20)) as (engine, namespace):
        bird = namespace.bird(bird_config(tmp_path), tmp_path / "bird")
        engine.start()
        async with listening(engine) as ears:
            bird.process.send_signal(signal.SIGSTOP)
            burst = updates(range(200_000), per_message=400)  # 1.6 MB
            for _ in range(8):
                ears.client.send([THEIRS], burst)
            await until(lambda: not ears.client.congested(), 8, engine.evidence)
            bird.process.send_signal(signal.SIGCONT)
            await until(lambda: bool(lost(ears)), 20, engine.evidence)
            await until(lambda: len(ears.of(PeerUp)) == 2, 20, lambda: str(ears.events))
            assert "out of resources" in (tmp_path / "bird.messages").read_text().lower()


@asynchronous
async def test_a_changed_configuration_touches_only_what_changed(tmp_path: Path) -> None:
    async with spoke_and_hub(tmp_path) as fabric_pair:
        client, ears = fabric_pair.hub_ears.client, fabric_pair.hub_ears
        other = replace(HUB, peer="paris", peer_address=OTHER)

        await reconfigure(client, fabric_pair.hub.config, fabric_pair.hub.text(hub_plan(HUB, other)))
        assert {session.peer: session.up for session in await client.sessions()} == {OURS: True, OTHER: False}

        # A change of a passive session that is not up, and one that goes again.
        changed = replace(other, hold_time=30)
        await reconfigure(client, fabric_pair.hub.config, fabric_pair.hub.text(hub_plan(HUB, changed)))
        await reconfigure(client, fabric_pair.hub.config, fabric_pair.hub.text(hub_plan(HUB)))
        assert [session.peer for session in await client.sessions()] == [OURS]
        assert not lost(ears)

        # A change of the session that is up: it alone starts again.
        await reconfigure(client, fabric_pair.hub.config, fabric_pair.hub.text(hub_plan(replace(HUB, hold_time=30))))
        await until(lambda: len(ears.of(PeerUp)) == 2, 10, lambda: str(ears.events))
        assert [down.notification for down in lost(ears)] == [False]


@asynchronous
async def test_a_reload_is_not_lost_while_routes_are_queued_and_loses_none(tmp_path: Path) -> None:
    with fabric(AREA, tmp_path) as (engine, namespace):
        bird = namespace.bird(bird_config(tmp_path), tmp_path / "bird")
        engine.start()
        async with listening(engine) as ears:
            bird.process.send_signal(signal.SIGSTOP)  # So that something waits in ExaBGP's queue.
            for _ in range(12):
                ears.client.send([THEIRS], updates(range(100_000), per_message=20))
            await until(lambda: bool(ears.client.congested()), 5, engine.evidence)
            await reconfigure(
                ears.client,
                engine.config,
                engine.text(plan_of(SESSION, replace(SESSION, peer="x", peer_address=OTHER))),
            )
            bird.process.send_signal(signal.SIGCONT)
            await until(lambda: bird.routes("peer", "master4") == 100_000, 30, lambda: bird.ask("show route count"))
            assert not lost(ears)


@asynchronous
async def test_a_spoke_becomes_a_hub_without_a_restart(tmp_path: Path) -> None:
    async with spoke_and_hub(tmp_path) as fabric_pair:
        third = replace(HUB, peer="x", peer_address=OTHER, local_address=OURS)
        plan = plan_of(SPOKE, third, role="hub")
        await reconfigure(fabric_pair.spoke_ears.client, fabric_pair.spoke.config, fabric_pair.spoke.text(plan))
        assert fabric_pair.spoke_namespace.run("ss", "-Hltn").split()[3] == f"{OURS}:179"
        assert not lost(fabric_pair.spoke_ears)


@asynchronous
async def test_a_configuration_that_exabgp_refuses_changes_nothing(tmp_path: Path) -> None:
    async with spoke_and_hub(tmp_path) as fabric_pair:
        before = fabric_pair.spoke.config.read_text()
        broken = before.replace("hold-time 9;", "hold-time 2;")
        with pytest.raises(ReconfigureFailed, match="holdtime must be zero or at least 3 seconds"):
            await reconfigure(fabric_pair.spoke_ears.client, fabric_pair.spoke.config, broken)
        assert fabric_pair.spoke.config.read_text() == before
        assert sorted(file.name for file in fabric_pair.spoke.directory.glob("*.conf*")) == ["exabgp.conf"]
        assert not lost(fabric_pair.spoke_ears)
        assert render(fabric_pair.spoke.plan, fabric_pair.spoke.sockets, "/usr/bin/python3") != before
