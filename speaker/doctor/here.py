"""What this box says of itself: processes, knobs, interfaces, nftables, clock. Thin readers; all block for a moment."""

from __future__ import annotations

import ctypes
import json
import shutil
import ssl
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute, NetlinkError

from speaker.doctor.facts import Interface
from speaker.kernel.nft import MISSING
from speaker.kernel.sysctls import knobs, listened_keys, path_of
from speaker.plan import Plan
from speaker.state import StateDir

PROCESSES = ("agent", "exabgp", "bfd")
NFT_SECONDS = 4.0
MAX_LOOKUPS = 64
IFF_UP = 1
MD5_COUNTERS = ("TCPMD5NotFound", "TCPMD5Unexpected", "TCPMD5Failure")  # No key, none wanted, another one.
TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised.
TIMEX_BYTES = 512
"""More than struct timex has anywhere."""


class Unreadable(Exception):
    """The text says what and why."""


def processes(state: StateDir, proc: Path = Path("/proc")) -> dict[str, bool]:
    """Those that have left a pid file: name -> it runs. One that never ran here is somebody else's business."""
    found = {}
    for name in PROCESSES:
        try:
            pid = int(state.pid_file(name).read_text())
        except (OSError, ValueError):
            continue
        found[name] = (proc / str(pid)).exists()
    return found


def exabgp_version() -> str:
    try:
        return version("exabgp")
    except PackageNotFoundError:
        return ""


def sysctls(plan: Plan, proc: Path = Path("/proc")) -> dict[str, str]:
    """The knobs that a gateway needs, as they are; those that this kernel lacks are left out."""
    found = {}
    for knob in knobs(plan.interfaces, (), listened_keys(plan)):
        try:
            found[knob.name] = (proc / "sys" / path_of(knob.name)).read_text().strip()
        except OSError:
            continue
    return found


def md5_drops(proc: Path = Path("/proc")) -> int:
    """By the kernel's counters of RFC 2385; 0 where it has none."""
    try:
        lines = (proc / "net" / "netstat").read_text().splitlines()
    except OSError:
        return 0
    pairs = zip(lines[::2], lines[1::2], strict=False)
    counters = dict(pair for names, values in pairs for pair in zip(names.split(), values.split(), strict=False))
    return sum(int(counters.get(name, "0")) for name in MD5_COUNTERS)


def ruleset(binary: str = "nft") -> tuple[Mapping[str, Any], ...]:
    """`nft -j list ruleset`. Raises Unreadable."""
    path = shutil.which(binary)
    if path is None:
        raise Unreadable(MISSING)
    try:
        done = subprocess.run([path, "-j", "list", "ruleset"], capture_output=True, timeout=NFT_SECONDS, check=False)
        if done.returncode:
            words = done.stderr.decode(errors="replace").strip() or f"exit {done.returncode}"
            raise Unreadable(f"nft: {words.splitlines()[0]}")
        items = json.loads(done.stdout)["nftables"]
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError) as error:
        raise Unreadable(f"nft: {error}") from None
    return tuple(item for item in items if isinstance(item, dict))


def interfaces() -> dict[str, Interface]:
    """Of this network namespace. Raises OSError and pyroute2's NetlinkError."""
    with IPRoute() as netlink:
        links = {link["index"]: link for link in netlink.get_links()}
        addresses: dict[int, list[str]] = {}
        for address in netlink.get_addr():
            if text := address.get("local") or address.get("address"):
                addresses.setdefault(address["index"], []).append(text)
    return {
        str(link.get("ifname")): Interface(
            bool(link["flags"] & IFF_UP), int(link.get("mtu")), tuple(addresses.get(n, ()))
        )
        for n, link in links.items()
    }


def devices_towards(addresses: Iterable[str]) -> dict[str, str]:
    """Address -> interface by which the kernel would send there; "" where no route leads there."""
    found = {}
    with IPRoute() as netlink:
        names = {link["index"]: str(link.get("ifname")) for link in netlink.get_links()}
        for address in sorted(set(addresses))[:MAX_LOOKUPS]:
            try:
                (route, *_) = netlink.route("get", dst=address)
            except (NetlinkError, OSError):  # A host without a route, or what is no address.
                found[address] = ""
                continue
            found[address] = names.get(route.get("oif"), "")
    return found


def clock_synchronised() -> bool | None:
    """As the kernel says, by adjtimex(2). None where that cannot be asked."""
    try:
        state: int = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(TIMEX_BYTES))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != TIME_ERROR


def ca_expires(file: str) -> float:
    """When the first of the CAs in a PEM file expires. Raises Unreadable."""
    try:
        certificates = ssl.create_default_context(cafile=file).get_ca_certs()
        return min(ssl.cert_time_to_seconds(str(each["notAfter"])) for each in certificates)
    except (OSError, ssl.SSLError, ValueError, KeyError) as error:
        raise Unreadable(f"{file}: {error}") from None


def lan_address(plan: Plan, known: Mapping[str, Interface], lans: Sequence[str]) -> str:
    """An IPv4 address of ours in a LAN that we announce; "" without one."""
    uplinks = {uplink.interface for uplink in plan.uplinks}
    for name in sorted(set(lans)):
        interface = known.get(name)
        for address in interface.addresses if interface is not None and name not in uplinks else ():
            if ":" not in address:
                return address
    return ""
