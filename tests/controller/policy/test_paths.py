"""Reports of two sites, joined into paths with names, and into pairs of sites."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from controller.inventory.model import Client, Fabric, Gateway, Host, Inventory, Region, Site, Uplink
from controller.policy.paths import LEAST_SENT, Path, matrix, paths
from speaker.report import KernelReport, PathProbeReport, PeerReport, Report

NOW = 1000.0


def uplink(name: str, number: int) -> Uplink:
    return Uplink(name, f"{number:010x}", "zt0", "fiber", number, IPv4Address(f"10.42.0.{number}"))


INVENTORY = Inventory(
    fabric=Fabric("demo", 64512, IPv4Network("10.42.0.0/16"), network="53fe91125fc50e14", mtu=2800),
    regions=(Region("eu"),),
    sites=(Site("berlin", "eu"), Site("paris", "eu")),
    gateways=(
        Gateway("berlin-1", "berlin", "spoke", (uplink("main", 1), uplink("lte", 2))),
        Gateway("paris-1", "paris", "hub", (uplink("main", 3),)),
        Gateway("paris-2", "paris", "spoke", (uplink("main", 4),)),
    ),
    clients=(Client("frr", "paris", "fiber", address=IPv4Address("10.42.0.8")),),
    hosts=(Host("nas", "b1b2c3d4e5", IPv4Address("10.42.0.9")),),
)


def peer(address: str, state: Any = "direct", uplink: str = "main", **other: Any) -> PeerReport:
    values: dict[str, Any] = {"latency_ms": 3.0, "silent_seconds": 1.0, "since": NOW - 500, "version": "1.14.1"}
    return PeerReport("a" * 10, address, uplink, state, **values | {"physical": "192.0.2.7/9993"} | other)


def probe(address: str, p50: float = 10.0, loss: float = 0.0, uplink: str = "main", mtu: int = 2800) -> PathProbeReport:
    return PathProbeReport(address, uplink, p50, p50 * 1.5 if p50 >= 0 else -1, loss, mtu, 60)


def report(gateway: str, peers: tuple[PeerReport, ...] = (), probes: tuple[PathProbeReport, ...] = ()) -> Report:
    kernel = KernelReport({}, 0, 0, 0, "", {})
    fixed = (1, gateway, "0.1.0", (4,), "", "", 0.0, NOW, True, (), (), kernel)
    return Report(*fixed, peers=peers, paths=probes)


def of(*reports: Report) -> dict[tuple[str, str], Path]:
    return {(path.uplink, path.address): path for path in paths(INVENTORY, reports)}


def test_what_zerotier_and_the_probes_say_of_one_pair_is_one_path() -> None:
    (path,) = paths(INVENTORY, [report("berlin-1", (peer("10.42.0.3"),), (probe("10.42.0.3"),))])
    assert path == Path(
        gateway="berlin-1",
        uplink="main",
        site="berlin",
        to="paris-1/main",
        to_site="paris",
        address="10.42.0.3",
        state="direct",
        since=500.0,
        latency_ms=3.0,
        silent_seconds=1.0,
        rtt_p50_ms=10.0,
        rtt_p95_ms=15.0,
        loss=0.0,
        mtu=2800,
        sent=60,
        version="1.14.1",
        physical="192.0.2.7/9993",
    )


def test_what_is_not_known_is_none() -> None:
    found = of(
        report(
            "berlin-1",
            (peer("10.42.0.3", "relayed", latency_ms=-1.0, silent_seconds=-1.0),),
            (probe("10.42.0.3", -1.0, 1.0, mtu=0), probe("10.42.0.4", uplink="lte")),
        )
    )
    first, second = found["main", "10.42.0.3"], found["lte", "10.42.0.4"]
    assert (first.latency_ms, first.silent_seconds, first.rtt_p50_ms, first.mtu, first.loss) == (*[None] * 4, 1.0)
    assert (second.state, second.since, second.rtt_p50_ms) == ("unknown", None, 10.0)


def test_ends_have_the_names_that_were_declared() -> None:
    found = of(report("berlin-1", tuple(peer(f"10.42.0.{n}") for n in (4, 8, 9, 77))))
    names = {address: (path.to, path.to_site) for (_, address), path in found.items()}
    assert names == {
        "10.42.0.4": ("paris-2/main", "paris"),
        "10.42.0.8": ("frr", "paris"),
        "10.42.0.9": ("nas", ""),
        "10.42.0.77": ("10.42.0.77", ""),
    }


def test_who_is_no_member_and_who_is_no_gateway_any_more_are_left_out() -> None:
    assert paths(INVENTORY, [report("berlin-1", (peer(""),)), report("gone-1", (peer("10.42.0.3"),))]) == []


def test_findings_are_what_an_operator_should_know() -> None:
    assert INVENTORY.fabric is not None
    rule = replace(INVENTORY, fabric=replace(INVENTORY.fabric, relayed_seconds=300))
    far = report("berlin-1", (peer("10.42.0.3", "relayed"),), (probe("10.42.0.3", loss=0.2, mtu=1392),))
    (path,) = paths(rule, [far])
    assert path.findings == (
        "relayed for 500 s: -50 to its preference at berlin-1",
        "only 1392 bytes pass, and the segment's MTU is 2800",
        "20% of the echoes are lost",
    )
    plain = report("berlin-1", (peer("10.42.0.3", "relayed"), peer("10.42.0.4", "relayed", since=NOW - 100)))
    assert [path.findings for path in paths(INVENTORY, [plain])] == [("relayed for 500 s",), ()], "without a rule, too"
    early = replace(INVENTORY, fabric=replace(INVENTORY.fabric, relayed_seconds=900))
    assert paths(early, [plain])[0].findings == ("relayed for 500 s",)
    few = PathProbeReport("10.42.0.3", "main", -1, -1, 1.0, 0, LEAST_SENT - 1)
    assert paths(rule, [report("berlin-1", (), (few,))])[0].findings == ()
    dead = report("berlin-1", (), (probe("10.42.0.3", -1, 1.0),))
    assert paths(rule, [dead])[0].findings == ("no echo is answered",)


def test_the_best_path_of_a_pair_of_sites_loses_least_and_is_quickest() -> None:
    reports = (
        report(
            "berlin-1",
            (peer("10.42.0.3", "relayed"), peer("10.42.0.4"), peer("10.42.0.4", uplink="lte")),
            (probe("10.42.0.3", 5, 0.5), probe("10.42.0.4", 20), probe("10.42.0.4", 30, uplink="lte")),
        ),
        report("paris-1", (peer("10.42.0.1"), peer("10.42.0.4")), (probe("10.42.0.1", 19),)),
    )
    there, back = matrix(paths(INVENTORY, reports))
    assert (there.site, there.to_site, there.uplink, there.to) == ("berlin", "paris", "main", "paris-2/main")
    assert (there.state, there.rtt_p50_ms, there.loss, there.paths, there.relayed) == ("direct", 20, 0.0, 3, 1)
    assert (back.site, back.to_site, back.rtt_p50_ms, back.paths) == ("paris", "berlin", 19, 1)


@given(st.permutations(range(4)))
def test_the_order_of_reports_is_irrelevant(order: list[int]) -> None:
    reports = [
        report("berlin-1", (peer("10.42.0.3"),), (probe("10.42.0.4"),)),
        report("paris-1", (peer("10.42.0.1"),)),
        report("paris-2", (), (probe("10.42.0.1"), probe("10.42.0.2"))),
        report("gone", (peer("10.42.0.1"),)),
    ]
    found = paths(INVENTORY, [reports[n] for n in order])
    assert found == paths(INVENTORY, reports)
    assert matrix(found) == matrix(paths(INVENTORY, reports))
