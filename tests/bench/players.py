"""The contestants as processes: a Leyline speaker under a plan file, a BIRD, and how many routes a BIRD holds."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from speaker import plan as p
from speaker.agent.control import ask
from speaker.report import Ask, ReportUnreadable
from tests.bench.harness import children_of, rss_mb, until
from tests.bench.routes import ALLOCATION, MARK, Load
from tests.netns.namespaces import Bird, Namespace

ASN = 64512
FRR = "/usr/lib/frr"
TIMEOUT = 180.0
SESSION_SECONDS = 120.0
HOLD_SECONDS = 90


# Leyline


def plan(name: str, address: str, sessions: tuple[p.SessionPlan, ...]) -> p.Plan:
    """The plan of a gateway with one uplink, `eth0`; a hub when it has clients."""
    return p.Plan(
        version=3,
        gateway=name,
        role="hub" if any(session.peer_role == "client" for session in sessions) else "spoke",
        asn=ASN,
        router_id=address,
        segments=("10.42.0.0/16",),
        uplinks=(p.UplinkPlan(number_of(address), "main", "eth0", address, None, "fiber", 200, 0),),
        announcements=(),
        sessions=sessions,
        rejects=(ALLOCATION,),
        max_paths=16,
    )


def announcing(quiet: p.Plan, load: Load) -> p.Plan:
    """`quiet`, with everything of `load` to announce."""
    blocks = (p.AnnouncementPlan(tuple(prefixes), (f"{MARK}:1:{number}",)) for number, prefixes in load.blocks())
    return replace(quiet, announcements=tuple(blocks))


def session(own: str, peer: str, *, client: bool = False) -> p.SessionPlan:
    """`client`: we are a hub, and the peer may announce all of ALLOCATION. Else the peer is a hub that we dial."""
    hop = p.NextHopPlan(number_of(peer), peer, None, 200, (), 0)
    return p.SessionPlan(
        peer=peer,
        peer_role="client" if client else "hub",
        peer_asn=ASN,
        peer_address=peer,
        local_address=own,
        passive=client,
        families=("ipv4",),
        add_path=True,
        hold_time=HOLD_SECONDS,
        restart_time=120,
        password="",
        imports=p.ImportPlan((hop,), (p.AllocationPlan(ALLOCATION, 24),)) if client else None,
    )


def number_of(address: str) -> int:
    """The uplink number of an address in the segment."""
    third, fourth = address.split(".")[2:]
    return int(third) << 8 | int(fourth)


@dataclass
class Speaker:
    """`leyline speaker run` in a namespace: agent, ExaBGP and bridge, as a gateway has them."""

    place: Path  # Its state directory; the plan file lies beside it.

    @classmethod
    def start(cls, namespace: Namespace, own: p.Plan, directory: Path) -> Speaker:
        place = directory / own.gateway
        speaker = cls(place)
        speaker.file.write_bytes(p.encode(own))
        command = (sys.executable, "-m", "controller.cli", "speaker", "run", "--gateway", own.gateway)
        with place.with_suffix(".log").open("wb") as log:
            namespace.start(*command, "--plan", str(speaker.file), "--state-dir", str(place), output=log)
        return speaker

    @property
    def file(self) -> Path:
        return self.place.with_suffix(".json")

    def give(self, plan_bytes: bytes) -> None:
        """Another plan, from now on. Encode it before the clock runs."""
        self.file.write_bytes(plan_bytes)
        os.kill(self.pid("agent"), signal.SIGHUP)

    def pid(self, process: str) -> int:
        return int((self.place / f"{process}.pid").read_text())

    def wait_up(self) -> None:
        """Until every session of the plan is established."""
        until(self._all_up, SESSION_SECONDS, f"sessions of {self.place.name}", interval=0.2)

    def rss_mb(self) -> dict[str, float]:
        """Agent, ExaBGP and the bridge, which is ExaBGP's child."""
        exabgp, *bridge = children_of(self.pid("exabgp"))
        return {"agent": rss_mb(self.pid("agent")), "exabgp": rss_mb(exabgp), "bridge": sum(map(rss_mb, bridge))}

    def _all_up(self) -> bool:
        try:
            answer = asyncio.run(ask(self.place / "agent.sock", Ask("1", "report", {}, 0.0)))
        except (OSError, ReportUnreadable):
            return False
        sessions = answer.body["sessions"] if answer.ok else []
        return bool(sessions) and all(session["state"] == "up" for session in sessions)


# BIRD


def bird_config(address: str, neighbours: str, static: str = "", *, kernel: bool = False) -> str:
    export = "protocol kernel { ipv4 { export all; }; }" if kernel else ""
    return (
        f"router id {address};\nprotocol device {{}}\nprotocol direct {{ ipv4; }}\n{export}\n{static}\n{neighbours}\n"
    )


def bird_neighbour(name: str, own: str, peer: str, channel: str, options: str = "") -> str:
    return (
        f"protocol bgp {name} {{ local {own} as {ASN}; neighbor {peer} as {ASN}; direct; {options}\n"
        f"  hold time {HOLD_SECONDS}; connect delay time 1; connect retry time 1; error wait time 1, 2;\n"
        f"  ipv4 {{ import all; gateway direct; add paths on; {channel} }}; }}\n"
    )


def bird_source(namespace: Namespace, own: str, peer: str, load: Load, directory: Path) -> Bird:
    """A BIRD that announces `load` once it is told `enable load`, over its protocol `peer`."""
    neighbour = bird_neighbour("peer", own, peer, "export where source = RTS_STATIC; next hop self;")
    return namespace.bird(bird_config(own, neighbour, load.bird_static(disabled=True)), directory / "source")


class BirdTalk:
    """One connection to a BIRD's control socket: a question costs BIRD microseconds and us no process."""

    _IMPORTED = re.compile(r"Routes:\s+(\d+) imported")

    def __init__(self, bird: Bird) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(bird.socket))
        self._reader = self._socket.makefile("rb")
        self._answer()

    def __enter__(self) -> BirdTalk:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()
        self._socket.close()

    def ask(self, command: str) -> str:
        self._socket.sendall(command.encode() + b"\n")
        return self._answer()

    def imported(self, protocol: str = "peer") -> int:
        """Routes that came over `protocol`: a counter that BIRD keeps, no walk through its table."""
        found = self._IMPORTED.search(self.ask(f"show protocols all {protocol}"))
        return int(found.group(1)) if found else 0

    def _answer(self) -> str:
        """Lines up to the one whose four-digit code is followed by a blank, which is the last."""
        lines = []
        while line := self._reader.readline():
            lines.append(line.decode())
            if re.match(rb"\d{4} ", line):
                break
        return "".join(lines)


# FRR


@dataclass
class Frr:
    """zebra and bgpd in a namespace, with sockets of their own."""

    namespace: Namespace
    place: Path
    pids: dict[str, int]

    @classmethod
    def start(
        cls, namespace: Namespace, address: str, peers: tuple[str, ...], place: Path, *, reflector: bool = False
    ) -> Frr:
        place.mkdir()
        for directory in (place, *place.parents[:2]):  # The daemons drop to their own user.
            directory.chmod(0o777)
        (place / "bgpd.conf").write_text(_bgpd_config(address, peers, reflector=reflector))
        (place / "zebra.conf").write_text("")
        common = ("--vty_socket", str(place), "-P", "0", "-z", str(place / "zserv.api"))
        pids = {}
        for daemon in ("zebra", "bgpd"):
            extra = ("-l", address) if daemon == "bgpd" else ()
            files = ("-f", str(place / f"{daemon}.conf"), "-i", str(place / f"{daemon}.pid"))
            with (place / f"{daemon}.log").open("wb") as log:
                process = namespace.start(f"{FRR}/{daemon}", *common, *files, *extra, output=log)
            pids[daemon] = process.pid
            until((place / f"{daemon}.vty").exists, 20, f"{daemon} in {place}")
        return cls(namespace, place, pids)

    def wait_up(self, sessions: int) -> None:
        until(lambda: self._established() == sessions, SESSION_SECONDS, f"FRR's sessions in {self.place}", 0.2)

    def rss_mb(self) -> dict[str, float]:
        return {daemon: rss_mb(pid) for daemon, pid in self.pids.items()}

    def _established(self) -> int:
        command = ("vtysh", "--vty_socket", str(self.place), "-c", "show bgp summary json")
        return self.namespace.run(*command, check=False).count('"state":"Established"')


def _bgpd_config(address: str, peers: tuple[str, ...], *, reflector: bool) -> str:
    lines = [f"router bgp {ASN}", f" bgp router-id {address}"]
    for peer in peers:
        lines += [
            f" neighbor {peer} remote-as {ASN}",
            f" neighbor {peer} timers 30 {HOLD_SECONDS}",
            f" neighbor {peer} timers connect 1",
            f" neighbor {peer} advertisement-interval 0",
        ]
    lines.append(" address-family ipv4 unicast")
    for peer in peers if reflector else ():
        lines += [f"  neighbor {peer} addpath-tx-all-paths", f"  neighbor {peer} route-reflector-client"]
    return "\n".join([*lines, " exit-address-family", ""])
