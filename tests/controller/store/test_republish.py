"""A change costs what it changes, and leaves behind what changing everything would."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.inventory.document import parse_document
from controller.inventory.merge import merge
from controller.inventory.model import Inventory, Prefix, Region
from controller.policy.compile import compile_plans
from controller.policy.md5 import keyed
from controller.service import Controller, Wanted
from controller.store.engine import Database
from controller.store.listed import Listed
from controller.store.md5 import secrets_of
from controller.store.state import State
from controller.store.store import Store
from speaker.plan import digest
from tests.controller.store.fabrics import small

BERLIN = Prefix("berlin", ip_network("10.1.9.0/24"))


def kept(inventory: Inventory, left: Callable[[Prefix], bool]) -> Inventory:
    return replace(inventory, prefixes=tuple(filter(left, inventory.prefixes)))


def digests(store: Store) -> dict[str, str]:
    """Of all plans, compiled anew, with the keys of its hubs."""
    plans, keys = compile_plans(store.state().inventory), secrets_of(store.md5_keys())
    assert keys
    return {name: digest(keyed(plan, keys)) for name, plan in plans.items()}


EDITS: list[Callable[[Inventory], Inventory]] = [
    lambda old: merge(old, Inventory(prefixes=(BERLIN,))),
    lambda old: merge(old, Inventory(prefixes=(replace(BERLIN, gateways=("berlin-1",)),))),
    lambda old: kept(old, lambda each: each.site != "paris"),
    lambda old: merge(old, Inventory(regions=(Region("moon"),))),
    lambda old: merge(old, Inventory(prefixes=(BERLIN,))),
    lambda old: kept(old, lambda each: each.prefix != BERLIN.prefix),
]


def test_stored_is_what_compiling_all_gives_after_every_change(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[object] = []

    def noted(inventory: Inventory, only: object = None) -> object:
        compiled.append(only)
        return compile_plans(inventory, only)  # type: ignore[arg-type]

    monkeypatch.setattr("controller.service.compile_plans", noted)
    store = Store(database)
    controller = Controller(store, lambda _: None)
    part, findings = parse_document(small())
    assert not findings

    def change(edit: Callable[[Inventory], Inventory]) -> None:
        controller.change(lambda state: Wanted(edit(state.inventory)), actor="t", action="put", subject="")
        state, fresh = store.state(), Store(database).state()
        assert state.encoded == fresh.encoded
        assert list(state.by_key["prefixes"]) == list(fresh.by_key["prefixes"])
        assert store.digests() == digests(store)

    change(lambda old: merge(old, part))
    for edit in EDITS:
        change(edit)
    berlin, paris = frozenset({"berlin-1"}), frozenset({"paris-1", "paris-2"})
    assert compiled == [None, berlin, berlin, paris, None, berlin, berlin]


def test_what_another_process_stored_is_compiled_whole(sqlite: Database) -> None:
    part, _ = parse_document(small())
    controllers = [Controller(Store(sqlite), lambda _: None) for _ in range(2)]
    for controller, prefix in zip(controllers * 2, range(4), strict=True):
        new = replace(part, prefixes=(*part.prefixes, replace(BERLIN, prefix=ip_network(f"10.1.{prefix}.0/24"))))
        controller.change(lambda state, new=new: Wanted(merge(state.inventory, new)), actor="t", action="", subject="")  # type: ignore[misc]
        stored = Store(sqlite)
        assert stored.digests() == digests(stored)


sections = st.dictionaries(st.integers(0, 400), st.booleans(), max_size=300)


@given(sections, sections)
def test_a_section_after_changes_is_the_section_made_anew(old: dict[int, bool], new: dict[int, bool]) -> None:
    """More than a few changes at once go another way."""
    before = {n: Region(f"r{n}", closed) for n, closed in old.items()}
    after = {n: before[n] if old.get(n) == closed else Region(f"r{n}", closed) for n, closed in new.items()}
    gone = [each for n, each in before.items() if after.get(n) is not each]
    come = [each for n, each in after.items() if before.get(n) is not each]
    assert Listed.of(before.values()).after(gone, come) == Listed.of(after.values())


def test_the_first_state_is_empty() -> None:
    assert State(0, "", Inventory()).encoded == b"{}"
