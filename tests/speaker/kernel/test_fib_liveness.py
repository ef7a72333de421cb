"""The FIB and who is dead: which messages go out, in which order, and that no route is touched for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from ipaddress import ip_address

import pytest

from speaker.kernel import nexthops, table
from speaker.kernel.choice import Relay
from speaker.kernel.fake import FakeKernel
from speaker.kernel.fib import Fib
from speaker.kernel.port import TABLE_MAIN, Fault, RouteRecord
from speaker.kernel.table import BATCH
from speaker.kernel.targets import Target
from speaker.rib.path import Member, Tiers
from speaker.rib.prefix import Family
from tests.speaker.kernel.world import SEGMENTS, FakeWorld, name_of, via, want

A, AB = via("10.42.0.2"), via("10.42.0.2", "10.42.0.3")
TIERED: Tiers = (*via("10.42.0.2"), *via("10.42.0.9"))
HUB, HUB2 = ip_address("10.42.0.200").packed, ip_address("10.42.0.201").packed
PREFIX = "10.1.1.0/24"
Pairs = frozenset[tuple[str, bytes]]


def hop(address: str) -> bytes:
    return ip_address(address).packed


def dead(*addresses: str, device: str = "eth0") -> frozenset[tuple[str, bytes]]:
    return frozenset((device, hop(address)) for address in addresses)


def sets(world: FakeWorld) -> set[frozenset[str]]:
    """The different sets of next hops that routes have."""
    return {frozenset(members) for members in world.routes().values()}


@pytest.fixture
def world() -> FakeWorld:
    return FakeWorld()


@pytest.fixture
def fib(world: FakeWorld) -> Fib:
    fib = world.fib()
    fib.set_may_remove(True)
    return fib


def after(world: FakeWorld, fib: Fib, wanted: Tiers, *addresses: str) -> list[str]:
    """What is asked of the kernel when these die, with one route on `wanted`."""
    want(fib, PREFIX, wanted)
    assert fib.flush().converged
    world.kernel.log.clear()
    fib.set_liveness(dead(*addresses), {})
    assert fib.flush().converged
    return world.kernel.log


# One batch, and no route in it


def test_a_dead_member_leaves_by_one_deletion(world: FakeWorld, fib: Fib) -> None:
    assert after(world, fib, AB, "10.42.0.2") == ["delete nexthop"]
    assert world.routes() == {(PREFIX, 1000): {"10.42.0.3": 1}}
    assert fib.audit() == 0


def test_the_next_tier_takes_over_before_the_last_member_goes(world: FakeWorld, fib: Fib) -> None:
    assert after(world, fib, TIERED, "10.42.0.2") == ["put group", "delete nexthop"]
    assert world.routes() == {(PREFIX, 1000): {"10.42.0.9": 1}}
    assert fib.active(hop("10.42.0.2")) == ()
    assert fib.active(hop("10.42.0.9")) == (Relay("eth0", hop("10.42.0.9")),)


def test_a_failover_is_one_submit(world: FakeWorld, fib: Fib) -> None:
    """However many groups, with or without survivors: replacements, then deletions, and nothing between them."""
    for number in range(50):
        want(fib, f"10.1.{number}.0/24", (*AB, *via(f"10.42.1.{number}")))
        want(fib, f"10.2.{number}.0/24", (*A, *via(f"10.42.1.{number}")))
        want(fib, f"10.3.{number}.0/24", via("10.42.0.2", f"10.42.1.{number}"))
    fib.flush()
    submits: list[list[str]] = []
    submit = world.kernel.submit

    def recorded(messages: bytes) -> list[Fault]:
        world.kernel.log.clear()
        faults = submit(messages)
        submits.append(list(world.kernel.log))
        return faults

    world.kernel.submit = recorded  # type: ignore[method-assign]
    fib.set_liveness(dead("10.42.0.2", "10.42.0.3"), {})
    assert fib.flush().converged
    assert submits == [["put group"] * 100 + ["delete nexthop"] * 2]
    assert sets(world) == {frozenset({f"10.42.1.{n}"}) for n in range(50)}


def test_nobody_left_is_unreachable_and_the_group_waits(world: FakeWorld, fib: Fib) -> None:
    assert after(world, fib, A, "10.42.0.2") == ["put group", "delete nexthop", "put route"]
    assert world.routes() == {(PREFIX, 1000): {}}
    assert fib.installed(*name_of(PREFIX))
    assert [fib.audit(), fib.audit(), fib.audit()] == [0, 0, 0]
    world.kernel.log.clear()
    fib.set_liveness(frozenset(), {})
    assert fib.flush().converged
    assert world.kernel.log == ["put nexthop", "put group", "put route"]
    assert world.routes() == {(PREFIX, 1000): {"10.42.0.2": 1}}
    assert fib.audit() == 0


@pytest.mark.parametrize(("wanted", "walked"), [pytest.param(A, 1, id="void"), pytest.param(AB, 0, id="lives on")])
def test_it_is_said_while_routes_drop_in_silence(world: FakeWorld, fib: Fib, wanted: Tiers, walked: int) -> None:
    for number in range(2 * BATCH):
        want(fib, f"10.{number >> 8}.{number & 255}.0/24", wanted)
    assert fib.flush().converged
    assert not fib.walking
    said: list[tuple[str, bool]] = []
    submit = world.kernel.submit

    def recorded(data: bytes) -> list[Fault]:
        before = len(world.kernel.log)
        faults = submit(data)
        said.append((world.kernel.log[before], fib.walking))
        return faults

    world.kernel.submit = recorded  # type: ignore[method-assign]
    fib.set_liveness(dead("10.42.0.2"), {})
    assert fib.flush().converged
    routes = [walking for what, walking in said if what == "put route"]
    assert (len(routes) > 1, routes[:1], fib.walking) == ((True, [True], False) if walked else (False, [], False))


def test_ipv6_has_a_blackhole_of_its_own(world: FakeWorld, fib: Fib) -> None:
    want(fib, "2001:db8::/48", via("fd42:42::2"))
    fib.flush()
    fib.set_liveness(dead("fd42:42::2"), {})
    assert fib.flush().converged
    assert world.routes(Family.IPV6) == {("2001:db8::/48", 1000): {}}


def test_a_route_of_a_void_group_goes_in_unreachable(world: FakeWorld, fib: Fib) -> None:
    fib.set_liveness(dead("10.42.0.2"), {})
    want(fib, PREFIX, A)
    world.kernel.log.clear()
    assert fib.flush().converged
    assert world.kernel.log == ["put nexthop", "put route"]  # The blackhole, made ahead.
    assert world.routes() == {(PREFIX, 1000): {}}


def test_a_wish_that_ends_unreachable_costs_nothing_when_it_is_so_already(world: FakeWorld, fib: Fib) -> None:
    after(world, fib, A, "10.42.0.2")
    world.kernel.log.clear()
    for tiers in ((), A, TIERED[:1], ()):
        want(fib, PREFIX, tiers)
        assert fib.flush().converged
    assert world.kernel.log == []
    want(fib, PREFIX, AB)
    fib.flush()
    assert world.routes() == {(PREFIX, 1000): {"10.42.0.3": 1}}


def test_ids_are_never_given_out_again(world: FakeWorld, fib: Fib) -> None:
    seen: list[int] = []
    want(fib, PREFIX, A)
    for _ in range(5):
        fib.set_liveness(frozenset(), {})
        fib.flush()
        seen += [r.id for r in world.kernel.nexthops_by_id.values() if r.gateway == hop("10.42.0.2")]
        fib.set_liveness(dead("10.42.0.2"), {})
        fib.flush()
    assert sorted(set(seen)) == seen


# Cost


def test_a_failover_walks_no_route(fib: Fib, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [bytes([24, 20 + (n >> 8), n & 255, 0]) for n in range(5000)]
    fib.want_many(Family.IPV4, keys, AB)
    fib.flush()
    ipv4 = fib._routes[TABLE_MAIN, Family.IPV4]
    walked: list[set[Target]] = []
    monkeypatch.setattr(ipv4, "begin_walk", walked.append)
    fib.set_liveness(dead("10.42.0.2"), {})
    assert fib.flush().converged
    assert walked == []
    fib.set_liveness(dead("10.42.0.2", "10.42.0.3"), {})
    fib.flush()
    assert len(walked) == 1


def test_only_groups_that_hold_it_are_looked_at(fib: Fib) -> None:
    for number in range(200):
        want(fib, f"10.1.{number}.0/24", via(f"10.42.1.{number}", "10.42.0.3"))
    fib.flush()
    fib.set_liveness(dead("10.42.1.7"), {})
    assert len(fib._objects.held.dirty) == 1


def test_more_groups_than_a_batch_takes(world: FakeWorld, fib: Fib, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nexthops, "GROUPS_A_BATCH", 100)
    number = 350
    for n in range(number):
        tiers = (*A, *via(f"10.43.{n >> 8}.{n & 255}"))
        want(fib, f"20.{n >> 8}.{n & 255}.0/24", tiers)
    fib.flush()
    world.kernel.log.clear()
    fib.set_liveness(dead("10.42.0.2"), {})
    assert fib.flush().converged
    assert world.kernel.log == ["put group"] * number + ["delete nexthop"]


# Detours


def test_a_detour_when_no_direct_path_of_any_tier_lives(world: FakeWorld, fib: Fib) -> None:
    relays = {hop("10.42.0.2"): (Relay("eth0", HUB),), hop("10.42.0.9"): (Relay("eth0", HUB2),)}
    want(fib, PREFIX, TIERED)
    fib.set_liveness(dead("10.42.0.2"), relays)
    fib.flush()
    assert world.routes() == {(PREFIX, 1000): {"10.42.0.9": 1}}
    world.kernel.log.clear()
    fib.set_liveness(dead("10.42.0.2", "10.42.0.9"), relays)
    assert fib.flush().converged
    assert world.kernel.log == ["put nexthop", "put group", "delete nexthop"]
    assert world.routes() == {(PREFIX, 1000): {"10.42.0.200": 1}}
    assert fib.active(hop("10.42.0.2")) == (Relay("eth0", HUB),)
    fib.set_liveness(dead("10.42.0.2", "10.42.0.9"), {hop("10.42.0.9"): (Relay("eth0", HUB2),)})
    fib.flush()
    assert world.routes() == {(PREFIX, 1000): {"10.42.0.201": 1}}
    fib.set_liveness(dead("10.42.0.9"), relays)
    fib.flush()
    assert world.routes() == {(PREFIX, 1000): {"10.42.0.2": 1}}
    assert fib.audit() == 0


def test_weights_behind_one_hub_add_up(world: FakeWorld, fib: Fib) -> None:
    tiers = (tuple(Member(bytes([10, 42, 0, n]), 100) for n in range(2, 6)),)
    relays = {bytes([10, 42, 0, n]): (Relay("eth0", HUB if n < 5 else HUB2),) for n in range(2, 6)}
    want(fib, PREFIX, tiers)
    fib.set_liveness(frozenset(("eth0", bytes([10, 42, 0, n])) for n in range(2, 6)), relays)
    assert fib.flush().converged
    assert world.routes() == {(PREFIX, 1000): {"10.42.0.200": 255, "10.42.0.201": 100}}


def test_a_hub_that_dies_is_no_detour(world: FakeWorld, fib: Fib) -> None:
    relays = {hop("10.42.0.2"): (Relay("eth0", HUB), Relay("eth0", HUB2))}
    want(fib, PREFIX, A)
    fib.set_liveness(dead("10.42.0.2"), relays)
    fib.flush()
    assert world.routes() == {(PREFIX, 1000): {"10.42.0.200": 1, "10.42.0.201": 1}}
    world.kernel.log.clear()
    fib.set_liveness(dead("10.42.0.2", "10.42.0.200"), relays)
    assert fib.flush().converged
    assert world.kernel.log == ["delete nexthop"]
    assert world.routes() == {(PREFIX, 1000): {"10.42.0.201": 1}}


def test_a_detour_by_label_is_a_next_hop_of_its_own(world: FakeWorld, fib: Fib) -> None:
    relays = {hop(f"10.42.0.{n}"): (Relay("eth0", HUB, 16000 + n),) for n in (2, 3)}
    want(fib, PREFIX, AB)
    fib.set_liveness(dead("10.42.0.2", "10.42.0.3"), relays)
    assert fib.flush().converged
    labels = {r.label for r in world.kernel.nexthops_by_id.values() if r.gateway == HUB}
    assert labels == {16002, 16003}
    assert world.kernel.ways((*name_of(PREFIX), 1000)) == {(1, HUB, 16002): 1, (1, HUB, 16003): 1}
    again = world.fib()
    again.set_liveness(dead("10.42.0.2", "10.42.0.3"), relays)
    world.kernel.log.clear()
    want(again, PREFIX, AB)
    assert again.flush().converged
    assert world.kernel.log == []


def test_a_kernel_without_mpls_says_so_and_the_route_is_unreachable(world: FakeWorld, fib: Fib) -> None:
    world.kernel.mpls = False
    want(fib, PREFIX, A)
    fib.flush()
    fib.set_liveness(dead("10.42.0.2"), {hop("10.42.0.2"): (Relay("eth0", HUB, 16002),)})
    outcome = fib.flush()
    assert outcome.faults == [
        "next hop 10.42.0.200 on eth0 by label 16002: LWT encapsulation type not supported",
    ]
    assert world.routes() == {(PREFIX, 1000): {}}


# Several uplinks


@pytest.fixture
def twofold(world: FakeWorld) -> Fib:
    world.kernel.links = {1: True, 2: True}
    fib = Fib(world.kernel, ["eth1", "eth0"], segments=SEGMENTS)
    fib.set_may_remove(True)
    fib.set_link("eth0", 1)
    fib.set_link("eth1", 2)
    want(fib, PREFIX, A)
    fib.flush()
    return fib


def uplink_of(world: FakeWorld) -> list[int]:
    return [index for index, _, _ in world.kernel.ways((*name_of(PREFIX), 1000)) or ()]


def test_members_take_the_first_uplink_that_is_up_and_not_dead(world: FakeWorld, twofold: Fib) -> None:
    assert uplink_of(world) == [2]
    world.kernel.log.clear()
    twofold.set_liveness(dead("10.42.0.2", device="eth1"), {})
    twofold.flush()
    assert uplink_of(world) == [1]
    assert "put route" not in world.kernel.log
    twofold.set_liveness(dead("10.42.0.2", device="eth1") | dead("10.42.0.2"), {})
    twofold.flush()
    assert world.routes() == {(PREFIX, 1000): {}}
    twofold.set_liveness(dead("10.42.0.2"), {})
    twofold.flush()
    assert uplink_of(world) == [2]


def test_the_plan_s_order_decides(world: FakeWorld, twofold: Fib) -> None:
    twofold.configure(["eth0", "eth1"], SEGMENTS)
    world.kernel.log.clear()
    twofold.flush()
    assert uplink_of(world) == [1]
    assert "put route" not in world.kernel.log


def test_the_other_uplink_goes_while_this_one_is_dead(world: FakeWorld, twofold: Fib) -> None:
    twofold.set_liveness(dead("10.42.0.2", device="eth0"), {})
    twofold.flush()
    world.kernel.link_down(2)
    twofold.set_link("eth1", None)
    assert twofold.flush().converged
    assert world.routes() == {(PREFIX, 1000): {}}
    world.kernel.link_down(1)
    twofold.set_link("eth0", None)
    twofold.flush()
    assert world.routes() == {(PREFIX, 1000): {}}
    world.kernel.link_up(2)
    twofold.set_link("eth1", 2)
    assert twofold.flush().converged
    assert uplink_of(world) == [2]
    assert twofold.audit() == 0


# A restart


@pytest.mark.parametrize(
    ("tiers", "addresses", "relays"),
    [
        pytest.param(AB, ["10.42.0.2"], {}, id="survivors"),
        pytest.param(TIERED, ["10.42.0.2"], {}, id="next tier"),
        pytest.param(A, ["10.42.0.2"], {hop("10.42.0.2"): (Relay("eth0", HUB),)}, id="detour"),
        pytest.param(A, ["10.42.0.2"], {}, id="void"),
    ],
)
def test_a_restart_in_the_middle_of_a_failure_touches_nothing(
    world: FakeWorld, fib: Fib, tiers: Tiers, addresses: list[str], relays: dict[bytes, tuple[Relay, ...]]
) -> None:
    keys = [bytes([24, 20, n, 0]) for n in range(200)]
    fib.want_many(Family.IPV4, keys, tiers)
    fib.flush()
    fib.set_liveness(dead(*addresses), relays)
    fib.flush()
    before = world.routes()
    world.kernel.log.clear()

    again = world.fib()
    again.set_liveness(dead(*addresses), relays)
    again.want_many(Family.IPV4, keys, tiers)
    assert again.flush().converged
    again.set_may_remove(True)
    assert again.flush().converged
    assert (world.kernel.log, world.routes()) == ([], before)
    assert [again.audit() for _ in range(3)] == [0, 0, 0]
    again.set_liveness(frozenset(), {})
    assert again.flush().converged
    assert sets(world) == {frozenset(str(ip_address(member.next_hop)) for member in tiers[0])}


def test_it_died_while_nobody_looked(world: FakeWorld, fib: Fib) -> None:
    """The agent learns of it before the first wish: what it leaves empty is void, and what it does not lives on."""
    want(fib, PREFIX, A)
    want(fib, "10.1.2.0/24", AB)
    fib.flush()
    again = world.fib()
    again.set_liveness(dead("10.42.0.2"), {})
    world.kernel.log.clear()
    again.flush()
    assert world.kernel.log == ["put group", "delete nexthop"]
    want(again, PREFIX, A)
    want(again, "10.1.2.0/24", AB)
    assert again.flush().converged
    assert world.routes() == {(PREFIX, 1000): {}, ("10.1.2.0/24", 1000): {"10.42.0.3": 1}}
    assert again.audit() == 0


# Resilient groups


def groups(world: FakeWorld) -> dict[int, bool]:
    """Number of members -> resilient, of the groups in use."""
    used = {route.nhid for route in world.kernel.ours().values()}
    return {len(r.group): r.resilient for r in world.kernel.nexthops_by_id.values() if r.id in used}


def test_groups_that_can_have_two_members_are_resilient(world: FakeWorld, fib: Fib) -> None:
    want(fib, PREFIX, A)
    want(fib, "10.1.2.0/24", AB)
    fib.flush()
    assert groups(world) == {1: False, 2: True}
    want(fib, "10.1.3.0/24", (*via("10.42.0.9"), *AB))
    want(fib, PREFIX, None)
    fib.flush()
    assert groups(world) == {1: True, 2: True}
    assert fib.resilient


def test_a_kernel_without_them_is_asked_once(world: FakeWorld, fib: Fib) -> None:
    world.kernel.resilient = False
    want(fib, PREFIX, AB)
    assert fib.flush().converged
    assert not fib.resilient
    assert groups(world) == {2: False}
    world.kernel.log.clear()
    want(fib, "10.1.2.0/24", via("10.42.0.4", "10.42.0.5"))
    fib.flush()
    assert world.kernel.log == ["put nexthop"] * 2 + ["put group", "put route"]


# What the kernel refuses


def test_without_lo_the_routes_leave_the_dead_by_themselves(world: FakeWorld, fib: Fib) -> None:
    world.kernel.lo_up = False
    want(fib, PREFIX, A)
    want(fib, "10.1.2.0/24", AB)
    outcome = fib.flush()
    assert outcome.faults == [
        "blackhole next hop 0x4c000002 (it needs the interface lo up): Device for nexthop is not up"
    ]
    world.kernel.log.clear()
    fib.set_liveness(dead("10.42.0.2"), {})
    fib.flush()
    assert "delete nexthop" not in world.kernel.log  # Its group would go with it, and the route, for a moment.
    assert world.routes() == {(PREFIX, 1000): {}, ("10.1.2.0/24", 1000): {"10.42.0.3": 1}}
    world.kernel.lo_up = True
    fib.audit()
    assert fib.flush().converged
    assert not [r for r in world.kernel.nexthops_by_id.values() if r.gateway == hop("10.42.0.2")]
    fib.set_liveness(frozenset(), {})
    fib.flush()
    assert world.routes()[PREFIX, 1000] == {"10.42.0.2": 1}


@pytest.mark.parametrize("kind", ["group", "removal", "nexthop", "submit", "answer"])
@pytest.mark.parametrize("tiers", [A, AB, TIERED, (*AB, *via("10.42.0.9"))])
def test_a_failover_survives_any_one_failure(world: FakeWorld, fib: Fib, kind: str, tiers: Tiers) -> None:
    want(fib, PREFIX, tiers)
    fib.flush()
    world.kernel.failures[kind] = 1
    relays = {hop("10.42.0.2"): (Relay("eth0", HUB),)} if tiers is A else {}
    fib.set_liveness(dead("10.42.0.2"), relays)
    fib.flush()
    world.kernel.failures.clear()
    assert fib.flush().converged  # As the agent does a second later.
    (members,) = world.routes().values()
    assert members == {"10.42.0.200": 1} if tiers is A else "10.42.0.2" not in members and members
    assert fib.audit() == 0


# Beside other work


def test_a_failover_overtakes_routes(world: FakeWorld, fib: Fib) -> None:
    keys = [bytes([24, 20 + (n >> 8), n & 255, 0]) for n in range(12_000)]
    want(fib, PREFIX, TIERED)
    fib.flush()

    async def scenario() -> None:
        fib.want_many(Family.IPV4, keys, AB)
        flush = asyncio.create_task(fib.flush_async())
        while len(world.kernel.log) < 3000:
            await asyncio.sleep(0)
        fib.set_liveness(dead("10.42.0.2"), {})
        assert (await flush).converged

    asyncio.run(scenario())
    fib.close()
    log = world.kernel.log
    assert log.index("delete nexthop") < 3100 + 2 * BATCH
    assert world.routes()[PREFIX, 1000] == {"10.42.0.9": 1}


class SlowReading(FakeKernel):
    """A reading of routes lasts until somebody has written."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()
        self.written = threading.Event()

    def routes(self, family: Family, table: int = TABLE_MAIN) -> Iterator[list[RouteRecord]]:
        found = super().routes(family, table)
        self.asked.set()
        assert self.written.wait(10), "nobody wrote while routes were read"
        return found

    def submit(self, messages: bytes) -> list[Fault]:
        faults = super().submit(messages)
        self.written.set()
        return faults


@pytest.mark.parametrize("reason", ["audit", "suspicion"])
def test_a_failover_overtakes_a_reading_of_the_kernel(world: FakeWorld, reason: str) -> None:
    world.kernel = kernel = SlowReading()
    kernel.written.set()
    fib = world.fib()
    want(fib, PREFIX, TIERED)
    want(fib, "10.1.2.0/24", A)
    fib.flush()

    async def scenario() -> None:
        kernel.written.clear()
        kernel.asked.clear()
        if reason == "suspicion":
            fib.suspect()
        work = asyncio.create_task(fib.audit_async() if reason == "audit" else fib.flush_async())
        while not kernel.asked.is_set():
            await asyncio.sleep(0)
        fib.set_liveness(dead("10.42.0.2"), {})
        assert await work == 0 if reason == "audit" else await work

    asyncio.run(scenario())
    fib.close()
    assert world.routes() == {(PREFIX, 1000): {"10.42.0.9": 1}, ("10.1.2.0/24", 1000): {}}
    assert fib.audit() == 0


@pytest.mark.slow
def test_a_group_that_comes_back_in_the_middle_of_it(world: FakeWorld, fib: Fib) -> None:
    keys = [bytes([24, 20 + (n >> 8), n & 255, 0]) for n in range(10_000)]
    fib.want_many(Family.IPV4, keys, A)
    fib.flush()
    world.kernel.log.clear()

    async def scenario() -> None:
        fib.set_liveness(dead("10.42.0.2"), {})
        flush = asyncio.create_task(fib.flush_async())
        while len(world.kernel.log) < 3000:
            await asyncio.sleep(0)
        fib.set_liveness(frozenset(), {})
        assert (await flush).converged

    asyncio.run(scenario())
    fib.close()
    assert sets(world) == {frozenset({"10.42.0.2"})}
    assert fib.audit() == 0


def test_events_lost_while_the_kernel_is_read_make_it_be_read_again(world: FakeWorld) -> None:
    world.kernel = kernel = SlowReading()
    kernel.written.set()
    fib = world.fib()
    want(fib, PREFIX, A)
    fib.flush()

    async def scenario() -> None:
        kernel.written.clear()
        kernel.asked.clear()
        fib.suspect()
        work = asyncio.create_task(fib.flush_async())
        while not kernel.asked.is_set():
            await asyncio.sleep(0)
        kernel.routes_by_name.clear()  # After it was read.
        fib.suspect()
        kernel.written.set()
        assert (await work).converged

    asyncio.run(scenario())
    fib.close()
    assert world.routes() == {(PREFIX, 1000): {"10.42.0.2": 1}}


def test_routes_that_come_meanwhile_do_not_stop_it(world: FakeWorld, fib: Fib, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "BATCH", 10)
    monkeypatch.setattr(table, "WALK", 20)
    keys = [bytes([24, 20, n >> 8, n & 255]) for n in range(900)]
    lives, dies, comes = keys[:300], keys[300:600], keys[600:]
    fib.want_many(Family.IPV4, lives, via("10.42.0.3"))
    fib.want_many(Family.IPV4, dies, A)
    fib.flush()
    fib.want_many(Family.IPV4, comes, via("10.42.0.4"))
    submit = world.kernel.submit
    batches: list[int] = []

    def interrupted(messages: bytes) -> list[Fault]:
        batches.append(len(messages))
        if len(batches) == 5:
            fib.set_liveness(dead("10.42.0.2"), {})
        return submit(messages)

    monkeypatch.setattr(world.kernel, "submit", interrupted)
    assert fib.flush().converged
    for keys, members in ((lives, {hop("10.42.0.3"): 1}), (dies, {}), (comes, {hop("10.42.0.4"): 1})):
        assert all(world.kernel.gateways((Family.IPV4, key, 1000)) == members for key in keys)
    assert fib.audit() == 0


def test_next_hops_are_those_of_all_tiers_that_are_in_use(fib: Fib) -> None:
    want(fib, PREFIX, TIERED)
    want(fib, "10.1.2.0/24", AB)
    assert fib.next_hops() == {hop("10.42.0.2"), hop("10.42.0.3"), hop("10.42.0.9")}
    fib.flush()
    want(fib, "10.1.2.0/24", None)
    fib.flush()
    fib.audit()
    assert fib.next_hops() == {hop("10.42.0.2"), hop("10.42.0.9")}
    fib.set_liveness(dead("10.42.0.2", "10.42.0.9"), {})
    fib.flush()
    fib.audit()
    assert fib.next_hops() == {hop("10.42.0.2"), hop("10.42.0.9")}  # Void, and wanted.


def test_what_is_used_for_a_next_hop(fib: Fib) -> None:
    relays = {hop("10.42.0.2"): (Relay("eth0", HUB),)}
    assert fib.active(hop("10.42.0.2")) == (Relay("eth0", hop("10.42.0.2")),)
    fib.set_liveness(dead("10.42.0.2"), relays)
    assert fib.active(hop("10.42.0.2")) == (Relay("eth0", HUB),)
    fib.set_liveness(dead("10.42.0.2", "10.42.0.200"), relays)
    assert fib.active(hop("10.42.0.2")) == ()
    fib.set_link("eth0", None)
    assert fib.active(hop("10.42.0.3")) == ()


# Those that answer again, and are not trusted yet


def test_who_answers_again_is_used_before_nobody_is(world: FakeWorld, fib: Fib) -> None:
    assert after(world, fib, AB, "10.42.0.2", "10.42.0.3")
    assert world.routes() == {(PREFIX, 1000): {}}
    fib.set_liveness(dead("10.42.0.2", "10.42.0.3"), {}, dead("10.42.0.3"))
    assert fib.flush().converged
    assert world.routes() == {(PREFIX, 1000): {"10.42.0.3": 1}}
    assert fib.active(hop("10.42.0.3")) == (Relay("eth0", hop("10.42.0.3")),)
    fib.set_liveness(dead("10.42.0.2"), {})
    assert fib.flush().converged
    assert world.routes() == {(PREFIX, 1000): {"10.42.0.3": 1}}
    assert fib.audit() == 0


def test_who_answers_again_must_wait_while_anybody_else_lives(world: FakeWorld, fib: Fib) -> None:
    assert after(world, fib, TIERED, "10.42.0.2")
    fib.set_liveness(dead("10.42.0.2"), {}, dead("10.42.0.2"))
    assert fib.flush().converged
    assert world.routes() == {(PREFIX, 1000): {"10.42.0.9": 1}}
    relays = {hop("10.42.0.2"): (Relay("eth0", HUB),)}
    fib.set_liveness(dead("10.42.0.2", "10.42.0.9"), relays, dead("10.42.0.2", "10.42.0.9"))
    assert fib.flush().converged
    assert world.routes() == {(PREFIX, 1000): {"10.42.0.200": 1}}


def test_who_answered_and_dies_again_leaves_at_once(world: FakeWorld, fib: Fib) -> None:
    assert after(world, fib, A, "10.42.0.2")
    fib.set_liveness(dead("10.42.0.2"), {}, dead("10.42.0.2"))
    assert fib.flush().converged
    assert world.routes() == {(PREFIX, 1000): {"10.42.0.2": 1}}
    world.kernel.log.clear()
    fib.set_liveness(dead("10.42.0.2"), {})
    assert fib.flush().converged
    assert world.kernel.log == ["put group", "delete nexthop", "put route"]
    assert world.routes() == {(PREFIX, 1000): {}}


# Those that were never heard


def holds(world: FakeWorld) -> dict[str, int] | None:
    return world.routes()[PREFIX, 1000]


def silence(fib: Fib, died: Pairs, silent: Pairs, around: Sequence[str] = ()) -> None:
    relays = {hop(address): (Relay("eth0", HUB),) for address in around}
    fib.set_liveness(died, relays, frozenset(), silent)
    assert fib.flush().converged


def test_silence_takes_nothing_down(world: FakeWorld, fib: Fib) -> None:
    """FRR without BFD is silent, and carries traffic."""
    want(fib, PREFIX, TIERED)
    assert fib.flush().converged
    world.kernel.log.clear()
    silence(fib, frozenset(), dead("10.42.0.2"))
    assert holds(world) == {"10.42.0.2": 1}
    assert world.kernel.log == []
    assert fib.active(hop("10.42.0.2")) == (Relay("eth0", hop("10.42.0.2")),)


def test_a_tier_that_was_never_heard_is_fled_to_after_a_detour(world: FakeWorld, fib: Fib) -> None:
    want(fib, PREFIX, TIERED)
    silence(fib, dead("10.42.0.2"), dead("10.42.0.9"))
    assert holds(world) == {"10.42.0.9": 1}, "better than nothing"
    silence(fib, dead("10.42.0.2"), dead("10.42.0.9"), around=["10.42.0.2"])
    assert holds(world) == {"10.42.0.200": 1}
    silence(fib, dead("10.42.0.2"), dead("10.42.0.9"), around=["10.42.0.9"])
    assert holds(world) == {"10.42.0.200": 1}, "who is only cut off from us is reached through a hub"
    silence(fib, dead("10.42.0.2"), frozenset(), around=["10.42.0.2"])
    assert holds(world) == {"10.42.0.9": 1}, "it has answered"
    assert fib.audit() == 0


def test_a_tier_that_was_never_heard_is_passed_over_for_one_that_was(world: FakeWorld, fib: Fib) -> None:
    want(fib, PREFIX, (*TIERED, *via("10.42.0.5", "10.42.0.6")))
    silence(fib, dead("10.42.0.2"), dead("10.42.0.9", "10.42.0.5"))
    assert holds(world) == {"10.42.0.6": 1}


def test_a_silent_member_stays_when_its_sibling_dies(world: FakeWorld, fib: Fib) -> None:
    """It carried its share before."""
    want(fib, PREFIX, (*AB, *via("10.42.0.9")))
    silence(fib, dead("10.42.0.2"), dead("10.42.0.3"), around=["10.42.0.2"])
    assert holds(world) == {"10.42.0.3": 1}


def test_who_was_never_heard_comes_before_who_flaps(world: FakeWorld, fib: Fib) -> None:
    want(fib, PREFIX, TIERED)
    fib.set_liveness(dead("10.42.0.2"), {}, dead("10.42.0.2"), dead("10.42.0.9"))
    assert fib.flush().converged
    assert holds(world) == {"10.42.0.9": 1}


def test_nobody_flees_to_another_uplink_behind_which_somebody_is_silent_who_has_bfd(
    world: FakeWorld, twofold: Fib
) -> None:
    first, second = dead("10.42.0.2", device="eth1"), dead("10.42.0.2", device="eth0")
    silence(twofold, frozenset(), first | second)
    assert uplink_of(world) == [2]
    silence(twofold, first, second)
    assert not holds(world), "it died here, so it has BFD: a fast no is better than a silent hole"
    silence(twofold, first, second, around=["10.42.0.2"])
    assert holds(world) == {"10.42.0.200": 1}
    assert twofold.active(hop("10.42.0.2")) == (Relay("eth0", HUB),)
    silence(twofold, first, frozenset(), around=["10.42.0.2"])
    assert uplink_of(world) == [1]
    assert holds(world) == {"10.42.0.2": 1}


def test_the_way_of_a_flight_is_made_ahead(world: FakeWorld, twofold: Fib) -> None:
    """The next tier's first uplink is silent: it is the second one that a failover takes."""
    want(twofold, PREFIX, TIERED)
    silence(twofold, frozenset(), dead("10.42.0.9", device="eth1"))
    world.kernel.log.clear()
    died = dead("10.42.0.2", device="eth1") | dead("10.42.0.2")
    silence(twofold, died, dead("10.42.0.9", device="eth1"))
    assert (holds(world), uplink_of(world)) == ({"10.42.0.9": 1}, [1])
    assert "put nexthop" not in world.kernel.log


def test_the_other_uplink_is_not_trusted_when_this_one_died_and_went(world: FakeWorld, twofold: Fib) -> None:
    """Its interface is down as well: that it died still says that silence means something."""
    want(twofold, PREFIX, TIERED)
    silence(twofold, dead("10.42.0.2", device="eth1"), dead("10.42.0.2"))
    world.kernel.link_down(2)
    twofold.set_link("eth1", None)
    assert twofold.flush().converged
    assert holds(world) == {"10.42.0.9": 1}


def test_who_stands_beside(fib: Fib) -> None:
    assert fib.beside([hop("10.42.0.2")]) == frozenset()
    want(fib, PREFIX, TIERED)
    assert fib.beside([hop("10.42.0.2")]) == {hop("10.42.0.2"), hop("10.42.0.9")}
    want(fib, "10.1.2.0/24", AB)
    want(fib, "10.1.3.0/24", via("10.42.0.7"))
    assert fib.beside([hop("10.42.0.2")]) == {hop("10.42.0.2"), hop("10.42.0.3"), hop("10.42.0.9")}
    assert fib.beside([hop("10.42.0.3"), hop("10.42.0.7")]) == {hop(f"10.42.0.{n}") for n in (2, 3, 7)}
    assert fib.beside([hop("10.42.0.99")]) == frozenset()
    fib.flush()
    want(fib, "10.1.2.0/24", None)
    fib.flush()
    fib.audit()
    fib.audit()
    assert fib.beside([hop("10.42.0.2")]) == {hop("10.42.0.2"), hop("10.42.0.9")}
