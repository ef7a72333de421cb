"""A crowd of BGP clients in one process: `... -m tests.bench.crowd HUB ANNOUNCER CLIENTS ROUTES SETS`.

Client n dials HUB from 10.42.1.n. Prints "up" when all are established; a line on stdin makes the
announcer send its routes. Prints how many seconds pass from its first UPDATE until the last client has all.
Counting costs a few instructions per message: NLRI are /24 with path ids, 8 octets each.
"""

from __future__ import annotations

import selectors
import socket
import sys
import time
from ipaddress import ip_address, ip_network

from speaker.bgp.encode import encode_updates
from speaker.bgp.wire import HEADER_OCTETS, KEEPALIVE, OPEN, UPDATE, message
from speaker.rib.attributes import Attributes
from speaker.rib.prefix import Family, key_of
from tests.bench.players import ASN, HOLD_SECONDS, number_of
from tests.bench.routes import MARK, Load
from tests.interop.tinybgp import BGP_PORT, PeerOpen, Speaker

NLRI_OCTETS = 8
KEEPALIVE_SECONDS = HOLD_SECONDS / 4
PATIENCE_SECONDS = 180.0


def client_address(number: int) -> str:
    return f"10.42.1.{number + 1}"


class Client:
    """One connection: dials until it is taken, then counts the prefixes that it is told."""

    def __init__(self, hub: str, address: str) -> None:
        self._hub = hub
        self.address = address
        self.own = Speaker(ASN, address, families=(Family.IPV4,), add_path=(Family.IPV4,), hold_time=HOLD_SECONDS)
        self.peer: PeerOpen | None = None
        self.up = False
        self.routes = 0
        self._rest = b""

    def dial(self) -> bool:
        """False when the hub is not there yet, or refuses."""
        self.up, self.routes, self._rest = False, 0, b""
        self.socket = socket.socket()
        try:
            self.socket.bind((self.address, 0))
            self.socket.connect((self._hub, BGP_PORT))
            self.socket.sendall(self.own.open())
        except OSError:
            self.socket.close()
            return False
        return True

    def read(self) -> bool:
        """Takes what has come. False when the connection is over."""
        try:
            data = self._rest + self.socket.recv(1 << 20)
        except OSError:
            return False
        if data == self._rest:
            return False
        at = 0
        while len(data) - at >= HEADER_OCTETS:
            size = int.from_bytes(data[at + 16 : at + 18], "big")
            if len(data) - at < size:
                break
            kind = data[at + 18]
            if kind == UPDATE:
                self.routes += _announced(data, at + HEADER_OCTETS, at + size)
            elif kind == KEEPALIVE:
                self.up = True
            elif kind == OPEN:
                self.peer = PeerOpen.read(data[at + HEADER_OCTETS : at + size])
                self.keep_alive()
            at += size
        self._rest = data[at:]
        return True

    def keep_alive(self) -> None:
        self.socket.sendall(message(KEEPALIVE, b""))


def _announced(data: bytes, start: int, end: int) -> int:
    withdrawn = int.from_bytes(data[start : start + 2], "big")
    attributes = start + 2 + withdrawn
    return (end - attributes - 2 - int.from_bytes(data[attributes : attributes + 2], "big")) // NLRI_OCTETS


class Crowd:
    def __init__(self, clients: list[Client]) -> None:
        self._clients = clients
        self._selector = selectors.DefaultSelector()
        self._absent = list(clients)
        self._alive_at = time.monotonic()

    def turn(self) -> None:
        """One round: those without a connection dial, what has come is read, everybody keeps alive."""
        for client in self._absent[:10]:
            if not client.dial():
                break
            self._absent.remove(client)
            self._selector.register(client.socket, selectors.EVENT_READ, client)
        for key, _ in self._selector.select(0.05):
            client = key.data
            if not client.read():
                self._selector.unregister(client.socket)
                client.socket.close()
                client.up = False
                self._absent.append(client)
        if time.monotonic() - self._alive_at > KEEPALIVE_SECONDS:
            self._alive_at = time.monotonic()
            for client in self._clients:
                if client.up:
                    client.keep_alive()

    def until_up(self) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not all(client.up for client in self._clients):
            if time.monotonic() > deadline:
                raise SystemExit(f"{sum(client.up for client in self._clients)} of {len(self._clients)} sessions up")
            self.turn()

    def until_told(self, listeners: list[Client], routes: int) -> float:
        """time.monotonic() when every listener had all routes."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (least := min(client.routes for client in listeners)) < routes:
            if time.monotonic() > deadline:
                raise SystemExit(f"a client has {least} of {routes} routes")
            if not all(client.up for client in listeners):
                raise SystemExit("a session was lost meanwhile")
            self.turn()
        return time.monotonic()


def updates(announcer: Client, load: Load) -> bytes:
    """All of `load` as the announcer says it in its session."""
    assert announcer.peer is not None
    hop = ip_address(announcer.address).packed
    groups = [
        (
            number_of(announcer.address),
            Attributes(hop, local_pref=200, large_communities=((MARK, 1, number),)),
            [key_of(ip_network(text)) for text in block],
        )
        for number, block in load.blocks()
    ]
    return b"".join(encode_updates(Family.IPV4, announcer.peer.negotiated(announcer.own), (), groups))


def main(hub: str, announcer_address: str, clients: int, load: Load) -> None:
    listeners = [Client(hub, client_address(number)) for number in range(clients)]
    announcer = Client(hub, announcer_address)
    crowd = Crowd([*listeners, announcer])
    crowd.until_up()
    said = updates(announcer, load)
    settled = time.monotonic() + 2  # End-of-RIB to everybody, and whatever else comes with a start.
    while time.monotonic() < settled:
        crowd.turn()
    print("up", flush=True)
    sys.stdin.readline()
    began = time.monotonic()
    announcer.socket.sendall(said)
    print(crowd.until_told(listeners, load.routes) - began, flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Load(int(sys.argv[4]), int(sys.argv[5])))
