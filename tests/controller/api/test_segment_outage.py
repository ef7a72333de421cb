"""While the ZeroTier service does not do what it is asked: what was known stays, and is told with its age."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.client.tables import unix
from controller.store.engine import Database
from controller.zerotier.state import FORGET_SECONDS, LEAVE_SECONDS
from tests.controller.api.test_segment import NETWORK, Kept, kept

pytestmark = pytest.mark.slow  # A controller, a ZeroTier service, and what passes between them.


@pytest.fixture
def segment(sqlite: Database, tmp_path: Path) -> Iterator[Kept]:
    with kept(sqlite, tmp_path) as running:
        yield running


def test_who_was_taken_out_is_said_to_be_deleted_a_day_later(segment: Kept) -> None:
    segment.apply()
    segment.becomes("settled")
    assert segment.leyline.admin.delete("/hosts/nas").status_code == 200
    segment.leyline.admin.post("/segment/sync")
    (item,) = segment.status()["strangers"]["items"]
    assert (item["node_id"], item["revoked"]) == ("f000000002", True)
    assert FORGET_SECONDS - 60 < unix(item["deleted_at"]) - unix(segment.status()["last_pass"]) <= FORGET_SECONDS


def test_an_outage_takes_nothing_away_of_what_was_known(segment: Kept) -> None:
    """Alerts and findings that rest on it stay; the next try is told."""
    controller = segment.node.controller
    assert controller is not None
    controller.put_network(NETWORK, {"rules": [{"type": "MATCH_ETHERTYPE", "etherType": 0x806}, {"type": "ACTION_DROP"},
                                               {"type": "ACTION_ACCEPT"}]})  # fmt: skip
    controller.put_member(NETWORK, "f000000002", {"authorized": True, "name": "disk"})
    segment.apply()
    before = segment.becomes("held")
    segment.node.token = "another"
    admin = segment.leyline.admin
    for _ in range(2):
        admin.post("/segment/sync")
    during = segment.status()
    assert during["condition"] == "failing"
    for name in ("service", "held", "conflicts", "strangers", "rules", "summaries"):
        assert during[name] == before[name], name
    assert during["members"]["in_service"] is None
    assert before["last_pass"] <= during["read_at"] < during["last_pass"] < during["next_pass"]
    text = admin.http.get(segment.leyline.url + "/metrics").text
    for line in (
        'leyline_segment_condition{condition="failing"} 1.0',
        'leyline_segment_members{state="held"} 1.0',
        "leyline_segment_rules_findings 1.0",
        "leyline_segment_read_seconds ",
    ):
        assert line in text, line
    segment.node.token = "secret"
    assert admin.post("/segment/sync").json()["condition"] == "held"
    after = segment.status()
    assert (after["error"], after["members"]["in_service"]) == ("", 7)


def test_who_was_taken_out_meanwhile_makes_the_next_try_an_early_one(segment: Kept) -> None:
    """However long the service, or our own patience, would have it wait."""
    segment.apply()
    segment.becomes("settled")
    segment.node.token = "another"
    admin = segment.leyline.admin
    for _ in range(5):
        status = admin.post("/segment/sync").json()
    assert unix(status["next_pass"]) - unix(status["last_pass"]) > LEAVE_SECONDS
    assert admin.delete("/hosts/nas").status_code == 200
    status = segment.status()
    assert unix(status["next_pass"]) - unix(status["last_pass"]) == LEAVE_SECONDS


def test_metrics_of_what_was_never_read_are_not_there(segment: Kept) -> None:
    segment.node.token = "another"
    segment.apply()
    segment.becomes("failing")
    text = segment.leyline.admin.http.get(segment.leyline.url + "/metrics").text
    assert 'leyline_segment_members{state="declared"} 7.0' in text
    for name in ('state="held"', 'state="strangers"', 'state="failing"', "rules_findings ", "read_seconds "):
        assert f"leyline_segment_{name}" not in text.replace("leyline_segment_members{", "leyline_segment_"), name
