"""A ZeroTier service in memory, behind real HTTP: it answers as the recorded ones did, and can be told to fail."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

RECORDED = Path(__file__).parents[2] / "controller" / "zerotier" / "recorded"
TOKEN = "0123456789abcdefghijklmn"
NETWORK = re.compile(r"/network/([0-9a-fA-F]{16})")
MOON = re.compile(r"/moon/([0-9a-fA-F]{10})")
SETTINGS = ("allowManaged", "allowGlobal", "allowDefault", "allowDNS")


def recorded(name: str) -> Any:
    return json.loads((RECORDED / name).read_text())


class FakeService:
    """State is public. `breakage`: what every answer is instead, (code, bytes); `log`: method and path of what came."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.status = recorded("member_GET_status.json")
        self.peers = recorded("member_GET_peer_list.json")
        self.config = self.status["config"]
        self.networks: dict[str, dict[str, Any]] = {}
        self.moons: dict[str, dict[str, Any]] = {}
        self.waiting: dict[str, str] = {}  # World -> seed.
        self.members: dict[str, dict[str, Any]] = {}  # What a controller would say of the networks that we may join.
        self.breakage: tuple[int, bytes] | None = None
        self.log: list[str] = []
        home.mkdir(parents=True, exist_ok=True)
        (home / "authtoken.secret").write_text(TOKEN)

    def authorise(self, network: str, *addresses: str, interface: str = "ztfake") -> None:
        """As a controller does: the member has its addresses, now or as soon as it joins."""
        self.members[network] = {"addresses": list(addresses), "interface": interface}
        if network in self.networks:
            self._deliver(network)

    def answer(self, method: str, path: str, token: str, body: bytes) -> tuple[int, Any]:
        self.log.append(f"{method} {path}")
        if token != TOKEN:
            return 401, {}
        if network := NETWORK.fullmatch(path):
            return self._network(method, network[1].lower(), body)
        if moon := MOON.fullmatch(path):
            return self._moon(method, moon[1].rjust(16, "0"), body)
        return {
            "GET /status": (200, self.status),
            "GET /peer": (200, self.peers),
            "GET /moon": (200, list(self.moons.values())),
        }.get(f"{method} {path}", (404, {}))

    def _network(self, method: str, network: str, body: bytes) -> tuple[int, Any]:
        if method == "GET":
            return (200, self.networks[network]) if network in self.networks else (404, {})
        if network not in self.networks:
            self.networks[network] = dict(recorded("exchanges/20_member_join_unknown_net.json")["response"]["body"])
            self.networks[network] |= {"id": network, "nwid": network}
        for setting, value in _object(body).items():
            if setting in SETTINGS and isinstance(value, bool):
                self.networks[network][setting] = value
        if network in self.members:
            self._deliver(network)
        return 200, self.networks[network]

    def _deliver(self, network: str) -> None:
        member = self.members[network]
        self.networks[network] |= {
            "status": "OK",
            "assignedAddresses": member["addresses"],
            "portDeviceName": member["interface"],
        }

    def _moon(self, method: str, world: str, body: bytes) -> tuple[int, Any]:
        if method == "DELETE":
            if self.moons.pop(world, None) is not None:
                (self.home / "moons.d" / f"{world}.moon").unlink(missing_ok=True)
            self.waiting.pop(world, None)
            return 200, {"result": True}
        seed = _object(body).get("seed")
        if world in self.moons:
            return 200, self.moons[world]
        file = self.home / "moons.d" / f"{world}.moon"
        if seed and file.exists():
            self.moons[world] = json.loads(file.read_text())
        elif seed:
            self.waiting[world] = seed
        waiting = {"id": world, "roots": [], "signature": None, "timestamp": 0, "waiting": True}
        return 200, waiting if seed else {}


def _object(body: bytes) -> dict[str, Any]:
    """What is not JSON is passed over in silence, as there."""
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


@contextmanager
def running(fake: FakeService) -> Iterator[FakeService]:
    """`fake` on a port of its own, which stands in its home."""

    class Handler(BaseHTTPRequestHandler):
        def handle_one(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            token = self.headers.get("X-ZT1-Auth", "")
            code, said = fake.answer(self.command, self.path, token, self.rfile.read(length))
            raw = json.dumps(said).encode()
            if fake.breakage is not None:
                code, raw = fake.breakage
            self.send_response(code)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = do_DELETE = handle_one

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    (fake.home / "zerotier-one.port").write_text(str(server.server_address[1]))
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
