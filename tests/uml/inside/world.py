"""Two sites and a hub on one segment, on the test machine's kernel.

    ha -- a --\\        /-- b -- hb          a: 10.42.0.2, uplink 1      ha: 10.1.0.10
               switch                       b: 10.42.0.3, uplink 2      hb: 10.2.0.10
                  \\-- hub                    hub: 10.42.0.1

`cut` lets nothing pass between two of them, though every carrier stays.
A fork costs 85 ms here, so it is built by a few `ip -batch` and asked through sockets of this process.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from speaker.kernel.mpls import apply_mpls_sysctls
from speaker.kernel.sysctls import apply_sysctls
from tests.netns.namespaces import inside

HUB, A, B = "10.42.0.1", "10.42.0.2", "10.42.0.3"
HUB6, A6, B6 = "fd42:42::1", "fd42:42::2", "fd42:42::3"
HOST_A, HOST_B = ("10.1.0.10", "fd00:1::10"), ("10.2.0.10", "fd00:2::10")
PORT = 7
PATIENCE = 1.0  # For an answer over five links without load, and for the first time its neighbours.
IP_RECVTTL, IPV6_RECVHOPLIMIT, IPV6_HOPLIMIT = 12, 51, 52

_NODES = ("switch", "hub", "a", "b", "ha", "hb")
_LINKS = "\n".join(
    [f"link add seg netns {name} type veth peer name to-{name} netns switch" for name in ("hub", "a", "b")]
    + [f"link add lan netns {name} type veth peer name lan netns h{name}" for name in ("a", "b")]
)
_ADDRESSES: Mapping[str, str] = {
    "switch": "link add br0 type bridge\nlink set br0 up\n"
    + "".join(f"link set to-{name} master br0\nlink set to-{name} up\n" for name in ("hub", "a", "b")),
    "hub": f"address add {HUB}/16 dev seg\naddress add {HUB6}/64 dev seg nodad\nlink set seg up\n",
    "a": f"address add {A}/16 dev seg\naddress add {A6}/64 dev seg nodad\nlink set seg up\n"
    "address add 10.1.0.1/24 dev lan\naddress add fd00:1::1/64 dev lan nodad\nlink set lan up\n",
    "b": f"address add {B}/16 dev seg\naddress add {B6}/64 dev seg nodad\nlink set seg up\n"
    "address add 10.2.0.1/24 dev lan\naddress add fd00:2::1/64 dev lan nodad\nlink set lan up\n",
    "ha": "address add 10.1.0.10/24 dev lan\naddress add fd00:1::10/64 dev lan nodad\nlink set lan up\n"
    "route add default via 10.1.0.1\nroute add default via fd00:1::1\n",
    "hb": "address add 10.2.0.10/24 dev lan\naddress add fd00:2::10/64 dev lan nodad\nlink set lan up\n"
    "route add default via 10.2.0.1\nroute add default via fd00:2::1\n",
}


def ip(commands: str, node: str = "", *options: str, check: bool = True) -> str:
    """Lines for `ip -batch`, in one process. Standard output."""
    where = ["-n", node] if node else []
    done = subprocess.run(
        ["ip", *where, *options, "-batch", "-"], input=commands, capture_output=True, text=True, check=False
    )
    assert not (check and done.returncode), done.stderr
    return done.stdout


@contextmanager
def fabric(*, configured: bool = True) -> Iterator[None]:
    """The picture above, with hosts that echo. Not `configured`: forwarding and labels are left to speakers."""
    with ExitStack() as stack:
        ip("".join(f"netns add {name}\n" for name in _NODES))
        stack.callback(ip, "".join(f"netns del {name}\n" for name in _NODES))
        _build(configured)
        for node in ("ha", "hb"):
            stack.enter_context(_echo(node))
        yield


def _build(configured: bool) -> None:
    for node in _NODES:
        with inside(node):  # Link-local addresses are used at once.
            Path("/proc/sys/net/ipv6/conf/default/accept_dad").write_text("0\n")
    ip(_LINKS)
    for node in _NODES:
        ip(f"link set lo up\n{_ADDRESSES[node]}", node)
    for node in ("hub", "a", "b") if configured else ():
        with inside(node):
            assert not apply_sysctls(["seg"]).failed
            assert not apply_mpls_sysctls(["seg"], [16002]).failed


def cut(first: str, second: str) -> None:
    """Frames between two nodes are lost on the segment; the carriers stay."""
    one, other = mac(first).hex(":"), mac(second).hex(":")
    _nft(f"""table bridge cut {{ chain forward {{ type filter hook forward priority 0;
        ether saddr . ether daddr {{ {one} . {other}, {other} . {one} }} drop; }}; }}""")


def mend() -> None:
    _nft("delete table bridge cut")


def _nft(rules: str) -> None:
    subprocess.run(["ip", "netns", "exec", "switch", "nft", "-f", "-"], input=rules, text=True, check=True)


def mac(node: str) -> bytes:
    """Of its interface on the segment."""
    with inside(node), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind(("seg", 0))
        return bytes(sock.getsockname()[4])


def ask(node: str, address: str, ttl: int = 64, patience: float = PATIENCE) -> int | None:
    """The TTL with which a datagram sent with `ttl` arrived at the host there and was answered; None without answer."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with inside(node), socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(patience)
        if family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, ttl)
        sock.sendto(b"?", (address, PORT))
        try:
            return sock.recv(16)[0]
        except TimeoutError:
            return None


def has_route(node: str, address: str) -> bool:
    """Whether an IP look-up finds something there."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with inside(node), socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect((address, PORT))
        except OSError:
            return False
        return True


@contextmanager
def _echo(node: str) -> Iterator[None]:
    """Answers each datagram with the one octet of its TTL."""
    stopping = threading.Event()
    threads = []
    with inside(node):
        for family in (socket.AF_INET, socket.AF_INET6):
            sock = socket.socket(family, socket.SOCK_DGRAM)
            if family == socket.AF_INET:
                sock.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
            else:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1)
            sock.bind(("", PORT))
            sock.settimeout(0.2)
            threads.append(threading.Thread(target=_serve, args=(sock, stopping), daemon=True))
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopping.set()
        for thread in threads:
            thread.join()


def _serve(sock: socket.socket, stopping: threading.Event) -> None:
    with sock:
        while not stopping.is_set():
            try:
                _, ancillary, _, sender = sock.recvmsg(16, 64)
            except TimeoutError:
                continue
            (ttl,) = struct.unpack("=i", ancillary[0][2])
            sock.sendto(bytes([ttl]), sender)
