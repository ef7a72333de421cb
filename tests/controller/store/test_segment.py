"""Whom the controller has let in, and how the last pass went: on both databases."""

from __future__ import annotations

from controller.store.engine import Database
from controller.store.segment import SegmentStore, StoredStatus


def test_what_is_ours_is_so_per_network_and_until_it_is_dropped(database: Database) -> None:
    store = SegmentStore(database)
    store.take("n1", ["", "a", "b"], 1.0)
    store.take("n1", ["b", "c"], 2.0)
    store.take("n2", ["a"], 2.0)
    store.take("n2", [], 2.0)
    store.drop("n1", "a")
    store.drop("n1", "nobody")
    assert [sorted(store.owned(each)) for each in ("n1", "n2", "n3")] == [["", "b", "c"], ["a"], []]


def test_who_was_put_out_is_ours_no_longer_and_is_remembered_until_it_is_dropped(database: Database) -> None:
    store = SegmentStore(database)
    store.take("n1", ["", "a", "b", "c"], 1.0)
    store.take("n2", ["a"], 1.0)
    store.leave("n1", "a", 2.0)
    store.leave("n1", "b", 3.0)
    store.leave("n1", "nobody", 3.0)
    assert (store.left("n1"), store.left("n2")) == ({"a": 2.0, "b": 3.0}, {})
    assert [sorted(store.owned(each)) for each in ("n1", "n2")] == [["", "c"], ["a"]]
    store.take("n1", ["a", "d"], 4.0)
    store.drop("n1", "b")
    assert (store.left("n1"), sorted(store.owned("n1"))) == ({}, ["", "a", "c", "d"])


def test_the_last_status_and_when_it_was_settled_last(database: Database) -> None:
    store = SegmentStore(database)
    assert store.status("n") is None
    store.save_status("n", b"1", 1.0, settled=False)
    assert store.status("n") == StoredStatus(1.0, None, b"1")
    store.save_status("n", b"2", 2.0, settled=True)
    store.save_status("n", b"3", 3.0, settled=False)
    assert store.status("n") == StoredStatus(3.0, 2.0, b"3")


def test_one_controller_at_a_time(database: Database) -> None:
    """SQLite has one controller, and the lock of its process is another's business."""
    one, two = SegmentStore(database), SegmentStore(database)
    with one.alone() as first, two.alone() as second:
        assert (first, second) == (True, not database.is_postgres)
    with two.alone() as after:
        assert after
