"""Numbers and addresses: filled in, and never moved."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.inventory.allocate import MemberNumbers, Numbers, allocate, numbers_of
from controller.inventory.checks import check
from controller.inventory.document import to_document
from controller.inventory.merge import rename
from controller.inventory.model import SECTIONS, Client, Fabric, Gateway, Host, Inventory, Site, Uplink
from tests.controller.inventories import SEGMENT, SEGMENT6, inventories, shuffled
from tests.controller.ruled import ruled_inventories

NUMBERS = settings(max_examples=40)


def clients(count: int, segment: str = "10.42.0.0/24", **written: Any) -> Inventory:
    """c0, c1, ...; `written` goes into the last one."""
    found = [Client(f"c{n}", "a", "lte") for n in range(count)]
    found[-1] = replace(found[-1], **written)
    return Inventory(fabric=Fabric("f", 64512, IPv4Network(segment)), clients=tuple(found))


def held(inventory: Inventory) -> list[tuple[int | None, str]]:
    return [(each.number, str(each.address)) for each in inventory.clients]


@NUMBERS
@given(ruled_inventories(), st.integers())
def test_all_is_filled_in_whatever_the_order_of_rows(inventory: Inventory, seed: int) -> None:
    full = allocate(inventory)
    numbers = numbers_of(full)
    six = inventory.fabric is not None and inventory.fabric.segment6 is not None
    assert all(each.address and bool(each.address6) == six for each in numbers.members.values())
    assert {key for key, each in numbers.members.items() if not each.number} == {host.name for host in full.hosts}
    assert set(numbers.sites) == {site.name for site in inventory.sites}
    assert to_document(allocate(shuffled(inventory, seed))) == to_document(full)


@NUMBERS
@given(ruled_inventories())
def test_what_is_allocated_once_stays_when_it_is_left_out_again(inventory: Inventory) -> None:
    full = allocate(inventory)
    assert allocate(inventory, numbers_of(full)) == full
    assert allocate(full, numbers_of(full)) == full
    assert allocate(full) == full


@NUMBERS
@given(inventories(), st.data())
def test_others_that_come_and_go_move_nothing(inventory: Inventory, data: st.DataObject) -> None:
    """From a part to the whole and back to another part, as rows are added and removed."""
    some = allocate(part(inventory, data))
    whole = allocate(inventory, numbers_of(some))
    others = allocate(part(inventory, data), numbers_of(whole))
    unmoved(some, whole)
    unmoved(whole, others)


def part(inventory: Inventory, data: st.DataObject) -> Inventory:
    chosen: dict[str, Any] = {}
    for section in SECTIONS:
        rows = getattr(inventory, section)
        mask = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
        chosen[section] = tuple(row for row, wanted in zip(rows, mask, strict=True) if wanted)
    return replace(inventory, **chosen)


def unmoved(old: Inventory, new: Inventory) -> None:
    """Who is in both has what he had, and nobody else has it."""
    before, after = numbers_of(old), numbers_of(new)
    assert all(before.sites[name] == after.sites[name] for name in before.sites.keys() & after.sites.keys())
    for key in before.members.keys() & after.members.keys():
        assert before.members[key] == after.members[key]
    for field in ("number", "address", "address6"):
        values = [value for each in after.members.values() if (value := getattr(each, field)) is not None]
        assert len(values) == len(set(values))
    assert len(after.sites) == len(set(after.sites.values()))


@NUMBERS
@given(inventories(), st.data())
def test_a_rename_keeps_number_and_address(inventory: Inventory, data: st.DataObject) -> None:
    full = allocate(inventory)
    kind, key = data.draw(
        st.sampled_from(
            [
                ("site", full.sites[0].name),
                ("gateway", full.gateways[0].name),
                ("uplink", f"{full.gateways[0].name}/u0"),
            ]
        )
    )
    renamed = rename(full, kind, key, "zz-new")
    assert allocate(renamed, numbers_of(renamed)) == renamed
    assert sorted(map(repr, numbers_of(renamed).members.values())) == sorted(
        map(repr, numbers_of(full).members.values())
    )
    assert sorted(numbers_of(renamed).sites.values()) == sorted(numbers_of(full).sites.values())
    assert check(renamed) == []


def test_the_address_is_the_segment_plus_the_number() -> None:
    assert held(allocate(clients(3))) == [(1, "10.42.0.1"), (2, "10.42.0.2"), (3, "10.42.0.3")]


def test_hosts_get_theirs_from_the_end_in_both_families_alike() -> None:
    hosts = (Host("a", "c000000001"), Host("b", "c000000002"), Host("c", "c000000003", SEGMENT[254]))
    fabric = Fabric("f", 64512, SEGMENT, SEGMENT6)
    assert [(str(each.address), str(each.address6)) for each in allocate(Inventory(fabric, hosts=hosts)).hosts] == [
        ("10.42.0.253", "fd42:42::fd"),
        ("10.42.0.252", "fd42:42::fc"),
        ("10.42.0.254", "fd42:42::fe"),
    ]


def test_a_full_segment_has_none_for_a_host() -> None:
    full = allocate(replace(clients(2, "10.42.0.0/30"), hosts=(Host("a", "c000000001"),)))
    assert full.hosts[0].address is None


def test_what_the_operator_wrote_is_avoided() -> None:
    assert held(allocate(clients(3, number=1, address=SEGMENT[2]))) == [
        (2, "10.42.0.1"),  # 10.42.0.2 is taken: the lowest free.
        (3, "10.42.0.3"),
        (1, "10.42.0.2"),
    ]


def test_a_freed_number_is_used_again_for_the_new_one_only() -> None:
    first = allocate(clients(3))
    without = replace(first, clients=first.clients[1:])
    again = allocate(replace(without, clients=(*without.clients, Client("x", "a", "lte"))), numbers_of(without))
    assert held(again) == [(2, "10.42.0.2"), (3, "10.42.0.3"), (1, "10.42.0.1")]


def test_a_large_number_wraps_to_the_lowest_free_address() -> None:
    assert held(allocate(clients(2, number=1000))) == [(1, "10.42.0.1"), (1000, "10.42.0.2")]


def test_a_full_segment_leaves_no_address_and_a_finding() -> None:
    full = allocate(clients(3, "10.42.0.0/30"))
    assert [str(each.address) for each in full.clients] == ["10.42.0.1", "10.42.0.2", "None"]
    assert "segment-too-small" in [each.code for each in check(full)]


def test_a_stored_number_is_not_given_up_for_one_that_is_written() -> None:
    stored = Numbers(members={"c0": MemberNumbers(1, SEGMENT[1])})
    full = allocate(clients(2, number=1), stored)
    assert [each.number for each in full.clients] == [1, 1]
    assert "number-taken" in [each.code for each in check(full)]


def test_a_wider_segment_moves_nothing_and_another_one_everything() -> None:
    first = allocate(clients(2))
    bare = clients(2, "10.42.0.0/16")
    assert held(allocate(bare, numbers_of(first))) == held(first)
    assert held(allocate(clients(2, "10.99.0.0/16"), numbers_of(first))) == [(1, "10.99.0.1"), (2, "10.99.0.2")]


def test_site_numbers_are_the_lowest_free() -> None:
    inventory = Inventory(sites=(Site("b", "eu"), Site("a", "eu"), Site("c", "eu", number=1)))
    assert numbers_of(allocate(inventory)).sites == {"a": 2, "b": 3, "c": 1}


def test_a_stored_address_is_taken_before_a_new_one_is_given_out() -> None:
    stored = Numbers(members={"c1": MemberNumbers(2, SEGMENT[1])})
    assert held(allocate(clients(2), stored)) == [(1, "10.42.0.2"), (2, "10.42.0.1")]


@pytest.mark.parametrize(
    ("before", "said", "after"),
    [
        (True, None, True),  # A file that does not know of a drain does not end it.
        (True, False, False),
        (False, None, False),
        (None, True, True),
        (None, None, False),
    ],
)
def test_a_drained_gateway_stays_drained_until_somebody_says_otherwise(
    before: bool | None, said: bool | None, after: bool
) -> None:
    def of(drained: bool | None) -> Inventory:
        uplink = Uplink("main", "a000000001", "zt0", "fiber")
        return Inventory(gateways=(Gateway("g", "s", "spoke", (uplink,), drained),))

    stored = numbers_of(of(before))
    assert allocate(of(said), stored).gateways[0].drained is after
