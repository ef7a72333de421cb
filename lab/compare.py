"""Kernel tables against what they should be; the difference as text that a person can act on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lab.expect import Run
from lab.node import Node
from lab.routes import LEYLINE, routes

SHOWN = 10


def installed(node: Node, protocol: str = LEYLINE) -> dict[str, frozenset[str]]:
    """Unicast routes of one protocol, both families: prefix -> next hops."""
    found = {**routes(node, 4, protocol), **routes(node, 6, protocol)}
    return {prefix: route.next_hops for prefix, route in found.items() if route.kind == "unicast"}


def difference(expected: Mapping[str, frozenset[str]], actual: Mapping[str, frozenset[str]]) -> str:
    """Empty when equal. Whole values: the right prefix with the wrong next hop is a difference."""
    missing = sorted(expected.keys() - actual.keys())
    extra = sorted(actual.keys() - expected.keys())
    wrong = sorted(prefix for prefix in expected.keys() & actual.keys() if expected[prefix] != actual[prefix])
    lines = [f"{len(actual)} routes, {len(expected)} expected"] if missing or extra or wrong else []
    lines += _some("missing", [f"{prefix} via {_hops(expected[prefix])}" for prefix in missing])
    lines += _some("not expected", [f"{prefix} via {_hops(actual[prefix])}" for prefix in extra])
    lines += _some("other next hops", [f"{p} via {_hops(actual[p])}, expected {_hops(expected[p])}" for p in wrong])
    return "\n".join(lines)


def _some(what: str, items: list[str]) -> list[str]:
    more = [f"  ... and {len(items) - SHOWN} more"] if len(items) > SHOWN else []
    return [f"{what}: {len(items)}", *(f"  {item}" for item in items[:SHOWN]), *more] if items else []


def _hops(hops: frozenset[str]) -> str:
    return ", ".join(sorted(hops)) or "nothing"


def wait_for_routes(
    run: Run, name: str, expected: Mapping[str, frozenset[str]], seconds: float, log: Path | None = None,
    since: float | None = None, protocol: str = LEYLINE,
) -> float:  # fmt: skip
    """Seconds until the kernel of `name` holds exactly `expected` of `protocol`. Raises Unmet with the difference."""
    node = run.lab.node(name)

    def wrong() -> str:
        return difference(expected, installed(node, protocol))

    def evidence() -> str:
        return f"{wrong()}\n{log.read_text(errors='replace')[-3000:] if log else ''}"

    what = f"{name} has its {len(expected)} routes, next hop = originating uplink"
    return run.wait_until(what, lambda: not wrong(), seconds, evidence, since)


def wait_to_reach(run: Run, node: Node, address: str, seconds: float = 10.0) -> None:
    """Raises Unmet."""
    run.wait_until(
        f"{node.name} reaches {address}", lambda: node.reaches(address), seconds, lambda: node.out("ip route")
    )
