"""Kernel knobs that a gateway needs. Every changed one is told; stopping changes none back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from speaker.plan import Plan

NEIGHBOURS = 8192
OPTION_BYTES, OPTION_BYTES_PER_KEY = 20_480, 256
"""Memory that one socket's options may take: the smallest default of Linux, and twice what one MD5 key takes."""
RTF_ADDRCONF = 0x00040000  # In /proc/net/ipv6_route: made by a router advertisement.


class Knob(NamedTuple):
    name: str  # As sysctl(8) writes it; an interface's own dots are slashes ("net.ipv4.conf.eth0/5.rp_filter").
    value: int
    at_least: bool = False  # A higher value is fine too.


@dataclass(frozen=True, slots=True)
class SysctlOutcome:
    changed: dict[str, str] = field(default_factory=dict)  # name -> "old -> new"
    missing: list[str] = field(default_factory=list)  # This kernel, or this namespace, has none.
    failed: dict[str, str] = field(default_factory=dict)  # name -> why; a read-only /proc/sys for one


def knobs(uplinks: Sequence[str], ra_interfaces: Sequence[str], md5_keys: int = 0) -> Iterator[Knob]:
    """What has to be set, in this order. Pure. `md5_keys`: that one listening socket holds.

    `ra_interfaces` live from router advertisements: they must say so before IPv6 forwarding goes on,
    or the kernel throws their default routes away.
    """
    for name in ra_interfaces:
        yield Knob(f"net.ipv6.conf.{_quoted(name)}.accept_ra", 2)
    yield Knob("net.ipv4.ip_forward", 1)
    yield Knob("net.ipv6.conf.all.forwarding", 1)
    # 1, the default, makes a group's change cost 600 ms and a notification per route.
    yield Knob("net.ipv4.nexthop_compat_mode", 0)
    yield Knob("net.ipv4.fib_multipath_hash_policy", 1)
    yield Knob("net.ipv6.fib_multipath_hash_policy", 1)
    yield Knob("net.ipv4.neigh.default.gc_thresh3", NEIGHBOURS, at_least=True)
    yield Knob("net.ipv6.neigh.default.gc_thresh3", NEIGHBOURS, at_least=True)
    if md5_keys:
        yield Knob("net.core.optmem_max", OPTION_BYTES + OPTION_BYTES_PER_KEY * md5_keys, at_least=True)
    for name in ("all", *uplinks):
        prefix = f"net.ipv4.conf.{_quoted(name)}"
        # Loose: what arrives over one uplink may be answered over another. The higher of `all` and its own counts.
        yield Knob(f"{prefix}.rp_filter", 2)
        # A hub sends packets back out of the interface they came from, and would redirect for each.
        yield Knob(f"{prefix}.send_redirects", 0)
        yield Knob(f"{prefix}.accept_redirects", 0)
        yield Knob(f"net.ipv6.conf.{_quoted(name)}.accept_redirects", 0)
    if len(uplinks) > 1:
        # Two interfaces on one segment: each answers and asks only for its own address.
        for name in uplinks:
            yield Knob(f"net.ipv4.conf.{_quoted(name)}.arp_ignore", 1)
            yield Knob(f"net.ipv4.conf.{_quoted(name)}.arp_announce", 2)


def listened_keys(plan: Plan) -> int:
    """How many MD5 keys the socket holds that waits for this gateway's peers."""
    return sum(session.passive and bool(session.password) for session in plan.sessions)


def apply_sysctls(uplinks: Sequence[str], *, proc: Path = Path("/proc"), md5_keys: int = 0) -> SysctlOutcome:
    """Set what differs. Never raises for a knob: missing and refused ones are listed.

    A new interface has the kernel's defaults again: call it once more when an uplink returns.
    """
    return apply_knobs(knobs(uplinks, ra_interfaces(proc), md5_keys), proc)


def apply_knobs(wanted: Iterable[Knob], proc: Path) -> SysctlOutcome:
    """Set what differs, in this order. Never raises for a knob."""
    outcome = SysctlOutcome()
    for knob in wanted:
        path = proc / "sys" / path_of(knob.name)
        try:
            old = path.read_text().strip()
            if old == str(knob.value) or (knob.at_least and old.isdigit() and int(old) >= knob.value):
                continue
            path.write_text(f"{knob.value}\n")
        except FileNotFoundError:
            outcome.missing.append(knob.name)
        except OSError as error:
            outcome.failed[knob.name] = error.strerror or str(error)
        else:
            outcome.changed[knob.name] = f"{old} -> {knob.value}"
    return outcome


def ra_interfaces(proc: Path = Path("/proc")) -> list[str]:
    """Interfaces that have a route from a router advertisement now and would lose it (accept_ra 1) when IPv6 forwarding
    goes on. [] where it is on, and without IPv6.

    All routes are read for it, ours too: so only as long as it is of use, and never after the first time.
    """
    if _reads(proc / "sys" / "net/ipv6/conf/all/forwarding", "1"):
        return []
    try:
        lines = (proc / "net" / "ipv6_route").read_text().splitlines()
    except OSError:
        return []
    names = {fields[9] for line in lines if len(fields := line.split()) == 10 and int(fields[8], 16) & RTF_ADDRCONF}
    return sorted(name for name in names if _reads(proc / "sys" / "net/ipv6/conf" / name / "accept_ra", "1"))


def path_of(name: str) -> str:
    """The file of a knob below /proc/sys: dots and slashes change places."""
    return name.translate(str.maketrans("./", "/."))


def _quoted(interface: str) -> str:
    return interface.replace(".", "/")


def _reads(path: Path, value: str) -> bool:
    try:
        return path.read_text().strip() == value
    except OSError:
        return False
