"""Real agents under a real controller: tokens that are renewed under way, and a gateway that is put out."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2
import pytest
import uvicorn

from controller.api.access import Context
from controller.api.app import create_app
from controller.api.settings import Settings
from controller.store.engine import Database
from controller.store.migrate import migrate
from tests.netns.namespaces import Namespace, inside, segment, wait_until
from tests.netns.speakers import ASN, PATIENCE, Speaker, address, connections, within

pytestmark = pytest.mark.root

HUB, STAYS, LEAVES, CONTROLLER = 1, 2, 3, 100
PORT = 8642
MINE, THEIRS = "20.2.0.0/24", "20.3.0.0/24"
TOKEN_SECONDS = 9
"""Renewed when two thirds are over: every six seconds."""


def gateway(name: str, number: int, role: str = "spoke") -> dict[str, Any]:
    uplink = {"name": "main", "node_id": f"a{number:09}", "interface": "eth0", "circuit_class": "fiber"}
    return {"name": name, "site": name, "role": role, "uplinks": [{**uplink, "address": address(number)}]}


INVENTORY: dict[str, Any] = {
    "fabric": {"name": "demo", "asn": ASN, "segment": "10.42.0.0/16", "permanent_neighbours": False},
    "regions": [{"name": "eu"}],
    "sites": [{"name": name, "region": "eu"} for name in ("hub", "stays", "leaves")],
    "allocations": [{"site": "stays", "prefix": "20.2.0.0/16"}, {"site": "leaves", "prefix": "20.3.0.0/16"}],
    "prefixes": [{"site": "stays", "prefix": MINE}, {"site": "leaves", "prefix": THEIRS}],
    "gateways": [gateway("hub", HUB, "hub"), gateway("stays", STAYS), gateway("leaves", LEAVES)],
}


class Controller:
    """In threads of this process, with its socket in a namespace. Operators talk to it from there."""

    def __init__(self, namespace: Namespace, place: Path) -> None:
        self.name = namespace.name
        url = f"sqlite:///{place}/controller.sqlite"
        database = Database(url)
        migrate(database)
        database.close()
        app = create_app(Settings(url))
        self.context: Context = app.state.context
        self.admin = self.context.controller.first_admin_token()
        with inside(self.name):
            self._listener = socket.create_server(("0.0.0.0", PORT))
        self._server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listener]})
        self._thread.start()
        wait_until(lambda: self._server.started, PATIENCE)

    def post(self, path: str, body: Any = None) -> Any:
        with inside(self.name):
            url, headers = f"http://127.0.0.1:{PORT}/api/v1{path}", {"Authorization": f"Bearer {self.admin}"}
            answer = httpx2.post(url, json=body, headers=headers, trust_env=False, timeout=30)
        assert answer.is_success, answer.text
        return answer.json()

    def tokens(self, gateway: str) -> set[str]:
        return {each.id for each in self.context.store.tokens() if each.gateway == gateway}

    def close(self) -> None:
        self.context.board.close()
        self._server.should_exit = True
        self._thread.join()
        self._listener.close()


class World:
    def __init__(self, members: dict[str, Namespace], place: Path) -> None:
        self.controller = Controller(members["controller"], place)
        self.controller.post("/apply", INVENTORY)
        self.hub, self.stays, self.leaves = (Speaker(members[name], name, place) for name in ("hub", "stays", "leaves"))
        for speaker in (self.hub, self.stays, self.leaves):
            token = place / f"{speaker.name}.token"
            made = self.controller.post(f"/gateways/{speaker.name}/token", {"expires_in": TOKEN_SECONDS})
            token.write_text(made["token"])
            speaker.start(source=("--controller", f"http://{address(CONTROLLER)}:{PORT}", "--token-file", str(token)))

    def settled(self) -> bool:
        return (
            self.hub.has([MINE, THEIRS])
            and self.stays.has([THEIRS])
            and self.leaves.has([MINE])
            and self.hub.settled(STAYS, LEAVES)
        )

    def evidence(self) -> str:
        return "\n".join(each.evidence() for each in (self.hub, self.stays, self.leaves))


@contextmanager
def made() -> Iterator[World]:
    addresses = {"hub": HUB, "stays": STAYS, "leaves": LEAVES, "controller": CONTROLLER}
    with (
        TemporaryDirectory(prefix="ll-revoke-") as name,
        segment("revoke", {member: [f"{address(number)}/16"] for member, number in addresses.items()}) as members,
    ):
        world = World(members, Path(name))
        try:
            yield world
        finally:
            world.controller.close()


@pytest.fixture
def world() -> Iterator[World]:
    with made() as found:
        wait_until(found.settled, PATIENCE, found.evidence)
        yield found


def test_tokens_are_renewed_and_no_session_goes_down(world: World) -> None:
    before = connections(world.hub.namespace)
    assert len(before) == 2
    names = ("hub", "stays", "leaves")
    wait_until(lambda: all(len(world.controller.tokens(each)) >= 4 for each in names), PATIENCE, world.evidence)
    assert connections(world.hub.namespace) == before
    assert world.settled(), world.evidence()
    assert all(world.controller.context.board.polls(each) for each in names)


def test_a_gateway_that_is_revoked_is_out_within_a_second(world: World, record_property: Any) -> None:
    before = connections(world.hub.namespace)
    theirs = {each for each in before if address(LEAVES) in "".join(each)}
    assert len(theirs) == 1
    started = time.monotonic()
    world.controller.post("/gateways/leaves/revoke")
    asked = time.monotonic() - started

    def out() -> bool:
        return THEIRS not in world.hub.kernel() and THEIRS not in world.stays.kernel()

    routes = asked + wait_until(out, within(1.0), world.evidence, interval=0.01)
    sessions = asked + wait_until(
        lambda: connections(world.hub.namespace) == before - theirs, within(5.0), world.evidence, interval=0.01
    )
    record_property("asked_seconds", round(asked, 3))
    record_property("routes_gone_seconds", round(routes, 3))
    record_property("session_gone_seconds", round(sessions, 3))
    print(f"revoked in {asked:.3f} s, routes gone after {routes:.3f} s, its session after {sessions:.3f} s")
    assert world.stays.settled(HUB)
    time.sleep(3)  # It goes on dialling, and nobody answers.
    assert connections(world.hub.namespace) == before - theirs
    assert out()
