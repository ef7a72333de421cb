"""Keeps the rules by which traffic from LANs finds the routes that stand aside of table main."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from time import monotonic

import structlog

from speaker.kernel.lan_rules import LanRuleTable, lan_rules
from speaker.rib.prefix import Family

log = structlog.get_logger()

AUDIT_SECONDS = 60.0
RETRY_SECONDS = 10.0


class LanTable:
    """One call at a time."""

    def __init__(self, rules: LanRuleTable | None = None) -> None:
        self._rules = LanRuleTable() if rules is None else rules
        self._applied: object = None
        self._audit_at = 0.0
        self._said: list[str] = []

    async def follow(
        self, lengths: Mapping[Family, Collection[int]], interfaces: Collection[str], *, may_remove: bool
    ) -> None:
        """Bring the kernel to what is needed when that moved, and once a minute.

        `lengths`: of the routes that stand aside; `interfaces`: those with a LAN of ours.
        """
        wanted = lan_rules(lengths, interfaces)
        if (wanted, may_remove) == self._applied and monotonic() < self._audit_at:
            return
        errors = await asyncio.to_thread(self._rules.apply, wanted, may_remove=may_remove)
        self._applied = wanted, may_remove
        self._audit_at = monotonic() + (RETRY_SECONDS if errors else AUDIT_SECONDS)
        if errors != self._said:
            self._said = errors
            for error in errors[:10]:
                log.warning("rules for LANs", error=error)
