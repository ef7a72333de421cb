"""Failover with real packets: a host behind the gateway talks to a LAN behind four others on one segment."""

from __future__ import annotations

import select
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from ipaddress import ip_address

import pytest

from speaker.kernel.choice import Relay
from speaker.kernel.fib import Fib
from speaker.kernel.socket import LinuxKernel
from speaker.kernel.sysctls import apply_sysctls
from speaker.rib.path import Member, Tiers
from speaker.rib.prefix import Family
from tests.netns.kernel_world import inside
from tests.netns.namespaces import Namespace, segment, veth, wait_until
from tests.speaker.kernel.world import SEGMENTS, via, want

pytestmark = pytest.mark.root

FAR = {"b": "10.42.0.2", "c": "10.42.0.3", "d": "10.42.0.4", "e": "10.42.0.5"}
TARGET = ("20.0.0.1", 7000)
LAN, LAN6 = "20.0.0.0/24", "2001:db8:20::/48"
FLOWS = 64
IP_RECVERR = 11
ANSWER = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("20.0.0.1", 7000))
print("ready", flush=True)
while True:
    _, sender = sock.recvfrom(100)
    sock.sendto(sys.argv[1].encode(), sender)
"""


class Net:
    """host -- gateway (this thread) -- segment -- b, c, d, e, each of which has the same LAN behind it."""

    def __init__(self, host: Namespace, gateway: Namespace, far: dict[str, Namespace]) -> None:
        self.host = host
        self.gateway = gateway
        self.far = far
        self.kernel = LinuxKernel()
        self.fib = Fib(self.kernel, ["eth0"], segments=SEGMENTS)
        self.fib.set_may_remove(True)
        self.fib.set_link("eth0", socket.if_nametoindex("eth0"))
        self.fib.adopt()
        self._dead: set[str] = set()
        self.flows: list[socket.socket] = []
        self.new_flows()

    def new_flows(self) -> None:
        """Other ones, from other ports."""
        self.close_flows()
        with inside(self.host.name):
            self.flows = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(FLOWS)]
        for flow in self.flows:
            flow.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
            flow.connect(TARGET)
            flow.setblocking(False)

    def close_flows(self) -> None:
        for flow in self.flows:
            flow.close()

    def answers(self) -> list[str]:
        """Who answers each flow: a letter, "" = nobody within a moment, "!" = ICMP unreachable."""
        for flow in self.flows:
            _drain(flow)
            flow.send(b"?")
        heard = [""] * FLOWS
        until = time.monotonic() + 0.5
        while "" in heard and (left := until - time.monotonic()) > 0:
            readable, _, _ = select.select(
                [f for f, who in zip(self.flows, heard, strict=True) if not who], [], [], left
            )
            for flow in readable:
                heard[self.flows.index(flow)] = _receive(flow)
        return heard

    def cut(self, name: str) -> None:
        """The gateway hears nothing of it: its own carrier stays."""
        self.far[name].run("ip", "link", "set", "eth0", "down")

    def mend(self, name: str) -> None:
        self.far[name].run("ip", "link", "set", "eth0", "up")
        _route_back(self.far[name])

    def tell(self, *dead: str, relays: dict[str, str] | None = None) -> None:
        """Liveness says that these are dead."""
        pairs = frozenset(("eth0", ip_address(FAR[name]).packed) for name in dead)
        ways = {
            ip_address(FAR[a]).packed: (Relay("eth0", ip_address(FAR[b]).packed),) for a, b in (relays or {}).items()
        }
        self.fib.set_liveness(pairs, ways)
        outcome = self.fib.flush()
        assert outcome.converged, outcome


def _drain(flow: socket.socket) -> None:
    while select.select([flow], [], [], 0)[0]:
        _receive(flow)


def _receive(flow: socket.socket) -> str:
    """A letter, or "!" for an ICMP error, which waits in a queue of its own."""
    try:
        return flow.recv(100).decode()
    except OSError:
        with suppress(BlockingIOError):
            while True:
                flow.recvmsg(100, 100, socket.MSG_ERRQUEUE)
        return "!"


def _route_back(namespace: Namespace) -> None:
    namespace.run("ip", "route", "replace", "192.168.7.0/24", "via", "10.42.0.1")
    namespace.run("ip", "-6", "route", "replace", "fd07::/64", "via", "fd42:42::1")


@pytest.fixture
def net() -> Iterator[Net]:
    addresses = {name: [f"{address}/16", f"fd42:42::{address[-1]}/64"] for name, address in FAR.items()}
    with _segment(addresses) as (host, gateway, far):
        for name, namespace in far.items():
            namespace.run("sysctl", "-qw", "net.ipv6.conf.all.keep_addr_on_down=1")
            namespace.run("ip", "address", "add", "20.0.0.1/32", "dev", "lo")
            namespace.run("ip", "address", "add", "2001:db8:20::1/128", "dev", "lo", "nodad")
            _route_back(namespace)
            log = namespace.start(sys.executable, "-c", ANSWER, name)
            wait_until(lambda n=namespace: ":7000" in n.run("ss", "-Hlun"), 10, lambda p=log: f"{p.poll()}")  # type: ignore[misc]
        with inside(gateway.name):
            apply_sysctls(["eth0"])
            # Two limits of one packet a second take from one bucket: who asks every second would hear nothing.
            gateway.run("sysctl", "-qw", "net.ipv4.icmp_ratemask=0")
            made = Net(host, gateway, far)
            yield made
            made.close_flows()
            made.fib.close()
            made.kernel.close()


@contextmanager
def _segment(addresses: dict[str, list[str]]) -> Iterator[tuple[Namespace, Namespace, dict[str, Namespace]]]:
    with ExitStack() as stack:
        members = stack.enter_context(
            segment("kernelpath", {"gateway": ["10.42.0.1/16", "fd42:42::1/64"], **addresses})
        )
        gateway = members.pop("gateway")
        host = stack.enter_context(Namespace("kernelpath", "host"))
        veth(gateway, "lan0", ["192.168.7.1/24", "fd07::1/64"], host, "eth0", ["192.168.7.2/24", "fd07::2/64"])
        host.run("ip", "route", "add", "default", "via", "192.168.7.1")
        host.run("ip", "-6", "route", "add", "default", "via", "fd07::1")
        yield host, gateway, members


def test_survivors_keep_their_flows_and_those_of_the_dead_move_when_liveness_says_so(net: Net) -> None:
    want(net.fib, LAN, via(FAR["b"], FAR["c"], FAR["d"]))
    assert net.fib.flush().converged
    assert net.fib.resilient
    before = net.answers()
    assert set(before) == {"b", "c", "d"}

    net.cut("b")
    lost = net.answers()
    assert lost == [who if who != "b" else "" for who in before]
    net.tell("b")
    after = net.answers()
    assert set(after) == {"c", "d"}
    assert [now for now, who in zip(after, before, strict=True) if who != "b"] == [who for who in before if who != "b"]

    net.mend("b")
    net.tell()
    assert net.answers() == after  # Buckets that no flow uses are its share.
    net.new_flows()
    assert set(net.answers()) == {"b", "c", "d"}
    assert net.fib.audit() == 0


def test_a_dead_path_that_is_withdrawn_moves_no_flow_of_the_others(net: Net) -> None:
    """The routes have other paths then, and stay on the object that they are on."""
    keys = [bytes([24, 30, n >> 8, n & 255]) for n in range(2000)]
    net.fib.want_many(Family.IPV4, keys, via(FAR["b"], FAR["c"], FAR["d"]))
    want(net.fib, LAN, via(FAR["b"], FAR["c"], FAR["d"]))
    assert net.fib.flush().converged
    net.cut("b")
    net.tell("b")
    before = net.answers()
    assert set(before) == {"c", "d"}

    want(net.fib, LAN, via(FAR["c"], FAR["d"]))
    net.fib.want_many(Family.IPV4, keys[:1500], via(FAR["c"], FAR["d"]))
    assert net.fib.flush().installed == 0
    assert net.answers() == before
    net.mend("b")
    net.tell()  # 500 prefixes still have it, and this one has not.
    net.new_flows()
    assert set(net.answers()) == {"c", "d"}
    assert net.fib.audit() == 0


def test_tiers_then_a_detour_then_unreachable_and_back(net: Net) -> None:
    want(net.fib, LAN, (*via(FAR["b"], FAR["c"]), *via(FAR["d"])))
    net.fib.flush()
    assert set(net.answers()) == {"b", "c"}
    net.cut("b")
    net.tell("b")
    assert set(net.answers()) == {"c"}
    net.cut("c")
    net.tell("b", "c")
    assert set(net.answers()) == {"d"}
    net.cut("d")
    net.tell("b", "c", "d", relays={"d": "e"})
    assert set(net.answers()) == {"e"}
    net.tell("b", "c", "d")
    assert "!" in net.answers()
    net.mend("c")
    net.tell("b", "d")
    assert set(net.answers()) == {"c"}
    assert net.fib.audit() == 0


def test_nobody_left_is_told_by_icmp_and_nothing_leaves_by_the_default_route(net: Net) -> None:
    net.gateway.run("ip", "route", "add", "default", "via", FAR["e"])
    net.gateway.run("ip", "-6", "route", "add", "default", "via", "fd42:42::5")
    want(net.fib, LAN, via(FAR["b"]))
    want(net.fib, LAN6, via("fd42:42::2"))
    net.fib.want_many(Family.IPV4, [bytes([24, 30, n >> 8, n & 255]) for n in range(5000)], via(FAR["b"]))
    net.fib.flush()
    assert set(net.answers()) == {"b"}
    wait_until(lambda: "1 received" in net.host.run("ping", "-c1", "-W1", "2001:db8:20::1", check=False), 10)
    net.cut("b")
    net.fib.set_liveness(frozenset(("eth0", ip_address(address).packed) for address in (FAR["b"], "fd42:42::2")), {})
    assert net.fib.flush().installed == 5002
    assert "e" not in net.answers()
    for target in (TARGET[0], "30.0.7.1", "2001:db8:20::1"):
        said: list[str] = []

        def is_told(target: str = target, said: list[str] = said) -> bool:
            said.append(net.host.run("ping", "-c1", "-W1", target, check=False))
            return "1 errors" in said[-1] and ("Host Unreachable" in said[-1] or "No route" in said[-1])

        wait_until(is_told, 10, lambda said=said: said[-1])  # type: ignore[misc]
    net.mend("b")
    net.tell()
    assert set(net.answers()) == {"b"}
    wait_until(lambda: "1 received" in net.host.run("ping", "-c1", "-W1", "2001:db8:20::1", check=False), 10)
    assert net.fib.audit() == 0


def test_not_one_packet_is_lost_where_the_dead_one_was_not(net: Net) -> None:
    """Members come and go beside the flow; its own next hop stays."""
    want(net.fib, LAN, via(FAR["b"], FAR["c"], FAR["d"], FAR["e"]))
    net.fib.flush()
    before = net.answers()
    mine = before.index("b")
    flow = net.flows[mine]
    _drain(flow)
    sent = received = 0
    for number in range(200):
        if number % 20 == 0:
            net.tell(*([], ["c"], ["c", "d"], ["c", "d", "e"])[number // 20 % 4])
        flow.send(b"?")
        sent += 1
        assert select.select([flow], [], [], 1)[0], f"packet {number} was lost"
        assert _receive(flow) == "b"
        received += 1
    assert sent == received == 200


def test_weights_share_the_flows(net: Net) -> None:
    tiers: Tiers = ((Member(ip_address(FAR["b"]).packed, 3), Member(ip_address(FAR["c"]).packed, 1)),)
    want(net.fib, LAN, tiers)
    net.fib.flush()
    heard: list[str] = []
    for _ in range(8):
        net.new_flows()
        heard += net.answers()
    assert set(heard) == {"b", "c"}
    assert 0.65 < heard.count("b") / len(heard) < 0.85
