"""`leyline import zerotier`: the files that it writes, what it asks, and what is left."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from controller.cli import BUILTINS
from controller.client.import_zerotier import silences
from controller.store.engine import Database
from tests.controller.api.conftest import settings_for
from tests.controller.api.served import Served, serve
from tests.controller.cli.conftest import Leyline
from tests.controller.cli.running import RunningController, Speaker
from tests.controller.store.databases import sqlite
from tests.controller.zerotier.fake import FakeNode, FakeWorld
from tests.controller.zerotier.fake_controller import FakeController
from tests.controller.zerotier.fake_http import served

__all__ = ["sqlite"]

NETWORK = "53fe91125f00abcd"
ROUTES = {"10.42.0.0/24": None, "10.1.0.0/16": "10.42.0.1", "10.2.0.0/24": "10.42.0.2", "10.9.0.0/24": "10.42.0.77"}
MEMBERS = {"a000000001": ("Berlin GW", "10.42.0.1"), "a000000002": ("paris", "10.42.0.2")}


@dataclass
class Before:
    """A ZeroTier controller of somebody who uses managed routes, and the options that find it."""

    node: FakeNode
    options: tuple[str, ...]

    @property
    def controller(self) -> FakeController:
        assert self.node.controller is not None
        return self.node.controller


def user_of(leyline: Leyline, controller: Served) -> Leyline:
    """With the admin token of this controller in the environment."""
    said = {"LEYLINE_URL": controller.url, "LEYLINE_TOKEN": controller.admin_token}
    return Leyline(leyline.home, {**leyline.environ, **said})


@contextmanager
def before(directory: Path) -> Iterator[Before]:
    node = FakeWorld().node(NETWORK[:10])
    token = directory / "authtoken.secret"
    token.write_text("secret\n")
    with served(node) as url:
        found = Before(node, ("--zerotier-url", url, "--zerotier-token-file", str(token)))
        routes = [{"target": target, "via": via} for target, via in ROUTES.items()]
        found.controller.put_network(NETWORK, {"name": "office", "routes": routes, "mtu": 2800})
        for node_id, (name, address) in MEMBERS.items():
            body = {"authorized": True, "name": name, "ipAssignments": [address]}
            found.controller.put_member(NETWORK, node_id, body)
        yield found


@pytest.fixture
def zerotier(tmp_path: Path) -> Iterator[Before]:
    with before(tmp_path) as found:
        yield found


def test_the_files_are_written_and_what_they_declare_is_sound(zerotier: Before, leyline: Leyline) -> None:
    was = zerotier.controller.snapshot()
    into = leyline.home / "migration"
    done = leyline("import", "zerotier", NETWORK, *zerotier.options, "--into", str(into))
    assert done.exit_code == 0, done.output
    assert zerotier.controller.snapshot() == was, "it only reads"
    assert sorted(each.name for each in into.iterdir()) == [
        "cutover.txt",
        "inventory.yml",
        "routes.json",
    ]
    assert leyline("validate", str(into / "inventory.yml")).exit_code == 0
    assert "no member has 10.42.0.77" in done.stdout
    assert "no member has 10.42.0.77" in (into / "inventory.yml").read_text()
    assert (
        f"leyline import zerotier {NETWORK} {' '.join(zerotier.options)} --check" in (into / "cutover.txt").read_text()
    )
    again = leyline("import", "zerotier", NETWORK, *zerotier.options, "--into", str(into))
    assert again.exit_code == 1
    assert "is there already" in again.stderr


def test_the_way_back_brings_the_routes_back(zerotier: Before, leyline: Leyline) -> None:
    into = leyline.home / "migration"
    leyline("import", "zerotier", NETWORK, *zerotier.options, "--into", str(into))
    zerotier.controller.put_network(NETWORK, {"routes": []})
    zerotier.controller.put_network(NETWORK, json.loads((into / "routes.json").read_text()))
    assert targets(zerotier) == ROUTES


def targets(zerotier: Before) -> dict[str, Any]:
    return {each["target"]: each["via"] for each in (zerotier.controller.network(NETWORK) or {})["routes"]}


def test_without_a_directory_it_only_shows(zerotier: Before, leyline: Leyline) -> None:
    done = leyline("import", "zerotier", NETWORK, *zerotier.options)
    assert done.stdout.splitlines()[0].split("  ")[0] == "section"
    assert "2 gateways, 2 prefixes, 0 hosts" in done.stderr
    assert "nothing was written" in done.stderr
    said = json.loads(leyline("import", "zerotier", NETWORK, *zerotier.options, "--json").stdout)
    assert sorted(said) == ["files", "inventory", "questions"]
    assert [each["name"] for each in said["inventory"]["gateways"]] == ["berlin-gw", "paris"]


@pytest.mark.slow
def test_the_check_says_what_is_left_until_nothing_is(
    zerotier: Before, leyline: Leyline, sqlite: Database, tmp_path: Path
) -> None:
    into = tmp_path / "migration"
    leyline("import", "zerotier", NETWORK, *zerotier.options, "--into", str(into))
    zerotier.controller.put_member(NETWORK, "a000000007", {"authorized": True, "name": "printer"})
    with serve(settings_for(sqlite)) as controller:
        user = user_of(leyline, controller)
        check = ("import", "zerotier", NETWORK, *zerotier.options, "--check")
        nothing = user(*check, "--json")
        assert (nothing.exit_code, len(json.loads(nothing.stdout)["members"])) == (1, 3), nothing.output
        assert user("apply", str(into / "inventory.yml")).exit_code == 0
        found = user(*check)
        assert found.exit_code == 1
        lines = [line.split() for line in found.stdout.splitlines()]
        assert ["10.1.0.0/16", "10.42.0.1", "waiting", "berlin-gw"] in [line[:4] for line in lines]
        assert ["10.9.0.0/24", "10.42.0.77", "undeclared"] in [line[:3] for line in lines]
        assert ["a000000007", "printer"] in lines
        assert "3 managed routes left" in found.stderr
        zerotier.controller.put_network(NETWORK, {"routes": [{"target": "10.42.0.0/24", "via": None}]})
        done = user(*check)
        assert (done.exit_code, done.stderr) == (0, "nothing is left\n"), "strangers hold up nothing"
        assert "members that are not declared, and that Leyline leaves alone" in done.stdout
        assert ["a000000007", "printer"] in [line.split() for line in done.stdout.splitlines()]
        zerotier.controller.put_member(NETWORK, "a000000007", {"authorized": False})
        done = user(*check)
        assert (done.exit_code, done.stdout, done.stderr) == (0, "", "nothing is left\n")


@pytest.mark.slow
def test_nothing_is_written_until_it_is_adopted_and_then_nothing_is_left(
    zerotier: Before, leyline: Leyline, sqlite: Database, tmp_path: Path
) -> None:
    """The plan's promise: the network is held while routes are taken away, and hosts keep theirs."""
    body = {"authorized": True, "name": "laptop", "ipAssignments": ["10.42.0.4"]}
    zerotier.controller.put_member(NETWORK, "a000000004", body)
    into = tmp_path / "migration"
    assert leyline("import", "zerotier", NETWORK, *zerotier.options, "--into", str(into)).exit_code == 0
    was = zerotier.controller.snapshot()
    settings = replace(
        settings_for(sqlite), zerotier_url=zerotier.options[1], zerotier_token_file=Path(zerotier.options[3])
    )
    with serve(settings) as controller:
        user = user_of(leyline, controller)
        assert user("apply", str(into / "inventory.yml")).exit_code == 0
        assert json.loads(user("segment", "sync", "--json").stdout)["condition"] == "held"
        assert zerotier.controller.snapshot() == was
        assert user("segment", "adopt", "--every").exit_code == 0
        assert targets(zerotier) == ROUTES
        addresses = {n: zerotier.controller.member(NETWORK, n) for n in (*MEMBERS, "a000000004")}
        assert [each["ipAssignments"] for each in addresses.values() if each] == [
            ["10.42.0.1"],
            ["10.42.0.2"],
            ["10.42.0.4"],
        ]
        assert user("segment", "adopt", "--network").exit_code == 0
        assert targets(zerotier) == {target: via for target, via in ROUTES.items() if target != "10.9.0.0/24"}
        done = user("import", "zerotier", NETWORK, *zerotier.options, "--check")
        assert (done.exit_code, done.stdout) == (0, ""), done.output
        assert "2 managed routes of Leyline's own for hosts: these stay" in done.stderr


@pytest.mark.slow
def test_what_no_hub_has_by_bgp_is_not_announced(
    zerotier: Before, leyline: Leyline, sqlite: Database, tmp_path: Path
) -> None:
    """Gateways are heard, obey and have sessions; a rule denies one prefix, so its managed route must not go."""
    into = tmp_path / "migration"
    leyline("import", "zerotier", NETWORK, *zerotier.options, "--into", str(into))
    with serve(settings_for(sqlite)) as controller:
        user = user_of(leyline, controller)
        assert user("apply", str(into / "inventory.yml")).exit_code == 0
        check = ("import", "zerotier", NETWORK, *zerotier.options, "--check")
        running = cast("RunningController", SimpleNamespace(url=controller.url, admin=controller.admin_token))
        table = {"10.1.0.0/16": [{"next_hop": "10.1.0.1", "from": "local", "rejected": "", "stale": False}]}
        denied = [{"next_hop": "10.42.0.2", "from": "paris", "rejected": "denied", "stale": False}]
        with closing(Speaker(running, "berlin-gw")) as hub, closing(Speaker(running, "paris")) as other:
            for each in (hub, other):
                each.report()
            with hub.answering(lambda ask: {"routes": table.get(ask.arguments["prefix"], denied)}):
                done = user(*check, "--json")
        states = {each["prefix"]: each["state"] for each in json.loads(done.stdout)["routes"]}
        assert states == {"10.1.0.0/16": "announced", "10.2.0.0/24": "waiting", "10.9.0.0/24": "undeclared"}


def status(**changes: Any) -> Mapping[str, Any]:
    report = {"sessions": [{"state": "down"}, {"state": "up"}], "lans": [], **changes.pop("report", {})}
    return {"gateway": "g", "received_at": "2026-11-22T12:00:00Z", "in_force": True, "report": report, **changes}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, set()),
        ({"report": {"lans": [{"prefix": "10.1.0.0/16", "reason": "dead"}, {"prefix": "10.2.0.0/16", "reason": ""}]}},
         {"10.1.0.0/16"}),
        ({"report": {"sessions": [{"state": "down"}]}}, {"*"}),
        ({"in_force": False}, {"*"}),
        ({"received_at": "2026-11-22T11:59:00Z"}, {"*"}),
    ],
)  # fmt: skip
def test_a_gateway_announces_when_it_is_heard_obeys_and_has_a_session(changes: Any, expected: set[str]) -> None:
    now = 1_795_348_800.0 + 5  # 2026-11-22T12:00:05Z
    assert silences([status(**changes)], now) == {"g": frozenset(expected)}


def test_who_was_never_heard_announces_nothing() -> None:
    never = {"gateway": "g", "received_at": None, "in_force": False, "report": None}
    assert silences([never], 0.0) == {"g": frozenset({"*"})}


@pytest.mark.parametrize(
    ("network", "options", "code", "words"),
    [
        (NETWORK, ("--zerotier-central",), 2, "say who keeps the network"),
        (NETWORK, ("--check", "--into", "x"), 2, "leave --into out"),
        ("53fe91125f00ffff", (), 1, "has no network 53fe91125f00ffff"),
        ("office", (), 1, "is no ZeroTier network id"),
    ],
)
def test_what_cannot_be_read_is_said(
    zerotier: Before, leyline: Leyline, network: str, options: tuple[str, ...], code: int, words: str
) -> None:
    done = leyline("import", "zerotier", network, *zerotier.options, *options)
    assert (done.exit_code, words in done.stderr) == (code, True), done.output


def test_a_wrong_token_is_no_controller(zerotier: Before, leyline: Leyline, tmp_path: Path) -> None:
    (tmp_path / "authtoken.secret").write_text("wrong\n")
    done = leyline("import", "zerotier", NETWORK, *zerotier.options)
    assert (done.exit_code, "wrong" in done.output) == (3, False), done.output


def test_the_extra_that_it_needs_is_named() -> None:
    """The adapters repeat requests by tenacity, which the operator's client does without."""
    assert BUILTINS["import"].extra == "controller"


def test_a_record_that_cannot_be_read_is_named_and_left_out(zerotier: Before, leyline: Leyline) -> None:
    zerotier.controller.put_member(NETWORK, "d000000001", {"authorized": True, "name": "printer"})
    zerotier.controller.members[NETWORK][0xD000000001]["ipAssignments"] = ["bogus"]
    into = leyline.home / "migration"
    done = leyline("import", "zerotier", NETWORK, *zerotier.options, "--into", str(into))
    assert done.exit_code == 0, done.output
    assert "member d000000001 is left out, for its record cannot be read: " in done.stderr
    assert "d000000001" not in (into / "inventory.yml").read_text()
