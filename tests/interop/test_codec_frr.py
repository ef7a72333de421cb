"""Our UPDATE codec and FRR: each reads what the other writes."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from speaker.bgp.decode import Decoder
from speaker.bgp.encode import encode_updates
from speaker.bgp.wire import end_of_rib
from speaker.rib.path import Update
from speaker.rib.prefix import Family
from tests.interop.codec_routes import (
    BOTH,
    LINK,
    OWN,
    PEER,
    PREFIXES,
    RICH,
    announcement,
    keys,
    of_family,
    said,
    speaker,
)
from tests.interop.tinybgp import Session, dial
from tests.netns.namespaces import Namespace, pair, wait_until

pytestmark = pytest.mark.root

FRR_CONFIG = """
route-map OUT permit 10
 match ip address prefix-list RICH
 set community 64512:7
 set large-community 64512:1:1
 set local-preference 333
 set metric 50
 set origin incomplete
 set as-path prepend 65001 4200000000
 set extcommunity rt 64512:9
 set extcommunity bandwidth 1000
route-map OUT permit 20
ip prefix-list RICH permit 198.51.100.0/24
router bgp 64512
 bgp router-id 10.9.0.2
 no bgp network import-check
 no bgp default ipv4-unicast
 neighbor 10.9.0.1 remote-as 64512
 neighbor 10.9.0.1 passive
 address-family ipv4 unicast
  network 198.51.100.0/24
  network 203.0.113.128/25
  neighbor 10.9.0.1 activate
  neighbor 10.9.0.1 addpath-tx-all-paths
  neighbor 10.9.0.1 route-map OUT out
 exit-address-family
 address-family ipv6 unicast
  network 2001:db8:1::/48
  neighbor 10.9.0.1 activate
  neighbor 10.9.0.1 addpath-tx-all-paths
 exit-address-family
"""

FRR_SAYS = {
    "203.0.113.128/25": ["next-hop 10.9.0.2", "origin 0", "med 0", "local-pref 100"],
    "198.51.100.0/24": [
        "next-hop 10.9.0.2",
        "origin 2",
        "as-path 65001 4200000000",
        "med 50",
        "local-pref 333",
        "communities 64512:7",
        "extended-communities 0002fc0000000009 0004fc004cee6b28",
        "large-communities 64512:1:1",
    ],
    "2001:db8:1::/48": ["next-hop ::ffff:a09:2", "origin 0", "med 0", "local-pref 100"],
}

FRR_SHOWS = {
    "origin": "EGP",
    "metric": 9,
    "locPrf": 210,
    "atomicAggregate": True,
    "aggregatorAs": 4200000001,
    "aggregatorId": "10.9.0.8",
    "originatorId": "10.9.0.9",
    "addpathRxId": 3,
}
FRR_SHOWS_TEXT = {
    "aspath": "65010 4200000001 {7,8}",
    "community": "64512:5 64512:6",
    "extendedCommunity": "RT:64512:9 LB:64512:125000000 (1.000 Gbps)",
    "largeCommunity": "64512:1:3 64512:4:4294967295",
}


class Frr:
    """bgpd without zebra, in a namespace; asked through vtysh."""

    def __init__(self, namespace: Namespace, directory: Path) -> None:
        self._namespace = namespace
        self._directory = directory
        config = directory / "bgpd.conf"
        config.write_text(FRR_CONFIG)
        options = ["-Z", "-f", str(config), "-i", str(directory / "bgpd.pid"), "--vty_socket", str(directory)]
        with (directory / "log").open("wb") as log:
            namespace.start("/usr/lib/frr/bgpd", *options, "-A", "127.0.0.1", "--log", "stdout", output=log)

    def ask(self, command: str) -> Any:
        """The answer to a `show ... json`; {} when there is none."""
        socket = str(self._directory)
        text = self._namespace.run("vtysh", "--vty_socket", socket, "-d", "bgpd", "-c", command, check=False)
        return json.loads(text) if text.startswith("{") else {}

    def paths(self, family: Family, prefix: str) -> list[dict[str, Any]]:
        paths: list[dict[str, Any]] = self.ask(f"show bgp {family.value} unicast {prefix} json").get("paths", [])
        return paths

    def until(self, family: Family, prefix: str, count: int) -> list[dict[str, Any]]:
        """The paths of the prefix, once there are so many."""
        wait_until(
            lambda: len(self.paths(family, prefix)) == count,
            10,
            lambda: f"{self.paths(family, prefix)}\n{self.log()}",
        )
        return self.paths(family, prefix)

    def log(self) -> str:
        return (self._directory / "log").read_text(errors="replace")


@pytest.fixture(params=[True, False], ids=["add-path", "no add-path"])
def add_path(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def frr() -> Iterator[tuple[Namespace, Frr]]:
    """bgpd gives up root for the user frr, who cannot look into pytest's own directories."""
    directory = Path(tempfile.mkdtemp(prefix="ll-codec-frr-"))
    shutil.chown(directory, "frr", "frr")
    try:
        with pair("codec", *LINK) as (ours, theirs):
            yield ours, Frr(theirs, directory)
    finally:
        shutil.rmtree(directory)


def decoded(session: Session) -> list[Update]:
    decoder = Decoder(session.negotiated, session.ibgp)
    return [decoder.decode(body) for body in session.bodies()]


def test_we_read_what_frr_writes(frr: tuple[Namespace, Frr], add_path: bool) -> None:
    ours, daemon = frr
    with dial(ours.name, OWN, PEER, speaker(add_path)) as session:
        session.send(*map(end_of_rib, BOTH))
        wait_until(lambda: said(decoded(session)) == FRR_SAYS, 20, lambda: f"{said(decoded(session))}\n{daemon.log()}")
        assert bool(session.negotiated.add_path_receive) is add_path


def test_frr_reads_what_we_write(frr: tuple[Namespace, Frr], add_path: bool) -> None:
    ours, daemon = frr
    with dial(ours.name, OWN, PEER, speaker(add_path)) as session:
        for family in BOTH:
            groups = announcement(family) if add_path else announcement(family)[:1]
            session.send(*encode_updates(family, session.negotiated, [], groups), end_of_rib(family))
        for family in BOTH:
            for prefix in PREFIXES[family]:
                count = 2 if add_path and prefix == PREFIXES[family][0] else 1
                check_rich(family, add_path, daemon.until(family, prefix, count))
        for family in BOTH:
            session.send(*encode_updates(family, session.negotiated, [(3, keys(*PREFIXES[family]))], []))
        for family in BOTH:
            left = daemon.until(family, PREFIXES[family][0], 1 if add_path else 0)
            assert [path["addpathRxId"] for path in left] == ([4] if add_path else [])


def check_rich(family: Family, add_path: bool, paths: list[dict[str, Any]]) -> None:
    """Path 3 of a prefix is what we meant in every attribute that FRR shows; path 4 is the plain one."""
    [rich] = [path for path in paths if path["locPrf"] == 210]
    shows = FRR_SHOWS if add_path else {name: value for name, value in FRR_SHOWS.items() if name != "addpathRxId"}
    assert {name: rich[name] for name in shows} == shows
    assert {name: rich[name]["string"] for name in FRR_SHOWS_TEXT} == FRR_SHOWS_TEXT
    assert rich["clusterList"]["list"] == ["10.9.1.1", "10.9.1.2"]
    assert rich["nexthops"][0]["ip"] == str(ip_address(of_family(family, RICH).next_hop))
    assert [path["addpathRxId"] for path in paths if path is not rich] in ([], [4])
