"""What Leyline asks of a ZeroTier controller about one network: the segment.

Two adapters: `selfhosted.SelfHosted` (the API of zerotier-one on port 9993) and `central.Central` (ZeroTier Central,
REST v1). Both are synchronous, may be shared by threads, and bound every call and every answer. What they return are
values that can be compared whole; what they do not know they leave at the default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, Literal, Protocol

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Rule = Mapping[str, Any]  # One entry of a rule set as the API writes it, without a false `not` or `or`.

MTU_MIN, MTU_DEFAULT, MTU_USABLE = 1280, 2800, 9890  # The API takes 10000; from 9987 on the sender's daemon aborts.
MAX_ROUTES = 128  # More are stored, and never delivered.
MAX_ADDRESSES = 32  # Of one member.
MAX_UNREADABLE = 20  # Member records; with more of them the whole list is garbled.
MAX_SHOWN = 8  # Of an array's values in an error.


@dataclass(frozen=True)
class ManagedRoute:
    """`via` None: the network itself, on-link."""

    target: Network
    via: Address | None = None

    def __str__(self) -> str:
        return f"{self.target} via {self.via}" if self.via else f"{self.target}"


@dataclass(frozen=True)
class Pool:
    """Addresses that the controller may hand out by itself, both ends included."""

    start: Address
    end: Address

    def __str__(self) -> str:
        return f"{self.start}-{self.end}"


@dataclass(frozen=True)
class NetworkState:
    """A network as it is stored now. Order of routes, pools and rules is the service's."""

    network: str  # 16 hex digits, lower case.
    name: str = ""
    private: bool = True
    routes: tuple[ManagedRoute, ...] = ()
    mtu: int = MTU_DEFAULT
    auto_assign4: bool = False  # v4AssignMode.zt
    auto_assign6: bool = False  # v6AssignMode.zt
    auto_6plane: bool = False
    auto_rfc4193: bool = False
    pools: tuple[Pool, ...] = ()
    rules: tuple[Rule, ...] = ()
    capabilities: tuple[Mapping[str, Any], ...] = ()
    tags: tuple[Mapping[str, Any], ...] = ()
    multicast_limit: int = 32  # 0 kills ARP.
    broadcast: bool = True
    revision: int = 0  # 0: the service says none.


@dataclass(frozen=True)
class NetworkChange:
    """The fields to write; None leaves a field as it is. An array replaces the whole array."""

    name: str | None = None
    private: bool | None = None
    routes: tuple[ManagedRoute, ...] | None = None
    mtu: int | None = None
    auto_assign4: bool | None = None
    auto_assign6: bool | None = None
    auto_6plane: bool | None = None
    auto_rfc4193: bool | None = None
    pools: tuple[Pool, ...] | None = None
    rules: tuple[Rule, ...] | None = None


@dataclass(frozen=True)
class MemberState:
    """A member as it is stored now. `identity` and `version` are empty until it has once asked to join."""

    node_id: str  # 10 hex digits, lower case.
    authorised: bool = False
    addresses: tuple[Address, ...] = ()
    name: str = ""
    no_auto_assign: bool = False
    bridge: bool = False
    tags: tuple[tuple[int, int], ...] = ()
    capabilities: tuple[int, ...] = ()
    identity: str = ""  # Public identity: NODE:0:KEY.
    version: str = ""
    revision: int = 0
    deauthorised_at: float = 0.0  # Seconds since the epoch, of the last time; 0: never.
    last_seen: float = 0.0  # Seconds since the epoch; 0: the service does not say (the self-hosted one never does).
    physical: str = ""  # Where it was seen last; "" as above.


class Members(dict[str, MemberState]):
    """By node id. `unreadable`: node id -> why its record cannot be read; nothing else is known of these members."""

    def __init__(self) -> None:
        super().__init__()
        self.unreadable: dict[str, str] = {}


@dataclass(frozen=True)
class MemberChange:
    """The fields to write; None leaves a field as it is. A member that is not there is made."""

    authorised: bool | None = None
    addresses: tuple[Address, ...] | None = None
    name: str | None = None
    no_auto_assign: bool | None = None


@dataclass(frozen=True)
class Service:
    """Who keeps the network. `address` is the controller's node id: the first ten digits of its networks."""

    kind: Literal["self-hosted", "central"]
    url: str
    version: str = ""
    address: str = ""


class ZeroTierError(Exception):
    """Whatever went wrong with the service. The text names the service and the way out, never the token.

    `after`: seconds before it makes sense to try again, 0 when the service does not say.
    """

    after: float = 0.0


class Unreachable(ZeroTierError):
    """No connection, no answer in time, or the service says that it is broken (5xx)."""


class Unauthorised(ZeroTierError):
    """The token is wrong, or may not do this."""


class NoController(ZeroTierError):
    """A ZeroTier node answers that is no controller (1.16 builds by default), or not the one of this network."""


class NoSuchNetwork(ZeroTierError):
    """The service does not know the network."""


class RateLimited(ZeroTierError):
    """Too many requests, also after waiting."""

    def __init__(self, message: str, after: float) -> None:
        super().__init__(message)
        self.after = after


class Garbled(ZeroTierError):
    """An answer that no ZeroTier service gives: HTML, broken or endless JSON, the wrong types, another network."""


class Refused(ZeroTierError):
    """The service understood, and said no."""


class NotStored(ZeroTierError):
    """The service said yes and stored something else: it drops and coerces values silently.

    `field` is a name of NetworkChange or MemberChange; `wanted` and `stored` are its values.
    """

    def __init__(self, thing: str, field: str, wanted: Any, stored: Any) -> None:
        super().__init__(f"{thing}: the service took {field} {_shown(wanted)} and stores {_shown(stored)}")
        self.field, self.wanted, self.stored = field, wanted, stored


def _shown(value: Any) -> str:
    if not isinstance(value, tuple):
        return str(value)
    return "(" + ", ".join(str(part) for part in value[:MAX_SHOWN]) + (", ...)" if len(value) > MAX_SHOWN else ")")


class SegmentApi(Protocol):
    """One network of one service. Every call has a bound and raises subclasses of ZeroTierError only."""

    def network(self) -> NetworkState:
        """Raises NoSuchNetwork."""

    def members(self) -> Members:
        """All members, also those that are not authorised. Raises Garbled when more than MAX_UNREADABLE records cannot
        be read, or one that does not tell its node id."""

    def write_network(self, change: NetworkChange) -> NetworkState:
        """Write, read back, and return what is stored now. Raises NotStored.

        A self-hosted controller makes a network that is not there, when its id says that it is the controller's own;
        Central chooses ids by itself, and this is NoSuchNetwork.
        """

    def write_member(self, node_id: str, change: MemberChange) -> MemberState:
        """Write, read back, and return what is stored now, also for a node that never asked to join.

        Raises NotStored.
        """

    def delete_member(self, node_id: str) -> None:
        """Forget a member; one that is not there is no error. De-authorise first: a forgotten node may ask again."""

    def describe(self) -> Service:
        """Which service this is; also a cheap question whether it is there and takes the token."""
