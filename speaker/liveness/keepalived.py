"""First hops in our LANs: VRRPv3 (RFC 9568) by keepalived, under a configuration of our own.

The agent writes the configuration and one number, the weight, which keepalived adds to every priority the moment
it is written. keepalived is a process of its own, and goes on without the agent.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import NoReturn

import structlog

from speaker.plan import FirstHopPlan
from speaker.state import StateDir, write_atomically, write_pid

log = structlog.get_logger()

PROCESS = "keepalived"
MISSING = "keepalived is not installed (Debian: apt install keepalived): hosts have no first hop from this gateway"
LOOK_AGAIN_SECONDS = 5.0

NOT_FORWARDING = -100
"""The weight of a gateway that reaches no hub, or that was booted and has not heard from its agent yet."""
DRAINED = -120
LEAST_WEIGHT, MOST_WEIGHT = -253, 253

INTERFACE = re.compile(r"[A-Za-z0-9_.@+=-]{1,15}")  # What keepalived reads as one word.

HEAD = """\
# Written by the Leyline agent, which writes it again. Not to be edited.
global_defs {{
    vrrp_version 3
    dynamic_interfaces allow_if_changes
    script_user nobody
    enable_script_security
    vrrp_garp_master_repeat 3
    vrrp_garp_master_delay 1
    vrrp_garp_master_refresh 30
    vrrp_priority -10
    max_auto_priority -1
}}

track_file weight {{
    file "{weight}"
    weight 1
    init_file {initial}
}}
"""

INSTANCE = """
vrrp_instance {name} {{
    interface {interface}
    virtual_router_id {vrid}
    state BACKUP
    priority {priority}
    advert_int {seconds}
    accept
    track_file {{
        weight
    }}
    virtual_ipaddress {{
{addresses}
    }}
}}
"""


def render(first_hops: Sequence[FirstHopPlan], interfaces: Mapping[str, str], state: StateDir) -> str:
    """keepalived.conf: an instance per first hop whose interface is known; "" when there is none. Pure.

    `interfaces`: prefix -> interface (LanWatch.interfaces).
    """
    instances = [_instance(first_hop, name) for first_hop, name, fault in _judged(first_hops, interfaces) if not fault]
    if not instances:
        return ""
    return HEAD.format(weight=state.vrrp_weight, initial=NOT_FORWARDING) + "".join(instances)


def left_out(first_hops: Sequence[FirstHopPlan], interfaces: Mapping[str, str]) -> tuple[str, ...]:
    """Why an instance is not there, for each first hop that has none. Pure."""
    return tuple(
        f"first hop {first_hop.address}: {fault}" for first_hop, _, fault in _judged(first_hops, interfaces) if fault
    )


def _judged(
    first_hops: Sequence[FirstHopPlan], interfaces: Mapping[str, str]
) -> Iterator[tuple[FirstHopPlan, str, str]]:
    """(first hop, interface, what is wrong with it): keepalived takes no part of a file with one bad instance."""
    taken: dict[tuple[str, int, int], str] = {}
    for first_hop in sorted(first_hops, key=lambda each: (each.prefix, each.address)):
        name = interfaces.get(first_hop.prefix, "")
        key = (name, first_hop.vrid, ip_address(first_hop.address).version)
        fault = ""
        if not name:
            fault = f"no interface with an address in {first_hop.prefix}"
        elif not INTERFACE.fullmatch(name):
            fault = f"interface {name!r} cannot be named to keepalived: rename it to letters, digits, '.', '_', '-'"
        elif key in taken:
            fault = f"VRID {first_hop.vrid} on {name} is taken by {taken[key]}: give one of them another vrid"
        else:
            taken[key] = first_hop.address
        yield first_hop, name, fault


def _instance(first_hop: FirstHopPlan, interface: str) -> str:
    version = ip_address(first_hop.address).version
    addresses = [first_hop.address]
    if version == 6:
        addresses.insert(0, link_local(first_hop.vrid))
    return INSTANCE.format(
        name=f"{interface}-{first_hop.vrid}-v{version}",
        interface=interface,
        vrid=first_hop.vrid,
        priority=first_hop.priority,
        seconds=f"{first_hop.advert_ms // 10 / 100:.2f}",
        addresses="\n".join(f"        {address}" for address in addresses),
    )


def link_local(vrid: int) -> str:
    """An IPv6 virtual router's first address (RFC 9568 5.2.9): EUI-64 of its virtual MAC 00-00-5E-00-02-{VRID}."""
    return str(ip_address(f"fe80::200:5eff:fe00:{0x0200 + vrid:x}"))


class Keepalived:
    """The agent's hand on keepalived: its configuration, and the weight. Both methods block for a disk's moment."""

    def __init__(self, state: StateDir) -> None:
        self._state = state

    def apply(self, first_hops: Sequence[FirstHopPlan], interfaces: Mapping[str, str]) -> tuple[str, ...]:
        """Whole value. What is wrong: first hops that are left out, or a file that could not be written.

        keepalived reads again only what changed. Without first hops the file goes and keepalived ends.
        Call it only once the interfaces are known: an instance whose interface is not given is taken away.
        """
        path = self._state.keepalived_config
        wanted = render(first_hops, interfaces, self._state)
        try:
            if wanted and wanted != _text(path):
                if not self._state.vrrp_weight.exists():
                    write_atomically(self._state.vrrp_weight, f"{NOT_FORWARDING}\n".encode())
                write_atomically(path, wanted.encode())
                self._signal(signal.SIGHUP)
            elif not wanted and path.exists():
                path.unlink()
                self._signal(signal.SIGTERM)
        except OSError as error:
            return (f"{path}: {error.strerror}", *left_out(first_hops, interfaces))
        return left_out(first_hops, interfaces)

    def set_weight(self, weight: int) -> str:
        """Added to the priority of every instance, at once. 0 is healthy. "" or what went wrong; repeating is cheap.

        A gateway that was booted stands at NOT_FORWARDING until this is called.
        """
        path = self._state.vrrp_weight
        text = f"{min(max(weight, LEAST_WEIGHT), MOST_WEIGHT)}\n"
        try:
            if _text(path) != text:
                write_atomically(path, text.encode())
        except OSError as error:
            return f"{path}: {error.strerror}"
        return ""

    def _signal(self, number: signal.Signals) -> None:
        """To keepalived, when it runs: a pid file may outlive its process, and the number go to somebody else."""
        text = _text(self._state.pid_file(PROCESS)).strip()
        if text.isdigit() and _text(Path(f"/proc/{text}/comm")).strip() == PROCESS:
            with suppress(ProcessLookupError):
                os.kill(int(text), number)


def _text(path: Path) -> str:
    """ "" when there is no such file."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def become_keepalived(state: StateDir, binary: str = PROCESS) -> NoReturn:
    """Turns this process into keepalived on our configuration. While it is not installed, waits for it and says so.

    Raises SystemExit when the configuration goes meanwhile, and OSError.
    """
    path = shutil.which(binary)
    if path is None:
        log.error(MISSING)
    while path is None:
        time.sleep(LOOK_AGAIN_SECONDS)
        if not state.keepalived_config.exists():
            raise SystemExit(0)
        path = shutil.which(binary)
    own_pid, vrrp_pid = state.pid_file("keepalived-main"), state.pid_file("keepalived-vrrp")
    for stale in (own_pid, vrrp_pid):  # With a stranger's number in it keepalived would take itself for running.
        stale.unlink(missing_ok=True)
    forget_before_boot(state, time.time() - time.clock_gettime(time.CLOCK_BOOTTIME))
    write_pid(state, PROCESS, os.getpid())
    options = ("--dont-fork", "--log-console", "--no-syslog", "--vrrp")
    files = ("--use-file", state.keepalived_config, "--pid", own_pid, "--vrrp_pid", vrrp_pid)
    os.execv(path, [path, *options, *map(str, files)])


def forget_before_boot(state: StateDir, booted_at: float) -> None:
    """A weight from before the boot (Unix time) is no word about now: the kernel has no routes yet.

    Without this a rebooted gateway takes its LAN's traffic seconds before it can forward it.
    """
    with suppress(FileNotFoundError):
        if not booted_at <= state.vrrp_weight.stat().st_mtime <= time.time():
            write_atomically(state.vrrp_weight, f"{NOT_FORWARDING}\n".encode())
