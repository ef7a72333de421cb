"""Sessions with who carries nothing yet, but would if somebody died."""

from __future__ import annotations

from collections.abc import Collection

from msgspec.structs import replace

from speaker.liveness import reach
from speaker.liveness.damping import Pair
from speaker.liveness.reach import Directory
from speaker.liveness.spares import spares
from speaker.plan import LivenessPlan
from speaker.rib.hops import Hop
from tests.speaker.liveness.test_reach import BOTH, HUBS, four, learnt, six, spoke, uplink


def at(device: str, *numbers: int) -> set[Pair]:
    return {(device, f"10.42.0.{number}") for number in numbers}


def found(
    known: Directory,
    used: Collection[int],
    beside: Collection[int] = (),
    dead: Collection[Pair] = (),
    usable: Collection[str] = BOTH,
) -> frozenset[Pair]:
    """With these far uplinks in use, and those beside them in their groups."""
    demand = [f"10.42.0.{number}" for number in used]
    wanted = reach.sessions(known, demand, dead, (), usable)
    answer = spares(known, wanted, [demand], lambda hops: _beside(hops, beside), usable)
    assert not wanted & answer
    return answer


def _beside(hops: Collection[bytes], numbers: Collection[int]) -> set[bytes]:
    assert {len(hop) for hop in hops} == {4, 16}, "groups of both families are looked at"
    return {*hops, *map(four, numbers), *map(six, numbers)}


def test_the_other_uplink_and_those_beside_are_asked_before_they_are_needed() -> None:
    known = spoke(*learnt(21), *learnt(22))
    assert found(known, [21]) == at("zt1", 21)
    assert found(known, [21], [22]) == at("zt1", 21, 22) | at("zt0", 22)
    assert found(known, [21], [22], usable=("zt1",)) == at("zt1", 22)
    assert found(known, [21], [1]) == at("zt1", 21), "hubs have their sessions"


def test_a_dead_one_asks_no_less() -> None:
    known = spoke(*learnt(21), *learnt(22))
    dead = at("zt0", 21)
    wanted = reach.sessions(known, (), dead, (), BOTH)
    assert wanted == HUBS | dead
    assert spares(known, wanted, [["10.42.0.21"]], lambda hops: _beside(hops, [22]), BOTH) == at("zt1", 21, 22) | at(
        "zt0", 22
    )


def test_nobody_in_use_means_no_spares() -> None:
    known = spoke(*learnt(21))
    assert spares(known, HUBS, [], lambda _: {four(21)}, BOTH) == frozenset()


def test_spares_get_what_is_left_and_always_the_same() -> None:
    def of(most: int) -> frozenset[Pair]:
        numbers = (21, 22, 23, 24)
        hops = [hop for number in numbers for hop in learnt(number)]
        return found(spoke(*hops, liveness=LivenessPlan(max_sessions=most)), [21, 22], [24, 23])

    assert of(2) == frozenset()
    assert of(3) == at("zt0", 23)
    assert of(4) == at("zt0", 23, 24)
    assert of(5) == at("zt0", 23, 24) | at("zt1", 21)
    assert of(8) == at("zt0", 23, 24) | at("zt1", 21, 22, 23, 24) == of(100)


def test_what_the_dead_fell_to_is_not_given_up_for_the_living() -> None:
    """A silent one without a session would be unknown again, and the next to be trusted."""
    known = spoke(*(hop for number in (21, 22, 30) for hop in learnt(number)), liveness=LivenessPlan(max_sessions=4))
    dead = at("zt0", 30)
    wanted = reach.sessions(known, ["10.42.0.21", "10.42.0.22"], dead, (), BOTH)
    answer = spares(known, wanted, [["10.42.0.30"], ["10.42.0.21", "10.42.0.22"]], lambda hops: hops, BOTH)
    assert answer == at("zt1", 30)


def test_an_uplink_without_bfd_or_without_the_family_asks_nobody() -> None:
    known = spoke(*learnt(21), uplinks=(uplink(11, "zt0"), uplink(12, "zt1", None)))
    assert found(known, [21]) == frozenset()
    second = replace(uplink(12, "zt1"), address6=None)
    only4 = spoke(Hop(six(22), 22), *learnt(21), uplinks=(uplink(11, "zt0"), second))
    wanted = reach.sessions(only4, ["10.42.0.21"], (), (), BOTH)
    assert spares(only4, wanted, [["10.42.0.21"]], lambda _: {six(22)}, BOTH) == at("zt1", 21) | {("zt0", "fd42::16")}
