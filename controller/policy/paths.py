"""Paths as the gateways report them, with the names of both ends; and of every pair of sites the best one. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from controller.inventory.model import Client, Fabric, Host, Inventory, uplink_key
from speaker.report import PathProbeReport, PeerReport, Report

MUCH_LOSS = 0.05
LEAST_SENT = 20
"""Probes before loss is worth a word."""
RELAYED_SECONDS = 120.0
"""A relayed path is worth a word then: ZeroTier has found a direct one by that time, if it can."""


class End(NamedTuple):
    """What has an overlay address: an uplink, a client or a host."""

    name: str
    site: str


@dataclass(frozen=True, slots=True)
class Path:
    """From an uplink of one gateway to another member. What nobody has measured is None."""

    gateway: str
    uplink: str
    site: str
    to: str  # GATEWAY/UPLINK, or a client's or host's name; the address when nobody has declared it.
    to_site: str
    address: str
    state: str  # "direct", "relayed", "unknown"
    since: float | None = None  # Unix time of the last change of `state`.
    latency_ms: float | None = None  # As ZeroTier has it.
    silent_seconds: float | None = None
    rtt_p50_ms: float | None = None
    rtt_p95_ms: float | None = None
    loss: float | None = None
    mtu: int | None = None
    sent: int = 0
    version: str = ""  # Of ZeroTier at the far end.
    physical: str = ""
    findings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SitePair:
    """The best path that the gateways of one site report to those of another."""

    site: str
    to_site: str
    gateway: str
    uplink: str
    to: str
    state: str
    rtt_p50_ms: float | None
    rtt_p95_ms: float | None
    loss: float | None
    paths: int  # That the pair has, and of those how many are relayed.
    relayed: int


def paths(inventory: Inventory, reports: Iterable[Report]) -> list[Path]:
    """Sorted by gateway, uplink and address. A gateway that is not declared any more has none."""
    ends = dict(_ends(inventory))
    sites = {gateway.name: gateway.site for gateway in inventory.gateways}
    found = [
        path
        for report in reports
        if report.gateway in sites
        for path in _of(report, sites[report.gateway], ends, inventory.fabric)
    ]
    return sorted(found, key=lambda path: (path.gateway, path.uplink, path.address))


def matrix(found: Iterable[Path]) -> list[SitePair]:
    """Of different sites, sorted. The path that loses least is the best, and of equal ones the quickest."""
    by_pair: dict[tuple[str, str], list[Path]] = {}
    for path in found:
        if path.site and path.to_site and path.site != path.to_site:
            by_pair.setdefault((path.site, path.to_site), []).append(path)
    return [_pair(*pair, between) for pair, between in sorted(by_pair.items())]


def _pair(site: str, to_site: str, between: list[Path]) -> SitePair:
    best = min(between, key=_badness)
    relayed = sum(path.state == "relayed" for path in between)
    figures = best.rtt_p50_ms, best.rtt_p95_ms, best.loss
    return SitePair(site, to_site, best.gateway, best.uplink, best.to, best.state, *figures, len(between), relayed)


def _badness(path: Path) -> tuple[float, float, str, str]:
    measured = path.rtt_p50_ms if path.rtt_p50_ms is not None else float("inf")
    return (1.0 if path.loss is None else path.loss, measured, path.gateway, path.address)


def _ends(inventory: Inventory) -> Iterator[tuple[str, End]]:
    for gateway in inventory.gateways:
        for uplink in gateway.uplinks:
            yield from _addresses(End(uplink_key(gateway, uplink), gateway.site), uplink.address, uplink.address6)
    members: list[Client | Host] = [*inventory.clients, *inventory.hosts]
    for member in members:
        yield from _addresses(End(member.name, member.site), member.address, member.address6)


def _addresses(end: End, *addresses: object) -> Iterator[tuple[str, End]]:
    return ((str(address), end) for address in addresses if address is not None)


def _of(report: Report, site: str, ends: Mapping[str, End], fabric: Fabric | None) -> Iterator[Path]:
    """What ZeroTier says and what the probes say of one pair of ends is one path."""
    peers = {(peer.uplink, peer.address): peer for peer in report.peers if peer.address}
    probes = {(probe.uplink, probe.address): probe for probe in report.paths}
    for uplink, address in peers.keys() | probes.keys():
        peer, probe = peers.get((uplink, address)), probes.get((uplink, address))
        end = ends.get(address, End(address, ""))
        answered = probe is not None and probe.rtt_p50_ms >= 0
        yield Path(
            gateway=report.gateway,
            uplink=uplink,
            site=site,
            to=end.name,
            to_site=end.site,
            address=address,
            state=peer.state if peer is not None else "unknown",
            since=peer.since if peer is not None else None,
            latency_ms=_known(peer.latency_ms if peer is not None else -1),
            silent_seconds=_known(peer.silent_seconds if peer is not None else -1),
            rtt_p50_ms=probe.rtt_p50_ms if probe is not None and answered else None,
            rtt_p95_ms=probe.rtt_p95_ms if probe is not None and answered else None,
            loss=probe.loss if probe is not None else None,
            mtu=(probe.mtu or None) if probe is not None else None,
            sent=probe.sent if probe is not None else 0,
            version=peer.version if peer is not None else "",
            physical=peer.physical if peer is not None else "",
            findings=tuple(_findings(report, peer, probe, fabric)),
        )


def _known(value: float) -> float | None:
    return value if value >= 0 else None


def _findings(
    report: Report, peer: PeerReport | None, probe: PathProbeReport | None, fabric: Fabric | None
) -> Iterator[str]:
    """What an operator should know of this path, in words."""
    if peer is not None and peer.state == "relayed" and fabric is not None:
        lasted = report.reported_at - peer.since
        if fabric.relayed_seconds and lasted >= fabric.relayed_seconds:
            yield f"relayed for {lasted:.0f} s: {fabric.relayed_preference:+} to its preference at {report.gateway}"
        elif lasted >= RELAYED_SECONDS:
            yield f"relayed for {lasted:.0f} s"
    if probe is not None and fabric is not None and fabric.network and 0 < probe.mtu < fabric.mtu:
        yield f"only {probe.mtu} bytes pass, and the segment's MTU is {fabric.mtu}"
    if probe is not None and probe.sent >= LEAST_SENT and probe.loss > MUCH_LOSS:
        yield "no echo is answered" if probe.loss >= 1 else f"{probe.loss:.0%} of the echoes are lost"
