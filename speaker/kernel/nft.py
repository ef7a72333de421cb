"""nftables, table `inet leyline`, ours alone: which next hops are in use, detours that cannot loop, TCP's MSS.

`render` is pure; `Nft` carries it to the kernel by `nft -f -`, whole and in one transaction. Other tables are
never touched. Stopping leaves the table as it is.
"""

from __future__ import annotations

import errno
import re
import shutil
import subprocess
from collections.abc import Collection, Iterable
from ipaddress import ip_address
from typing import Literal, NamedTuple

from pyroute2 import IPRoute

from speaker.kernel.nft_sets import elements
from speaker.kernel.port import KernelError

TABLE = "leyline"
USED = ("used4", "used6")
MAX_USED = 4_096
"""Next hops per family in the dynamic sets. One too many is not noted, and forwarded all the same."""

NFT_SECONDS = 20.0
INTERFACE = re.compile(r"[A-Za-z0-9_.@+=-]{1,15}")  # What means itself between nft's quotes; `*` would be a wildcard.
MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
MISSING = "nft is not installed (Debian: apt install nftables)"


class NftRules(NamedTuple):
    uplinks: tuple[str, ...]  # Interfaces on the segment.
    role: Literal["spoke", "hub"]
    hub_macs: frozenset[str]  # Of the other hubs, on the segment. Only a hub asks for them.
    timeout_seconds: int  # A next hop is in use until it had no packet for so long.
    mss_mtu: int = 0  # TCP through the segment is held to what fits a packet of so many octets; 0: it is left alone.


def render(rules: NftRules, used: Collection[str] = ()) -> str:
    """The whole table as nft reads it, in one transaction. `used` are the next hops to begin with.

    A detour crosses at most one hub: a spoke forwards nothing from segment to segment, and a hub nothing that
    another hub sent it from there. Raises ValueError for an interface or MAC that cannot be written.
    """
    uplinks = ", ".join(_interface(name) for name in sorted(set(rules.uplinks)))
    macs = ", ".join(_mac(mac) for mac in sorted(rules.hub_macs))
    families: tuple[list[str], list[str]] = ([], [])
    for address in sorted(used):
        families[ip_address(address).version == 6].append(address)
    return "\n".join(
        (
            f"table inet {TABLE} {{}}",
            f"delete table inet {TABLE}",
            f"table inet {TABLE} {{",
            f"\tset uplinks {{ type ifname; {_elements(uplinks)}}}",
            f"\tset hub_macs {{ type ether_addr; {_elements(macs)}}}",
            *_used_sets(rules.timeout_seconds, families),
            *_mss(rules.mss_mtu),
            "\tchain forward {",
            "\t\ttype filter hook forward priority filter; policy accept;",
            *_loop_guard(rules.role),
            *UPDATES,
            "\t}",
            "\tchain output {",
            "\t\ttype filter hook output priority filter; policy accept;",
            BFD_IS_NO_USE,
            *PROBES_ARE_NO_USE,
            *UPDATES,
            "\t}",
            "}\n",
        )
    )


UPDATES = (
    "\t\toifname @uplinks meta nfproto ipv4 update @used4 { rt ip nexthop }",
    "\t\toifname @uplinks meta nfproto ipv6 update @used6 { rt ip6 nexthop }",
)


BFD_IS_NO_USE = "\t\tudp dport 3784 return"
"""Else a session towards a next hop would itself be the use that keeps it."""
PROBES_ARE_NO_USE = (
    "\t\ticmp type { echo-request, echo-reply } icmp id 19545 return",
    "\t\ticmpv6 type { echo-request, echo-reply } icmpv6 id 19545 return",
)
"""Nor are the speaker's own echoes and the answers to those of others: they go by an identifier of their own."""


HEADERS = {"ipv4": 40, "ipv6": 60}
"""Octets of IP and TCP before the segment's data: what MSS does not count (RFC 9293 3.7.1)."""
SYN = "tcp flags & (syn | rst) == syn"


def _mss(mtu: int) -> Iterable[str]:
    """Connections through the segment, either way: both SYNs say what fits it, so that nobody waits for an ICMP.

    By the route's MTU, which may be less than the segment's, and by the segment's own; the kernel never raises an MSS.
    """
    if not mtu:
        return
    yield "\tchain mss {"
    yield "\t\ttype filter hook forward priority mangle; policy accept;"
    for side in ("oifname", "iifname"):
        yield f"\t\t{side} @uplinks {SYN} tcp option maxseg size set rt mtu"
        for family, headers in HEADERS.items():
            size = mtu - headers
            fits = f"tcp option maxseg size > {size} tcp option maxseg size set {size}"
            yield f"\t\t{side} @uplinks meta nfproto {family} {SYN} {fits}"
    yield "\t}"


def _loop_guard(role: str) -> tuple[str, ...]:
    if role == "hub":
        return ("\t\tiifname @uplinks oifname @uplinks ether saddr @hub_macs reject with icmpx admin-prohibited",)
    return ("\t\tiifname @uplinks oifname @uplinks reject with icmpx admin-prohibited",)


def _used_sets(timeout: int, families: tuple[list[str], list[str]]) -> Iterable[str]:
    for name, kind, addresses in zip(USED, ("ipv4_addr", "ipv6_addr"), families, strict=True):
        yield (
            f"\tset {name} {{ type {kind}; size {MAX_USED}; flags dynamic,timeout; timeout {timeout}s; "
            f"{_elements(', '.join(addresses[:MAX_USED]))}}}"
        )


def _elements(text: str) -> str:
    return f"elements = {{ {text} }}; " if text else ""


def _interface(name: str) -> str:
    if not INTERFACE.fullmatch(name):
        raise ValueError(f"interface {name!r} cannot be named in nftables: rename it to letters, digits, '.', '_', '-'")
    return f'"{name}"'


def _mac(mac: str) -> str:
    if not MAC.fullmatch(mac):
        raise ValueError(f"{mac!r} is no Ethernet address")
    return mac


class Nft:
    """The table in this process's network namespace. Every method blocks: call them in one thread at a time."""

    def __init__(self, binary: str = "nft") -> None:
        self._binary = binary
        self._rules: NftRules | None = None
        self._standing: str | None = None  # What `render` made of the rules in force.
        self.reason = "no rules were applied yet"
        self.restored = 0  # Times that somebody else (`nft flush ruleset`) had removed the table.

    @property
    def available(self) -> bool:
        """The last rules applied are in force: next hops in use are seen, and detours cannot loop."""
        return not self.reason

    def apply(self, rules: NftRules) -> str:
        """The whole table, in one transaction, when it changed; "" or the error. What stood before then stands on.

        Next hops in use stay in use, with a new idle time.
        """
        self._rules = rules
        try:
            path = shutil.which(self._binary)
            if path is None:
                raise KernelError(errno.ENOENT, MISSING)
            wanted = render(rules)
            if wanted != self._standing:
                used = self._elements()
                _load(path, render(rules, used) if used else wanted)
                self._standing = wanted
        except ValueError as error:
            self.reason = str(error)
        except KernelError as error:
            self.reason = error.strerror or str(error)
        else:
            self.reason = ""
        return self.reason

    def used(self) -> frozenset[str] | None:
        """Addresses of next hops, and of destinations on the segment, that had a packet lately.

        None: it cannot be told. A table that somebody else removed is put back.
        """
        if not self.available:
            return None
        try:
            return self._elements()
        except KernelError as error:
            self.reason = error.strerror or str(error)
            if error.errno == errno.ENOENT and self._rules is not None:
                self._standing = None
                if not self.apply(self._rules):
                    self.restored += 1
        return None

    def _elements(self) -> frozenset[str]:
        """Raises KernelError; ENOENT when a table that should stand does not."""
        try:
            return frozenset().union(*(elements(TABLE, name) for name in USED))
        except KernelError as error:
            if error.errno == errno.ENOENT and self._standing is None:
                return frozenset()
            raise


def _load(path: str, script: str) -> None:
    """Raises KernelError with nft's own words."""
    try:
        done = subprocess.run(
            [path, "-f", "-"], input=script, capture_output=True, text=True, timeout=NFT_SECONDS, check=False
        )
    except OSError as error:
        raise KernelError(error.errno, f"{path}: {error.strerror}") from error
    except subprocess.TimeoutExpired:
        raise KernelError(errno.ETIMEDOUT, f"nft gave no answer within {NFT_SECONDS:.0f} s") from None
    if done.returncode:
        first = (done.stderr.strip() or f"exit {done.returncode}").splitlines()[0]
        raise KernelError(errno.EIO, f"nft: {first}")


def neighbour_macs(addresses: Collection[str]) -> frozenset[str]:
    """Ethernet addresses of these IPv4 and IPv6 addresses, of those that the neighbour table knows. Blocks.

    Raises OSError, or pyroute2's NetlinkError, when the kernel cannot be read.
    """
    wanted = frozenset(addresses)
    with IPRoute() as netlink:
        return frozenset(
            mac.lower()
            for neighbour in netlink.get_neighbours()
            if neighbour.get("dst") in wanted and (mac := neighbour.get("lladdr")) and MAC.fullmatch(mac.lower())
        )
