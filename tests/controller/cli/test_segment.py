"""`leyline segment`: what people read of it, and what programs do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.store.engine import Database
from tests.controller.api.test_segment import NETWORK, Kept, kept
from tests.controller.cli.conftest import Leyline
from tests.controller.store.databases import sqlite
from tests.controller.store.fabrics import small

__all__ = ["sqlite"]


pytestmark = pytest.mark.slow  # A controller, a ZeroTier service, and what passes between them.


@pytest.fixture
def segment(sqlite: Database, tmp_path: Path) -> Iterator[Kept]:
    with kept(sqlite, tmp_path) as running:
        yield running


@pytest.fixture
def user(leyline: Leyline, segment: Kept) -> Leyline:
    served = segment.leyline
    return Leyline(leyline.home, {**leyline.environ, "LEYLINE_URL": served.url, "LEYLINE_TOKEN": served.admin_token})


def test_all_that_waits_is_shown_and_adopted(segment: Kept, user: Leyline) -> None:
    controller = segment.node.controller
    assert controller is not None
    ipauth = {"type": "MATCH_CHARACTERISTICS", "mask": "1000000000000000", "not": True}
    rules = [ipauth, {"type": "ACTION_DROP"}, {"type": "ACTION_ACCEPT"}]
    controller.put_network(NETWORK, {"name": "old", "rules": rules})
    controller.put_member(NETWORK, "f000000002", {"authorized": True, "name": "disk"})
    taken = {"authorized": True, "name": "printer", "ipAssignments": ["10.42.0.1"]}
    controller.put_member(NETWORK, "e000000001", taken)
    segment.apply()
    segment.becomes("held")
    shown = user("segment", "show")
    assert shown.exit_code == 0, shown.output
    text = " ".join(shown.stdout.split())
    for part in (
        f"network {NETWORK} waits for your word",
        "kept by: self-hosted 1.14.1 at http://127.0.0.1:",
        "members: 7 declared, 7 in ZeroTier",
        "held: `leyline segment adopt` lets Leyline write it",
        "network name",
        "f000000002 host nas addresses name no_auto_assign",
        "uplink berlin-1/main 10.42.0.1 e000000001",
        "1 stranger, left alone",
        "e000000001 printer yes 10.42.0.1",
        "rules-no-ipauth: Frames with",
        "accept ethertype 0x8847;",
    ):
        assert part in text, text
    controller.put_member(NETWORK, "e000000001", {"authorized": False})
    done = user("segment", "adopt", "--every", "--network")
    assert done.exit_code == 0, done.output
    adopted = ["host nas", f"network {NETWORK}"]
    assert done.stdout.splitlines()[:2] == [f"adopted: {', '.join(adopted)}", f"network {NETWORK} is as declared"]
    assert json.loads(user("segment", "adopt", "--every", "--json").stdout)["adopted"] == []


def test_who_was_let_in_once_and_put_out_is_said_to_be_revoked(segment: Kept, user: Leyline) -> None:
    controller = segment.node.controller
    assert controller is not None
    segment.apply()
    segment.becomes("settled")
    controller.put_member(NETWORK, "e000000001", {"name": "asks"})
    controller.put_member(NETWORK, "e000000002", {"authorized": True, "name": "lima-1/fiber"})
    controller.put_member(NETWORK, "e000000002", {"authorized": False})
    text = " ".join(user("segment", "sync").stdout.split())
    assert "1 stranger and 1 revoked member, left alone node id name authorised addresses" in text
    assert "e000000001 asks no" in text
    assert "e000000002 lima-1/fiber revoked" in text
    strangers = json.loads(user("segment", "show", "--json").stdout)["strangers"]
    assert strangers["revoked"] == 1
    assert [each["revoked"] for each in strangers["items"]] == [False, True]


def test_what_cannot_be_adopted(segment: Kept, user: Leyline) -> None:
    segment.apply()
    segment.becomes("settled")
    assert user("segment", "adopt").exit_code == 2
    refused = user("segment", "adopt", "e000000001")
    assert refused.exit_code == 1
    assert "declare it as a host, client or uplink first" in refused.stderr


def test_sync_says_when_it_fails(segment: Kept, user: Leyline) -> None:
    segment.apply()
    segment.becomes("settled")  # As below.
    done = user("segment", "sync", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["condition"] == "settled"
    segment.node.token = "another"
    failed = user("segment", "sync")
    assert (failed.exit_code, "error: " in failed.stdout) == (1, True)
    assert "tries again by itself" in failed.stderr


def test_a_segment_that_is_somebody_elses(admin: Leyline) -> None:
    shown = admin("segment", "show")
    assert shown.stdout.splitlines()[0] == "the segment is not kept by this controller"
    refused = admin("segment", "sync")
    assert (refused.exit_code, "no network is declared" in refused.stderr) == (1, True)


def test_hosts_and_moons_are_shown(segment: Kept, user: Leyline) -> None:
    segment.apply()
    segment.becomes("settled")  # What is logged in this process would stand among the rows.
    rows = [line.split() for line in user("show", "hosts").stdout.splitlines()]
    assert rows[1:] == [
        ["laptop", "f000000001", "10.42.255.254", "fd42:42::fffe"],
        ["nas", "berlin", "f000000002", "10.42.0.200", "fd42:42::c8"],
    ]
    assert [each["name"] for each in json.loads(user("show", "hosts", "--site", "berlin", "--json").stdout)] == ["nas"]
    moons = [line.split() for line in user("show", "moons").stdout.splitlines()]
    assert moons[1:] == [
        ["eu", "paris-1", "backup", "203.0.113.10/9993"],
        ["own", "berlin-1", "the", "first", "2001:db8::10/9993", "203.0.113.11/443"],
    ]


def test_summaries_that_have_no_room_are_named(segment: Kept, user: Leyline) -> None:
    document = small()
    fields = {"network": NETWORK, "segment_rules": "checked", "managed_floor": False}
    document["fabric"] |= fields
    apart = [f"10.{100 + n // 100}.{n % 100 * 2}.0/24" for n in range(150)]
    document["allocations"] += [{"site": "berlin", "prefix": each, "longest": 24} for each in apart]
    document["prefixes"] += [{"site": "berlin", "prefix": each} for each in apart]
    segment.leyline.apply(document)
    segment.becomes("settled")
    text = " ".join(user("segment", "show").stdout.split())
    for part in ("managed summaries: 126 of 153 that are needed", "hosts do not reach prefix 10.101.", "(27 in all)"):
        assert part in text, text
