"""Neighbour entries as messages, and what is to change. tests/netns/test_neighbours.py shows them on a kernel."""

from __future__ import annotations

import contextlib
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ndmsg import ndmsg

from speaker.kernel import messages as m
from speaker.kernel import neighbour_messages as codec
from speaker.kernel.neighbour_messages import (
    NTF_EXT_LEARNED,
    NTF_PROXY,
    NUD_NOARP,
    NUD_PERMANENT,
    Entry,
    Name,
)
from speaker.kernel.neighbours import NeighbourTable, changes
from speaker.kernel.parse import Malformed, split
from speaker.rib.prefix import Family
from tests.speaker.kernel.fake_neighbours import FakeNeighbours

REACHABLE, STALE = 0x02, 0x04
MAC, OTHER = bytes.fromhex("164baba5ca8b"), bytes.fromhex("1634b8d6b43e")
V4 = Name(7, bytes([10, 42, 0, 3]))
V6 = Name(7, socket.inet_pton(socket.AF_INET6, "fd42::3"))
NAMES = st.builds(Name, st.integers(1, 3), st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16))
MACS = st.binary(min_size=6, max_size=6)
FEW = st.builds(Name, st.integers(1, 2), st.sampled_from([bytes([10, 0, 0, n]) for n in range(4)]))
ENTRIES = st.builds(
    Entry,
    FEW,
    st.sampled_from([MAC, OTHER, b""]),
    st.sampled_from([REACHABLE, STALE, NUD_PERMANENT, NUD_NOARP]),
    st.sampled_from([0, NTF_EXT_LEARNED]),
    st.sampled_from([0, 4, 76]),
)


def ours(name: Name, mac: bytes = MAC) -> Entry:
    return Entry(name, mac, NUD_PERMANENT, 0, 76)


@pytest.mark.parametrize(("name", "family", "text"), [(V4, 2, "10.42.0.3"), (V6, 10, "fd42::3")])
def test_pyroute2_reads_what_was_meant(name: Name, family: int, text: str) -> None:
    """A codec that shares nothing with ours."""
    parsed = ndmsg(codec.put(name, MAC))
    parsed.decode()
    assert (parsed["family"], parsed["ifindex"], parsed["state"], parsed["flags"]) == (family, 7, NUD_PERMANENT, 0)
    attributes = dict(parsed["attrs"])
    assert (attributes["NDA_DST"], attributes["NDA_LLADDR"]) == (text, "16:4b:ab:a5:ca:8b")
    assert attributes["NDA_PROTOCOL"] == 76


@given(NAMES, MACS)
def test_what_is_put_is_read_back(name: Name, mac: bytes) -> None:
    message = codec.put(name, mac)
    assert codec.entries(message) == [ours(name, mac)] == [codec.entry_of(message)]
    assert codec.name_of(message) == codec.name_of(codec.delete(name)) == name
    assert len(message) % 4 == 0


def test_an_entry_without_protocol_or_mac_is_nobodys() -> None:
    body = codec.NEIGHBOUR.pack(2, 7, REACHABLE, 0, 1) + m.ATTRIBUTE.pack(8, 1) + V4.address
    message = m.HEADER.pack(m.HEADER.size + len(body), codec.RTM_NEWNEIGH, 0, 0, 0) + body
    (entry,) = codec.entries(message)
    assert entry == Entry(V4, b"", REACHABLE, 0, 0)
    assert not entry.ours
    assert not entry.foreign


def test_proxies_are_no_neighbours() -> None:
    message = bytearray(codec.put(V4, MAC))
    message[m.HEADER.size + 10] = NTF_PROXY
    assert codec.entries(bytes(message)) == []


@given(st.binary(max_size=64), st.sampled_from([2, 10, 7]))
def test_junk_is_malformed_and_nothing_else(junk: bytes, family: int) -> None:
    body = codec.NEIGHBOUR.pack(family, 7, REACHABLE, 0, 1) + junk
    message = m.HEADER.pack(m.HEADER.size + len(body), codec.RTM_NEWNEIGH, 0, 0, 0) + body
    with contextlib.suppress(Malformed):
        codec.entries(message)


@pytest.mark.parametrize(("name", "mac"), [(Name(7, b"123"), MAC), (V4, b""), (V4, bytes(7))])
def test_what_is_no_address_and_no_mac_is_refused(name: Name, mac: bytes) -> None:
    with pytest.raises(ValueError, match="octets"):
        codec.put(name, mac)


@pytest.mark.parametrize(("family", "number"), [(Family.IPV4, 2), (Family.IPV6, 10)])
def test_the_dump_is_of_one_family(family: Family, number: int) -> None:
    message = codec.dump(family, 9)
    ((type_, flags, sequence, start, end),) = split(message)
    assert (type_, flags, sequence, end - start, message[start]) == (30, 0x301, 9, 12, number)


@pytest.mark.parametrize("state", ["absent", "same", "modified", "demoted", "resolved"])
@pytest.mark.parametrize("wanted", [True, False])
def test_what_is_ours_becomes_as_desired(state: str, wanted: bool) -> None:
    kernel = FakeNeighbours(7)
    former = {
        "same": ours(V4),
        "modified": ours(V4, OTHER),
        "demoted": ours(V4)._replace(state=STALE),
        "resolved": Entry(V4, OTHER, REACHABLE, 0, 0),
    }.get(state)
    if former is not None:
        kernel.add(former)
    outcome = NeighbourTable(kernel).apply({V4: MAC} if wanted else {})
    left = former if former is not None and not former.ours else None
    assert kernel.table.get(V4) == (ours(V4) if wanted else left)
    assert (outcome.standing, outcome.errors, outcome.foreign) == (int(wanted), [], [])
    assert outcome.put == int(wanted and state != "same")


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize(
    "foreign",
    [
        Entry(V4, OTHER, NUD_PERMANENT, 0, 0),
        Entry(V4, OTHER, NUD_PERMANENT, 0, 4),
        Entry(V4, MAC, NUD_PERMANENT, 0, 0),
        Entry(V4, OTHER, NUD_NOARP, 0, 0),
        Entry(V4, OTHER, REACHABLE, NTF_EXT_LEARNED, 0),
    ],
)
def test_what_somebody_else_has_set_is_never_touched(foreign: Entry, wanted: bool) -> None:
    kernel = FakeNeighbours(7)
    kernel.add(foreign)
    outcome = NeighbourTable(kernel).apply({V4: MAC, V6: MAC} if wanted else {})
    assert kernel.table[V4] == foreign
    assert outcome.foreign == ([V4] if wanted else [])
    assert outcome.errors == []
    assert all(name != V4 for _, name in kernel.log)


@given(st.lists(ENTRIES, unique_by=lambda entry: entry.name), st.dictionaries(FEW, st.sampled_from([MAC, OTHER])))
def test_changes_turn_actual_into_desired(actual: list[Entry], desired: dict[Name, bytes]) -> None:
    kernel = FakeNeighbours(1, 2)
    for entry in actual:
        kernel.add(entry)
    others = {entry.name: entry for entry in actual if entry.foreign}
    outcome = NeighbourTable(kernel).apply(desired)
    assert {name: entry for name, entry in kernel.table.items() if entry.foreign} == others
    assert {name: entry.mac for name, entry in kernel.table.items() if entry.ours} == {
        name: mac for name, mac in desired.items() if name not in others
    }
    assert outcome.errors == []
    assert changes(kernel.table, desired) == ([], []), "a second pass has nothing to do"
    assert kernel.opened == kernel.closed


def test_nothing_goes_before_it_may() -> None:
    kernel = FakeNeighbours(7)
    kernel.add(ours(V6))
    table = NeighbourTable(kernel)
    assert table.apply({V4: MAC}, may_remove=False).removed == 0
    assert set(kernel.table) == {V4, V6}, "what the agent before had, and what is new"
    assert table.apply({V4: MAC}).removed == 1
    assert set(kernel.table) == {V4}


def test_nothing_is_said_of_an_interface_that_is_away() -> None:
    kernel = FakeNeighbours(7, 8)
    away = Name(8, V4.address)
    kernel.add(ours(away))
    NeighbourTable(kernel).apply({V4: MAC}, absent={8})
    assert set(kernel.table) == {V4, away}
    NeighbourTable(kernel).apply({V4: MAC})
    assert set(kernel.table) == {V4}


def test_new_entries_go_in_before_old_ones_out_and_batches_are_bounded() -> None:
    kernel = FakeNeighbours(7)
    kernel.add(ours(V6))
    desired = {Name(7, (0x0A2A0000 + n).to_bytes(4, "big")): MAC for n in range(2500)}
    outcome = NeighbourTable(kernel).apply(desired)
    assert (outcome.put, outcome.removed, outcome.standing) == (2500, 1, 2500)
    assert [type_ for type_, _ in kernel.log][-1] == codec.RTM_DELNEIGH


def test_what_the_kernel_refuses_is_named_and_goes_in_next_time() -> None:
    kernel = FakeNeighbours(7)
    kernel.failures["put"] = 1
    table = NeighbourTable(kernel)
    outcome = table.apply({V4: MAC, V6: MAC})
    assert outcome.errors == ["neighbour 10.42.0.3 of interface 7: No buffer space available"]
    assert outcome.standing == 1
    assert table.apply({V4: MAC, V6: MAC}).errors == []


def test_what_went_with_its_interface_is_no_error() -> None:
    outcome = NeighbourTable(FakeNeighbours(1)).apply({V4: MAC})
    assert (outcome.standing, outcome.errors) == (0, [])


def test_a_kernel_that_keeps_nothing_is_found_out() -> None:
    kernel = FakeNeighbours(7)
    kernel.forgets = True
    outcome = NeighbourTable(kernel).apply({Name(7, bytes([10, 0, 1, n])): MAC for n in range(30)})
    assert outcome.standing == 0
    assert len(outcome.errors) == 20
    assert "is not there" in outcome.errors[0]


@pytest.mark.parametrize("failure", ["dump", "submit"])
def test_a_kernel_that_cannot_be_asked_is_an_error_and_no_end(failure: str) -> None:
    kernel = FakeNeighbours(7)
    kernel.failures[failure] = 1
    table = NeighbourTable(kernel)
    (error,) = table.apply({V4: MAC}).errors
    assert f"{failure} failed" in error
    assert table.apply({V4: MAC}).errors == []
    assert kernel.opened == kernel.closed
