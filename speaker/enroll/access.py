"""How this gateway reaches its controller: one file in the state directory, of its owner alone."""

from __future__ import annotations

import hashlib

import msgspec
from msgspec import Struct

from speaker.state import StateDir, write_atomically

MAX_BYTES = 64 << 10


class AccessUnusable(ValueError):
    """The file is there and cannot be used. The text names it and the way out."""


class Access(Struct, frozen=True):
    """At most one of `fingerprint` and `ca_file` says whom to trust; neither: the system's CAs, or http on loopback.

    `token` is good, or will be once the gateway is approved. `next_token` was made to take its place, and the
    controller may not know it yet. `replaces`: mark of the token in the operator's own file that `token` replaces.
    """

    url: str
    gateway: str  # "" until the controller has named it.
    token: str
    fingerprint: str = ""
    ca_file: str = ""
    network: str = ""
    key_id: str = ""  # Of the enrolment key that it came by.
    approved: bool = False
    next_token: str = ""
    replaces: str = ""
    homes: tuple[tuple[str, str], ...] = ()  # Name of the uplink, home of its ZeroTier service.


def load(state: StateDir) -> Access | None:
    """None when there is no file. Raises AccessUnusable."""
    path = state.access
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(MAX_BYTES), type=Access)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AccessUnusable(f"{path}: {error.strerror}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise AccessUnusable(f"{path}: {error}: remove it, and enrol again (leyline speaker enroll)") from None


def save(state: StateDir, access: Access) -> None:
    """Whole or not at all, 0600. Raises OSError."""
    write_atomically(state.access, msgspec.json.format(msgspec.json.encode(access)) + b"\n")


def forget(state: StateDir) -> None:
    """Raises OSError."""
    state.access.unlink(missing_ok=True)


def mark_of(token: str) -> str:
    """Names a token without telling it."""
    return hashlib.sha256(token.encode()).hexdigest()


def token_instead_of(state: StateDir, gateway: str, token: str) -> str:
    """The token to use where the operator's file has `token`: that one, or what it was renewed to. Raises nothing."""
    try:
        stored = load(state)
    except AccessUnusable:
        return token
    if stored is None or stored.gateway != gateway or stored.replaces != mark_of(token):
        return token  # Whoever writes another token into the file means it.
    return stored.token
