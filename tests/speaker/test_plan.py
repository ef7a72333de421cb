"""The plan over the wire: the version before is still read, and what is no plan is PlanUnreadable and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speaker.plan import (
    READABLE_VERSIONS,
    BfdPlan,
    FirstHopPlan,
    LivenessPlan,
    MoonPlan,
    MoonSeedPlan,
    Plan,
    PlanUnreadable,
    PolicyPlan,
    PrefixRangePlan,
    PrefixSetPlan,
    ProbePlan,
    StepPlan,
    decode,
    digest,
    encode,
)

V1 = (Path(__file__).parent / "golden" / "plan-v1.json").read_bytes()
"""As the first release's controller wrote it, kept as it is for ever."""
V2 = (Path(__file__).parent / "golden" / "plan-v2.json").read_bytes()
"""A hub's, as the last controller before rules wrote it, kept as it is for ever."""
V3 = (Path(__file__).parent / "golden" / "plan-v3.json").read_bytes()
"""A hub's, as the last controller before the segment was ours wrote it, kept as it is for ever."""

junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def changed(**fields: Any) -> bytes:
    return json.dumps({**json.loads(V1), **fields}).encode()


def test_a_plan_of_version_1_is_read_with_the_defaults() -> None:
    plan = decode(V1)
    assert (plan.version, plan.gateway, plan.drained) == (1, "berlin-1", False)
    assert plan.liveness == LivenessPlan(2_000, 60_000, 300, 256, 86_400)
    assert (plan.probes, plan.first_hops) == ((), ())
    assert [uplink.bfd for uplink in plan.uplinks] == [None, None]
    assert [(session.peer_address6, session.peer_is_ours) for session in plan.sessions] == [(None, True)] * 2


def test_a_plan_of_version_2_is_read_with_the_defaults() -> None:
    plan = decode(V2)
    assert (plan.version, plan.gateway, plan.role) == (2, "hub-eu", "hub")
    assert (plan.prefix_sets, plan.policies, plan.own_view, plan.blackhole, plan.underlay) == ((), (), 0, False, ())
    assert {(session.view, session.interface) for session in plan.sessions} == {(0, "")}
    imports = [session.imports for session in plan.sessions if session.imports is not None]
    assert imports
    assert {(each.max_prefixes, hop.policy) for each in imports for hop in each.next_hops} == {(0, 0)}


def test_a_plan_of_version_3_is_read_with_the_defaults_and_written_as_it_was() -> None:
    plan = decode(V3)
    assert (plan.version, plan.gateway, plan.role) == (3, "hub", "hub")
    assert (plan.network, plan.mtu, plan.mss_clamp, plan.permanent_neighbours) == ("", 0, False, False)
    assert (plan.orbit, plan.moon) == ((), None)
    assert {uplink.node_id for uplink in plan.uplinks} == {session.peer_node_id for session in plan.sessions} == {""}
    imports = [session.imports for session in plan.sessions if session.imports is not None]
    assert {hop.node_id for each in imports for hop in each.next_hops} == {""}
    assert encode(plan) == V3, "a fabric whose segment is not ours has the plans that it always had"


def of_version_4() -> Plan:
    """A plan with everything that version 4 added."""
    plan = decode(V3)
    session = next(each for each in plan.sessions if each.imports is not None)
    assert session.imports is not None
    hop = msgspec.structs.replace(session.imports.next_hops[0], node_id="0123456789")
    imports = msgspec.structs.replace(session.imports, next_hops=(hop,))
    return msgspec.structs.replace(
        plan,
        version=4,
        uplinks=(msgspec.structs.replace(plan.uplinks[0], node_id="abcdef0123"),),
        sessions=(msgspec.structs.replace(session, imports=imports, peer_node_id="0123456789"),),
        network="8056c2e21c000001",
        mtu=2800,
        mss_clamp=True,
        permanent_neighbours=True,
        orbit=(MoonPlan("home", "000000deadbeef42", "deadbeef42"),),
        moon=MoonSeedPlan("here", "wan", ("203.0.113.7/9993",)),
        relayed_seconds=300,
        relayed_preference=-50,
        unguarded=("10.0.0.0/8",),
    )


def test_a_plan_of_version_4_round_trips_and_carries_its_fields_used_or_not() -> None:
    plan = of_version_4()
    assert decode(encode(plan)) == plan
    unused = json.loads(encode(msgspec.structs.replace(decode(V3), version=4)))
    assert (unused["network"], unused["mtu"], unused["orbit"], unused["moon"]) == ("", 0, [], None)
    assert unused["uplinks"][0]["node_id"] == unused["sessions"][0]["peer_node_id"] == ""


def test_what_is_in_use_is_never_left_out() -> None:
    """A plan that says version 3 and uses version 4 is refused by a reader of version 3, not understood half."""
    plan = msgspec.structs.replace(of_version_4(), version=3)
    assert decode(encode(plan)) == plan


@pytest.mark.parametrize("field", ["network", "uplink", "session", "world", "seed"])
@pytest.mark.parametrize("value", ["zz", "ABCDEF0123", "abcdef0123\n", "0123", None, 5])
def test_ids_of_zerotier_are_hexadecimal(field: str, value: Any) -> None:
    document = json.loads(encode(of_version_4()))
    place, key = {
        "network": (document, "network"),
        "uplink": (document["uplinks"][0], "node_id"),
        "session": (document["sessions"][0], "peer_node_id"),
        "world": (document["orbit"][0], "world"),
        "seed": (document["orbit"][0], "seed"),
    }[field]
    place[key] = value
    with pytest.raises(PlanUnreadable, match=key):
        decode(json.dumps(document).encode())


def test_a_plan_round_trips_and_has_one_digest() -> None:
    plan = msgspec.structs.replace(
        decode(V1),
        version=4,
        drained=True,
        liveness=LivenessPlan(up_delay_ms=0),
        probes=(ProbePlan("10.2.10.0/24", "tcp", "10.2.10.10", 80, 500, 2),),
        first_hops=(FirstHopPlan("10.2.10.0/24", "10.2.10.1", 52, 250, 1000),),
        prefix_sets=(PrefixSetPlan(1, (PrefixRangePlan("10.0.0.0/8", 16, 24),)),),
        policies=(
            PolicyPlan(1, (StepPlan("eu", prefix_set=1, large=(("64512:2:7",),), preference_add=-5, deny=True),)),
        ),
        own_view=1,
        blackhole=True,
        underlay=("203.0.113.0/24",),
    )
    again = decode(encode(plan))
    assert again == plan
    assert encode(again) == encode(plan)
    assert digest(again) == digest(plan) != digest(decode(V1))


@pytest.mark.parametrize("struct", ["plan", "liveness", "bfd", "session", "uplink"])
def test_a_field_that_is_not_known_is_refused_by_name(struct: str) -> None:
    """It may be a deny, and an ignored one is a leak."""
    document = json.loads(encode(decode(V1)))
    uplink = document["uplinks"][0]
    uplink["bfd"] = {"interval_ms": 100, "multiplier": 3}
    places = {
        "plan": document,
        "liveness": document["liveness"],
        "session": document["sessions"][0],
        "uplink": uplink,
        "bfd": uplink["bfd"],
    }
    decode(json.dumps(document).encode())
    places[struct]["deny"] = []
    with pytest.raises(PlanUnreadable, match="deny"):
        decode(json.dumps(document).encode())


@pytest.mark.parametrize("version", [0, 5, 99, -1])
def test_a_version_that_is_not_read_says_which_are(version: int) -> None:
    with pytest.raises(
        PlanUnreadable, match=f"plan version {version}; this speaker reads 1, 2, 3, 4: upgrade the speaker"
    ):
        decode(changed(version=version))
    assert READABLE_VERSIONS == (1, 2, 3, 4)


@pytest.mark.parametrize(
    "fields",
    [
        {"liveness": {"max_sessions": 0}},
        {"liveness": {"idle_seconds": 9}},
        {"probes": [{"prefix": "10.0.0.0/8", "kind": "udp", "address": "", "port": 0, "interval_ms": 50,
                     "multiplier": 1}]},
        {"first_hops": [{"prefix": "", "address": "", "vrid": 0, "priority": 1, "advert_ms": 10}]},
        {"first_hops": [{"prefix": "", "address": "", "vrid": 1, "priority": 255, "advert_ms": 10}]},
        {"drained": 1},
        {"mtu": 9891},
        {"mtu": -1},
        {"moon": {"name": "m", "uplink": "wan"}},
        {"gateway": None},
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(PlanUnreadable):
        decode(changed(**fields))


@pytest.mark.parametrize(("interval", "multiplier"), [(9, 3), (60_001, 3), (100, 1), (100, 51)])
def test_bfd_timers_out_of_range_are_refused(interval: int, multiplier: int) -> None:
    document = json.loads(encode(decode(V1)))
    document["uplinks"][0]["bfd"] = {"interval_ms": interval, "multiplier": multiplier}
    with pytest.raises(PlanUnreadable, match=r"uplinks\[0\]\.bfd"):
        decode(json.dumps(document).encode())
    document["uplinks"][0]["bfd"] = {"interval_ms": 100, "multiplier": 3}
    assert decode(json.dumps(document).encode()).uplinks[0].bfd == BfdPlan(100, 3)


def decoded_or_unreadable(data: bytes) -> Plan | None:
    try:
        return decode(data)
    except PlanUnreadable:
        return None


@given(st.binary(max_size=200))
def test_bytes_are_a_plan_or_unreadable(data: bytes) -> None:
    assert decoded_or_unreadable(data) is None


@given(st.integers(0, len(V1)), st.binary(max_size=4))
def test_a_plan_with_damage_is_a_plan_or_unreadable(at: int, damage: bytes) -> None:
    found = decoded_or_unreadable(V1[:at] + damage + V1[at + len(damage) :])
    assert found is None or decode(encode(found)) == found


@given(st.sampled_from(sorted(Plan.__struct_fields__)), junk)
def test_a_plan_with_junk_in_a_field_is_a_plan_or_unreadable(field: str, value: Any) -> None:
    found = decoded_or_unreadable(changed(**{field: value}))
    assert found is None or decode(encode(found)) == found


@pytest.mark.parametrize("data", [b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe", b"", b"null", b"1" * 10_000])
def test_hostile_bytes_are_unreadable(data: bytes) -> None:
    assert decoded_or_unreadable(data) is None
