"""Relay labels on this gateway: those that a hub forwards, and whether a spoke can push any."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from time import monotonic

import structlog

from speaker.kernel.mpls import (
    LabelTable,
    apply_mpls_sysctls,
    encap_unsupported,
    relay_label,
    unsupported,
)
from speaker.kernel.port import KernelError

log = structlog.get_logger()

AUDIT_SECONDS = 60.0
RETRY_SECONDS = 10.0

Ways = Mapping[int, tuple[str, str]]
"""Uplink number -> (interface, overlay address)."""


class Labels:
    """One call at a time. A kernel without MPLS is no fault: detours go by plain IP."""

    def __init__(self) -> None:
        self._table = LabelTable()
        self._applied: object = None
        self._in_force: frozenset[int] = frozenset()
        self._audit_at = 0.0
        self._said: list[str] = []

    @property
    def pushes(self) -> bool:
        return not encap_unsupported()

    async def follow(self, wanted: Ways, links: Mapping[str, int], *, may_remove: bool) -> frozenset[int]:
        """Bring the kernel to `wanted` when that or an interface's index moved, and once a minute.

        Returns the numbers whose labels are forwarded now.
        """
        value = dict(wanted), {device: links.get(device) for device, _ in wanted.values()}, may_remove
        if value != self._applied or monotonic() >= self._audit_at:
            self._in_force, errors = await asyncio.to_thread(self._apply, wanted, sorted(links), may_remove)
            self._applied = value
            self._audit_at = monotonic() + (RETRY_SECONDS if errors else AUDIT_SECONDS)
            self._told(errors)
        return self._in_force

    def _apply(self, wanted: Ways, uplinks: Sequence[str], may_remove: bool) -> tuple[frozenset[int], list[str]]:
        if unsupported():
            return frozenset(), []
        desired = {relay_label(number): way for number, way in wanted.items()}
        if desired:
            outcome = apply_mpls_sysctls(uplinks, desired)  # Of all: packets with labels come in anywhere.
            for name, change in outcome.changed.items():
                log.info("sysctl", name=name, change=change)
            if outcome.failed:
                return frozenset(), [f"{name}: {why}" for name, why in outcome.failed.items()]
        errors = self._table.apply(desired, may_remove=may_remove)
        try:
            standing = self._table.forwarded(desired)
        except KernelError as error:
            return frozenset(), [*errors, str(error)]
        return frozenset(number for number in wanted if relay_label(number) in standing), errors

    def _told(self, errors: list[str]) -> None:
        if errors != self._said:
            self._said = errors
            for error in errors[:10]:
                log.warning("relay labels", error=error)
