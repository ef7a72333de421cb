"""What a ZeroTier service says, as facts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from speaker.doctor.facts import Service
from speaker.zerotier.local import Joined, LocalError, LocalService, Status
from speaker.zerotier.peers import PeersUnreadable, read_peers


def read_service(uplink: str, local: LocalService, network: str) -> Service:
    """Blocks. One that does not answer says so in `error`; raises nothing."""
    try:
        status = local.status()
        joined = local.network(network) if network else None
        peers = local.peers()
    except LocalError as error:
        return Service(uplink, error=str(error))
    return service_of(uplink, local.port, status, joined, peers)


def service_of(uplink: str, port: int, status: Status, joined: Joined | None, peers: object) -> Service:
    """Pure."""
    try:
        known, error = read_peers(peers, status.clock_ms), ""
    except PeersUnreadable as unreadable:
        known, error = (), str(unreadable)
    settings = status.config.get("settings")
    return Service(
        uplink=uplink,
        error=error,
        node_id=status.node_id,
        version=status.version,
        online=status.online,
        tcp_fallback=status.tcp_fallback,
        port=port,
        listening=status.listening,
        surface=status.surface,
        interface_blacklist=_names(settings),
        physical_blacklist=tuple(_blacklisted(status.config.get("physical"))),
        network_status=joined.status if joined is not None else "",
        network_mtu=joined.mtu if joined is not None else 0,
        device=joined.interface if joined is not None else "",
        addresses=joined.addresses if joined is not None else (),
        peers=known,
    )


def _names(settings: Any) -> tuple[str, ...]:
    names = settings.get("interfacePrefixBlacklist") if isinstance(settings, Mapping) else None
    return tuple(each for each in names if isinstance(each, str) and each) if isinstance(names, list) else ()


def _blacklisted(physical: Any) -> Iterator[str]:
    for prefix, said in physical.items() if isinstance(physical, Mapping) else ():
        if isinstance(said, Mapping) and said.get("blacklist") is True:
            yield str(prefix)
