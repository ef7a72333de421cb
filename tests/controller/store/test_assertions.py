"""Assertions and dry runs on the way of a change: refused, forced, shown, and what traffic would do."""

from __future__ import annotations

from typing import Any

import pytest

from controller.service import AssertionsBroken
from controller.store.engine import Database
from tests.controller.store.fabrics import Document, small
from tests.controller.store.test_service import Bench

REACHES = {"name": "berlin-to-paris", "sites": ["berlin"], "prefix": "10.2.1.0/24", "reaches": True}
HIDE: Document = {
    "rules": [
        {"name": "hide", "match": {"sites": ["paris"]}, "viewer": {"sites": ["berlin"]}, "action": {"deny": True}}
    ]
}
HARMLESS: Document = {"rules": [{"name": "more", "action": {"preference_add": 5}}]}


@pytest.fixture
def bench(sqlite: Database) -> Bench:
    found = Bench(sqlite)
    found.apply({**small(), "rules": [], "assertions": [REACHES]}, prune=True)
    return found


def rules(*documents: Document) -> Document:
    return {"rules": [rule for document in documents for rule in document["rules"]]}


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_change_that_breaks_one_is_refused_and_the_rule_is_named(bench: Bench, dry_run: bool) -> None:
    before = bench.memory()
    with pytest.raises(AssertionsBroken) as caught:
        bench.apply(rules(HARMLESS, HIDE), dry_run=dry_run)
    assert [(each.object, each.code) for each in caught.value.findings] == [
        ("assertion berlin-to-paris", "assertion-broken")
    ]
    assert caught.value.findings[0].message == (
        "berlin does not reach 10.2.1.0/24 (rule hide denies it to this viewer); because of rule hide:"
        " correct that or the assertion, or force it (--force-assertions, ?force=true)"
    )
    assert bench.memory() == before


def test_force_makes_the_change_and_the_audit_log_says_so(bench: Bench) -> None:
    outcome = bench.apply(HIDE, force=True)
    assert [(each.assertion, each.by) for each in outcome.broken] == [("berlin-to-paris", ("rule hide",))]
    forced, applied = bench.store.audit(None, 2)
    assert (forced.action, forced.object, forced.revision) == ("force-assertions", "berlin-to-paris", outcome.revision)
    assert "because of rule hide" in str(forced.detail)
    assert applied.action == "apply"


def test_force_without_need_is_not_audited(bench: Bench) -> None:
    bench.apply(HARMLESS, force=True)
    assert bench.store.audit(None, 1)[0].action == "apply"


def test_one_that_is_broken_already_blocks_nothing_and_is_shown(bench: Bench) -> None:
    bench.apply(HIDE, force=True)
    outcome = bench.apply(HARMLESS)
    assert [(each.assertion, each.by) for each in outcome.broken] == [("berlin-to-paris", ())]
    assert bench.store.audit(None, 1)[0].action == "apply"


def test_a_rename_moves_no_traffic_and_breaks_nothing(bench: Bench) -> None:
    bench.apply(HIDE, force=True)
    assert bench.controller.rename("site", "paris", "lyon", actor="test").broken == ()
    assert bench.controller.rename("site", "lyon", "paris", actor="test", dry_run=True).paths is None


def test_a_dry_run_says_which_routes_change_and_a_change_does_not(bench: Bench) -> None:
    first: Document = {"rules": [{"name": "lte", "match": {"circuit_classes": ["lte"]}, "action": {"preference": 900}}]}
    paths = bench.apply(first, dry_run=True).paths
    assert paths is not None
    found: dict[str, Any] = {row.prefix: (row.sites, row.before, row.after) for row in paths.first}
    assert found["10.2.1.0/24"] == (("berlin",), ("paris-1/wan",), ("paris-1/backup",))
    assert (paths.routes, paths.pairs, paths.more) == (2, 1, 0)
    assert bench.apply(HARMLESS, dry_run=True).paths.routes == 0  # type: ignore[union-attr]
    assert bench.apply(first).paths is None
