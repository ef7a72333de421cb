"""The segment through the API: kept in the background, on both databases; adopt; what goes wrong is said."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controller.api.settings import BadSettings, Settings
from controller.store.engine import Database
from controller.zerotier.port import Unauthorised
from controller.zerotier.token_file import read_token
from tests.controller.api.conftest import settings_for
from tests.controller.api.served import Served, problem, serve, wait_until
from tests.controller.api.test_enroll import Gateway, make
from tests.controller.store.fabrics import small
from tests.controller.zerotier.fake import FakeNode, FakeWorld
from tests.controller.zerotier.fake_http import served as zerotier_served

pytestmark = pytest.mark.slow  # A controller, a ZeroTier service, and what passes between them.

CONTROLLER = "53fe91125f"
NETWORK = "53fe91125f00abcd"


class Kept:
    """A controller and the ZeroTier controller that it writes to."""

    def __init__(self, leyline: Served, node: FakeNode) -> None:
        self.leyline, self.node = leyline, node

    def apply(self, **fabric: Any) -> None:
        document = small()
        fields = {"network": NETWORK, "segment_rules": "checked", "managed_floor": False, **fabric}
        document["fabric"] |= fields
        self.leyline.apply(document)

    def network(self) -> dict[str, Any]:
        assert self.node.controller is not None
        return self.node.controller.network(NETWORK) or {}

    def member(self, node_id: str) -> dict[str, Any]:
        assert self.node.controller is not None
        return self.node.controller.member(NETWORK, node_id) or {}

    def status(self) -> dict[str, Any]:
        answer = self.leyline.admin.get("/segment")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def becomes(self, condition: str) -> dict[str, Any]:
        wait_until(lambda: self.status()["condition"] == condition, self.status)
        return self.status()


@contextmanager
def kept(database: Database, directory: Path) -> Iterator[Kept]:
    node = FakeWorld().node(CONTROLLER)
    token = directory / "authtoken.secret"
    token.write_text("secret\n")
    with zerotier_served(node) as url:
        settings = replace(settings_for(database), zerotier_url=url, zerotier_token_file=token)
        with serve(settings) as leyline:
            yield Kept(leyline, node)


@pytest.fixture
def segment(sqlite: Database, tmp_path: Path) -> Iterator[Kept]:
    with kept(sqlite, tmp_path) as running:
        yield running


def test_a_change_is_in_zerotier_without_anybody_asking(database: Database, tmp_path: Path) -> None:
    with kept(database, tmp_path) as running:
        running.apply()
        status = running.becomes("settled")
        assert (status["members"]["declared"], status["members"]["in_service"]) == (7, 7)
        assert status["service"]["kind"] == "self-hosted"
        assert running.network()["mtu"] == 2800
        routes = {each["target"]: each["via"] for each in running.network()["routes"]}
        assert routes.pop("10.42.0.0/16") is routes.pop("fd42:42::/64") is None
        assert routes == {"10.1.0.0/16": "10.42.0.1", "10.2.0.0/16": "10.42.0.2", "2001:db8:2::/48": "fd42:42::2"}
        assert [each["prefix"] for each in status["summaries"]["items"]] == sorted(routes)
        assert running.member("f000000002")["ipAssignments"][0] == "10.42.0.200"
        answer = running.leyline.admin.delete("/hosts/nas")
        assert answer.status_code == 200, answer.text
        wait_until(lambda: running.member("f000000002")["authorized"] is False)


def test_without_a_service_it_is_unmanaged_and_says_how_to_begin(api: Served) -> None:
    status = api.admin.get("/segment").json()
    assert (status["condition"], status["network"]) == ("unmanaged", "")
    assert "`network`" in status["reason"]
    api.with_small()
    status = api.admin.get("/segment").json()
    assert (status["condition"], status["network"]) == ("unmanaged", "8056c2e21c000001")
    assert "--zerotier-token-file" in status["reason"]
    for path in ("/segment/sync", "/segment/adopt"):
        problem(api.admin.post(path, {}), 409, "segment-unmanaged")


def test_what_somebody_else_has_set_up_waits_for_the_operators_word(segment: Kept) -> None:
    assert segment.node.controller is not None
    segment.node.controller.put_network(NETWORK, {"name": "old"})
    segment.node.controller.put_member(NETWORK, "f000000002", {"authorized": True, "name": "disk"})
    segment.node.controller.put_member(NETWORK, "e000000001", {"authorized": True, "name": "printer"})
    segment.apply()
    status = segment.becomes("held")
    assert status["held"]["network"] == ["name"]
    assert status["held"]["members"] == [
        {"node_id": "f000000002", "object": "host nas", "differs": ["addresses", "name", "no_auto_assign"]}
    ]
    assert [(each["node_id"], each["name"]) for each in status["strangers"]["items"]] == [("e000000001", "printer")]

    admin = segment.leyline.admin
    problem(admin.post("/segment/adopt", {"members": ["e000000001"]}), 422, "not-to-adopt")
    problem(admin.post("/segment/adopt", {"members": ["E000000001"]}), 422, "invalid-parameters")
    answer = admin.post("/segment/adopt", {"members": ["f000000002"]}).json()
    assert (answer["adopted"], answer["segment"]["condition"]) == (["host nas"], "held")
    answer = admin.post("/segment/adopt", {"every": True, "network": True}).json()
    assert (answer["adopted"], answer["segment"]["condition"]) == ([f"network {NETWORK}"], "settled")
    assert (segment.network()["name"], segment.member("f000000002")["name"]) == ("demo", "nas")
    assert segment.member("e000000001")["name"] == "printer"
    entries = admin.get("/audit").json()["items"]
    assert [each["object"] for each in entries if each["action"] == "adopt"] == [f"network {NETWORK}"] * 2


def test_who_is_revoked_is_out_whoever_had_let_it_in(database: Database, tmp_path: Path) -> None:
    """A network that was there before Leyline: the member is held, and the operator's word is given all the same."""
    with kept(database, tmp_path) as segment:
        assert segment.node.controller is not None
        segment.node.controller.put_network(NETWORK, {})
        for node_id, address in (("a000000002", "10.42.7.2"), ("a000000004", "10.42.7.4")):
            segment.node.controller.put_member(NETWORK, node_id, {"authorized": True, "ipAssignments": [address]})
        segment.apply()
        assert segment.becomes("held")["held"]["total"] == 2
        answer = segment.leyline.admin.post("/gateways/paris-1/revoke").json()
        assert (answer["node_ids"], answer["unconfirmed"], answer["reason"]) == (["a000000002", "a000000003"], [], "")
        for node_id in answer["node_ids"]:
            member = segment.member(node_id)
            assert (member["authorized"], member["ipAssignments"]) == (False, []), node_id
        assert segment.member("a000000004")["authorized"] is True, "nobody has said anything of that one"
        wait_until(lambda: segment.status()["held"]["total"] == 1, segment.status)


def test_who_is_revoked_does_not_wait_for_the_end_of_a_long_pass(
    segment: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = small()
    document["fabric"] |= {"network": NETWORK, "segment_rules": "checked", "managed_floor": False}
    segment.leyline.apply(document)
    segment.becomes("settled")
    at_once = segment.node.answer

    def slowly(method: str, path: str, *rest: Any) -> Any:
        time.sleep(0.1 if method == "POST" else 0)
        return at_once(method, path, *rest)

    monkeypatch.setattr(segment.node, "answer", slowly)
    document["hosts"] += [{"name": f"nas-{n}", "node_id": f"c0000001{n:02}"} for n in range(40)]
    segment.leyline.apply(document)
    wait_until(lambda: bool(segment.member("c000000103")), segment.status)
    began = time.monotonic()
    answer = segment.leyline.admin.post("/gateways/paris-1/revoke").json()
    assert (answer["unconfirmed"], segment.member("a000000002")["authorized"]) == ([], False)
    assert time.monotonic() - began < 2.0
    assert not segment.member("c000000139"), "the pass was not at its end"


def test_who_is_revoked_while_zerotier_cannot_be_told_is_not_said_to_be_out(segment: Kept) -> None:
    segment.apply()
    segment.becomes("settled")
    segment.node.token = "another"
    answer = segment.leyline.admin.post("/gateways/paris-1/revoke").json()
    assert answer["unconfirmed"] == ["a000000002", "a000000003"]
    assert "leyline segment show" in answer["reason"]
    assert segment.leyline.admin.get("/gateways/paris-1").status_code == 404, "hubs need no ZeroTier for it"


def test_who_is_revoked_where_nobody_keeps_the_network_is_not_said_to_be_out(api: Served) -> None:
    api.with_small()
    answer = api.admin.post("/gateways/paris-1/revoke").json()
    assert answer["unconfirmed"] == ["a000000002", "a000000003"]
    assert "no ZeroTier controller is configured" in answer["reason"]


def test_a_service_that_fails_is_said_and_everything_else_goes_on(segment: Kept, tmp_path: Path) -> None:
    (tmp_path / "authtoken.secret").write_text("wrong")
    segment.apply()
    status = segment.becomes("failing")
    assert "token" in status["error"]
    assert "wrong" not in status["error"]
    assert segment.leyline.admin.get("/gateways/paris-1").status_code == 200
    (tmp_path / "authtoken.secret").write_text("secret")
    answer = segment.leyline.admin.post("/segment/sync")
    assert answer.json()["condition"] == "settled", answer.text
    assert answer.json()["settled_at"] == answer.json()["last_pass"]


def test_a_gateway_that_enrols_hears_what_keeps_it_out(segment: Kept) -> None:
    assert segment.node.controller is not None
    segment.node.controller.put_network(NETWORK, {})
    segment.node.controller.put_member(NETWORK, "e100000001", {"authorized": True, "name": "printer"})
    segment.apply()
    segment.becomes("settled")
    gateway = Gateway(segment.leyline, make(segment.leyline), node_id="e100000001", name="roof")
    gateway.enrols()
    assert gateway.by_token.get("/enroll/roof").json()["kept_out"] == ""
    segment.leyline.admin.post("/gateways/roof/approve")
    segment.becomes("held")
    said = gateway.by_token.get("/enroll/roof").json()["kept_out"]
    assert said == "e100000001 was a member before, and is held: leyline segment adopt e100000001"
    segment.leyline.admin.post("/segment/adopt", {"members": ["e100000001"]})
    assert gateway.by_token.get("/enroll/roof").json()["kept_out"] == ""


def test_who_may_what(segment: Kept) -> None:
    viewer = segment.leyline.as_role("viewer")
    assert viewer.get("/segment").status_code == 200
    for path in ("/segment/sync", "/segment/adopt"):
        problem(viewer.post(path, {}), 403, "forbidden")


def test_metrics(segment: Kept) -> None:
    segment.apply()
    segment.becomes("settled")
    text = segment.leyline.admin.http.get(segment.leyline.url + "/metrics").text
    assert 'leyline_segment_condition{condition="settled"} 1.0' in text
    assert 'leyline_segment_members{state="declared"} 7.0' in text
    assert "leyline_segment_rules_findings 0.0" in text


@pytest.mark.parametrize("content", [b"", b"two words", b"\xff\xfe", b"x" * 5000])
def test_a_token_file_that_holds_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(Unauthorised, match=r"token"):
        read_token(tmp_path / "token")
    with pytest.raises(Unauthorised, match="No such file"):
        read_token(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"zerotier_url": "http://127.0.0.1:9993"}, "needs both"),
        ({"zerotier_central": True}, "needs both"),
        ({"zerotier_token_file": Path("/dev/null")}, "needs both"),
        ({"zerotier_central": True, "zerotier_url": "http://x"}, "exclude each other"),
        ({"zerotier_central": True, "zerotier_token_file": Path("/nowhere")}, "cannot be read"),
    ],
)
def test_settings_that_do_not_go_together(given: dict[str, Any], said: str) -> None:
    with pytest.raises(BadSettings, match=said):
        Settings("sqlite:////x", **given).check()
