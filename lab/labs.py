"""Labs on this machine: up, down, and what is there."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import leftovers, linux
from lab.node import CommandFailed, Node
from lab.topology import Topology, to_plain

LOCKS = Path("/run/lock/leyline-lab")


class LabError(RuntimeError):
    """A lab cannot be made, found or removed; the message says why and what to do."""


def state_root() -> Path:
    """Where labs keep their state: $LEYLINE_LAB_DIR, or /run/leyline-lab."""
    return Path(os.environ.get("LEYLINE_LAB_DIR", "/run/leyline-lab"))


@dataclass(frozen=True)
class Lab:
    """A lab that is up."""

    name: str
    state: Path
    nodes: Mapping[str, Node]

    def node(self, name: str) -> Node:
        if name not in self.nodes:
            raise LabError(f"lab {self.name} has no node {name!r}; it has {', '.join(self.nodes)}")
        return self.nodes[name]


def need_root() -> None:
    if os.geteuid() != 0:
        raise LabError("the lab makes network namespaces, which only root may: try again with sudo")


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Only one program at a time makes, runs or removes the lab `name`. Raises LabError when another does."""
    LOCKS.mkdir(parents=True, exist_ok=True)
    with open(LOCKS / f"{name}.lock", "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            raise LabError(
                f"lab {name} is in the hands of another leyline, process {owner}; wait for it, or end it"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def up(topology: Topology, running: bool = False) -> Lab:
    """Build `topology`: nodes, links, main processes, then exec, in the file's order within each node.

    What a crashed run left under the same name is removed first. On failure nothing is left.
    `running`: a scenario owns it, and the next one may take it away; see `keep`.
    Raises LabError. The caller holds the lock of that name.
    """
    need_root()
    down(topology.name)
    state = state_root() / topology.name
    (state / "logs").mkdir(parents=True)
    content = {"topology": to_plain(topology), "complete": False, "running": running, "pids": {}}
    write_state(state, content)
    try:
        lab = Lab(topology.name, state, make_nodes(topology, state))
        make_links(topology, lab)
        start_nodes(topology, lab)
    except (LabError, CommandFailed, OSError) as error:
        down(topology.name)
        raise LabError(f"lab {topology.name}: {error}") from None
    pids = {name: node.pid for name, node in lab.nodes.items()}
    write_state(state, {**content, "complete": True, "pids": pids})
    return lab


def keep(name: str) -> None:
    """The scenario is over, its lab stays. Nothing happens when there is none."""
    for state in states():
        if state["topology"]["name"] == name:
            write_state(state_root() / name, {**state, "running": False})


def write_state(state: Path, content: Mapping[str, Any]) -> None:
    scratch = state / "lab.json.new"
    scratch.write_text(json.dumps(content, indent=1))
    scratch.replace(state / "lab.json")


def make_nodes(topology: Topology, state: Path) -> dict[str, Node]:
    linux.prepare_netns_dir()
    request = {
        "nodes": [
            {
                "name": node.name,
                "netns": leftovers.netns_name(topology.name, node.name),
                "binds": [{"source": str(b.source), "target": b.target, "read_only": b.read_only} for b in node.binds],
            }
            for node in topology.nodes
        ]
    }
    result = subprocess.run(
        [sys.executable, "-I", "-m", "lab.holder"],
        input=json.dumps(request), capture_output=True, text=True, timeout=60, check=False,
        env={"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin"), leftovers.MARK: topology.name},
    )  # fmt: skip
    if result.returncode != 0:
        raise LabError(f"the nodes cannot be made: {result.stderr.strip()[-2000:]}")
    answers = {answer["node"]: answer for answer in map(json.loads, result.stdout.splitlines())}
    if bad := [f"node {name}: {answer['error']}" for name, answer in answers.items() if "error" in answer]:
        raise LabError("; ".join(bad))
    nodes = {node.name: node for node in topology.nodes}
    return {
        name: Node(
            topology.name, name, answers[name]["pid"], leftovers.netns_name(topology.name, name), dict(node.env), state
        )
        for name, node in nodes.items()
    }


def make_links(topology: Topology, lab: Lab) -> None:
    """veth pairs, each end made in its namespace at once: this machine's own network never sees them."""
    lines = [
        f"link add name {link.a.interface} netns {lab.node(link.a.node).netns} mtu {link.mtu} type veth "
        f"peer name {link.b.interface} netns {lab.node(link.b.node).netns} mtu {link.mtu}"
        for link in topology.links
    ]
    batch([], lines)
    ends: dict[str, list[str]] = {node.name: ["lo"] for node in topology.nodes}
    for link in topology.links:
        for end in (link.a, link.b):
            ends[end.node].append(end.interface)
    for name, interfaces in ends.items():
        batch(["-n", lab.node(name).netns], [f"link set dev {interface} up" for interface in interfaces])


def unplug(lab: Lab, end: str) -> str:
    """Take the interface "node:interface" away, and with it the link. Its MAC address, for `plug`."""
    node, _, interface = end.partition(":")
    there = lab.node(node)
    mac = json.loads(there.out(["ip", "-j", "link", "show", "dev", interface]))[0]["address"]
    there.run(["ip", "link", "del", "dev", interface])
    return str(mac)


def plug(lab: Lab, end: str, far: str, mac: str, mtu: int) -> None:
    """Make the link anew, both ends up; `end` has its former MAC address. What else stood on them is gone."""
    (node, _, interface), (far_node, _, far_interface) = end.partition(":"), far.partition(":")
    ends = (lab.node(node), interface), (lab.node(far_node), far_interface)
    near, other = (f"name {name} netns {there.netns} mtu {mtu}" for there, name in ends)
    batch([], [f"link add {near} address {mac} type veth peer {other}"])
    for there, name in reversed(ends):
        batch(["-n", there.netns], [f"link set dev {name} up"])


def batch(options: list[str], lines: list[str]) -> None:
    result = subprocess.run(
        ["ip", *options, "-batch", "-"], input="\n".join(lines), capture_output=True, text=True, timeout=60, check=False
    )
    if result.returncode != 0:
        raise LabError(f"ip {' '.join(options)}: {result.stderr.strip()}")


def start_nodes(topology: Topology, lab: Lab) -> None:
    """Main processes and exec; nodes side by side, because each waits for its own commands most of the time."""

    def start(name: str) -> None:
        node, wanted = lab.node(name), topology.node(name)
        if wanted.command:
            node.start(wanted.command, name="main")
        for command in wanted.exec:
            node.run(command)

    with ThreadPoolExecutor(4) as pool:
        for outcome in [pool.submit(start, node.name) for node in topology.nodes]:
            outcome.result()


def down(name: str) -> int:
    """Remove everything of lab `name`; how many processes that were. Not being there is fine.

    Raises LabError when a process survives. The caller holds the lock of that name.
    """
    need_root()
    try:
        killed = leftovers.remove(name)
    except leftovers.Survivors as error:
        raise LabError(str(error)) from None
    shutil.rmtree(state_root() / name, ignore_errors=True)
    return killed


def find(name: str = "") -> Lab:
    """The lab `name`, or the only one there is. Raises LabError."""
    known = {lab["topology"]["name"]: lab for lab in states() if lab["complete"]}
    if not name and len(known) != 1:
        raise LabError(f"say which lab: {', '.join(sorted(known))}" if known else "no lab is up; `leyline lab up FILE`")
    name = name or next(iter(known))
    if name not in known:
        raise LabError(f"no lab {name!r} is up; there is {', '.join(sorted(known)) or 'none'}")
    state, lab = state_root() / name, known[name]
    envs = {node["name"]: node["env"] for node in lab["topology"]["nodes"]}
    nodes = {
        node: Node(name, node, pid, leftovers.netns_name(name, node), envs[node], state)
        for node, pid in lab["pids"].items()
    }
    return Lab(name, state, nodes)


def states() -> list[dict[str, Any]]:
    """The state file of every lab under the state directory, as far as it can be read."""
    root = state_root()
    found = []
    for path in sorted(root.glob("*/lab.json")):
        try:
            found.append(json.loads(path.read_text()))
        except (OSError, ValueError):
            continue
    return found


def everything() -> list[str]:
    """Names of all labs that have a state, a process, or both."""
    return sorted({state["topology"]["name"] for state in states()} | set(leftovers.labs()))
