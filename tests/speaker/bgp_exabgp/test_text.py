from __future__ import annotations

import contextlib
from collections import Counter
from ipaddress import ip_network
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speaker.bgp.text import (
    PREFIXES_A_LINE,
    SETTLE_SECONDS,
    Route,
    TextQueue,
    Unreadable,
    Unsayable,
    announce_line,
    end_of_rib_line,
    parse_update,
    refresh_line,
    withdraw_line,
)
from speaker.rib.attributes import AS_CONFED_SET, AS_SEQUENCE, AS_SET, Attributes
from speaker.rib.path import Update
from speaker.rib.prefix import Family, key_of

NOTHING: tuple[str, list[Route]] = ("nothing was said", [])
V4, V6 = Family.IPV4, Family.IPV6


def route(text: str, path_id: int = 0) -> Route:
    network = ip_network(text)
    return (V4 if network.version == 4 else V6, path_id, key_of(network))


def test_a_line_with_every_attribute() -> None:
    attributes = Attributes(
        next_hop=b"\x0a\0\0\x01",
        origin=2,
        as_path=((AS_SEQUENCE, (65001, 4200000000)), (AS_SET, (7, 8))),
        med=0,
        local_pref=0,
        atomic_aggregate=True,
        aggregator=(65001, b"\x01\x02\x03\x04"),
        communities=(0xFFFF0000,),
        originator_id=b"\x01\x01\x01\x01",
        cluster_list=(b"\x02\x02\x02\x02", b"\x03\x03\x03\x03"),
        extended_communities=(bytes.fromhex("0002fc0000000009"),),
        large_communities=((64512, 9, 1), (64512, 9, 2)),
        unknown=((0xE0, 0x63, b"\x01\x02"),),
    )
    assert announce_line("10.0.0.2", [route("20.0.0.0/24", 7), route("0.0.0.0/0", 7)], attributes, True) == (
        "neighbor 10.0.0.2 announce attributes next-hop 10.0.0.1 origin incomplete"
        " as-path [ 65001 4200000000 ] ( 7 8 ) med 0 local-preference 0 atomic-aggregate aggregator ( 65001:1.2.3.4 )"
        " community [ 65535:0 ] originator-id 1.1.1.1 cluster-list [ 2.2.2.2 3.3.3.3 ]"
        " extended-community [ 0x0002fc0000000009 ] large-community [ 64512:9:1 64512:9:2 ]"
        " attribute [ 0x63 0xe0 0x0102 ] path-information 0.0.0.7 nlri 20.0.0.0/24 0.0.0.0/0\n"
    )


def test_the_other_lines() -> None:
    six = Attributes(next_hop=bytes.fromhex("fd00" + "00" * 13 + "01"))
    assert withdraw_line("fd00::2", [route("2001:db8::/32")], six, False) == (
        "neighbor fd00::2 withdraw attributes next-hop fd00::1 origin igp nlri 2001:db8::/32\n"
    )
    assert end_of_rib_line("10.0.0.2", V6) == "neighbor 10.0.0.2 announce eor ipv6 unicast\n"
    assert refresh_line("10.0.0.2", V4) == "neighbor 10.0.0.2 announce route-refresh ipv4 unicast\n"


def test_what_has_no_words_is_named() -> None:
    with pytest.raises(Unsayable, match="confederation"):
        announce_line("x", [route("20.0.0.0/24")], Attributes(b"\0\0\0\0", as_path=((AS_CONFED_SET, (1,)),)), False)
    queue = TextQueue("x", frozenset())
    queue.put(Update(announced=[(V4, 0, [route("20.0.0.0/24")[2]], Attributes(b"\0" * 4, as_path=((3, (1,)),)))]))
    assert queue.next_line(0) is None
    assert queue.faults == ["1 prefixes for x not announced: a confederation segment in the AS_PATH"]


def announce(queue: TextQueue, *texts: str, med: int = 0) -> None:
    keys = [route(text)[2] for text in texts]
    queue.put(Update(announced=[(V4, 0, keys, Attributes(b"\x0a\0\0\x01", med=med))]))


def withdraw(queue: TextQueue, *texts: str) -> None:
    queue.put(Update(withdrawn=[(V4, 0, [route(text)[2] for text in texts])]))


def test_two_changes_of_a_prefix_are_never_under_way() -> None:
    queue = TextQueue("x", frozenset())
    announce(queue, "20.0.0.0/24", med=1)
    line, routes = queue.next_line(0) or NOTHING
    assert " med 1 " in line
    announce(queue, "20.0.0.0/24", med=2)
    assert queue.next_line(0) is None
    queue.answered(routes, True, 1)
    assert queue.next_line(1) is None, "done means queued, not sent"
    assert queue.wake_at() == 1 + SETTLE_SECONDS
    line, _ = queue.next_line(1 + SETTLE_SECONDS) or NOTHING
    assert " med 2 " in line


def test_only_the_last_of_several_changes_is_said() -> None:
    queue = TextQueue("x", frozenset())
    for med in (1, 2, 1):
        announce(queue, "20.0.0.0/24", med=med)
    withdraw(queue, "20.0.1.0/24")
    line, routes = queue.next_line(0) or NOTHING
    assert " med 1 " in line
    for med in (2, 1):
        announce(queue, "20.0.0.0/24", med=med)
    queue.answered(routes, True, 0)
    assert queue.next_line(9) is None, "the same again need not be said, what was never said not be withdrawn"


def test_a_withdrawal_says_the_attributes_of_the_announcement() -> None:
    queue = TextQueue("x", frozenset())
    announce(queue, "20.0.0.0/24", med=5)
    _, routes = queue.next_line(0) or NOTHING
    queue.answered(routes, True, 0)
    withdraw(queue, "20.0.0.0/24")
    line, _ = queue.next_line(1) or NOTHING
    assert "withdraw attributes next-hop 10.0.0.1 origin igp med 5 nlri 20.0.0.0/24" in line


def test_end_of_rib_comes_when_all_else_is_sent() -> None:
    queue = TextQueue("x", frozenset())
    announce(queue, "20.0.0.0/24")
    queue.put(Update(end_of_rib=V4))
    _, routes = queue.next_line(0) or NOTHING
    assert queue.next_line(0) is None
    queue.answered(routes, True, 0)
    assert queue.next_line(SETTLE_SECONDS) == (end_of_rib_line("x", V4), [])
    assert queue.wake_at() is None


def test_a_refused_line_is_a_fault_and_is_not_withdrawn_later() -> None:
    queue = TextQueue("x", frozenset())
    announce(queue, "20.0.0.0/24")
    _, routes = queue.next_line(0) or NOTHING
    queue.answered(routes, False, 0)
    assert queue.faults == ["ExaBGP refused a line with 1 prefixes for x"]
    withdraw(queue, "20.0.0.0/24")
    assert queue.next_line(1) is None


CHANGES = st.lists(st.tuples(st.integers(0, 8), st.sampled_from([None, 1, 2])), max_size=120)


@given(CHANGES, st.randoms(use_true_random=False))
def test_an_exabgp_that_reorders_what_is_under_way_ends_with_what_was_wanted(
    changes: list[tuple[int, int | None]], random: Random
) -> None:
    """The oracle sends what it has taken in any order, some of it at once, the rest when SETTLE_SECONDS are over."""
    queue = TextQueue("x", frozenset())
    now = 0.0
    wanted: dict[Route, int | None] = {}
    peer: dict[Route, int | None] = {}
    taken: list[tuple[float, str, list[Route]]] = []

    def turn() -> None:
        nonlocal now
        for _ in range(4):
            said = queue.next_line(now)
            if said is not None:
                assert len(said[1]) <= PREFIXES_A_LINE
                queue.answered(said[1], True, now)
                taken.append((now + SETTLE_SECONDS, *said))
        under_way = Counter(one for _, _, routes in taken for one in routes)
        assert all(count == 1 for count in under_way.values())
        now += random.choice([0.0, SETTLE_SECONDS / 2, SETTLE_SECONDS])
        random.shuffle(taken)
        for line in [line for line in taken if line[0] <= now or random.random() < 0.2]:
            taken.remove(line)
            send(line[1], line[2])

    def send(line: str, routes: list[Route]) -> None:
        med = int(line.split(" med ")[1].split()[0])
        for one in routes:
            assert "withdraw" not in line or peer.get(one) == med
            peer[one] = None if "withdraw" in line else med

    for number, med in changes:
        text = f"20.0.{number}.0/24"
        wanted[route(text)] = med
        if med is None:
            withdraw(queue, text)
        else:
            announce(queue, text, med=med)
        if random.random() < 0.3:
            turn()
    for _ in range(30):
        turn()
    assert {one: med for one, med in peer.items() if med} == {one: med for one, med in wanted.items() if med}
    assert queue.waiting() == 0


def test_an_update_as_exabgp_decodes_it() -> None:
    said = {
        "update": {
            "attribute": {
                "origin": "egp",
                "as-path": {
                    "0": {"element": "as-sequence", "value": [65001]},
                    "1": {"element": "as-set", "value": [1, 2]},
                },
                "med": 7,
                "local-preference": 300,
                "atomic-aggregate": True,
                "aggregator": "64512:1.2.3.4",
                "community": [[64512, 7], [1, 1]],
                "originator-id": "1.1.1.1",
                "cluster-list": ["2.2.2.2"],
                "extended-community": [{"value": 840026883620873, "string": "target:64512:9"}],
                "large-community": [[64512, 9, 1]],
                "attribute-0x63-0xE0": "0x0102",
            },
            "announce": {
                "ipv4 unicast": {"10.0.0.2": [{"nlri": "20.0.0.0/24", "path-information": "0.0.0.2"}]},
                "ipv6 unicast": {"fd00::2": ["2001:db8::/48", {"nlri": "::/0"}]},
            },
            "withdraw": {"ipv4 unicast": ["30.0.0.0/24", {"nlri": "30.0.1.0/24", "path-information": "0.0.0.9"}]},
        }
    }
    four = Attributes(
        next_hop=b"\x0a\0\0\x02",
        origin=1,
        as_path=((AS_SEQUENCE, (65001,)), (AS_SET, (1, 2))),
        med=7,
        local_pref=300,
        atomic_aggregate=True,
        aggregator=(64512, b"\x01\x02\x03\x04"),
        communities=(0x10001, (64512 << 16) + 7),
        originator_id=b"\x01\x01\x01\x01",
        cluster_list=(b"\x02\x02\x02\x02",),
        extended_communities=(bytes.fromhex("0002fc0000000009"),),
        large_communities=((64512, 9, 1),),
        unknown=((0xE0, 0x63, b"\x01\x02"),),
    )
    update = parse_update(said)
    assert update.withdrawn == [
        (V4, 0, [b"\x18\x1e\0\0"]),
        (V4, 9, [b"\x18\x1e\0\x01"]),
    ]
    assert update.announced[0] == (V4, 2, [b"\x18\x14\0\0"], four)
    assert update.announced[1][:3] == (V6, 0, [b"\x30\x20\x01\x0d\xb8\0\0", b"\0"])
    assert update.announced[1][3].next_hop[:2] == b"\xfd\0"
    assert parse_update({"eor": {"afi": "ipv6", "safi": "unicast"}}) == Update(end_of_rib=V6)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=8), inside, max_size=3),
    max_leaves=8,
)


@given(JSON, JSON, st.sampled_from(["attribute", "announce", "withdraw", "eor"]))
def test_what_is_no_update_is_unreadable_and_nothing_else(one: object, two: object, name: str) -> None:
    for said in ({"update": {name: one}}, {"update": {name: {"ipv4 unicast": two}}}, {name: one}, {"update": two}):
        with contextlib.suppress(Unreadable):
            parse_update(said)


def test_a_line_has_no_more_prefixes_than_it_may() -> None:
    queue = TextQueue("x", frozenset())
    announce(queue, *(f"20.0.{number}.0/24" for number in range(120)))
    counts = [len(said[1]) for said in iter(lambda: queue.next_line(0), None)]
    assert counts == [PREFIXES_A_LINE, PREFIXES_A_LINE, 20]
