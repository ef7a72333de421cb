"""Failures made on purpose: a broken path, a node without power, a pulled cable.

A cut is made in the switches (nodes that bridge), so that whoever is cut off keeps carrier and is told nothing, as
under ZeroTier. All switches are prepared first; a cut is then one transaction in each of them, one after the other.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from lab.labs import Lab, LabError
from lab.nftables import Nftables
from lab.node import Node

TABLE = """
table bridge cuts
delete table bridge cuts
table bridge cuts {
  set pairs { type ether_addr . ether_addr; }
  set ports { type ifname; }
  chain arriving {
    type filter hook prerouting priority -300;
    ether saddr . ether daddr @pairs counter drop
    iifname @ports counter drop
  }
  chain leaving {
    type filter hook postrouting priority -300;
    oifname @ports counter drop
  }
}
"""
DEATH_SECONDS = 5.0
SOFT_STATE = """
ip route flush proto 76; ip -6 route flush proto 76; ip nexthop flush; ip neighbour flush all nud all
ip -6 neighbour flush all nud all; nft delete table inet leyline; nft delete table inet leyline_ping
rm -rf /run/leyline; true
"""
"""What a reboot forgets, and killing every process does not."""


class Cuts:
    """The switches of a lab, prepared for cuts. A context manager: on leaving everything is healed."""

    def __init__(self, lab: Lab, switches: Iterable[str]) -> None:
        self.lab = lab
        self._switches = {name: Nftables(lab.node(name)) for name in switches}
        self._links = links(lab)
        self._pulled: list[tuple[Node, str]] = []
        for nft in self._switches.values():
            nft.run(TABLE)

    def __enter__(self) -> Cuts:
        return self

    def __exit__(self, *_: object) -> None:
        self.heal()
        self.close()

    def close(self) -> None:
        for nft in self._switches.values():
            nft.close()
        self._switches = {}

    def mac(self, end: str) -> str:
        """The MAC address of "node:interface"."""
        node, _, interface = end.partition(":")
        rows = json.loads(self.lab.node(node).out(["ip", "-j", "link", "show", "dev", interface]))
        return str(rows[0]["address"])

    def pair(self, *pairs: tuple[str, str]) -> float:
        """Nothing passes any more between the two MAC addresses, either way. When (time.monotonic)."""
        return self._commit(_elements("add", "pairs", _both_ways(pairs)))

    def heal_pair(self, *pairs: tuple[str, str]) -> float:
        return self._commit(_elements("delete", "pairs", _both_ways(pairs)))

    def only(self, *pairs: tuple[str, str]) -> float:
        """These pairs are cut, and no other, from one moment on."""
        return self._commit("flush set bridge cuts pairs\n" + _elements("add", "pairs", _both_ways(pairs)))

    def uplink(self, end: str) -> float:
        """Nothing passes any more at "node:interface", which keeps its carrier. When (time.monotonic)."""
        return self._ports("add", [self._far(end)])

    def heal_uplink(self, end: str) -> float:
        return self._ports("delete", [self._far(end)])

    def node(self, name: str) -> float:
        """Nothing enters or leaves the node any more, on any switch. When (time.monotonic)."""
        return self._ports("add", self._far_of_node(name))

    def heal_node(self, name: str) -> float:
        return self._ports("delete", self._far_of_node(name))

    def power_off(self, name: str) -> float:
        """The node is cut off, then every process in it is killed, but its init, which holds the namespaces."""
        at = self.node(name)
        kill_all(self.lab.node(name))
        return at

    def power_on(self, name: str) -> float:
        """The node is connected again, with a kernel that has forgotten; its processes are the caller's to start."""
        self.lab.node(name).run(["sh", "-c", SOFT_STATE])
        return self.heal_node(name)

    def pull(self, end: str) -> float:
        """Pull the cable at "node:interface": its far side goes down, so that it loses carrier. When."""
        switch, port = self._far(end)
        at = time.monotonic()
        self.lab.node(switch).run(["ip", "link", "set", "dev", port, "down"])
        self._pulled.append((self.lab.node(switch), port))
        return at

    def plug(self, end: str) -> float:
        """Put the cable back."""
        switch, port = self._far(end)
        at = time.monotonic()
        self.lab.node(switch).run(["ip", "link", "set", "dev", port, "up"])
        self._pulled = [(node, pulled) for node, pulled in self._pulled if (node.name, pulled) != (switch, port)]
        return at

    def heal(self) -> float:
        """Undo everything. When."""
        at = self._commit("flush set bridge cuts pairs\nflush set bridge cuts ports\n")
        for node, port in self._pulled:
            node.run(["ip", "link", "set", "dev", port, "up"])
        self._pulled = []
        return at

    def dropped(self) -> int:
        """Packets that the cuts have kept, on all switches."""
        texts = [nft.run("list table bridge cuts") for nft in self._switches.values()]
        return sum(int(found) for text in texts for found in re.findall(r"counter packets (\d+)", text))

    def _commit(self, commands: str) -> float:
        at = time.monotonic()
        for nft in self._switches.values():
            nft.run(commands)
        return at

    def _ports(self, verb: str, ends: Iterable[tuple[str, str]]) -> float:
        commands = {switch: "" for switch, _ in ends}
        for switch, port in ends:
            commands[switch] += _elements(verb, "ports", [f'"{port}"'])
        at = time.monotonic()
        for switch, text in commands.items():
            self._switches[switch].run(text)
        return at

    def _far(self, end: str) -> tuple[str, str]:
        """(switch, its port) where "node:interface" is plugged in. Raises LabError."""
        far = self._links.get(end, "")
        switch, _, port = far.partition(":")
        if switch not in self._switches:
            raise LabError(f"{end} is plugged into {far or 'nothing'}, which is none of {', '.join(self._switches)}")
        return switch, port

    def _far_of_node(self, name: str) -> list[tuple[str, str]]:
        return [self._far(end) for end in self._links if end.partition(":")[0] == name]


def links(lab: Lab) -> dict[str, str]:
    """End -> the other end of every link, as "node:interface"."""
    pairs = json.loads((lab.state / "lab.json").read_text())["topology"]["links"]
    return {a: b for one, other in pairs for a, b in ((one, other), (other, one))}


def kill_all(node: Node) -> int:
    """SIGKILL to every process of the node but its init. How many. Raises LabError when one survives."""
    space = os.stat(f"/proc/{node.pid}/ns/pid").st_ino
    killed = 0
    deadline = time.monotonic() + DEATH_SECONDS
    while pids := [pid for pid in _in_space(space) if pid != node.pid]:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed += 1
        if time.monotonic() > deadline:
            raise LabError(f"{node.name}: processes survive SIGKILL: {pids}")
        os.sched_yield()
    return killed


def _in_space(inode: int) -> list[int]:
    """Process numbers in the PID namespace, zombies left out."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError):
                same = os.stat(f"/proc/{name}/ns/pid").st_ino == inode
                if same and Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                    found.append(int(name))
    return found


def _both_ways(pairs: Iterable[tuple[str, str]]) -> list[str]:
    return [f"{one} . {other}" for a, b in pairs for one, other in ((a, b), (b, a))]


def _elements(verb: str, name: str, elements: list[str]) -> str:
    return f"{verb} element bridge cuts {name} {{ {', '.join(elements)} }}\n" if elements else ""
