"""Knobs, on a /proc of plain files. tests/netns/test_kernel_sysctls.py turns real ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from speaker.kernel.sysctls import apply_sysctls, knobs, path_of, ra_interfaces

RA_DEFAULT = (
    "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
    "fe800000000000000000000000000001 00000400 00000001 00000000 00450003     wan0"
)
MANUAL = (
    "fd420042000000000000000000000000 40 00000000000000000000000000000000 00 "
    "00000000000000000000000000000000 00000100 00000001 00000000 00000001      zt0"
)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A kernel with everything at its defaults."""
    for knob in knobs(["zt0", "eth0/5"], ["wan0", "zt0"]):
        path = tmp_path / "sys" / path_of(knob.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1\n")
    (tmp_path / "sys/net/ipv6/conf/all/forwarding").write_text("0\n")
    (tmp_path / "net").mkdir()
    (tmp_path / "net/ipv6_route").write_text(f"{RA_DEFAULT}\n{MANUAL}\n")
    return tmp_path


def read(proc: Path, name: str) -> str:
    return (proc / "sys" / path_of(name)).read_text().strip()


def test_what_differs_is_set_and_told(proc: Path) -> None:
    outcome = apply_sysctls(["zt0"], proc=proc)
    assert outcome.changed == {
        "net.ipv6.conf.wan0.accept_ra": "1 -> 2",
        "net.ipv6.conf.all.forwarding": "0 -> 1",
        "net.ipv4.nexthop_compat_mode": "1 -> 0",
        "net.ipv4.neigh.default.gc_thresh3": "1 -> 8192",
        "net.ipv6.neigh.default.gc_thresh3": "1 -> 8192",
        "net.ipv4.conf.all.rp_filter": "1 -> 2",
        "net.ipv4.conf.all.send_redirects": "1 -> 0",
        "net.ipv4.conf.all.accept_redirects": "1 -> 0",
        "net.ipv6.conf.all.accept_redirects": "1 -> 0",
        "net.ipv4.conf.zt0.rp_filter": "1 -> 2",
        "net.ipv4.conf.zt0.send_redirects": "1 -> 0",
        "net.ipv4.conf.zt0.accept_redirects": "1 -> 0",
        "net.ipv6.conf.zt0.accept_redirects": "1 -> 0",
    }
    assert (outcome.missing, outcome.failed) == ([], {})
    assert read(proc, "net.ipv4.conf.zt0.rp_filter") == "2"


def test_a_second_time_nothing_is_left_to_do(proc: Path) -> None:
    apply_sysctls(["zt0"], proc=proc)
    outcome = apply_sysctls(["zt0"], proc=proc)
    assert (outcome.changed, outcome.missing, outcome.failed) == ({}, [], {})


def test_router_advertisements_are_kept_before_forwarding_goes_on(proc: Path) -> None:
    assert ra_interfaces(proc) == ["wan0"]
    names = [knob.name for knob in knobs(["zt0"], ra_interfaces(proc))]
    assert names.index("net.ipv6.conf.wan0.accept_ra") < names.index("net.ipv6.conf.all.forwarding")


def test_routes_are_read_only_before_forwarding_goes_on(proc: Path) -> None:
    """There may be half a million of ours, and an uplink that has just returned is waited for."""
    apply_sysctls(["zt0"], proc=proc)
    (proc / "sys/net/ipv6/conf/wan0/accept_ra").write_text("1\n")
    assert ra_interfaces(proc) == [], "what it had has gone with forwarding, and nothing new is taken"


def test_interface_that_refuses_router_advertisements_is_left_alone(proc: Path) -> None:
    (proc / "sys/net/ipv6/conf/wan0/accept_ra").write_text("0\n")
    assert ra_interfaces(proc) == []


def test_two_uplinks_answer_for_their_own_address_only(proc: Path) -> None:
    changed = apply_sysctls(["zt0", "eth0.5"], proc=proc).changed
    assert changed["net.ipv4.conf.zt0.arp_announce"] == "1 -> 2"
    assert changed["net.ipv4.conf.eth0/5.arp_announce"] == "1 -> 2"
    assert read(proc, "net.ipv4.conf.zt0.arp_ignore") == "1"
    assert not any("arp_" in knob.name for knob in knobs(["zt0"], []))


def test_a_higher_limit_is_left(proc: Path) -> None:
    (proc / "sys/net/ipv4/neigh/default/gc_thresh3").write_text("100000\n")
    assert "net.ipv4.neigh.default.gc_thresh3" not in apply_sysctls(["zt0"], proc=proc).changed


def test_missing_knobs_are_told_and_the_others_set(proc: Path) -> None:
    (proc / "sys/net/ipv4/nexthop_compat_mode").unlink()
    outcome = apply_sysctls(["zt0"], proc=proc)
    assert outcome.missing == ["net.ipv4.nexthop_compat_mode"]
    assert len(outcome.changed) == 12


def test_knob_that_refuses_is_told_and_the_others_set(proc: Path) -> None:
    path = proc / "sys/net/ipv4/nexthop_compat_mode"
    path.unlink()
    path.mkdir()  # Root may write to everything else.
    outcome = apply_sysctls(["zt0"], proc=proc)
    assert outcome.failed == {"net.ipv4.nexthop_compat_mode": "Is a directory"}
    assert len(outcome.changed) == 12


def test_a_box_without_ipv6(tmp_path: Path) -> None:
    assert ra_interfaces(tmp_path) == []
    assert all(name.startswith("net.") for name in apply_sysctls(["zt0"], proc=tmp_path).missing)


def test_the_keys_of_a_listening_socket_find_room(proc: Path) -> None:
    """Where the kernel's limit is 20480 bytes, the 151st key is refused, and its client with it."""
    limit = proc / "sys/net/core/optmem_max"
    limit.parent.mkdir(parents=True, exist_ok=True)
    limit.write_text("20480\n")
    assert "net.core.optmem_max" not in apply_sysctls(["zt0"], proc=proc).changed
    assert apply_sysctls(["zt0"], proc=proc, md5_keys=500).changed["net.core.optmem_max"] == "20480 -> 148480"
    assert "net.core.optmem_max" not in apply_sysctls(["zt0"], proc=proc, md5_keys=400).changed
