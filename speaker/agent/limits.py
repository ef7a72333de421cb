"""What people are told about a client that announces more prefixes than it may, or nearly so."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from speaker.agent.sessions import Session
from speaker.rib.limits import LimitState
from speaker.rib.rib import Rib

log = structlog.get_logger()

NEAR, CALM = 0.8, 0.7
"""Shares of the limit: from the one on there is a warning; below the other it may be said again."""


def warning_of(state: LimitState) -> str:
    """One sentence; empty while all is well."""
    said = []
    if state.waiting:
        said.append(f"limit of {state.limit:,} prefixes reached, {state.waiting:,} more are kept as filtered")
    elif state.limit and state.prefixes >= NEAR * state.limit:
        said.append(f"{state.prefixes:,} of {state.limit:,} prefixes: {state.prefixes * 100 // state.limit} %")
    if state.unkept:
        said.append(f"{state.unkept:,} refused announcements were counted only")
    return "; ".join(said)


class LimitWatch:
    """Logs once when a client comes near its limit and once when it is beyond; again after it was well below."""

    def __init__(self) -> None:
        self._said: dict[str, int] = {}

    def look(self, sessions: Iterable[Session], rib: Rib) -> None:
        for session in sessions:
            if session.source is None or session.plan.imports is None:
                continue
            state = rib.limit_state(session.source)
            level = _level(state)
            said = self._said.get(session.address, 0)
            if level > said:
                log.warning("many prefixes", peer=session.plan.peer, says=warning_of(state))
            if level > said or (level == 0 and state.prefixes <= CALM * state.limit):
                self._said[session.address] = level


def _level(state: LimitState) -> int:
    if state.waiting or state.unkept:
        return 2
    return 1 if warning_of(state) else 0
