"""Being a member: joined, allowed to take addresses from the network, and with the address that the plan says.

Facts: the service says OK for 45 s after it was de-authorised, and keeps its address then, too; turning `allowManaged`
off and on within a second loses the address for good, two seconds between do not. Off takes away all its addresses, so
that is never done while one stands.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

from msgspec.structs import replace

from speaker.plan import UplinkPlan
from speaker.report import ServiceReport
from speaker.zerotier.local import Joined, LocalService, Status

MANAGED_PAUSE_SECONDS = 2.0
POLL_SECONDS = 0.5
JOIN_SECONDS = 60.0
"""An authorised member has its address 4 s after it joined; the rest is for a controller that is asked again."""

MAX_SETTINGS = 4096
LONGEST_ANSWER = len("false")

LOST_SECONDS, RENEW_SECONDS = 10.0, 300.0
"""Addresses that the kernel has not had for so long are asked for anew; once they were there, after so long again."""

Held = Callable[[str], frozenset[str] | None]
"""Interface -> its addresses in the kernel; None: not known now, or there is no such interface."""


class NotAdmitted(Exception):
    """The network did not take us in. The text says why, and who can change it."""


@dataclass(frozen=True, slots=True)
class Membership:
    """What one uplink is to be in the network."""

    network: str
    segments: tuple[str, ...]
    mtu: int
    uplink: UplinkPlan


def settings_for(segments: Iterable[str]) -> dict[str, bool]:
    """What the service must be allowed. Public addresses it takes only with `allowGlobal`."""
    wanted = {"allowManaged": True}
    if any(ip_network(segment).is_global for segment in segments):
        wanted["allowGlobal"] = True
    return wanted


class Managed:
    """`allowManaged` of one service's networks; whoever turns it off turns it on again in time, not before."""

    def __init__(
        self,
        service: LocalService,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._service = service
        self._clock = clock
        self._sleep = sleep
        self._off_at: dict[str, float] = {}
        self._lost_at: dict[str, float] = {}
        self._renewed: set[str] = set()
        self._renewed_at: dict[str, float] = {}

    def off(self, network: str) -> None:
        self._service.join(network, allowManaged=False)
        self.seen_off(network)

    def seen_off(self, network: str) -> None:
        """Somebody may have turned it off just now."""
        self._off_at[network] = self._clock()

    def on(self, network: str, segments: Iterable[str] = ()) -> Joined:
        """With all that `segments` need. Waits as long as it must since it was turned off, as far as anybody knows."""
        off_at = self._off_at.pop(network, None)
        if off_at is not None and (left := off_at + MANAGED_PAUSE_SECONDS - self._clock()) > 0:
            self._sleep(left)
        return self._service.join(network, **settings_for(segments))

    def lost_for_long(self, network: str, *, lost: bool | None) -> bool:
        """Whether some have been lost for longer than a join takes. None: that cannot be told."""
        if not lost:
            self._lost_at.pop(network, None)
            if lost is False:
                self._renewed.discard(network)
            return False
        now = self._clock()
        return now >= self._lost_at.setdefault(network, now) + LOST_SECONDS

    def may_renew(self, network: str) -> bool:
        """Not again when it did not help, and not all the time when it did."""
        at = self._renewed_at.get(network)
        return network not in self._renewed and (at is None or self._clock() >= at + RENEW_SECONDS)

    def renew(self, network: str, segments: Iterable[str] = ()) -> Joined:
        """Off and on: the service gives the interface its addresses anew. For one that has none of them any more."""
        self._renewed.add(network)
        self._renewed_at[network] = self._clock()
        self._lost_at.pop(network, None)
        self.off(network)
        return self.on(network, segments)


def attend(service: LocalService, managed: Managed, wanted: Membership, held: Held) -> ServiceReport:
    """One look at a service, and what is needed so that it is the member that is `wanted`. Raises LocalError.

    Joins, allows managed addresses, and has them given anew when all are lost. Where the operator has listed what may
    be managed nothing is changed: the service would write the list over.
    """
    status = service.status()
    joined = service.network(wanted.network)
    if joined is not None and (allowed := allowed_only(service.home, wanted.network)):
        report = report_of(status, joined, wanted)
        return replace(report, problem=report.problem or kept_by_list(joined, wanted, service.home, allowed, held))
    needed, missing = settings_for(wanted.segments), ""
    if joined is not None and not joined.allow_managed:
        managed.seen_off(wanted.network)
    if joined is None or not joined.allow_managed or ("allowGlobal" in needed and not joined.allow_global):
        joined = managed.on(wanted.network, wanted.segments)
    else:
        standing = _standing(joined, held)
        lost = frozenset() if standing is None else lost_addresses(joined, wanted.uplink, standing)
        if managed.lost_for_long(wanted.network, lost=None if standing is None else bool(lost)):
            stands = (addresses_of(joined) | of_plan(wanted.uplink)) & (standing or frozenset())
            if stands or not managed.may_renew(wanted.network):
                missing = not_in_kernel(joined.interface, lost)
            else:
                joined = managed.renew(wanted.network, wanted.segments)
    report = report_of(status, joined, wanted)
    return replace(report, problem="; ".join(filter(None, (missing, report.problem))))


def not_in_kernel(interface: str, lost: Iterable[str]) -> str:
    """What is wrong, and what only the operator can do. Pure."""
    named = sorted(lost)
    why = (
        f"is net.ipv6.conf.{interface}.disable_ipv6 set?"
        if all(ip_address(each).version == 6 for each in named)
        else "see what takes it away or refuses it, then restart zerotier-one"
    )
    verb = "is" if len(named) == 1 else "are"
    return f"{' and '.join(named)} {verb} not on {interface}, though the service has it from the network: {why}"


def allowed_only(home: Path, network: str) -> str:
    """What may be managed, where the operator has listed that in place of yes or no; else "".

    As OneService.cpp reads it when it makes the interface: more than five characters are a list.
    """
    try:
        text = _settings_file(home, network).read_bytes()[:MAX_SETTINGS].decode("utf-8", "replace")
    except OSError:
        return ""
    said = [line.partition("=")[2].strip() for line in text.splitlines() if line.startswith("allowManaged=")]
    return ", ".join(said[0].split(",")) if said and len(said[0]) > LONGEST_ANSWER else ""


def _settings_file(home: Path, network: str) -> Path:
    return home / "networks.d" / f"{network}.local.conf"


def kept_by_list(joined: Joined, wanted: Membership, home: Path, allowed: str, held: Held) -> str:
    """What the operator's list keeps from us, and the way out, which is his; "" when nothing."""
    said = f"{_settings_file(home, wanted.network)} allows {allowed}: "
    if "allowGlobal" in settings_for(wanted.segments) and not joined.allow_global:
        return f"{said}set allowGlobal=1 there, and restart zerotier-one"
    standing = _standing(joined, held)
    if not joined.allow_managed or (standing is not None and lost_addresses(joined, wanted.uplink, standing)):
        needed = of_plan(wanted.uplink) or addresses_of(joined)
        return f"{said}add what holds {', '.join(sorted(needed))}, and restart zerotier-one"
    return ""


def report_of(status: Status, joined: Joined, wanted: Membership) -> ServiceReport:
    """Pure."""
    return ServiceReport(
        uplink=wanted.uplink.name,
        node_id=status.node_id,
        version=status.version,
        online=status.online,
        status=joined.status,
        mtu=joined.mtu,
        problem=next(problems(status, joined, wanted), ""),
        lacks=not_given(status, joined, wanted.uplink),
    )


def not_given(status: Status, joined: Joined, uplink: UplinkPlan) -> tuple[str, ...]:
    """Addresses of the plan that are not this member's, if it is the one that they are declared for. Pure."""
    if joined.status != "OK" or status.node_id != uplink.node_id:
        return ()
    return tuple(sorted(of_plan(uplink) - addresses_of(joined)))


def not_answering(uplink: str, error: str) -> ServiceReport:
    return ServiceReport(uplink, node_id="", version="", online=False, status="", mtu=0, problem=error)


_WHY = {
    "REQUESTING_CONFIGURATION": "no answer yet from {controller}, the controller of {network}: does it run, and is UDP "
    "9993 open?",
    "ACCESS_DENIED": "{network} does not admit node {node}: authorise it (`leyline segment show` says what is wanted)",
    "NOT_FOUND": "{controller} knows no network {network}: is the fabric's `network` right?",
    "PORT_ERROR": "the network's interface could not be made: is /dev/net/tun there, and CAP_NET_ADMIN?",
}


def problems(status: Status, joined: Joined, wanted: Membership) -> Iterator[str]:
    """What is wrong, what matters most first. Pure."""
    uplink, network = wanted.uplink, wanted.network
    if uplink.node_id and status.node_id != uplink.node_id:
        yield f"this is node {status.node_id}; the inventory says {uplink.node_id}: correct it, or name the right home"
    if joined.status != "OK":
        why = _WHY.get(joined.status, "{network}: ZeroTier says {status}")
        yield why.format(network=network, node=status.node_id, controller=network[:10], status=joined.status)
        return
    if joined.interface != uplink.interface:
        yield f"the network's interface is {joined.interface}; the inventory says {uplink.interface}: correct it"
    addresses = addresses_of(joined)
    for address in (uplink.address, uplink.address6):
        if address and address not in addresses:
            yield f"{address} is not this member's address in {network}: `leyline segment sync` assigns it"
    if wanted.mtu and joined.mtu != wanted.mtu:
        yield f"the network's MTU is {joined.mtu}; the fabric says {wanted.mtu}: `leyline segment sync` sets it"
    if not status.online:
        yield "ZeroTier reaches none of its roots: is UDP 9993 blocked?"


def _standing(joined: Joined, held: Held) -> frozenset[str] | None:
    """What the kernel has on the member's interface; None: not known, or nothing should be there."""
    if joined.status != "OK" or not joined.addresses or not joined.interface:
        return None
    return held(joined.interface)


def lost_addresses(joined: Joined, uplink: UplinkPlan, standing: frozenset[str]) -> frozenset[str]:
    """The plan's, which the service has from the network and the kernel has not. Others are the operator's. Pure."""
    return (addresses_of(joined) & of_plan(uplink)) - standing


def of_plan(uplink: UplinkPlan) -> frozenset[str]:
    return frozenset(filter(None, (uplink.address, uplink.address6)))


def addresses_of(joined: Joined) -> frozenset[str]:
    """Without their masks; what is no address is passed over. Pure."""
    found = set()
    for text in joined.addresses:
        with suppress(ValueError):
            found.add(str(ip_interface(text).ip))
    return frozenset(found)


def wait_for_address(
    service: LocalService,
    wanted: Membership,
    *,
    seconds: float = JOIN_SECONDS,
    waits: Callable[[str], None] = lambda _why: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> frozenset[str]:
    """Joins, and waits until the network has given the addresses that the plan says. -> all that it has given.

    `waits` hears at each look what is missing. Raises NotAdmitted after `seconds`, and LocalError.
    """
    managed, end = Managed(service, clock, sleep), clock() + seconds
    while True:
        report = attend(service, managed, wanted, lambda _interface: None)
        joined = service.network(wanted.network)
        if joined is not None and admitted(joined, wanted.uplink):
            return addresses_of(joined)
        why = report.problem or "the network has given it no address yet"
        if clock() >= end:
            raise NotAdmitted(why)
        waits(why)
        sleep(POLL_SECONDS)


def admitted(joined: Joined, uplink: UplinkPlan) -> bool:
    """Whether the network has let it in, with the addresses of the plan; any will do for a plan without. Pure."""
    given = addresses_of(joined)
    return joined.status == "OK" and bool(given) and given >= of_plan(uplink)


def assigned(uplinks: Sequence[UplinkPlan], services: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Name of an uplink -> index of its service, each being (name of the uplink or "", node id or ""). Pure.

    By the name that was given, else by the node id of the plan; the only service is the only uplink's whatever it is.
    """
    found: dict[str, int] = {}
    for index, (name, node) in enumerate(services):
        for uplink in uplinks:
            if uplink.name not in found and (uplink.name == name or (not name and node and uplink.node_id == node)):
                found[uplink.name] = index
                break
    if not found and len(uplinks) == len(services) == 1 and not services[0][0]:
        found[uplinks[0].name] = 0
    return found
