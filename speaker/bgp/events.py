"""What the bridge's client tells the agent. Peers are named by their address, as the plan writes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from speaker.bgp.negotiated import Negotiated
from speaker.bgp.opens import GracefulRestart
from speaker.rib.prefix import Family

Mode = Literal["raw", "stock"]


@dataclass(frozen=True, slots=True)
class Hello:
    """The bridge answers. `raw`: our launcher, UPDATEs as bytes. `stock`: somebody's ExaBGP, its text API."""

    mode: Mode
    pid: int  # Of ExaBGP: SIGUSR1 makes it read its configuration again.
    version: str  # Of ExaBGP, "" when it is a stock one.


@dataclass(frozen=True, slots=True)
class PeerUp:
    """A session is established, or was found established.

    resumed=False: it has just come up: the peer sends its whole table, End-of-RIB last; so must we.
    resumed=True: it was up before we could hear of it (the agent, or the bridge, is new, or events were
    lost): ask by ROUTE-REFRESH, and send our whole table between BoRR and EoRR (RFC 7313), End-of-RIB last:
    nobody may have said it on this session yet.
    """

    peer: str
    router_id: bytes  # 4 octets
    negotiated: Negotiated
    graceful_restart: GracefulRestart | None
    refresh: bool  # Both ends do ROUTE-REFRESH (RFC 2918).
    enhanced_refresh: bool  # Both ends do BoRR and EoRR (RFC 7313).
    resumed: bool


@dataclass(frozen=True, slots=True)
class PeerDown:
    """An established session ended, or (established=False) an attempt at one failed.

    notification: the session ended by a NOTIFICATION, so graceful restart does not apply and what the peer sent
    is purged (RFC 4724 4.2). A hold timer that ran out does not count, whichever end said so (RFC 8538 2):
    a hub that lost its power must not take the routes of its clients with it.
    ours: it was our end that was lost or closed it: the bridge or ExaBGP died, or read another configuration. Then it
    is we who restart, and nothing is known of the peer (RFC 4724 4.1).
    """

    peer: str
    reason: str
    established: bool
    notification: bool
    ours: bool = False


@dataclass(frozen=True, slots=True)
class UpdateReceived:
    """The body of an UPDATE, as it was on the wire (mode stock: made again from what ExaBGP decoded).

    Only between PeerUp and PeerDown of its peer.
    """

    peer: str
    body: bytes


@dataclass(frozen=True, slots=True)
class RefreshReceived:
    """ROUTE-REFRESH: 0 the peer wants all again, 1 all follows (BoRR), 2 that was all (EoRR). RFC 2918, RFC 7313."""

    peer: str
    family: Family
    subtype: int


@dataclass(frozen=True, slots=True)
class Overflow:
    """We read too slowly and events were dropped. PeerDown and, for sessions that live, PeerUp(resumed) follow."""


@dataclass(frozen=True, slots=True)
class BridgeGone:
    """The bridge, or ExaBGP with it, is gone; PeerDown for every session follows. The client goes on trying."""


Event = Hello | PeerUp | PeerDown | UpdateReceived | RefreshReceived | Overflow | BridgeGone
