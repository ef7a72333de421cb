"""Who is waiting for what: the gateways' long polls, and the asks that operators put to them.

Lives in the event loop's thread; other threads go through `call_soon_threadsafe`. Nothing here is stored: a
poll that is lost comes again, an ask that is lost times out.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from controller.api.errors import NotFound, TooManyAsks
from speaker.report import Answer, Ask

MAX_ASKS = 16
"""Open asks per gateway."""
ASK_SECONDS = 5.0
MAX_POLLS = 4
"""Per gateway. One agent has one; a few more are connections whose far end has gone without a word."""


@dataclass
class _OpenAsk:
    ask: Ask
    answer: asyncio.Future[Answer | None]
    taken: bool = False


@dataclass
class Poll:
    """One waiting request. `displaced`: the gateway has come again too often, this one is to end."""

    wake: asyncio.Event = field(default_factory=asyncio.Event)
    displaced: bool = False


class Board:
    """The polls and asks of one controller process."""

    def __init__(self) -> None:
        self._polls: dict[str, list[Poll]] = {}
        self._asks: dict[str, dict[str, _OpenAsk]] = {}
        self._known: dict[str, str] = {}
        self.closed = False

    @contextmanager
    def polling(self, gateway: str) -> Iterator[Poll]:
        """Registered while the block lasts: from before the first look at the plan, so that no wake is lost."""
        poll = Poll()
        polls = self._polls.setdefault(gateway, [])
        polls.append(poll)
        if len(polls) > MAX_POLLS:
            polls[0].displaced = True
            polls.pop(0).wake.set()
        try:
            yield poll
        finally:
            if poll in polls:
                polls.remove(poll)
            if not polls and self._polls.get(gateway) is polls:
                del self._polls[gateway]

    @property
    def waiting(self) -> int:
        return sum(map(len, self._polls.values()))

    def polls(self, gateway: str) -> bool:
        """Whether the gateway is waiting here now."""
        return gateway in self._polls

    def wake(self, gateways: Iterable[str]) -> None:
        for gateway in gateways:
            for poll in self._polls.get(gateway, ()):
                poll.wake.set()

    def note(self, digests: Mapping[str, str | None]) -> None:
        """After a change of this process: these are the plans that moved (None: gone)."""
        for gateway, digest in digests.items():
            if digest is None:
                self._known.pop(gateway, None)
            else:
                self._known[gateway] = digest
        self.wake(digests)

    def compare(self, digests: Mapping[str, str]) -> None:
        """After news from another process: all digests as they are stored; what differs is woken."""
        moved = {name for name in self._known.keys() | digests.keys() if self._known.get(name) != digests.get(name)}
        self._known = dict(digests)
        self.wake(moved)

    def close(self) -> None:
        """Ends all polls at once, and the asks, for the process is about to."""
        self.closed = True
        self.wake(list(self._polls))
        for asks in self._asks.values():
            for each in asks.values():
                if not each.answer.done():
                    each.answer.set_result(None)

    async def ask(self, gateway: str, kind: str, arguments: dict[str, str]) -> Answer | None:
        """The gateway's answer, or None after ASK_SECONDS. Raises TooManyAsks."""
        asks = self._asks.setdefault(gateway, {})
        if len(asks) >= MAX_ASKS:
            raise TooManyAsks(f"{gateway} has {MAX_ASKS} open asks; each ends within {ASK_SECONDS:.0f} s")
        ask = Ask(secrets.token_hex(8), kind, arguments, time.time() + ASK_SECONDS)
        entry = _OpenAsk(ask, asyncio.get_running_loop().create_future())
        asks[ask.id] = entry
        self.wake([gateway])
        try:
            async with asyncio.timeout(ASK_SECONDS):
                return await entry.answer
        except TimeoutError:
            return None
        finally:
            del asks[ask.id]
            if not asks:
                self._asks.pop(gateway, None)

    def take_asks(self, gateway: str) -> tuple[Ask, ...]:
        """The asks that the gateway has not been given yet; each is given once."""
        fresh = [each for each in self._asks.get(gateway, {}).values() if not each.taken]
        for each in fresh:
            each.taken = True
        return tuple(each.ask for each in fresh)

    def answer(self, gateway: str, answer: Answer) -> None:
        """Raises NotFound when nobody waits for it (any more)."""
        entry = self._asks.get(gateway, {}).get(answer.id)
        if entry is None or entry.answer.done():
            raise NotFound(f"nobody waits for an answer to ask {answer.id}")
        entry.answer.set_result(answer)
