"""BGP sessions of a node as its kernel sees them: the TCP connections, each with the inode that only it has."""

from __future__ import annotations

import re

from lab.node import Node


def connections(node: Node) -> dict[str, str]:
    """peer's address -> "inode" of the established connection on port 179, which changes when it is made anew."""
    text = node.out(["ss", "-tneH", "state", "established", "( sport = :179 or dport = :179 )"])
    found = {}
    for line in text.splitlines():
        words = line.split()
        remote, inode = words[3], re.search(r"\bino:(\d+)", line)
        found[remote.rsplit(":", 1)[0].strip("[]")] = inode[1] if inode else "0"
    return found
