"""nftables on this gateway: which next hops are in use, and no detour through more than one hub."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import structlog
from pyroute2 import NetlinkError

from speaker.kernel.nft import Nft, NftRules, neighbour_macs
from speaker.plan import Plan

log = structlog.get_logger()

USE_SECONDS = 10
"""A next hop counts as in use for so long after a packet; a session of its own lives on for `idle_seconds`."""


class Guard:
    """One call at a time. Without nftables nothing breaks: no detours, and every next hop counts as in use."""

    def __init__(self) -> None:
        self._nft = Nft()
        self._macs: frozenset[str] = frozenset()
        self._said = ""

    @property
    def in_force(self) -> bool:
        return self._nft.available

    async def apply(self, plan: Plan) -> None:
        """The rules of `plan`, with the hubs' Ethernet addresses as far as they are known now."""
        addresses = {
            text
            for session in plan.sessions
            if session.peer_role == "peer"
            for text in (session.peer_address, session.peer_address6)
            if text
        }
        self._told(await asyncio.to_thread(self._apply, plan, addresses))

    async def used(self) -> frozenset[str] | None:
        """Next hops that had packets lately; None when nobody can tell."""
        return await asyncio.to_thread(self._nft.used)

    def _apply(self, plan: Plan, addresses: Collection[str]) -> str:
        if addresses:
            try:
                # Kept: the kernel forgets neighbours that nobody talks to, and a hub keeps its card.
                self._macs |= neighbour_macs(addresses)
            except (OSError, NetlinkError) as error:
                return f"neighbours not read: {error}"
        uplinks = plan.interfaces
        mtu = plan.mtu if plan.mss_clamp else 0
        return self._nft.apply(NftRules(uplinks, plan.role, self._macs, USE_SECONDS, mtu))

    def _told(self, error: str) -> None:
        if error != self._said:
            self._said = error
            if error:
                log.warning("no detours, and every next hop counts as in use", reason=error)
