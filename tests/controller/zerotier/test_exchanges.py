"""Each recorded exchange, replayed in order through the fake, gives the same answer: status, content type, body."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.controller.zerotier import recordings
from tests.controller.zerotier.fake import FakeNode, FakeWorld
from tests.controller.zerotier.fake_http import Answer
from tests.controller.zerotier.recordings import CONTROLLER, MEMBER, SDWAN

TOKEN = "secret"
HEADERS = {
    "14_bad_token": {"x-zt1-auth": "wrong"},
    "14b_no_token": {},
    "14c_health_no_token": {},
    "14d_bearer": {"authorization": f"Bearer {TOKEN}"},
}
NAMES = [path.stem for path in recordings.EXCHANGES]
HTTP = [name for name in NAMES if not name.startswith(("30", "31", "40"))]
RULES = ["40_rules_central_default_ip_arp_only", "40_rules_drop_not_ipauth", "40_rules_drop_ipv4_not_ipauth",
         "40_rules_accept_all"]  # fmt: skip  # In the order of their revisions.
ROUTES = ["30_post_200_routes_member_network", "31_two_routes_same_prefix"]


def replayed(node: FakeNode, name: str, request: Any) -> Answer:
    body = request["body"]
    content = b"" if body is None else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    headers = HEADERS.get(name, {"x-zt1-auth": TOKEN})
    return node.answer(request["method"], request["path"].replace("<nwid>", SDWAN), headers, content)


@pytest.fixture
def world() -> FakeWorld:
    """As it was: four members in one network, and whatever the other exchanges made."""
    world = FakeWorld()
    controller, _ = world.node(CONTROLLER, TOKEN), world.node(MEMBER, TOKEN)
    assert controller.controller is not None
    controller.controller.random = iter((0x32F35C, 0x15FEF3))
    controller.controller.networks[SDWAN] = recordings.answer("controller_GET_controller_network_one")
    listing = recordings.answer("controller_GET_unstable_controller_member_list")["data"]
    controller.controller.members[SDWAN] = {int(member["id"], 16): member for member in listing}
    world.nodes[MEMBER].member.join(SDWAN, b"{}")
    world.pass_seconds(10)
    world.nodes[MEMBER].member.network(SDWAN)
    return world


def test_every_exchange_is_replayed() -> None:
    assert sorted(HTTP + RULES + ROUTES) == NAMES


def test_the_http_exchanges(world: FakeWorld) -> None:
    for name in HTTP:
        recorded = recordings.exchange(name)
        expected = recorded["response"]
        world.now = recordings.clock(expected["body"]) or world.now + 2_000
        found = replayed(world.nodes[_node(recorded)], name, recorded["request"])
        shown = (found.status, found.content_type, found.document)
        assert shown == (expected["status"], expected["content_type"], expected["body"]), name


def _node(recorded: Any) -> str:
    return MEMBER if recorded["node"] == "member" else CONTROLLER


def test_rule_sets(world: FakeWorld) -> None:
    controller = world.nodes[CONTROLLER]
    assert controller.controller is not None
    first = recordings.exchange(RULES[0])["response"]["body"]
    controller.controller.networks[SDWAN] |= {"routes": first["routes"], "revision": first["revision"] - 1}
    for name in RULES:
        recorded = recordings.exchange(name)
        found = replayed(controller, name, recorded["request"])
        assert (found.status, found.document) == (recorded["response"]["status"], recorded["response"]["body"]), name


def test_200_routes_are_stored_and_128_delivered(world: FakeWorld) -> None:
    recorded = recordings.exchange(ROUTES[0])
    routes = [{"target": "10.42.0.0/16"}, *({"target": f"10.200.{n}.0/24", "via": "10.42.0.12"} for n in range(199))]
    path = f"/controller/network/{SDWAN}"
    posted = replayed(world.nodes[CONTROLLER], "", {"method": "POST", "path": path, "body": {"routes": routes}})
    assert len(posted.document["routes"]) == recorded["controller_stored"] == 200
    assert world.nodes[MEMBER].member.network(SDWAN) == recorded["member_network"]


def test_two_routes_for_one_prefix_are_both_delivered(world: FakeWorld) -> None:
    recorded = recordings.exchange(ROUTES[1])["member_network_routes"]["n1"]
    routes = [{"target": route["target"], "via": route["via"]} for route in recorded]
    path = f"/controller/network/{SDWAN}"
    replayed(world.nodes[CONTROLLER], "", {"method": "POST", "path": path, "body": {"routes": routes}})
    assert world.nodes[MEMBER].member.network(SDWAN)["routes"] == recorded


def test_the_recorded_members_and_networks_are_listed_alike(world: FakeWorld) -> None:
    for name in ("controller_member_list", "controller_member_one", "controller_network_list", "controller_network_one",
                 "unstable_controller_member_list"):  # fmt: skip
        path = {
            "controller_member_list": f"/controller/network/{SDWAN}/member",
            "controller_member_one": f"/controller/network/{SDWAN}/member/{MEMBER}",
            "controller_network_list": "/controller/network",
            "controller_network_one": f"/controller/network/{SDWAN}",
            "unstable_controller_member_list": f"/unstable/controller/network/{SDWAN}/member",
        }[name]
        found = replayed(world.nodes[CONTROLLER], "", {"method": "GET", "path": path, "body": None})
        assert found.document == recordings.answer(f"controller_GET_{name}"), name


def test_a_member_that_is_thrown_out_says_ok_for_45_seconds_and_keeps_its_address(world: FakeWorld) -> None:
    controller, member = world.nodes[CONTROLLER], world.nodes[MEMBER].member
    path = f"/controller/network/{SDWAN}/member/{MEMBER}"
    replayed(controller, "", {"method": "POST", "path": path, "body": {"authorized": False}})
    world.pass_seconds(44)
    assert member.network(SDWAN)["status"] == "OK"
    world.pass_seconds(2)
    shown = member.network(SDWAN)
    assert (shown["status"], shown["assignedAddresses"]) == ("ACCESS_DENIED", ["10.42.0.11/16"])


def test_a_member_of_a_deleted_network_says_not_found_after_65_seconds(world: FakeWorld) -> None:
    controller, member = world.nodes[CONTROLLER], world.nodes[MEMBER].member
    replayed(controller, "", {"method": "DELETE", "path": f"/controller/network/{SDWAN}", "body": None})
    world.pass_seconds(64)
    assert member.network(SDWAN)["status"] == "OK"
    world.pass_seconds(2)
    shown = member.network(SDWAN)
    assert (shown["status"], shown["assignedAddresses"]) == ("NOT_FOUND", ["10.42.0.11/16"])
