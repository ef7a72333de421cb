"""A spoke announces, a hub reflects, another spoke's kernel has them all: Leyline, BIRD and FRR at the same job.

Three namespaces on one bridge. Hub and receiving spoke both put every route into their kernels, as
a Leyline hub does. The clock runs from the first long BGP segment that leaves the source to the last route
in (or out of) the receiving spoke's kernel. FRR's source is a BIRD, as FRR has no quick way to originate a million.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from speaker import plan as p
from tests.bench.harness import Inside, Measured, alternate, children_of, emit, ratio, rss_mb, say, until, version_of
from tests.bench.routes import ALLOCATION, MARK, Load
from tests.netns.namespaces import Namespace, segment

ASN = 64512
SOURCE, HUB, SINK = "10.42.0.1", "10.42.0.2", "10.42.0.3"
TIMEOUT = 180.0
FRR = "/usr/lib/frr"


def bench() -> None:
    load = Load()
    with TemporaryDirectory() as directory:
        say("end_to_end_1m: spoke -> hub -> spoke's kernel")
        contestants = {
            "leyline": partial(_run, load, Path(directory), _start_leyline),
            "bird": partial(_run, load, Path(directory), _start_bird),
            "frr": partial(_run, load, Path(directory), _start_frr),
        }
        measured = alternate(contestants)
    ours, bird, frr = (measured[name].seconds for name in ("leyline", "bird", "frr"))
    emit(
        bench="end_to_end_1m",
        value=round(ours["announce"], 2),
        unit="s",
        against=f"FRR {version_of(f'{FRR}/bgpd', '--version')} and BIRD {version_of('bird', '--version')}",
        ratio=ratio(frr["announce"], ours["announce"]),
        ratio_bird=ratio(bird["announce"], ours["announce"]),
        withdraw_value=round(ours["withdraw"], 2),
        withdraw_ratio=ratio(frr["withdraw"], ours["withdraw"]),
        withdraw_ratio_bird=ratio(bird["withdraw"], ours["withdraw"]),
        frr_seconds={what: round(value, 2) for what, value in frr.items()},
        bird_seconds={what: round(value, 2) for what, value in bird.items()},
        routes=load.routes,
        attribute_sets=load.sets,
        rss_mb={name: dict(one.rss_mb) for name, one in measured.items()},
    )


Members = dict[str, Namespace]


class Job:
    """A running chain: how to announce and withdraw everything, and the processes whose memory counts."""

    def __init__(self, announce: Callable[[], object], withdraw: Callable[[], object], pids: dict[str, int]) -> None:
        self.announce = announce
        self.withdraw = withdraw
        self.pids = pids


def _run(load: Load, directory: Path, start: Callable[[Load, Members, Path], Job]) -> Measured:
    place = directory / f"{start.__name__}-{time.monotonic_ns()}"
    place.mkdir()
    addresses = {"source": [f"{SOURCE}/16"], "hub": [f"{HUB}/16"], "sink": [f"{SINK}/16"]}
    with ExitStack() as stack:
        members = stack.enter_context(segment("bench", addresses))
        source, sink = (stack.enter_context(Inside(members[name])) for name in ("source", "sink"))
        for member in members.values():
            member.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        job = start(load, members, place)
        idle = sink.kernel_routes()
        first = source.first_update("eth0")
        job.announce()
        begun = first.wait(TIMEOUT)
        full = until(lambda: sink.kernel_routes() >= idle + load.routes, TIMEOUT, "all routes in the kernel")
        memory = {name: round(sum(map(rss_mb, children_of(pid))), 1) for name, pid in job.pids.items()}
        first = source.first_update("eth0")
        job.withdraw()
        gone_begun = first.wait(TIMEOUT)
        empty = until(lambda: sink.kernel_routes() <= idle, TIMEOUT, "no route left in the kernel")
    return Measured({"announce": full - begun, "withdraw": empty - gone_begun}, memory)


# Leyline


def _start_leyline(load: Load, members: Members, place: Path) -> Job:
    blocks = tuple(p.AnnouncementPlan(tuple(prefixes), (f"{MARK}:1:{number}",)) for number, prefixes in load.blocks())
    silent = _plan("source", SOURCE, (_session(SOURCE, HUB),), ())
    loud = _plan("source", SOURCE, (_session(SOURCE, HUB),), blocks)
    hub = _plan("hub", HUB, (_session(HUB, SOURCE), _session(HUB, SINK)), ())
    sink = _plan("sink", SINK, (_session(SINK, HUB),), ())
    files = {}
    for name, plan in (("source", silent), ("hub", hub), ("sink", sink)):
        files[name] = place / f"{name}.json"
        files[name].write_bytes(p.encode(plan))
    speakers = {name: _speaker(members[name], name, file, place) for name, file in files.items()}
    control = {name: place / name / "agent.sock" for name in files}
    for name in files:
        until(lambda name=name: _all_up(control[name]), 60, f"sessions of {name}", interval=0.2)
    loud_bytes, silent_bytes = p.encode(loud), p.encode(silent)

    def give(plan: bytes) -> None:
        files["source"].write_bytes(plan)
        agent = int((place / "source" / "agent.pid").read_text())
        subprocess.run(["kill", f"-{signal.SIGHUP.value}", str(agent)], check=True)

    agents = {f"agent {name}": int((place / name / "agent.pid").read_text()) for name in files}
    exabgp = {f"exabgp {name}": int((place / name / "exabgp.pid").read_text()) for name in ("hub",)}
    assert all(speaker.poll() is None for speaker in speakers.values())
    return Job(partial(give, loud_bytes), partial(give, silent_bytes), agents | exabgp)


def _speaker(namespace: Namespace, name: str, plan: Path, place: Path) -> subprocess.Popen[bytes]:
    log = (place / f"{name}.log").open("wb")
    command = (sys.executable, "-m", "controller.cli", "speaker", "run")
    return namespace.start(
        *command, "--gateway", name, "--plan", str(plan), "--state-dir", str(place / name), output=log
    )


def _all_up(control: Path) -> bool:
    import asyncio

    from speaker.agent.control import ask
    from speaker.report import Ask, ReportUnreadable

    try:
        answer = asyncio.run(ask(control, Ask("1", "report", {}, 0.0)))
    except (OSError, ReportUnreadable):
        return False
    sessions = answer.body["sessions"] if answer.ok else []
    return bool(sessions) and all(session["state"] == "up" for session in sessions)


def _plan(
    name: str, address: str, sessions: tuple[p.SessionPlan, ...], blocks: tuple[p.AnnouncementPlan, ...]
) -> p.Plan:
    number = int(address.rpartition(".")[2])
    return p.Plan(
        version=1,
        gateway=name,
        role="hub" if address == HUB else "spoke",
        asn=ASN,
        router_id=address,
        segments=("10.42.0.0/16",),
        uplinks=(p.UplinkPlan(number, "main", "eth0", address, None, "fiber", 200, 0),),
        announcements=blocks,
        sessions=sessions,
        rejects=(ALLOCATION,),
        max_paths=16,
    )


def _session(own: str, peer: str) -> p.SessionPlan:
    client = own == HUB
    hop = p.NextHopPlan(int(peer.rpartition(".")[2]), peer, None, 200, (), 0)
    return p.SessionPlan(
        peer=peer,
        peer_role="client" if client else "hub",
        peer_asn=ASN,
        peer_address=peer,
        local_address=own,
        passive=client,
        families=("ipv4",),
        add_path=True,
        hold_time=90,
        restart_time=120,
        password="",
        imports=p.ImportPlan((hop,), (p.AllocationPlan(ALLOCATION, 24),)) if client else None,
    )


# BIRD


def _bird_config(address: str, neighbours: str, static: str = "", *, kernel: bool) -> str:
    export = "protocol kernel { ipv4 { export all; }; }" if kernel else ""
    return (
        f"router id {address};\nprotocol device {{}}\nprotocol direct {{ ipv4; }}\n{export}\n{static}\n{neighbours}\n"
    )


def _bird_neighbour(name: str, own: str, peer: str, options: str, channel: str) -> str:
    return (
        f"protocol bgp {name} {{ local {own} as {ASN}; neighbor {peer} as {ASN}; direct; {options} hold time 90;\n"
        "  connect delay time 1; connect retry time 1; error wait time 1, 2;\n"
        f"  ipv4 {{ import all; gateway direct; add paths on; {channel} }}; }}\n"
    )


def _bird_source(
    load: Load, members: Members, place: Path, *, add_paths: bool = True
) -> tuple[object, Callable[[str], object]]:
    neighbour = _bird_neighbour("hub", SOURCE, HUB, "", "export where source = RTS_STATIC; next hop self;")
    if not add_paths:
        neighbour = neighbour.replace("add paths on;", "")
    config = _bird_config(SOURCE, neighbour, load.bird_static(disabled=True), kernel=False)
    bird = members["source"].bird(config, place / "source")
    return bird, lambda word: bird.ask(f"{word} load")


def _start_bird(load: Load, members: Members, place: Path) -> Job:
    source, switch = _bird_source(load, members, place)
    client = "rr client;"
    both = _bird_neighbour("to_source", HUB, SOURCE, client, "export all;")
    both += _bird_neighbour("to_sink", HUB, SINK, client, "export all;")
    hub = members["hub"].bird(_bird_config(HUB, both, kernel=True), place / "hub")
    neighbour = _bird_neighbour("hub", SINK, HUB, "", "export none;")
    sink = members["sink"].bird(_bird_config(SINK, neighbour, kernel=True), place / "sink")
    until(lambda: sink.established("hub") and hub.established("to_source"), 60, "BIRD's sessions", interval=0.2)
    del source
    pids = {"bird hub": hub.process.pid, "bird sink": sink.process.pid}
    return Job(lambda: switch("enable"), lambda: switch("disable"), pids)


# FRR


def _start_frr(load: Load, members: Members, place: Path) -> Job:
    _, switch = _bird_source(load, members, place, add_paths=False)
    hub = _frr(members["hub"], place / "hub", HUB, (SOURCE, SINK), reflector=True)
    sink = _frr(members["sink"], place / "sink", SINK, (HUB,), reflector=False)
    for name, peers in (("hub", 2), ("sink", 1)):
        until(lambda name=name, peers=peers: _frr_up(members[name], place / name) == peers, 60, f"FRR {name}", 0.2)
    pids = {"bgpd hub": hub[1].pid, "zebra hub": hub[0].pid, "bgpd sink": sink[1].pid, "zebra sink": sink[0].pid}
    return Job(lambda: switch("enable"), lambda: switch("disable"), pids)


def _frr(
    namespace: Namespace, place: Path, address: str, peers: tuple[str, ...], *, reflector: bool
) -> tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]:
    place.mkdir()
    for directory in (place, *place.parents[:2]):  # The daemons drop to their own user.
        directory.chmod(0o777)
    lines = [f"router bgp {ASN}", f" bgp router-id {address}", " no bgp ebgp-requires-policy"]
    for peer in peers:
        lines += [
            f" neighbor {peer} remote-as {ASN}",
            f" neighbor {peer} timers 30 90",
            f" neighbor {peer} timers connect 1",
        ]
        lines += [f" neighbor {peer} advertisement-interval 0"]
    lines.append(" address-family ipv4 unicast")
    for peer in peers:
        lines += [f"  neighbor {peer} addpath-tx-all-paths"] if reflector else []
        lines += [f"  neighbor {peer} route-reflector-client"] if reflector else []
    (place / "bgpd.conf").write_text("\n".join([*lines, " exit-address-family", ""]))
    (place / "zebra.conf").write_text("")
    common = ("--vty_socket", str(place), "-P", "0", "-z", str(place / "zserv.api"))
    processes = []
    for daemon in ("zebra", "bgpd"):
        extra = ("-l", address) if daemon == "bgpd" else ()
        log = (place / f"{daemon}.log").open("wb")
        files = ("-f", str(place / f"{daemon}.conf"), "-i", str(place / f"{daemon}.pid"))
        processes.append(namespace.start(f"{FRR}/{daemon}", *common, *files, *extra, output=log))
        until(lambda daemon=daemon: (place / f"{daemon}.vty").exists(), 20, f"{daemon} in {place}")
    return processes[0], processes[1]


def _frr_up(namespace: Namespace, place: Path) -> int:
    shown = namespace.run("vtysh", "--vty_socket", str(place), "-c", "show bgp summary json", check=False)
    return shown.count('"state":"Established"')
