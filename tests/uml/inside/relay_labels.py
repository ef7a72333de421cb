"""Relay labels with real packets. Runs on the test machine: see tests/uml/test_relay_labels.py."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_address

import pytest

from speaker.kernel.fib import Fib, Relay
from speaker.kernel.mpls import HIGHEST_LABEL, LabelTable, apply_mpls_sysctls, relay_label
from speaker.kernel.socket import LinuxKernel
from tests.netns.namespaces import inside
from tests.speaker.kernel.world import via, want
from tests.uml.inside.world import A6, B6, HOST_A, HOST_B, HUB, HUB6, A, B, ask, cut, fabric, has_route, ip, mac

TO_A, TO_B = relay_label(1), relay_label(2)
LABELS = {TO_A: ("seg", A), TO_B: ("seg", B)}
THREE_ROUTERS = 64 - 3
SILENCE = 0.3
ETH_MPLS = 0x8847
GONE = "link add gone type veth peer name far\naddress add 10.43.0.1/24 dev gone\nlink set far up\nlink set gone up\n"
RTNLGRP_MPLS_ROUTE = 27


class Spoke:
    """Routes of one spoke to one far site, by the FIB."""

    def __init__(self, node: str, prefixes: tuple[str, str], far: tuple[str, str], label: int) -> None:
        with inside(node):
            self.kernel = LinuxKernel()
            self.fib = Fib(self.kernel, ["seg"], segments=["10.42.0.0/16", "fd42:42::/64"])
            self.fib.set_link("seg", socket.if_nametoindex("seg"))
        self.fib.adopt()
        self.dead = frozenset(("seg", ip_address(each).packed) for each in far)
        hubs = zip(far, (HUB, HUB6), strict=True)
        self.relays = {ip_address(each).packed: (Relay("seg", ip_address(hub).packed, label),) for each, hub in hubs}
        self.detour()
        for prefix, each in zip(prefixes, far, strict=True):
            want(self.fib, prefix, via(each))
        self.flush()

    def detour(self) -> None:
        """BFD says that the far uplink is dead, and the hub that it relays."""
        self.fib.set_liveness(self.dead, self.relays)

    def flush(self) -> None:
        outcome = self.fib.flush()
        assert outcome.converged, outcome

    def close(self) -> None:
        self.fib.close()
        self.kernel.close()


@pytest.fixture(scope="module", autouse=True)
def spoke() -> Iterator[Spoke]:
    """`a`; `b` has its like, for the answers."""
    with (
        fabric(),
        closing(Spoke("a", ("10.2.0.0/24", "fd00:2::/64"), (B, B6), TO_B)) as near,
        closing(Spoke("b", ("10.1.0.0/24", "fd00:1::/64"), (A, A6), TO_A)),
    ):
        cut("a", "b")
        yield near


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    yield
    assert apply({}) == []
    for line in shown():  # What a test left that is not ours.
        mpls(f"route del {line}\n")


def apply(desired: dict[int, tuple[str, str]]) -> list[str]:
    with inside("hub"):
        return LabelTable().apply(desired)


def mpls(commands: str) -> str:
    return ip(commands, "hub", "-f", "mpls")


def shown() -> list[str]:
    return sorted(" ".join(line.split()) for line in mpls("route show\n").splitlines())


@pytest.mark.parametrize("address", HOST_B)
def test_a_hub_relays_by_label_and_looks_up_no_address(address: str) -> None:
    assert not has_route("hub", address)
    assert ask("ha", address, patience=SILENCE) is None
    assert apply(LABELS) == []
    assert ask("ha", address) == THREE_ROUTERS
    assert not has_route("hub", address)


@pytest.mark.parametrize("address", HOST_A)
def test_the_other_way_works_too(address: str) -> None:
    assert apply(LABELS) == []
    assert ask("hb", address) == THREE_ROUTERS


def test_a_spoke_takes_the_detour_only_while_the_far_uplink_is_dead(spoke: Spoke) -> None:
    assert apply(LABELS) == []
    assert [ask("ha", address) for address in HOST_B] == [THREE_ROUTERS, THREE_ROUTERS]
    spoke.fib.set_liveness(frozenset(), {})
    spoke.flush()
    assert [ask("ha", address, patience=SILENCE) for address in HOST_B] == [None, None]  # Straight into the cut.
    spoke.detour()
    spoke.flush()
    assert [ask("ha", address) for address in HOST_B] == [THREE_ROUTERS, THREE_ROUTERS]


def test_a_label_by_an_ipv6_neighbour_takes_both_families() -> None:
    assert apply({TO_A: ("seg", A6), TO_B: ("seg", B6)}) == []
    assert [ask("ha", address) for address in HOST_B] == [THREE_ROUTERS, THREE_ROUTERS]


def test_a_hop_limit_that_ends_on_the_way_ends_there() -> None:
    assert apply(LABELS) == []
    assert ask("ha", HOST_B[0], ttl=4) == 1
    assert ask("ha", HOST_B[0], ttl=3, patience=SILENCE) is None


def test_a_label_beneath_the_relay_label_reaches_the_far_gateway() -> None:
    """A tenant's label stays for the far gateway: the hub knows nothing of tenants."""
    assert apply(LABELS) == []
    with inside("b"):
        far = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_MPLS))
    with inside("a"):
        near = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    with far, near:
        far.bind(("seg", ETH_MPLS))
        near.bind(("seg", 0))
        far.settimeout(5)
        stack = struct.pack("!II", TO_B << 12 | 64, 100 << 12 | 0x100 | 64)
        payload = b"\x45" + bytes(19)
        near.send(mac("hub") + mac("a") + struct.pack("!H", ETH_MPLS) + stack + payload)
        frame = far.recv(2048)
    assert frame[:12] == mac("b") + mac("hub")
    assert struct.unpack_from("!I", frame, 14)[0] == 100 << 12 | 0x100 | 64
    assert frame[18:38] == payload


def test_without_its_label_an_uplink_is_not_reached() -> None:
    assert apply(LABELS) == []
    assert ask("ha", HOST_B[0]) == THREE_ROUTERS
    assert apply({TO_A: LABELS[TO_A]}) == []
    assert ask("ha", HOST_B[0], patience=SILENCE) is None
    assert shown() == [f"{TO_A} via inet {A} dev seg proto 76"]


def test_the_next_table_takes_over_and_changes_nothing() -> None:
    assert apply(LABELS) == []
    with inside("hub"):
        events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    with events:
        events.bind((0, 0))
        events.setsockopt(270, 1, RTNLGRP_MPLS_ROUTE)  # SOL_NETLINK, NETLINK_ADD_MEMBERSHIP
        events.setblocking(False)
        assert apply(LABELS) == []
        with pytest.raises(BlockingIOError):
            events.recv(4096)
        assert apply({TO_A: LABELS[TO_A]}) == []
        assert events.recv(4096)  # One that was seen: events do arrive.
        with pytest.raises(BlockingIOError):
            events.recv(4096)


def test_another_programs_label_is_never_touched() -> None:
    mpls(f"route add {TO_B} via inet {A} dev seg proto static\n")
    (error,) = apply(LABELS)
    assert error == f"label {TO_B}: File exists: another program's; see `ip -f mpls route`"
    foreign = f"{TO_B} via inet {A} dev seg proto static"
    assert shown() == [f"{TO_A} via inet {A} dev seg proto 76", foreign]
    assert apply({}) == []
    assert shown() == [foreign]


@pytest.mark.parametrize(
    "changed",
    [
        f"via inet {A} dev seg",
        f"via inet6 {B6} dev seg",
        f"as 17 via inet {B} dev seg",
        f"nexthop via inet {A} dev seg nexthop via inet {B} dev seg",
        f"via inet {B} dev seg ttl-propagate disabled",
        "dev lo",
    ],
)
def test_what_somebody_made_of_our_label_is_put_right(changed: str) -> None:
    assert apply(LABELS) == []
    right = shown()
    mpls(f"route replace {TO_B} proto 76 {changed}\n")
    assert shown() != right
    assert apply(LABELS) == []
    assert shown() == right


def test_before_everything_was_heard_nothing_goes() -> None:
    assert apply(LABELS) == []
    wanted = {TO_A: ("seg", B), TO_B + 1: ("seg", B)}
    with inside("hub"):
        assert LabelTable().apply(wanted, may_remove=False) == []
        assert LabelTable().forwarded(LABELS | wanted) == {TO_A, TO_B, TO_B + 1}
        assert LabelTable().forwarded(LABELS) == {TO_B}
    assert apply(wanted) == []
    assert [line.split()[0] for line in shown()] == [str(TO_A), str(TO_B + 1)]


def test_extra_labels_of_ours_go() -> None:
    mpls(f"route add 17000 via inet {A} dev seg proto 76\n")
    assert apply(LABELS) == []
    assert [line.split()[0] for line in shown()] == [str(TO_A), str(TO_B)]


def test_an_interface_that_returns_gets_its_labels_back() -> None:
    ip(GONE, "hub")
    with inside("hub"):
        assert apply_mpls_sysctls(["gone"], [TO_B]).changed == {"net.mpls.conf.gone.input": "0 -> 1"}
    desired = {TO_A: LABELS[TO_A], TO_B: ("gone", "10.43.0.2")}
    assert apply(desired) == []
    before = shown()
    ip("link del gone\n", "hub")
    assert apply(desired) == [f"label {TO_B}: no interface gone here"]
    assert shown() == [f"{TO_A} via inet {A} dev seg proto 76"]
    ip(GONE, "hub")
    with inside("hub"):
        apply_mpls_sysctls(["gone"], [TO_B])
    assert apply(desired) == []
    assert shown() == before
    ip("link del gone\n", "hub")


def test_an_interface_without_labels_turned_on_is_told() -> None:
    with inside("ha"):
        (error,) = LabelTable().apply({TO_B: ("lan", "10.1.0.1")})
    assert error.startswith(f"label {TO_B}: ")


def test_many_labels_go_in_at_once_and_the_highest_is_told() -> None:
    with inside("hub"):
        assert apply_mpls_sysctls(["seg"], [HIGHEST_LABEL]).failed == {}
    desired = {relay_label(number): ("seg", A) for number in range(3000)}
    desired[HIGHEST_LABEL] = ("seg", A)
    assert apply(desired) == []
    with inside("hub"):
        assert {route.label for route in LabelTable().labels()} == desired.keys()
    (error,) = apply({HIGHEST_LABEL + 1: ("seg", A)})
    assert error == f"label {HIGHEST_LABEL + 1}: Linux has labels up to {HIGHEST_LABEL}; give the uplink a lower number"
    assert shown() == []
