"""What the oracle is asked, and what it answers. Text and numbers only: no parser is shared with the product."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Document = Mapping[str, Any]
"""An inventory as plain data. Uplinks, clients and sites have their numbers and addresses: nothing is allocated."""


@dataclass(frozen=True)
class Announced:
    """One route as its announcer sends it. A gateway of ours sends it over every uplink: the last three do not count.

    What it announces by itself has a prefix and no more; what a router in its LAN told it has that router's attributes.
    """

    prefix: str
    as_path: tuple[int, ...] = ()  # One AS_SEQUENCE.
    origin: int = 0
    med: int | None = None
    communities: frozenset[str] = frozenset()  # "AS:value" and "AS:function:value"
    next_hop: str = ""  # "": the announcer's own address.
    path_id: int = 0
    originator_id: str = ""


@dataclass(frozen=True)
class World:
    """A fabric at rest. Who is in `down` is not there; a pair in `cut`, (client or spoke, hub), has no session."""

    document: Document
    announced: Mapping[str, tuple[Announced, ...]]  # Gateway or client -> its routes.
    down: frozenset[str] = frozenset()
    cut: frozenset[tuple[str, str]] = frozenset()
    without_add_path: frozenset[str] = frozenset()  # Clients that do not know RFC 7911.
    connected: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # Gateway -> prefixes of its interfaces.


@dataclass(frozen=True)
class Told:
    """A route as it stands in a client's table. iBGP only: `local_pref`."""

    prefix: str
    path_id: int  # Number of the originating uplink; 0 without ADD-PATH.
    next_hop: str
    local_pref: int | None
    med: int | None
    as_path: tuple[int, ...]
    origin: int
    communities: frozenset[str]


Tiers = tuple[frozenset[str], ...]
"""Next hops of the best set, of the next-best set, ...; () is an unreachable route."""


@dataclass(frozen=True)
class Expected:
    """What must be. Prefixes that are not there have no route of ours; the rejects beneath are not spoken of."""

    kernels: dict[str, dict[str, Tiers]]  # Gateway -> prefix -> tiers
    tables: dict[str, dict[str, frozenset[Told]]]  # Client -> hub -> what it holds of what this hub told it


def declared(document: Document) -> dict[str, tuple[Announced, ...]]:
    """What the gateways announce when they announce what the document says, and their LANs live."""
    found: dict[str, tuple[Announced, ...]] = {}
    for gateway in document.get("gateways", ()):
        found[gateway["name"]] = tuple(
            Announced(each["prefix"])
            for each in document.get("prefixes", ())
            if each["site"] == gateway["site"]
            if gateway["name"] in (each.get("gateways") or [gateway["name"]])
        )
    return found
