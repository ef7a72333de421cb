"""local.conf of each ZeroTier service: written, shown to the service until it has read it, its effect looked at.

Read in service/OneService.cpp of ZeroTier One 1.14 (main loop): at looks a bit more than 10 s apart it reads the file
if that is at most 10 s old, by a time without fractions. So it overlooks one change in about fifteen, for good.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from time import time

import structlog
from pyroute2 import NetlinkError

from speaker.kernel.ways_out import OUTSIDE, interface_addresses, ways_to
from speaker.plan import Plan
from speaker.zerotier import config
from speaker.zerotier.config import ConfigUnreadable, Wanted
from speaker.zerotier.keep_out import Interfaces, NoWayOut, kept_out
from speaker.zerotier.local import LocalService, Status
from speaker.zerotier.peers import Peer, PeersUnreadable, read_peers

log = structlog.get_logger()

WITHIN_SECONDS = 25.0
"""A service that has not read the file after so long has overlooked it."""
EFFECT_SECONDS = 60.0
"""It reads the file within 10 s, closes sockets 30 s later (ZT_BINDER_REFRESH_PERIOD); 19 s later a path is dead."""
MAX_NAMED = 3


class Box:
    """What of this box the segment must know."""

    def interfaces(self) -> Interfaces:
        """Raises OSError, or NetlinkError."""
        return interface_addresses()

    def ways_to(self, addresses: Sequence[str]) -> frozenset[str]:
        """Raises OSError, or NetlinkError."""
        return ways_to(addresses)


class LocalConf:
    """Of all services of a box; remembers which texts it has shown again."""

    def __init__(self, box: Box) -> None:
        self._box = box
        self._shown: dict[Path, str] = {}

    def look(self, service: LocalService, status: Status, plan: Plan) -> list[str]:
        """What is wrong after one look, and what could be done about it. Raises LocalError."""
        path = service.home / "local.conf"
        peers = _peers(service, status)
        try:
            wanted = self._kept_out(peers, plan)
            merged = config.merged(config.read(path), wanted)
            if merged.changed:
                config.write(path, merged.text)
                log.info("local.conf written", path=str(path))
                return list(merged.problems)
            return [*merged.problems, *self._effect(path, merged.text, status, peers, wanted)]
        except (ConfigUnreadable, NoWayOut) as error:
            return [f"{path}: {error}"]
        except (OSError, NetlinkError) as error:
            return [f"{path} was not written: {error}"]

    def _effect(self, path: Path, text: str, status: Status, peers: Sequence[Peer], wanted: Wanted) -> Iterator[str]:
        """What is wrong though the file is as it should be. Raises OSError."""
        if not text:
            return
        age = time() - path.stat().st_mtime
        if not config.in_force(status.config, text):
            if age <= WITHIN_SECONDS:
                return
            if self._shown.get(path) == text:
                yield f"{path} is not in force: restart zerotier-one when it suits"
            else:
                self._shown[path] = text
                os.utime(path, (time(), time()))
        elif age > EFFECT_SECONDS:
            yield from still_used(status, peers, wanted)

    def _kept_out(self, peers: Sequence[Peer], plan: Plan) -> Wanted:
        """Raises NoWayOut; OSError, or NetlinkError, when the kernel cannot be asked."""
        return kept_out(plan, self._box.interfaces(), self._box.ways_to([*OUTSIDE, *_roots(peers)]))


def still_used(status: Status, peers: Sequence[Peer], wanted: Wanted) -> Iterator[str]:
    """What a service that has `wanted` in force uses all the same. Pure.

    Its sockets of `bind` are opened whatever it is to keep out of (osdep/Binder.hpp), and a path that it knows is never
    looked at again while packets come by it (node/Peer.cpp, `received`).
    """
    space = config.without(wanted.space, wanted.underlay)
    for address in config.overlaid(status.listening, space)[:MAX_NAMED]:
        yield (
            f"it listens on {address}, which is reached through the fabric: take it out of `bind` in local.conf and "
            "restart zerotier-one"
        )
    through = [(peer.node_id, address) for peer in peers for address in config.overlaid(peer.alive, space)]
    for node, address in through[:MAX_NAMED]:
        yield f"its path to {node} at {address} leads over the fabric: restart zerotier-one when it suits"


def _peers(service: LocalService, status: Status) -> tuple[Peer, ...]:
    """Raises LocalError."""
    try:
        return read_peers(service.peers(), status.clock_ms)
    except PeersUnreadable:
        return ()


def _roots(peers: Sequence[Peer]) -> list[str]:
    """Where the roots are reached: what leads there is this box's way out."""
    found = []
    for peer in peers:
        with suppress(ValueError):
            if peer.root:
                found.append(str(ip_address(peer.physical.rpartition("/")[0])))
    return found
