"""A real kernel for the contract suite: a namespace entered by the test's own thread."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from speaker.kernel.socket import LinuxKernel
from tests.netns.namespaces import Namespace, inside, veth
from tests.speaker.kernel.world import World

__all__ = ["LinuxWorld", "inside", "linux_world"]


class LinuxWorld(World):
    """`near` is this side; `far` holds the other end of eth0, with the gateways' addresses."""

    def __init__(self, near: Namespace, far: Namespace) -> None:
        self.near = near
        self.far = far
        self.kernel = LinuxKernel()

    @property
    def index(self) -> int:
        return socket.if_nametoindex("eth0")

    def link_down(self) -> None:
        self.near.run("ip", "link", "set", "eth0", "down")

    def link_up(self) -> None:
        self.near.run("ip", "link", "set", "eth0", "up")

    def lo_down(self) -> None:
        self.near.run("ip", "link", "set", "lo", "down")

    def add_foreign(self, prefix: str, metric: int) -> None:
        self.near.run("ip", "route", "add", "unreachable", prefix, "metric", str(metric), "proto", "static")

    def foreign(self) -> set[tuple[str, int]]:
        routes = self.ip("-4", "route", "show", "proto", "static") + self.ip("-6", "route", "show", "proto", "static")
        return {(str(route["dst"]), int(route["metric"])) for route in routes}

    def sample(self) -> dict[str, tuple[str, ...]]:
        """What `ip route get` says of a few /24s from 20.0.0.0 on: gateways of its group, () = unreachable."""
        nexthops = {n["id"]: n for n in self.ip("nexthop")}
        found: dict[str, tuple[str, ...]] = {}
        for third in (0, 1, 2):
            routes = self.ip("route", "show", f"20.0.{third}.0/24")
            for route in routes:
                members = nexthops[route["nhid"]]["group"] if "nhid" in route else []
                found[route["dst"]] = tuple(sorted(nexthops[m["id"]].get("gateway", "blackhole") for m in members))
        return found

    def ip(self, *arguments: str) -> list[dict[str, Any]]:
        """What `ip -j` prints: a reader that shares no code with ours."""
        found: list[dict[str, Any]] = json.loads(self.near.run("ip", "-j", "-N", *arguments) or "[]")
        return found


@contextmanager
def linux_world(area: str = "kernel") -> Iterator[LinuxWorld]:
    with Namespace(area, "near") as near, Namespace(area, "far") as far:
        veth(near, "eth0", ["10.42.0.1/16", "fd42:42::1/64"], far, "eth0", ["10.42.0.2/16", "fd42:42::2/64"])
        near.run("sysctl", "-qw", "net.ipv4.nexthop_compat_mode=0", "net.ipv6.conf.all.keep_addr_on_down=1")
        with inside(near.name):
            world = LinuxWorld(near, far)
            try:
                yield world
            finally:
                world.kernel.close()
