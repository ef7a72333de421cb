"""A containerlab topology file (`*.clab.yml`) as frozen values: the keys that we use, and no others.

What containerlab would do with a key that we do not know is what the lab here would not do,
so an unknown key is refused by name. Inheritance is containerlab's: `defaults`, then `kinds`,
then `groups`, then the node; `exec` and `binds` add up, `env` merges, everything else is replaced.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from lab.document import Finding, Reader, Table, TopologyError, load

__all__ = ["Bind", "Endpoint", "Finding", "Link", "Node", "Topology", "TopologyError", "parse", "read"]

NODE_KEYS = ("kind", "group", "image", "network-mode", "exec", "binds", "env", "cmd", "entrypoint")
DEFAULT_MTU = 9500
"""Of a link that names none, as in containerlab."""
LAB_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}")
NODE_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}")
INTERFACE = re.compile(r"[^\s/:]{1,15}")


@dataclass(frozen=True)
class Bind:
    source: Path  # Absolute; exists on this machine.
    target: str  # Absolute path inside the node.
    read_only: bool


@dataclass(frozen=True)
class Endpoint:
    node: str
    interface: str

    def __str__(self) -> str:
        return f"{self.node}:{self.interface}"


@dataclass(frozen=True)
class Link:
    a: Endpoint
    b: Endpoint
    mtu: int


@dataclass(frozen=True)
class Node:
    name: str
    kind: str
    group: str
    image: str
    exec: tuple[tuple[str, ...], ...]  # Each command split into words; no shell is involved.
    binds: tuple[Bind, ...]
    env: tuple[tuple[str, str], ...]
    command: tuple[str, ...]  # entrypoint and cmd; empty = nothing beside the node's init


@dataclass(frozen=True)
class Topology:
    name: str
    path: Path
    nodes: tuple[Node, ...]  # In the file's order.
    links: tuple[Link, ...]

    def node(self, name: str) -> Node:
        """Raises KeyError for a stranger."""
        return next((node for node in self.nodes if node.name == name), None) or _no_node(self, name)


def _no_node(topology: Topology, name: str) -> Node:
    raise KeyError(f"no node {name!r} in lab {topology.name}; it has {', '.join(n.name for n in topology.nodes)}")


def read(path: Path, environ: Mapping[str, str], name: str = "") -> Topology:
    """The topology in the file at `path`; `name` replaces the file's own name of the lab.

    Raises TopologyError with everything that is wrong.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise TopologyError([Finding(str(path), 0, f"cannot be read: {error}")]) from None
    return parse(text, path, environ, name)


def parse(text: str, path: Path, environ: Mapping[str, str], name: str = "") -> Topology:
    """The topology in `text`. Paths of binds are relative to the directory of `path`.

    Raises TopologyError with everything that is wrong.
    """
    reader = Reader(str(path))
    root = load(text, reader, environ)
    root.only("name", "prefix", "topology")
    lab_name = name or root.text("name", required=True)
    if lab_name and not LAB_NAME.fullmatch(lab_name):
        root.wrong("name", f"{lab_name!r} is no name for a lab: letters, digits and . _ -")
    root.text("prefix")
    topology = root.table("topology", required=True)
    topology.only("defaults", "kinds", "groups", "nodes", "links")
    nodes = tuple(_nodes(topology, path.parent))
    links = tuple(_links(topology, {node.name for node in nodes}))
    reader.raise_if_wrong()
    return Topology(lab_name, path, nodes, links)


def _nodes(topology: Table, base: Path) -> Iterator[Node]:
    defaults = topology.table("defaults")
    kinds, groups = topology.table("kinds"), topology.table("groups")
    defaults.only(*NODE_KEYS)
    for shared in (kinds, groups):
        for key in shared.names():
            shared.table(key).only(*NODE_KEYS)
    nodes = topology.table("nodes", required=True)
    for name in nodes.names():
        own = nodes.table(name)
        own.only(*NODE_KEYS)
        if not NODE_NAME.fullmatch(name):
            nodes.wrong(name, f"{name!r} is no name for a node: letters, digits and . _ -, at most 63")
        group = own.text("group") or defaults.text("group")
        kind = own.text("kind") or (groups.table(group).text("kind") if group else "") or defaults.text("kind")
        if group and group not in groups.names():
            own.wrong(
                "group", f"node {name}: group {group!r} is not in topology.groups", closest=(group, groups.names())
            )
        layers = [
            defaults,
            kinds.table(kind) if kind else kinds.nothing(),
            groups.table(group) if group else groups.nothing(),
            own,
        ]
        yield _node(name, kind, group, layers, base)


def _node(name: str, kind: str, group: str, layers: list[Table], base: Path) -> Node:
    own = layers[-1]
    if kind == "bridge":
        own.wrong("kind", f"node {name}: a `bridge` lives in the host's own network and has to exist there; "
                  "use a `linux` node that bridges its interfaces by exec")  # fmt: skip
    elif kind != "linux":
        own.wrong("kind", f"node {name}: kind {kind or '(none)'!r} cannot be built from namespaces; only `linux` can")
    image = _last(layers, "image")
    if problem := unpinned(image):
        own.wrong("image", f"node {name}: {problem}")
    mode = _last(layers, "network-mode")
    if mode != "none":
        own.wrong(
            "network-mode",
            f"node {name}: network-mode is {mode or 'not set'}; the lab has no Docker network, so it must be `none`",
        )
    words = _split(own, name, "entrypoint", _last(layers, "entrypoint")) + _split(
        own, name, "cmd", _last(layers, "cmd")
    )
    return Node(
        name=name,
        kind=kind,
        group=group,
        image=image,
        exec=tuple(_split(layer, name, "exec", line) for layer in layers for line in layer.texts("exec")),
        binds=tuple(_binds(name, layers, base)),
        env=tuple(sorted({key: value for layer in layers for key, value in layer.pairs("env").items()}.items())),
        command=words,
    )


def _last(layers: list[Table], key: str) -> str:
    return next((text for layer in reversed(layers) if (text := layer.text(key))), "")


def _split(table: Table, name: str, key: str, line: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(line))
    except ValueError as error:
        table.wrong(key, f"node {name}: {key} {line!r}: {error}")
        return ()


def _binds(name: str, layers: list[Table], base: Path) -> Iterator[Bind]:
    """One bind per target; the innermost layer wins."""
    binds: dict[str, Bind] = {}
    for layer in layers:
        for text in layer.texts("binds"):
            source, _, rest = text.partition(":")
            target, _, mode = rest.partition(":")
            if not source or not target.startswith("/") or mode not in ("", "ro", "rw"):
                layer.wrong("binds", f"node {name}: bind {text!r} is not HOST:/ABSOLUTE/PATH or HOST:/ABSOLUTE/PATH:ro")
                continue
            path = (base / source).resolve()
            if not path.exists():
                layer.wrong("binds", f"node {name}: bind {text!r}: {path} does not exist")
                continue
            target = str(PurePosixPath(target))
            binds[target] = Bind(path, target, mode == "ro")
    yield from binds.values()


def unpinned(image: str) -> str:
    """Why `image` could be another one tomorrow; empty when it is pinned."""
    if not image:
        return "no image; name one with a tag, such as `docker.io/library/debian:12.11-slim`"
    if re.search(r"@sha256:[0-9a-f]{64}$", image):
        return ""
    tag = image.rsplit("/", 1)[-1].partition(":")[2]
    if not tag:
        return f"image {image!r} has no tag: pin a version"
    return f"image {image!r} is whatever is newest: pin a version" if tag == "latest" else ""


def _links(topology: Table, nodes: set[str]) -> Iterator[Link]:
    links = topology.tables("links")
    for table in links:
        table.only("endpoints", "mtu")
        ends = [_endpoint(table, text, nodes) for text in table.texts("endpoints")]
        if len(ends) != 2:
            table.wrong("endpoints", f"a link has two endpoints, this one has {len(ends)}")
            continue
        yield Link(ends[0], ends[1], table.number("mtu", DEFAULT_MTU, 68, 65535))
    used = Counter(text for table in links for text in table.texts("endpoints"))
    for table in links:
        for text in {text for text in table.texts("endpoints") if used[text] > 1}:
            table.wrong("endpoints", f"endpoint {text} is used {used[text]} times")


def _endpoint(table: Table, text: str, nodes: set[str]) -> Endpoint:
    node, _, interface = text.partition(":")
    if node not in nodes:
        table.wrong("endpoints", f"endpoint {text!r}: no node {node!r}", closest=(node, nodes))
    elif not INTERFACE.fullmatch(interface) or interface in (".", "..", "lo", "all", "default"):
        table.wrong("endpoints", f"endpoint {text!r}: {interface!r} is no interface name (1..15 characters)")
    return Endpoint(node, interface)


def to_plain(topology: Topology) -> dict[str, Any]:
    """What `lab ps` and the state file keep of it."""
    return {
        "name": topology.name,
        "path": str(topology.path),
        "nodes": [{"name": n.name, "image": n.image, "group": n.group, "env": dict(n.env)} for n in topology.nodes],
        "links": [[str(link.a), str(link.b)] for link in topology.links],
    }
