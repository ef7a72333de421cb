"""What gateways said last, and when, as the store has it."""

from __future__ import annotations

from contextlib import suppress

from controller.store.store import Store
from controller.zerotier.alive import Heard
from speaker.report import ReportUnreadable, decode_report


def heard(store: Store) -> dict[str, Heard]:
    """Gateway -> its last report. One that cannot be read was not heard. Raises StoreUnavailable."""
    found = {}
    for name, stored in store.reports().items():
        with suppress(ReportUnreadable):
            found[name] = Heard(stored.received_at, decode_report(stored.body))
    return found
