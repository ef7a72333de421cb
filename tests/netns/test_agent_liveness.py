"""Liveness with real processes and packets: a hub and two spokes with BFD, and cuts that keep carrier (ZeroTier)."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

import pytest
from msgspec.structs import replace

from speaker import plan as p
from tests.netns.namespaces import Namespace, segment, veth, wait_until
from tests.netns.speakers import PATIENCE, Speaker, address, plan_of, to_client, to_hub, within

pytestmark = [pytest.mark.root, pytest.mark.slow]

HUB, A, B = 1, 2, 3
NAMES = {HUB: "hub", A: "a", B: "b"}
FAST = p.BfdPlan(100, 3)
QUICK = p.LivenessPlan(up_delay_ms=500, idle_seconds=10, hubless_seconds=15)
RESTART_SECONDS = 3
BY_LABEL = Path("/proc/sys/net/mpls").exists()
"""Whether detours are by relay label here."""
REMOVAL_SECONDS = 2
"""So long a started agent keeps routes that nobody says again, as long as there is a hub that could."""
CUT = """
table bridge cut {}
delete table bridge cut
table bridge cut {
    set pairs { type ether_addr . ether_addr; ELEMENTS }
    chain forward { type filter hook forward priority 0; ether saddr . ether daddr @pairs drop; }
}
"""


def lan(number: int) -> str:
    return f"20.{number}.0.0/24"


def host(number: int) -> str:
    return f"20.{number}.0.1"


def lan6(number: int) -> str:
    return f"2001:db8:{number}::/64"


def host6(number: int) -> str:
    return f"2001:db8:{number}::1"


def address6(number: int) -> str:
    return f"fd42::{number}"


def with_ipv6(plan: p.Plan) -> p.Plan:
    """The same gateway in both families: one BFD session, over IPv4, decides for both."""

    def number(text: str) -> int:
        return int(text.rpartition(".")[2])

    def imports(session: p.SessionPlan) -> p.ImportPlan | None:
        if session.imports is None:
            return None
        hops = tuple(replace(hop, address6=address6(hop.number)) for hop in session.imports.next_hops)
        space = p.AllocationPlan(lan6(number(session.peer_address)), 64)
        return replace(session.imports, next_hops=hops, allocations=(*session.imports.allocations, space))

    uplinks = tuple(replace(uplink, address6=address6(uplink.number)) for uplink in plan.uplinks)
    sessions = tuple(
        replace(
            session,
            families=("ipv4", "ipv6"),
            peer_address6=address6(number(session.peer_address)),
            imports=imports(session),
        )
        for session in plan.sessions
    )
    own = tuple(replace(each, prefixes=(*each.prefixes, lan6(number(plan.router_id)))) for each in plan.announcements)
    segments = (*plan.segments, "fd42::/64")
    return replace(plan, uplinks=uplinks, sessions=sessions, announcements=own, segments=segments)


class World:
    """Each spoke has a LAN, `lan0`. What crosses the segment can be cut between any two."""

    def __init__(self, members: dict[str, Namespace], place: Path) -> None:
        self.members = members
        self.switch = members["hub"].name.removesuffix("hub") + "switch"
        self.macs = {
            number: members[name].run("cat", "/sys/class/net/eth0/address").strip() for number, name in NAMES.items()
        }
        for number in (A, B):
            node = members[NAMES[number]]
            addresses = [f"{host(number)}/24", f"{host6(number)}/64"]
            veth(node, "lan0", addresses, members["hub"], f"cable{number}", ())
        self._cut: set[tuple[int, int]] = set()
        options = f"--removal-seconds={REMOVAL_SECONDS}"
        self.speakers = {number: Speaker(members[name], name, place, options) for number, name in NAMES.items()}
        hub_plan = plan_of("hub", HUB, [to_client(HUB, A), to_client(HUB, B)], hub=True, bfd=FAST, liveness=QUICK)
        self.hub_plan = with_ipv6(hub_plan)
        self.speakers[HUB].start(self.hub_plan)
        for number in (A, B):
            session = replace(to_hub(number, HUB), restart_time=RESTART_SECONDS)
            spoke = plan_of(NAMES[number], number, [session], [lan(number)], bfd=FAST, liveness=QUICK)
            self.speakers[number].start(with_ipv6(spoke))
        self.hub, self.a, self.b = (self.speakers[number] for number in (HUB, A, B))
        wait_until(lambda: self.a.settled(HUB) and self.a.has([lan(B)]), PATIENCE, self.evidence)
        wait_until(lambda: self.b.settled(HUB) and self.b.has([lan(A)]), PATIENCE, self.evidence)
        wait_until(lambda: self.a.judges(HUB, "up") and self.b.judges(HUB, "up"), PATIENCE, self.evidence)

    def cut(self, *pairs: tuple[int, int]) -> None:
        """Nothing passes between these, either way; every interface keeps its carrier. Without pairs all is mended."""
        dropped = [f"{self.macs[x]} . {self.macs[y]}" for x, y in (*pairs, *((y, x) for x, y in pairs))]
        elements = f"elements = {{ {', '.join(dropped)} }};" if dropped else ""
        rules = CUT.replace("ELEMENTS", elements)
        subprocess.run(["ip", "netns", "exec", self.switch, "nft", "-f", "-"], input=rules, text=True, check=True)

    @contextmanager
    def pings(self) -> Iterator[list[int]]:
        """From A's LAN to B's every 10 ms. When it is left, the list holds the longest loss in ms."""
        command = ("ping", "-n", "-D", "-i", "0.01", "-I", host(A), host(B))
        outage: list[int] = []
        with TemporaryDirectory() as name:
            file = Path(name) / "ping"
            with file.open("wb") as output:
                process = self.members["a"].start(*command, output=output)
            wait_until(lambda: "bytes from" in file.read_text(), 10, self.evidence)
            yield outage
            self.members["a"].stop(process)
            replies = [
                (float(at), int(number))
                for at, number in re.findall(
                    r"^\[([\d.]+)\] .*bytes from .*icmp_seq=(\d+)", file.read_text(), re.MULTILINE
                )
            ]
            # Late is not lost: a time without answers counts only when some never came.
            gaps = [1000 * (after - at) for (at, one), (after, two) in pairwise(replies) if two > one + 1]
            outage.append(round(max(gaps, default=0)))

    def ttl(self, of: Callable[[int], str] = host) -> int:
        """Of the answer to A's ping: 64 when it came directly, 63 through the hub; 0 without an answer."""
        said = self.members["a"].run("ping", "-n", "-c1", "-W1", "-I", of(A), of(B), check=False)
        found = re.search(r"ttl=(\d+)", said)
        return int(found.group(1)) if found else 0

    def until_direct(self) -> None:
        wait_until(lambda: self.ttl() == 64 == self.ttl(host6), PATIENCE, self.evidence)
        wait_until(lambda: self.a.judges(B, "up") and self.b.judges(A, "up"), PATIENCE, self.evidence)

    def evidence(self) -> str:
        objects = "\n".join(f"{name}: {node.run('ip', 'nexthop')}" for name, node in self.members.items())
        return "\n".join([objects, *(each.evidence() for each in self.speakers.values())])


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    addresses = {name: [f"{address(number)}/16", f"{address6(number)}/64"] for number, name in NAMES.items()}
    with TemporaryDirectory(prefix="ll-live-") as place, segment("live", {**addresses}) as members:
        yield World(members, Path(place))


def test_use_starts_a_session(world: World) -> None:
    """Sessions between spokes are made by the first packet, and by nothing else."""
    assert world.a.next_hop(B) == {}
    assert world.ttl() == 64
    took = wait_until(lambda: world.a.next_hop(B).get("bfd") not in (None, ""), within(2), world.evidence)
    assert took < within(2)
    world.until_direct()


def test_without_use_the_session_ends(world: World) -> None:
    """BFD's own packets are no use of a path, or it would keep itself for ever."""
    world.until_direct()
    used_at = monotonic()
    wait_until(lambda: world.a.next_hop(B) == {} == world.b.next_hop(A), QUICK.idle_seconds + PATIENCE, world.evidence)
    assert monotonic() - used_at > QUICK.idle_seconds - 2
    assert world.ttl() == 64, "no session means unknown, and unknown is used"


def test_a_cut_direct_path_goes_through_the_hub_and_back(world: World) -> None:
    world.until_direct()
    with world.pings() as outage:
        world.cut((A, B))
        wait_until(lambda: world.a.judges(B, "down", "n1"), PATIENCE, world.evidence)
        wait_until(lambda: world.ttl() == 63, PATIENCE, world.evidence)
    assert world.ttl(host6) == 63, "one session decides for both families"
    assert outage[0] <= within(400), outage
    assert world.b.judges(A, "down", "n1"), world.evidence()
    assert world.b.has([lan(A)]), "no route was touched"
    with world.pings() as outage:
        world.cut()
        world.until_direct()
    assert outage[0] == 0, "nothing is lost on the way back"


def test_the_hub_and_the_direct_path_cut(world: World) -> None:
    """Nobody is left: `unreachable` at once, and back when the paths are."""
    world.until_direct()
    world.cut((A, B), (A, HUB))
    wait_until(lambda: world.a.judges(B, "down") and world.a.judges(HUB, "down"), PATIENCE, world.evidence)
    routes = ("ip", "-4", "route", "show", "proto", "76", "metric", "1000")
    gone = f"unreachable {lan(B)}"
    took = wait_until(lambda: gone in world.members["a"].run(*routes), PATIENCE, world.evidence)
    assert took < within(1), "fast failure beats a silent hole"
    world.cut()
    world.until_direct()


def test_a_hub_that_does_not_route_the_prefix_itself_is_no_way_around_by_plain_ip(world: World) -> None:
    """As one outside of a closed region: it reflects the prefix to those inside, and has no route of its own."""
    world.until_direct()
    nothing = p.PolicyPlan(1, (p.StepPlan("closed region", deny=True),))
    world.hub.give(replace(world.hub_plan, policies=(nothing,), own_view=1))
    wait_until(lambda: world.hub.has([]), PATIENCE, world.evidence)
    world.cut((A, B))
    if BY_LABEL:
        wait_until(lambda: world.a.judges(B, "down", "n1") and world.ttl() == 63, PATIENCE, world.evidence)
    else:
        wait_until(lambda: world.a.judges(B, "down", ""), PATIENCE, world.evidence)
        assert world.ttl() == 0
    world.hub.give(world.hub_plan)
    wait_until(lambda: world.a.judges(B, "down", "n1") and world.ttl() == 63, PATIENCE, world.evidence)
    world.cut()
    world.until_direct()


def test_agents_die_and_dead_stays_dead(world: World) -> None:
    """kill -9 of the agent while it detours, and of the hub's: not a packet, and the next agent knows who is dead."""
    world.until_direct()
    world.cut((A, B))
    wait_until(lambda: world.a.judges(B, "down", "n1") and world.ttl() == 63, PATIENCE, world.evidence)
    with world.pings() as outage:
        for speaker in (world.a, world.hub):
            died = speaker.kill("agent")
            wait_until(lambda s=speaker, d=died: s.pid("agent") != d and s.settled(), PATIENCE, world.evidence)  # type: ignore[misc]
        wait_until(lambda: world.a.settled(HUB) and world.a.judges(B, "down", "n1"), PATIENCE, world.evidence)
    assert outage[0] == 0, world.evidence()
    assert world.ttl() == 63
    world.cut()
    world.until_direct()


def test_without_hubs_forwarding_stays_until_its_time_is_over(world: World) -> None:
    """All hubs gone: routes stay for longer than the restart time, and for longer than an agent that is started then
    waits for hubs that live, until `hubless_seconds` are over. Until then they are left and taken up as ever."""
    world.until_direct()
    with world.hub.without_restarts():
        with world.pings() as outage:
            for process in ("exabgp", "bfd", "agent"):
                world.hub.kill(process)
            wait_until(lambda: not world.a.is_up(HUB), PATIENCE, world.evidence)
            lost_at = monotonic()
            died = world.a.kill("agent")
            wait_until(lambda: world.a.pid("agent") != died and bool(world.a.report()), PATIENCE, world.evidence)
            wait_until(lambda: monotonic() - lost_at > 2 * RESTART_SECONDS, PATIENCE, world.evidence)
            assert world.a.has([lan(B)]), world.evidence()
            assert world.ttl() == 64 == world.ttl(host6)
            wait_until(lambda: world.a.judges(B, "up"), PATIENCE, world.evidence)
            assert monotonic() - lost_at < QUICK.hubless_seconds - 1, "the machine was too slow to tell"
        assert outage[0] == 0, world.evidence()
        world.cut((A, B))
        gone = f"unreachable {lan(B)}"
        routes = ("ip", "-4", "route", "show", "proto", "76", "metric", "1000")
        took = wait_until(lambda: gone in world.members["a"].run(*routes), PATIENCE, world.evidence)
        assert took < within(1), "a dead next hop is not used, whoever said the route"
        world.cut()
        wait_until(lambda: world.ttl() == 64, PATIENCE, world.evidence)
        assert monotonic() - lost_at < QUICK.hubless_seconds - 1, "the machine was too slow to tell"
        wait_until(lambda: world.members["a"].run(*routes) == "", PATIENCE, world.evidence)
        assert monotonic() - lost_at >= QUICK.hubless_seconds - 1
    wait_until(lambda: world.a.settled(HUB) and world.a.has([lan(B)]), PATIENCE, world.evidence)
    world.until_direct()
