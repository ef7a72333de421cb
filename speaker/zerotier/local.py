"""The ZeroTier service on this box, by its own HTTP interface (port 9993, `authtoken.secret` in its home).

One `LocalService` per service: a gateway with several uplinks may run several, each with its home and port. All calls
block and are bounded; run them in a thread. Facts about the interface: ZeroTier One 1.14, service/OneService.cpp.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import msgspec

from speaker.mac import NETWORK, NODE

DEFAULT_HOME = Path("/var/lib/zerotier-one")
DEFAULT_PORT = 9993
TIMEOUT_SECONDS = 5.0
MAX_ANSWER = 16 << 20
"""A service with ten thousand peers says about 8 MB of them."""
MAX_SMALL_FILE = 4096


class LocalError(Exception):
    """The service did not do what was asked. The text names it and the way out, never the token."""


class NotRunning(LocalError):
    """Nothing answers there, or it is not installed."""


class NotAllowed(LocalError):
    """The token cannot be read, or is not the service's."""


class Garbled(LocalError):
    """An answer that no ZeroTier service gives."""


@dataclass(frozen=True, slots=True)
class Status:
    """`GET /status`."""

    node_id: str
    version: str
    online: bool
    clock_ms: int  # The service's own clock: what the times in `/peer` are of.
    identity: str  # Public: NODE:0:KEY.
    config: Mapping[str, Any]  # local.conf as the service has it in force.
    listening: tuple[str, ...]  # "ADDRESS/PORT"
    surface: tuple[str, ...] = ()  # The same, as others see it.
    tcp_fallback: bool = False  # Through ZeroTier's TCP relay: UDP does not get through.


@dataclass(frozen=True, slots=True)
class Joined:
    """A network that the service has joined, as it sees it now. `status` says OK for 45 s after it was let go."""

    network: str
    status: str  # "OK", "REQUESTING_CONFIGURATION", "ACCESS_DENIED", "NOT_FOUND", "PORT_ERROR", ...
    interface: str
    mac: str
    mtu: int
    addresses: tuple[str, ...]  # "10.42.0.11/16"
    allow_managed: bool
    allow_global: bool


@dataclass(frozen=True, slots=True)
class Moon:
    """A moon that the service orbits."""

    world: str  # 16 hex digits.
    waiting: bool  # Its definition has not come yet.
    endpoints: tuple[str, ...] = ()  # Of all its roots.


class LocalService:
    """May be shared by threads. `port` None: the one that the service wrote into its home."""

    def __init__(self, home: Path = DEFAULT_HOME, port: int | None = None, *, timeout: float = TIMEOUT_SECONDS) -> None:
        self.home = home
        self._port = port
        self._token = ""
        # Nothing of the environment: a proxy would be asked for 127.0.0.1, and be told the token.
        self._http = httpx2.Client(timeout=timeout, trust_env=False, follow_redirects=False)

    def close(self) -> None:
        self._http.close()

    def __str__(self) -> str:
        return f"ZeroTier service of {self.home}"

    @property
    def port(self) -> int:
        if self._port is not None:
            return self._port
        try:
            text = _small_file(self.home / "zerotier-one.port")
        except OSError:
            return DEFAULT_PORT
        return int(text) if text.isdecimal() and 0 < int(text) < 65536 else DEFAULT_PORT

    def status(self) -> Status:
        said = self._object(self._ask("GET", "/status"), "/status")
        config = said.get("config")
        config = config if isinstance(config, dict) else {}
        settings = config.get("settings")
        settings = settings if isinstance(settings, dict) else {}
        node_id = str(said.get("address", ""))
        if not NODE.fullmatch(node_id):
            raise Garbled(f"{self}: /status names no node: is this a ZeroTier service?")
        return Status(
            node_id=node_id,
            version=str(said.get("version", "")),
            online=said.get("online") is True,
            clock_ms=_integer(said.get("clock")),
            identity=str(said.get("publicIdentity", "")),
            config=config,
            listening=_texts(settings.get("listeningOn")),
            surface=_texts(settings.get("surfaceAddresses")),
            tcp_fallback=said.get("tcpFallbackActive") is True,
        )

    def network(self, network: str) -> Joined | None:
        """None when it is not joined."""
        said = self._ask("GET", f"/network/{_network(network)}", missing=True)
        return None if said is None else self._joined(said)

    def join(self, network: str, **settings: bool) -> Joined:
        """Join, or change what is joined: `allowManaged`, `allowGlobal`, `allowDefault`, `allowDNS`.

        The service takes whatever it is given with 200: read back what matters.
        """
        return self._joined(self._ask("POST", f"/network/{_network(network)}", settings))

    def peers(self) -> object:
        """`GET /peer` as it came: `peers.read_peers` makes sense of it."""
        return self._ask("GET", "/peer")

    def moons(self) -> dict[str, Moon]:
        """World id -> moon, those whose definition is still waited for left out: the service does not list them."""
        said = self._ask("GET", "/moon")
        if not isinstance(said, list):
            raise Garbled(f"{self}: /moon is no list: is this a ZeroTier service?")
        return {moon.world: moon for moon in map(self._moon, said)}

    def orbit(self, world: str, seed: str) -> Moon:
        """Ask `seed` for the world, or take it from the file in `moons.d`. One that is orbited stays as it is."""
        return self._moon(self._ask("POST", f"/moon/{_world(world)}", {"seed": seed}))

    def deorbit(self, world: str) -> None:
        """Forget it; its file in `moons.d` goes, too."""
        self._ask("DELETE", f"/moon/{_world(world)}", missing=True)

    # Carrying

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None, *, missing: bool = False) -> object:
        """The JSON that came; None for 404 when it may be `missing`. A token that no longer fits is read again."""
        code, answer = self._send(method, path, body)
        if code == 401:
            self._token = ""
            code, answer = self._send(method, path, body)
        if code == 401:
            raise NotAllowed(f"{self}: it refuses the token of {self._token_file}: is that the home of this service?")
        if code == 404 and missing:
            return None
        if code != 200:
            raise Garbled(f"{self}: {method} {path} was answered with {code}")
        try:
            return msgspec.json.decode(answer)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise Garbled(f"{self}: {method} {path} was answered with something that is not JSON") from None

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> tuple[int, bytes]:
        headers = {"X-ZT1-Auth": self._token or self._read_token(), "Content-Type": "application/json"}
        content = None if body is None else msgspec.json.encode(body)
        url = f"http://127.0.0.1:{self.port}{path}"
        try:
            with self._http.stream(method, url, headers=headers, content=content) as response:
                return response.status_code, _bounded(response, f"{self}: {method} {path}")
        except httpx2.TimeoutException:
            raise NotRunning(f"{self}: no answer on port {self.port} in time: is zerotier-one stuck?") from None
        except (httpx2.HTTPError, OSError) as error:
            raise NotRunning(
                f"{self}: nothing answers on 127.0.0.1 port {self.port} ({error}): start zerotier-one"
            ) from None

    @property
    def _token_file(self) -> Path:
        return self.home / "authtoken.secret"

    def _read_token(self) -> str:
        try:
            self._token = _small_file(self._token_file)
        except FileNotFoundError:
            raise NotRunning(
                f"{self}: there is no {self._token_file}: install and start zerotier-one, or name its home"
            ) from None
        except OSError as error:
            raise NotAllowed(f"{self}: {self._token_file} cannot be read: {error.strerror}") from None
        if not self._token.isascii() or not self._token.isprintable():
            raise NotAllowed(f"{self}: {self._token_file} holds no token")
        return self._token

    # Reading

    def _object(self, said: object, path: str) -> dict[str, Any]:
        if not isinstance(said, dict):
            raise Garbled(f"{self}: {path} is no object: is this a ZeroTier service?")
        return said

    def _joined(self, answer: object) -> Joined:
        said = self._object(answer, "/network")
        network = str(said.get("nwid") or said.get("id") or "")
        if not NETWORK.fullmatch(network):
            raise Garbled(f"{self}: /network names no network: is this a ZeroTier service?")
        return Joined(
            network=network,
            status=str(said.get("status", "")),
            interface=str(said.get("portDeviceName", "")),
            mac=str(said.get("mac", "")),
            mtu=_integer(said.get("mtu")),
            addresses=_texts(said.get("assignedAddresses")),
            allow_managed=said.get("allowManaged") is True,
            allow_global=said.get("allowGlobal") is True,
        )

    def _moon(self, answer: object) -> Moon:
        said = self._object(answer, "/moon")
        world = str(said.get("id", ""))
        if not NETWORK.fullmatch(world):
            raise Garbled(f"{self}: /moon names no world: is this a ZeroTier service?")
        roots = said.get("roots")
        endpoints = [
            endpoint
            for root in (roots if isinstance(roots, list) else ())
            if isinstance(root, dict)
            for endpoint in _texts(root.get("stableEndpoints"))
        ]
        return Moon(world, said.get("waiting") is True, tuple(sorted(endpoints)))


def _bounded(response: httpx2.Response, what: str) -> bytes:
    """Raises Garbled for an answer without end."""
    body = bytearray()
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > MAX_ANSWER:
            raise Garbled(f"{what} was answered with more than {MAX_ANSWER >> 20} MiB")
    return bytes(body)


def _small_file(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(MAX_SMALL_FILE).decode("utf-8", "replace").strip()


def _network(network: str) -> str:
    """Raises ValueError. In lower case, or it is another one to the service."""
    if not NETWORK.fullmatch(network):
        raise ValueError(f"{network!r} is no ZeroTier network id: 16 hex digits, lower case")
    return network


def _world(world: str) -> str:
    """A path of the service has room for ten digits: a world is named after a node."""
    if not NETWORK.fullmatch(world) or not world.startswith("000000"):
        raise ValueError(f"{world!r} is no world that ZeroTier's interface can name: 000000 and a node id")
    return world[6:]


def _integer(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _texts(value: object) -> tuple[str, ...]:
    return tuple(str(each) for each in value) if isinstance(value, list) else ()
