"""What crosses the unix socket between the agent and leyline-bfd: one JSON object a line. Pure.

From the agent: `{"want": ...}` (the latest whole value holds) and `{"counters": true}`.
To the agent: `{"hello": instance}`, then the whole replay of `{"status": ...}` and `{"replayed": true}`; from then on
each change, `{"gone": [device, remote]}`, `{"counters": {reason: packets}}` when asked, and `{"error": text}` for a
line that was refused in whole or in part.

Standard library only: leyline-bfd imports this.
"""

from __future__ import annotations

import json
import socket
from typing import Any, NamedTuple

LINE_OCTETS = 4 << 20
"""No line is longer; who sends one is cut off."""
MAX_UPLINKS = 64
MAX_SESSIONS = 4096
MAX_ACCEPT = 16_384
INTERVAL_US = (10_000, 60_000_000)
MULTIPLIER = (1, 255)


class Unreadable(ValueError):
    """A line that is none of the protocol's; the text says what is wrong in it."""


class BfdUplink(NamedTuple):
    """A local end. `interval_us` is Desired Min TX and Required Min RX at once (RFC 5880 6.8.1)."""

    device: str
    address: str
    address6: str | None
    interval_us: int
    multiplier: int


class Want(NamedTuple):
    """All that the agent wants. An address has the form that `canonical` gives it."""

    uplinks: tuple[BfdUplink, ...]
    sessions: tuple[tuple[str, str], ...]  # (device, remote), kept active.
    accept: frozenset[str]  # Remotes whose packets may open a passive session.
    admin_down: bool  # All sessions AdminDown (RFC 5880 6.8.16): drained.


NOTHING = Want((), (), frozenset(), False)


class Status(NamedTuple):
    """One session as it stands.

    `ever_up` is what tells dead from unknown: the session was Up since it began and since the peer was last AdminDown
    (or we, while it was Up). So `ever_up and state in ("Down", "Init")` is a failure; without `ever_up` nothing is
    known.
    """

    device: str
    local: str
    remote: str
    state: str  # "AdminDown" | "Down" | "Init" | "Up"
    diagnostic: int  # RFC 5880 4.1, ours.
    remote_state: str  # As last heard; kept in silence.
    since: float  # Unix time of the last change of `state`.
    ever_up: bool
    downs: int  # Up -> Down, AdminDown of either end not counted.
    active: bool  # Wanted by the agent; else opened by the peer.
    detection_us: int  # Silence of the peer that takes it down; 0 before the first packet.


def canonical(address: object) -> str:
    """The address as the kernel writes it (RFC 5952). Raises Unreadable."""
    # Not `ipaddress`: 16,384 addresses took it 400 ms, in which no session was served.
    try:
        if isinstance(address, str):
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            return socket.inet_ntop(family, socket.inet_pton(family, address))
    except (OSError, ValueError):
        pass
    raise Unreadable(f"{address!r} is not an IP address")


def encode(kind: str, value: Any) -> bytes:
    """One line. `value` is a Want, a Status, or what JSON knows."""
    return json.dumps({kind: _plain(value)}, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> tuple[str, Any]:
    """(kind, value) of a line; want and status as their types. Raises Unreadable, and nothing else."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"no JSON: {error}") from None
    if not isinstance(said, dict) or len(said) != 1:
        raise Unreadable("a line is one object with one member")
    ((kind, value),) = said.items()
    if kind == "want":
        return kind, _want(value)
    if kind == "status":
        return kind, _status(value)
    return str(kind), value


def _plain(value: Any) -> Any:
    if isinstance(value, Want):
        return {
            "uplinks": [uplink._asdict() for uplink in value.uplinks],
            "sessions": value.sessions,
            "accept": sorted(value.accept),
            "admin_down": value.admin_down,
        }
    return value._asdict() if isinstance(value, Status) else value


def _want(value: Any) -> Want:
    if not isinstance(value, dict) or set(value) != set(Want._fields):
        raise Unreadable(f"want: an object with {', '.join(Want._fields)}")
    uplinks = tuple(_uplink(item) for item in _list("uplinks", value["uplinks"], MAX_UPLINKS))
    if len({uplink.device for uplink in uplinks}) != len(uplinks):
        raise Unreadable("want.uplinks: a device stands twice")
    sessions = []
    for item in _list("sessions", value["sessions"], MAX_SESSIONS):
        if not isinstance(item, list) or len(item) != 2:
            raise Unreadable("want.sessions: pairs of device and remote address")
        sessions.append((_device(item[0]), canonical(item[1])))
    accept = frozenset(map(canonical, _list("accept", value["accept"], MAX_ACCEPT)))
    if not isinstance(value["admin_down"], bool):
        raise Unreadable("want.admin_down: true or false")
    return Want(uplinks, tuple(dict.fromkeys(sessions)), accept, value["admin_down"])


def _uplink(item: Any) -> BfdUplink:
    if not isinstance(item, dict) or set(item) != set(BfdUplink._fields):
        raise Unreadable(f"want.uplinks: objects with {', '.join(BfdUplink._fields)}")
    address, address6 = canonical(item["address"]), item["address6"]
    if address6 is not None:
        address6 = canonical(address6)
    if ":" in address or (address6 is not None and ":" not in address6):
        raise Unreadable("want.uplinks: address is IPv4, address6 is IPv6 or null")
    interval = _number("interval_us", item["interval_us"], INTERVAL_US)
    return BfdUplink(
        _device(item["device"]), address, address6, interval, _number("multiplier", item["multiplier"], MULTIPLIER)
    )


def _status(value: Any) -> Status:
    try:
        status = Status(**value)
    except TypeError:
        raise Unreadable(f"status: an object with {', '.join(Status._fields)}") from None
    texts = (status.device, status.local, status.remote, status.state, status.remote_state)
    numbers = (status.diagnostic, status.since, status.downs, status.detection_us)
    if not all(isinstance(text, str) for text in texts) or not all(isinstance(n, int | float) for n in numbers):
        raise Unreadable(f"status: {value!r}")
    return status


def _list(name: str, value: Any, most: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > most:
        raise Unreadable(f"want.{name}: a list of at most {most}")
    return value


def _device(value: Any) -> str:
    # IFNAMSIZ is 16 with the closing zero.
    if not isinstance(value, str) or not 0 < len(value.encode(errors="replace")) < 16 or "/" in value or "\0" in value:
        raise Unreadable(f"{value!r} is not the name of an interface")
    return value


def _number(name: str, value: Any, bounds: tuple[int, int]) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not bounds[0] <= value <= bounds[1]:
        raise Unreadable(f"want.uplinks: {name} is {value!r}; a whole number from {bounds[0]} to {bounds[1]}")
    return value
