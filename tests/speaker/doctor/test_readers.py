"""The readers: what they make of what the box says, and that a box without anything makes none of them fail."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speaker.doctor import agent_view, asked, gather, here, wire
from speaker.doctor.checks import CHECKS
from speaker.doctor.facts import Interface, Service, Shadow
from speaker.doctor.finding import examine
from speaker.doctor.gather import Patient
from speaker.doctor.here import Unreadable
from speaker.doctor.services import read_service
from speaker.kernel import arp
from speaker.kernel.fake import FakeKernel, FakeRoute
from speaker.kernel.port import METRIC_REJECT, METRIC_ROUTE, PROTO_LEYLINE, NextHopRecord
from speaker.plan import encode
from speaker.rib.prefix import Family, key_of
from speaker.state import StateDir
from speaker.zerotier.local import LocalService
from tests.speaker.doctor.given import NETWORK, PLAN, SERVICE
from tests.speaker.zerotier.fake_service import FakeService, recorded, running


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    found = StateDir(tmp_path)
    found.prepare()
    return found


def test_a_service_is_read_as_it_was_recorded(tmp_path: Path) -> None:
    fake = FakeService(tmp_path)
    fake.networks[NETWORK] = recorded("member_GET_network_one.json")
    with running(fake), closing(LocalService(tmp_path)) as local:
        found = read_service("main", local, NETWORK)
    assert found == replace(SERVICE, port=found.port, device="ztigqvihcl", surface=found.surface)
    assert set(found.surface) == set(SERVICE.surface)


def test_a_service_that_is_not_there_or_talks_nonsense_says_so(tmp_path: Path) -> None:
    with closing(LocalService(tmp_path / "nowhere", 1)) as local:
        assert "install and start zerotier-one" in read_service("main", local, NETWORK).error
    fake = FakeService(tmp_path)
    fake.peers = {"error": 500}
    with running(fake), closing(LocalService(tmp_path)) as local:
        assert "is this a ZeroTier service" in read_service("main", local, NETWORK).error


def test_local_conf_is_read_with_its_physical_networks(tmp_path: Path) -> None:
    fake = FakeService(tmp_path)
    fake.config["physical"] = {"10.1.0.0/16": {"blacklist": True}, "10.2.0.0/16": {"trustedPathId": 1}, "x": 7}
    fake.config["settings"]["interfacePrefixBlacklist"] = ["lan", 7, ""]
    with running(fake), closing(LocalService(tmp_path)) as local:
        found = read_service("main", local, NETWORK)
    assert (found.physical_blacklist, found.interface_blacklist) == (("10.1.0.0/16",), ("lan",))


def test_a_process_runs_when_its_pid_does(state: StateDir, tmp_path: Path) -> None:
    proc = tmp_path / "proc"
    (proc / "42").mkdir(parents=True)
    state.pid_file("agent").write_text("42\n")
    state.pid_file("exabgp").write_text("43\n")
    state.pid_file("bfd").write_text("junk")
    assert here.processes(state, proc) == {"agent": True, "exabgp": False}


def test_knobs_are_read_and_missing_ones_left_out(tmp_path: Path) -> None:
    path = tmp_path / "sys/net/ipv4/conf/zt0"
    path.mkdir(parents=True)
    (path / "rp_filter").write_text("1\n")
    assert here.sysctls(PLAN, tmp_path) == {"net.ipv4.conf.zt0.rp_filter": "1"}


def test_what_the_kernel_dropped_for_its_md5_key_is_counted(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net/netstat").write_text(
        "TcpExt: SyncookiesSent TCPMD5NotFound TCPMD5Unexpected TCPMD5Failure\nTcpExt: 9 1 2 4\n"
        "IpExt: InOctets\nIpExt: 8\n"
    )
    assert here.md5_drops(tmp_path) == 7
    (tmp_path / "net/netstat").write_text("TcpExt: SyncookiesSent\nTcpExt: 9\n")
    assert here.md5_drops(tmp_path) == here.md5_drops(tmp_path / "nowhere") == 0


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_nft_is_read_or_says_why_not(tmp_path: Path) -> None:
    says = script(tmp_path / "nft", """echo '{"nftables": [{"metainfo": {}}, 7]}'""")
    assert here.ruleset(says) == ({"metainfo": {}},)
    for text in ("echo '<html>'", "echo '[]'", "echo '{}'", "echo Error: no permission >&2; exit 1"):
        with pytest.raises(Unreadable, match="nft: "):
            here.ruleset(script(tmp_path / "nft", text))
    with pytest.raises(Unreadable, match="apt install nftables"):
        here.ruleset(str(tmp_path / "none"))


def test_the_address_to_ask_from_is_in_a_lan() -> None:
    known = {
        "zt0": Interface(True, 2800, ("10.42.0.11",)),
        "lan0": Interface(True, 1500, ("fe80::1", "10.1.1.1")),
        "lan1": Interface(True, 1500, ("10.1.2.1",)),
    }
    assert here.lan_address(PLAN, known, ["lan1", "lan0"]) == "10.1.1.1"
    assert here.lan_address(PLAN, known, ["zt0", "gone"]) == ""


def test_where_no_route_leads_is_known() -> None:
    assert here.devices_towards(["127.0.0.1", "nowhere"]) == {"127.0.0.1": "lo", "nowhere": ""}
    with pytest.raises(TypeError):
        here.devices_towards([b"x"])  # type: ignore[list-item]


def test_an_arp_probe_claims_nothing_and_its_answer_names_who_has_it() -> None:
    own, wanted, other = bytes([2, 0, 0, 0, 0, 1]), bytes([10, 42, 0, 11]), bytes([2, 0, 0, 0, 0, 2])
    probe = arp.arp_probe(own, wanted)
    assert (len(probe), wire.says_it_has(probe, wanted)) == (42, None)
    answer = arp.ARP.pack(own, other, 0x0806, 1, 0x0800, 6, 4, arp.REPLY, other, wanted, own, bytes(4))
    assert wire.says_it_has(answer, wanted) == other
    assert wire.says_it_has(answer, bytes([10, 42, 0, 12])) is None
    assert wire.says_it_has(answer[:41], wanted) is None


@given(st.binary(max_size=64))
def test_a_frame_of_junk_says_nothing(frame: bytes) -> None:
    assert wire.says_it_has(frame, bytes([10, 42, 0, 11])) is None


GATEWAY = bytes([10, 42, 0, 2])


def test_routes_lead_where_their_next_hop_objects_lead() -> None:
    records = [
        NextHopRecord(1, PROTO_LEYLINE, 7, GATEWAY),
        NextHopRecord(2, PROTO_LEYLINE, 8, bytes([10, 42, 0, 3])),
        NextHopRecord(3, PROTO_LEYLINE, group=((1, 1), (2, 1), (9, 1))),
        NextHopRecord(4, 186, 7, GATEWAY),
        NextHopRecord(5, PROTO_LEYLINE, blackhole=True),
    ]
    ways = agent_view.ways_of(records, {7: "zt0"})
    assert ways == {
        1: {("zt0", "10.42.0.2")},
        2: {("8", "10.42.0.3")},
        3: {("zt0", "10.42.0.2"), ("8", "10.42.0.3")},
    }


def test_routes_for_the_lans_alone_are_routes_of_ours_too() -> None:
    """One that covers the underlay stands in a table of its own."""
    kernel = FakeKernel()
    for table, network, metric in (
        (kernel.routes_by_name, "10.2.0.0/16", METRIC_ROUTE),
        (kernel.routes_by_name, "10.3.0.0/16", METRIC_REJECT),
        (kernel.lan_routes_by_name, "192.0.2.0/24", METRIC_ROUTE),
    ):
        table[Family.IPV4, key_of(ip_network(network)), metric] = FakeRoute(PROTO_LEYLINE, 7)
    assert [prefix for prefix, _ in agent_view.ours(kernel)] == ["10.2.0.0/16", "192.0.2.0/24"]


@pytest.mark.parametrize(
    ("route", "shadow"),
    [
        ({"dst_len": 24, "proto": 3, "priority": 10, "dst": "10.2.1.0"}, Shadow("10.2.1.0/24", 3, 10)),
        ({"dst_len": 24, "proto": 4, "dst": "10.2.1.0"}, Shadow("10.2.1.0/24", 4, 0)),
        ({"dst_len": 24, "proto": PROTO_LEYLINE, "priority": 1000, "dst": "10.2.1.0"}, None),
        ({"dst_len": 32, "proto": 3, "priority": 10, "dst": "10.2.1.0"}, None),
        ({}, None),
    ],
)
def test_a_route_of_somebody_else_that_goes_before_ours_is_seen(route: dict[str, Any], shadow: Shadow | None) -> None:
    assert agent_view.shadow_of("10.2.1.0/24", route) == shadow


def test_what_is_on_its_way_into_the_kernel_is_not_compared() -> None:
    ways = [{"interface": "zt0", "address": "10.42.0.2"}]
    body: dict[str, Any] = {
        "prefixes": [{"prefix": "10.2.0.0/16"}, {"prefix": "10.2.1.0/24", "kernel": {"moving": False, "ways": ways}}]
    }
    assert agent_view.explained_ways(body, "10.2.1.0/24") == {("zt0", "10.42.0.2")}
    assert agent_view.explained_ways(body, "10.2.0.0/16") == frozenset()
    body["prefixes"][1]["kernel"] = {"moving": True, "ways": ways}
    assert agent_view.explained_ways(body, "10.2.1.0/24") == frozenset()


@pytest.mark.parametrize(
    ("date", "offset"),
    [
        ("Sun, 22 Nov 2026 10:45:28 GMT", 0.0),
        ("Sun, 22 Nov 2026 10:45:27 GMT", 0.0),
        ("Sun, 22 Nov 2026 10:50:28 GMT", 299.8),
        ("Sun, 22 Nov 2026 10:40:28 GMT", -299.0),
        ("yesterday", None),
        ("", None),
    ],
)
def test_clocks_are_compared_as_well_as_a_date_can(date: str, offset: float | None) -> None:
    found = asked.offset_of(date, 1795344328.0, 1795344328.2)
    assert found == (None if offset is None else pytest.approx(offset))


@pytest.mark.parametrize(
    ("status", "body", "error", "expires"),
    [
        (200, b'{"expires_at": "2026-11-22T10:45:28+00:00"}', "", 1795344328.0),
        (200, b'{"expires_at": null}', "", None),
        (200, b"<html>", "", None),
        (200, b'{"expires_at": "soon"}', "", None),
        (401, b'{"expires_at": "2026-11-22T10:45:28+00:00"}', "", None),
        (502, b"", "it answers 502", None),
    ],
)
def test_what_the_controller_says_of_the_token(status: int, body: bytes, error: str, expires: float | None) -> None:
    found = asked.seen("https://leyline.example", status, "", body, 0.0, 0.1)
    assert (found.error, found.status, found.token_expires) == (error, status, expires)


def test_a_box_without_anything_is_examined_all_the_same(state: StateDir) -> None:
    facts = gather.gather(Patient(state))
    assert (facts.plan, facts.report, facts.routes) == (None, None, None)
    findings = examine(CHECKS, facts)
    assert [finding.what for finding in findings if finding.check == "agent"] == [
        f"{state.control} is not there: no agent runs with this --state-dir"
    ]
    assert "plan" in facts.unread


def test_a_plan_without_its_interfaces_is_examined_all_the_same(state: StateDir) -> None:
    state.plan.write_bytes(encode(PLAN))
    facts = gather.gather(Patient(state, homes=[("", state.root / "zerotier")]))
    assert facts.plan == PLAN
    assert [service.error.startswith("ZeroTier service") for service in facts.services] == [True]
    found = {finding.check for finding in examine(CHECKS, facts)}
    assert {"agent", "service"} <= found


def test_a_plan_file_is_read_in_place_of_the_stored_one(state: StateDir, tmp_path: Path) -> None:
    (tmp_path / "given.json").write_bytes(encode(PLAN))
    facts = gather.gather(Patient(state, homes=[("", state.root / "zerotier")], plan_file=tmp_path / "given.json"))
    assert (facts.plan, "plan" in facts.unread) == (PLAN, False)


def test_the_ways_out_of_this_box_are_known(state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    asked_for: list[str] = []

    def ways_to(addresses: list[str]) -> frozenset[str]:
        asked_for.extend(addresses)
        return frozenset({"lan0"})

    monkeypatch.setattr(gather, "ways_to", ways_to)
    state.plan.write_bytes(encode(PLAN))
    facts = gather.gather(Patient(state, homes=[("", state.root / "zerotier")]))
    assert facts.ways_out == {"lan0"}
    assert asked_for == ["192.0.2.1", "2001:db8::1"]


def test_an_uplink_whose_service_nobody_names_is_told(state: StateDir) -> None:
    state.plan.write_bytes(encode(PLAN))
    facts = gather.gather(Patient(state, homes=[("lte", state.root / "zerotier")]))
    assert facts.services == (Service("main", error="no --zerotier-home of its service is named"),)
