"""`leyline segment show` and the doctor while the ZeroTier service does not answer, or not as it should."""

from __future__ import annotations

import re

import pytest

from tests.controller.api.test_segment import NETWORK, Kept
from tests.controller.cli.conftest import Leyline
from tests.controller.cli.test_segment import segment, sqlite, user

__all__ = ["segment", "sqlite", "user"]


pytestmark = pytest.mark.slow  # A controller, a ZeroTier service, and what passes between them.


def test_an_outage_is_told_beside_what_was_known(segment: Kept, user: Leyline) -> None:
    assert segment.node.controller is not None
    segment.node.controller.put_network(NETWORK, {})
    segment.node.controller.put_member(NETWORK, "f000000002", {"authorized": True, "name": "disk"})
    segment.apply()
    segment.becomes("held")
    segment.node.token = "another"
    text = " ".join(user("segment", "sync").stdout.split())
    assert "kept by: self-hosted 1.14.1" in text
    assert "members: 7 declared; how many are in ZeroTier is not known" in text
    assert re.search(r"error: .*token.* next try in \d+ s", text), text
    assert re.search(r"what else is said of ZeroTier was read \d+ s ago", text), text
    assert "f000000002 host nas" in text
    text = " ".join(user("doctor").stdout.split())
    assert "somebody else has set up its member f000000002" in text
    assert re.search(r"\(what is said of its members and rules was read \d+ s ago\)", text), text


def test_a_record_that_cannot_be_read_is_shown_with_a_way_out(segment: Kept, user: Leyline) -> None:
    controller = segment.node.controller
    assert controller is not None
    segment.apply()
    segment.becomes("settled")
    controller.put_member(NETWORK, "e000000001", {})
    for node_id in ("e000000001", "f000000002"):
        controller.members[NETWORK][int(node_id, 16)]["ipAssignments"] = ["bogus"]
    text = " ".join(user("segment", "sync").stdout.split())
    assert "members: 7 declared, 8 in ZeroTier" in text
    assert "records that cannot be read, left alone: put them right in ZeroTier" in text
    assert "e000000001 not declared the ZeroTier controller at http:" in text
    assert "f000000002 host nas the ZeroTier controller at http:" in text
    metrics = segment.leyline.admin.http.get(segment.leyline.url + "/metrics").text
    assert 'leyline_segment_members{state="unreadable"} 2.0' in metrics
    text = " ".join(user("doctor").stdout.split())
    assert "host nas" in text
    assert "or delete member e000000001 there" in text
