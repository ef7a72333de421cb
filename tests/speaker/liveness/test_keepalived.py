"""The configuration as text, and what happens to files and processes. tests/netns/test_vrrp.py runs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from speaker.liveness.keepalived import (
    DRAINED,
    NOT_FORWARDING,
    Keepalived,
    forget_before_boot,
    left_out,
    link_local,
    render,
)
from speaker.plan import FirstHopPlan
from speaker.state import StateDir

LAN, LAN6 = "10.1.0.0/24", "fd01::/64"
FIRST = FirstHopPlan(LAN, "10.1.0.254", 10, 250, 100)
FIRST6 = FirstHopPlan(LAN6, "fd01::fe", 255, 249, 1000)
BEHIND = {LAN: "eth1", LAN6: "eth1"}

WHOLE = """\
# Written by the Leyline agent, which writes it again. Not to be edited.
global_defs {
    vrrp_version 3
    dynamic_interfaces allow_if_changes
    script_user nobody
    enable_script_security
    vrrp_garp_master_repeat 3
    vrrp_garp_master_delay 1
    vrrp_garp_master_refresh 30
    vrrp_priority -10
    max_auto_priority -1
}

track_file weight {
    file "/var/lib/leyline/vrrp-weight"
    weight 1
    init_file -100
}

vrrp_instance eth1-10-v4 {
    interface eth1
    virtual_router_id 10
    state BACKUP
    priority 250
    advert_int 0.10
    accept
    track_file {
        weight
    }
    virtual_ipaddress {
        10.1.0.254
    }
}

vrrp_instance eth1-255-v6 {
    interface eth1
    virtual_router_id 255
    state BACKUP
    priority 249
    advert_int 1.00
    accept
    track_file {
        weight
    }
    virtual_ipaddress {
        fe80::200:5eff:fe00:2ff
        fd01::fe
    }
}
"""


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    found = StateDir(tmp_path)
    found.prepare()
    return found


def weight(state: StateDir) -> str:
    return state.vrrp_weight.read_text()


def test_the_whole_configuration() -> None:
    assert render([FIRST6, FIRST], BEHIND, StateDir(Path("/var/lib/leyline"))) == WHOLE


def test_first_hops_that_cannot_be_are_named_and_the_others_stand(state: StateDir) -> None:
    twin = FirstHopPlan("10.2.0.0/24", "10.2.0.254", 10, 250, 100)
    odd = FirstHopPlan("10.3.0.0/24", "10.3.0.254", 11, 250, 100)
    first_hops = [FIRST, FIRST6, twin, odd]
    interfaces = {LAN: "eth1", "10.2.0.0/24": "eth1", "10.3.0.0/24": "eth#1"}
    assert left_out(first_hops, interfaces) == (
        "first hop 10.2.0.254: VRID 10 on eth1 is taken by 10.1.0.254: give one of them another vrid",
        "first hop 10.3.0.254: interface 'eth#1' cannot be named to keepalived: "
        "rename it to letters, digits, '.', '_', '-'",
        "first hop fd01::fe: no interface with an address in fd01::/64",
    )
    text = render(first_hops, interfaces, state)
    assert text.count("vrrp_instance") == 1
    assert "10.1.0.254" in text


def test_one_vrid_serves_both_families_and_other_interfaces(state: StateDir) -> None:
    same = FirstHopPlan(LAN6, "fd01::fe", 10, 250, 100)
    there = FirstHopPlan("10.2.0.0/24", "10.2.0.254", 10, 250, 100)
    interfaces = {**BEHIND, "10.2.0.0/24": "eth2"}
    assert left_out([FIRST, same, there], interfaces) == ()
    assert render([FIRST, same, there], interfaces, state).count("vrrp_instance") == 3


def test_link_local_addresses_are_one_per_vrid() -> None:
    assert (link_local(1), link_local(255)) == ("fe80::200:5eff:fe00:201", "fe80::200:5eff:fe00:2ff")


def test_nothing_is_written_without_first_hops(state: StateDir) -> None:
    assert Keepalived(state).apply([], {}) == ()
    assert not state.keepalived_config.exists()
    assert not state.vrrp_weight.exists()


def test_a_new_gateway_steps_back_until_told_otherwise(state: StateDir) -> None:
    keepalived = Keepalived(state)
    assert keepalived.apply([FIRST], BEHIND) == ()
    assert weight(state) == f"{NOT_FORWARDING}\n"
    assert keepalived.set_weight(0) == ""
    assert keepalived.apply([FIRST6], BEHIND) == ()
    assert weight(state) == "0\n"


def test_weights_are_written_once_and_kept_within_what_is_no_fault(state: StateDir) -> None:
    keepalived = Keepalived(state)
    keepalived.set_weight(DRAINED)
    before = state.vrrp_weight.stat().st_ino
    keepalived.set_weight(DRAINED)
    assert state.vrrp_weight.stat().st_ino == before
    keepalived.set_weight(-300)
    assert weight(state) == "-253\n", "-254 would be a fault to keepalived"


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    state = StateDir(tmp_path / "missing")
    keepalived = Keepalived(state)
    (fault,) = keepalived.apply([FIRST], BEHIND)
    assert fault == f"{state.keepalived_config}: No such file or directory"
    assert keepalived.set_weight(0) == f"{state.vrrp_weight}: No such file or directory"


def test_a_weight_from_before_the_boot_is_forgotten(state: StateDir) -> None:
    Keepalived(state).set_weight(0)
    forget_before_boot(state, booted_at=time.time() - 10)
    assert weight(state) == "0\n"
    forget_before_boot(state, booted_at=time.time() + 10)
    assert weight(state) == f"{NOT_FORWARDING}\n"


def test_a_weight_from_the_future_is_forgotten(state: StateDir) -> None:
    Keepalived(state).set_weight(0)
    os.utime(state.vrrp_weight, (time.time() + 1000,) * 2)
    forget_before_boot(state, booted_at=0)
    assert weight(state) == f"{NOT_FORWARDING}\n"


def test_without_a_weight_there_is_nothing_to_forget(state: StateDir) -> None:
    forget_before_boot(state, booted_at=0)
    assert not state.vrrp_weight.exists()


SAYS_ITS_SIGNALS = """
import signal, sys, time
name = sys.argv[1].encode()
open("/proc/self/comm", "wb").write(name)
signal.signal(signal.SIGHUP, lambda *_: print("SIGHUP", flush=True))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(print("SIGTERM", flush=True)))
print("ready", flush=True)
while True:
    time.sleep(60)
"""


@contextmanager
def process(state: StateDir, name: str) -> Iterator[subprocess.Popen[str]]:
    """Is called `name`, is in the pid file, and says its signals."""
    with subprocess.Popen([sys.executable, "-c", SAYS_ITS_SIGNALS, name], stdout=subprocess.PIPE, text=True) as running:
        try:
            assert said(running) == "ready"
            state.pid_file("keepalived").write_text(f"{running.pid}\n")
            yield running
        finally:
            running.kill()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_keepalived_reads_again_only_what_changed_and_ends_with_the_last_first_hop(state: StateDir) -> None:
    keepalived = Keepalived(state)
    with process(state, "keepalived") as running:
        keepalived.apply([FIRST], BEHIND)
        assert said(running) == "SIGHUP"
        keepalived.apply([FIRST], BEHIND)
        Keepalived(state).apply([FIRST], BEHIND)  # Another agent, the same plan.
        keepalived.apply([FIRST, FIRST6], BEHIND)
        assert said(running) == "SIGHUP"
        keepalived.apply([], {})
        assert said(running) == "SIGTERM"
        assert not state.keepalived_config.exists()


def test_a_stranger_with_keepaliveds_old_number_is_left_alone(state: StateDir) -> None:
    with process(state, "stranger") as running:
        Keepalived(state).apply([FIRST], BEHIND)
        Keepalived(state).apply([], {})
        running.send_signal(signal.SIGTERM)
        assert said(running) == "SIGTERM", "the first that it heard of"


def test_a_pid_file_of_nobody_hurts_nobody(state: StateDir) -> None:
    for text in ("", "0\n", "no number\n", "-1\n", f"{2**22 + 1}\n"):
        state.pid_file("keepalived").write_text(text)
        Keepalived(state).apply([FIRST], BEHIND)
        Keepalived(state).apply([], {})
