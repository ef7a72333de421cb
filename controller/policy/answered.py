"""What a gateway answers to the ask `explain`, as far as it is compared with what was intended. The rest passes by."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct


class AnswerUnreadable(ValueError):
    """The gateway's answer has not the form that this controller knows."""


class LiveWay(Struct, frozen=True):
    interface: str
    address: str
    label: int | None
    towards: tuple[str, ...]
    detour: bool


class LiveSeen(Struct, frozen=True):
    local_pref: int | None = None


class LivePath(Struct, frozen=True):
    next_hop: str
    local_pref: int | None
    stale: bool
    tier: int
    step: str
    why: str
    seen: LiveSeen = LiveSeen()

    @property
    def preference(self) -> int:
        """LOCAL_PREF as the gateway decides by it."""
        first = self.seen.local_pref if self.seen.local_pref is not None else self.local_pref
        return 100 if first is None else first


class LiveMember(Struct, frozen=True):
    next_hop: str
    state: str  # usable, silent, held, dead or down
    ways: tuple[Any, ...] | None = None  # Those that its traffic takes; None: an older speaker, which does not say.


class LiveKernel(Struct, frozen=True):
    state: str
    moving: bool
    refused: str


class LiveChosen(Struct, frozen=True):
    tier: int
    manner: str  # direct, detour, unheard or held


class LivePrefix(Struct, frozen=True):
    prefix: str
    what: str
    text: str
    kernel: LiveKernel | None = None
    tiers: tuple[tuple[LiveMember, ...], ...] = ()
    chosen: LiveChosen | None = None
    paths: tuple[LivePath, ...] = ()


class LiveVerdict(Struct, frozen=True):
    what: str
    prefix: str
    text: str
    ways: tuple[LiveWay, ...]


class Live(Struct, frozen=True):
    verdict: LiveVerdict
    prefixes: tuple[LivePrefix, ...]


def read(body: Any) -> Live:
    """Raises AnswerUnreadable."""
    try:
        return msgspec.convert(body, Live)
    except msgspec.ValidationError as error:
        raise AnswerUnreadable(
            f"its answer cannot be read: {error}; are speaker and controller of one release?"
        ) from None
