"""Two namespaces, our launcher in one and a real peer in the other, and an agent's client to talk through."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from msgspec.structs import replace

from speaker.bgp.client import BridgeClient
from speaker.bgp.events import Event, PeerUp, RefreshReceived, UpdateReceived
from speaker.bgp.exabgp.config import render
from speaker.bgp.wire import UPDATE, message
from speaker.plan import Plan, SessionPlan
from speaker.rib.prefix import Family
from tests.netns.namespaces import Failed, Namespace, pair, wait_until

ASN = 64512
OURS, THEIRS = "10.0.0.1", "10.0.0.2"
ROOT = Path(__file__).parents[2]

SESSION = SessionPlan(
    peer="bird",
    peer_role="hub",
    peer_asn=ASN,
    peer_address=THEIRS,
    local_address=OURS,
    passive=False,
    families=("ipv4", "ipv6"),
    add_path=True,
    hold_time=9,
    restart_time=120,
    password="",
    imports=None,
)


def plan_of(*sessions: SessionPlan, role: str = "spoke", router_id: str = OURS) -> Plan:
    return Plan(
        version=3,
        gateway="g",
        role="hub" if role == "hub" else "spoke",
        asn=ASN,
        router_id=router_id,
        segments=("10.0.0.0/24",),
        uplinks=(),
        announcements=(),
        sessions=sessions,
        rejects=(),
        max_paths=8,
    )


BIRD = """
router id {router_id};
log "{log}" all;
protocol device {{}}
{static}
protocol bgp peer {{
    local {address} as {asn};
    neighbor {neighbor} as {asn};
    {options}
    hold time 9;
    connect retry time 1; connect delay time 1; error wait time 1, 2;
    graceful restart on;
    enable route refresh on;
    enable extended messages off;
    ipv4 {{ import all; export where source = RTS_STATIC; add paths on; import table off; next hop self off; }};
    ipv6 {{ import all; export where source = RTS_STATIC; add paths on; }};
}}
"""


def bird_config(directory: Path, *, static: str = "", options: str = "", neighbor: str = OURS) -> str:
    return BIRD.format(
        router_id="10.0.0.2",
        log=directory / "bird.messages",
        address=THEIRS,
        neighbor=neighbor,
        asn=ASN,
        static=static,
        options=options,
    )


def static_routes(count: int, groups: int = 100, name: str = "own") -> str:
    """BIRD's configuration for `count` /24 below 20.0.0.0, in `groups` attribute sets."""
    lines = [
        f'route {prefix_text(number)} via "lo" {{ bgp_large_community.add(({ASN}, 9, {number % groups})); }};'
        for number in range(count)
    ]
    return f"protocol static {name} {{ ipv4; {' '.join(lines)} }}"


def prefix_text(number: int) -> str:
    octets = (20 << 16) + number
    return f"{octets >> 16}.{(octets >> 8) & 255}.{octets & 255}.0/24"


def key(number: int) -> bytes:
    return b"\x18" + ((20 << 16) + number).to_bytes(3, "big")


def updates(
    numbers: Iterable[int],
    *,
    path_id: int | None = 7,
    med: int = 1,
    next_hop: bytes = b"\x0a\x00\x00\x01",
    per_message: int = 500,
) -> list[bytes]:
    """UPDATEs that announce prefixes by number, with the attributes of an own route of a gateway."""
    attributes = (
        b"\x40\x01\x01\x00"
        + b"\x40\x02\x00"
        + b"\x40\x03\x04"
        + next_hop
        + b"\x80\x04\x04"
        + med.to_bytes(4, "big")
        + b"\x40\x05\x04\x00\x00\x00\xc8"
    )
    head = b"\0\0" + len(attributes).to_bytes(2, "big") + attributes
    prefix = b"" if path_id is None else path_id.to_bytes(4, "big")
    wanted = list(numbers)
    return [
        message(UPDATE, head + b"".join(prefix + key(number) for number in wanted[start : start + per_message]))
        for start in range(0, len(wanted), per_message)
    ]


def withdrawals(numbers: Iterable[int], *, path_id: int | None = 7, per_message: int = 500) -> list[bytes]:
    prefix = b"" if path_id is None else path_id.to_bytes(4, "big")
    wanted = list(numbers)
    made = []
    for start in range(0, len(wanted), per_message):
        gone = b"".join(prefix + key(number) for number in wanted[start : start + per_message])
        made.append(message(UPDATE, len(gone).to_bytes(2, "big") + gone + b"\0\0"))
    return made


@dataclass
class Engine:
    """Our launcher, running in a namespace under a plan."""

    namespace: Namespace
    directory: Path
    plan: Plan
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def sockets(self) -> str:
        return str(self.directory / "sockets")

    @property
    def socket(self) -> str:
        return self.sockets + "/bridge.sock"

    @property
    def config(self) -> Path:
        return self.directory / "exabgp.conf"

    def text(self, plan: Plan) -> str:
        return render(plan, self.sockets, sys.executable)

    def start(self) -> None:
        self.directory.mkdir(exist_ok=True)
        self.config.write_text(self.text(self.plan))
        with (self.directory / "exabgp.log").open("ab") as log:
            self.process = self.namespace.start(
                sys.executable,
                "-m",
                "speaker.bgp.exabgp.launcher",
                str(self.config),
                output=log,
                env={**os.environ, **self.environment},
                cwd=ROOT,
            )

    def evidence(self) -> str:
        """What all launchers of this test have said, and whether ours runs."""
        logs = [f"{log}:\n{log.read_text(errors='replace')}" for log in self.directory.parent.glob("*/exabgp.log")]
        return "\n".join([f"exit code: {None if self.process is None else self.process.poll()}", *logs])

    def bridge_pid(self) -> int:
        """Of the hook that runs now."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        if len(children) != 1:
            raise Failed(f"{len(children)} children of ExaBGP\n{self.evidence()}")
        return int(children[0])

    def kill_bridge(self) -> None:
        os.kill(self.bridge_pid(), signal.SIGKILL)


Wanted = TypeVar("Wanted", bound=Event)


class Ears:
    """Collects a client's events in the background; tests ask what has come."""

    def __init__(self, client: BridgeClient) -> None:
        self.client = client
        self.events: list[Event] = []
        self.received = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._listen())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _listen(self) -> None:
        async for batch in self.client.batches():
            for event in batch:
                if isinstance(event, UpdateReceived):
                    self.received += routes_in(event.body)
                self.events.append(event)

    def of(self, kind: type[Wanted]) -> list[Wanted]:
        return [event for event in self.events if isinstance(event, kind)]


def routes_in(body: bytes) -> int:
    """Announced IPv4 /24 with path ids in an UPDATE's body."""
    withdrawn = int.from_bytes(body[:2], "big")
    attributes = int.from_bytes(body[2 + withdrawn : 4 + withdrawn], "big")
    return (len(body) - 4 - withdrawn - attributes) // 8


def asynchronous(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A coroutine as a test, in an event loop of its own."""

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        asyncio.run(test(*arguments, **named))

    return run


async def until(predicate: Callable[[], bool], timeout: float, evidence: Callable[[], str] | str = "") -> float:
    """`wait_until` for a test that has a running event loop."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    while not predicate():
        if loop.time() - started > timeout:
            raise Failed(f"not reached within {timeout} s\n{evidence() if callable(evidence) else evidence}")
        await asyncio.sleep(0.02)
    return loop.time() - started


@contextlib.asynccontextmanager
async def listening(engine: Engine, *, up: bool = True) -> AsyncIterator[Ears]:
    """A client of the engine's bridge; when `up`, with its one session established."""
    async with BridgeClient(engine.socket) as client:
        ears = Ears(client)
        ears.start()
        try:
            if up:
                await until(lambda: bool(ears.of(PeerUp)), 20, lambda: f"{ears.events}\n{engine.evidence()}")
            yield ears
        finally:
            await ears.stop()


@contextlib.contextmanager
def fabric(
    area: str, directory: Path, session: SessionPlan = SESSION, **environment: str
) -> Iterator[tuple[Engine, Namespace]]:
    """Namespace a with our engine (not started), namespace b for the peer."""
    with pair(area, [f"{OURS}/24", "fd00::1/64"], [f"{THEIRS}/24", "fd00::2/64"]) as (a, b):
        yield Engine(a, directory / "engine", plan_of(session), environment), b


__all__ = ["Family", "RefreshReceived", "UpdateReceived", "replace", "wait_until"]
