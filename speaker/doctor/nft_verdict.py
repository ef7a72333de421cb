"""What a ruleset (`nft -j list ruleset`, libnftables-json(5)) does with one packet, as far as that can be told. Pure.

Only what decides is read: verdicts, and matches on what a baseline firewall usually asks. A match on anything else
may hold or not, and then the answer is "maybe": the doctor stays silent rather than be wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any, Literal, NamedTuple

Verdict = Literal["accept", "drop", "maybe"]

MAX_DEPTH = 16
"""Of jumps; the kernel has the same bound."""
MAX_MEMBERS = 10_000
"""Of a set that are looked at; a larger one may have it or not."""
FAMILIES = ("inet", "ip", "ip6")


@dataclass(frozen=True)
class Packet:
    """The first packet of a flow. "" and 0 are what is not known, or not there."""

    iifname: str = ""
    oifname: str = ""
    saddr: str = ""
    daddr: str = ""
    protocol: str = ""  # "tcp", "udp", "icmp"
    dport: int = 0

    @property
    def family(self) -> str:
        return "ip6" if ":" in self.saddr or ":" in self.daddr else "ip"


class Judgement(NamedTuple):
    verdict: Verdict
    chain: str  # "FAMILY TABLE CHAIN" that drops it; "" otherwise.


class Ruleset:
    """The chains of all tables but those named in `without`."""

    def __init__(self, items: Sequence[Mapping[str, Any]], without: Sequence[tuple[str, str]] = ()) -> None:
        self._chains: dict[tuple[str, str, str], Mapping[str, Any]] = {}
        self._rules: dict[tuple[str, str, str], list[list[Any]]] = {}
        self._sets: dict[tuple[str, str, str], Any] = {}
        for item in items:
            for kind, body in item.items():
                if isinstance(body, dict) and (body.get("family"), body.get("table")) not in without:
                    self._note(kind, body)

    def _note(self, kind: str, body: Mapping[str, Any]) -> None:
        place = str(body.get("family")), str(body.get("table"))
        if kind == "chain":
            self._chains[*place, str(body.get("name"))] = body
        elif kind == "rule":
            self._rules.setdefault((*place, str(body.get("chain"))), []).append(body.get("expr") or [])
        elif kind in ("set", "map"):
            self._sets[*place, str(body.get("name"))] = body.get("elem", [])

    def judge(self, hook: str, packet: Packet) -> Judgement:
        """A packet must pass every base chain of its hook; the gravest answer counts."""
        found = Judgement("accept", "")
        for place, chain in self._chains.items():
            if chain.get("hook") != hook or chain.get("type", "filter") != "filter":
                continue
            if place[0] not in ("inet", packet.family):
                continue
            verdict = self._base(place, chain, packet)
            if verdict == "drop":
                return Judgement("drop", " ".join(place))
            if verdict == "maybe":
                found = Judgement("maybe", "")
        return found

    def _base(self, place: tuple[str, str, str], chain: Mapping[str, Any], packet: Packet) -> Verdict:
        outcomes = set(self._walk(place, packet, 0))
        if "continue" in outcomes:
            outcomes = (outcomes - {"continue"}) | {"drop" if chain.get("policy") == "drop" else "accept"}
        if outcomes == {"drop"}:
            return "drop"
        return "accept" if outcomes == {"accept"} else "maybe"

    def _walk(self, place: tuple[str, str, str], packet: Packet, depth: int) -> Iterator[str]:
        """Every way in which the chain may end: "accept", "drop", "continue" (behind its last rule)."""
        if depth > MAX_DEPTH:
            yield from ("accept", "drop")
            return
        for expression in self._rules.get(place, ()):
            certain, outcomes = self._rule(place, expression, packet, depth)
            yield from (each for each in outcomes if each != "next")
            if certain and "next" not in outcomes:
                return
        yield "continue"

    def _rule(
        self, place: tuple[str, str, str], expression: list[Any], packet: Packet, depth: int
    ) -> tuple[bool, set[str]]:
        """(whether it certainly matches, how it may end: also "next", for the rule after it)."""
        certain = True
        for statement in expression:
            if not isinstance(statement, dict) or not statement:
                continue
            ((name, body),) = list(statement.items())[:1]
            if name == "match":
                holds = self._matches(place, body, packet)
                if holds is False:
                    return True, {"next"}
                certain = certain and holds is True
            elif name in HARMLESS:
                continue
            elif name == "vmap":
                return self._vmap(place, body, packet, depth, certain)
            elif name in VERDICTS:
                outcomes = self._verdict(place, name, body, packet, depth)
                return certain, outcomes if certain else outcomes | {"next"}
            else:  # limit, xt, quota, ...: as if it were a match on something unknown.
                certain = False
        return True, {"next"}

    def _verdict(self, place: tuple[str, str, str], name: str, body: Any, packet: Packet, depth: int) -> set[str]:
        if name in ("accept", "drop", "reject"):
            return {"accept" if name == "accept" else "drop"}
        if name == "return":
            return {"continue"}
        target = body.get("target") if isinstance(body, dict) else None
        ends = set(self._walk((place[0], place[1], str(target)), packet, depth + 1))
        if name == "jump" and "continue" in ends:
            ends = (ends - {"continue"}) | {"next"}
        return ends

    def _vmap(
        self, place: tuple[str, str, str], body: Any, packet: Packet, depth: int, certain: bool
    ) -> tuple[bool, set[str]]:
        data = body.get("data") if isinstance(body, dict) else None
        if isinstance(data, str):
            data = {"set": self._sets.get((place[0], place[1], data.removeprefix("@")), [])}
        pairs = data.get("set") if isinstance(data, dict) else None
        value = self._value(body.get("key"), packet) if isinstance(body, dict) else None
        outcomes: set[str] = set()
        for key, verdict in (pair for pair in pairs or () if isinstance(pair, list) and len(pair) == 2):
            holds = None if value is None else self._among(place, value, key)
            if holds is False or not isinstance(verdict, dict) or not verdict:
                continue
            ((name, inner),) = list(verdict.items())[:1]
            outcomes |= self._verdict(place, name, inner, packet, depth)
            if holds and certain:
                return True, outcomes
        return certain and value is not None, outcomes | {"next"}

    def _matches(self, place: tuple[str, str, str], body: Any, packet: Packet) -> bool | None:
        """Whether a match statement holds; None: that depends."""
        if not isinstance(body, dict):
            return None
        value = self._value(body.get("left"), packet)
        if value is None or body.get("op") not in ("==", "in", "!="):
            return None
        holds = self._among(place, value, body.get("right"))
        return holds if holds is None or body["op"] != "!=" else not holds

    def _value(self, left: Any, packet: Packet) -> Any:
        """What the packet has there: a text or number; None when that is not known."""
        if not isinstance(left, dict):
            return None
        if "meta" in left:
            return _meta(left["meta"].get("key"), packet)
        if "payload" in left:
            return _payload(left["payload"], packet)
        if "ct" in left and left["ct"].get("key") == "state":
            return "new"
        return None

    def _among(self, place: tuple[str, str, str], value: Any, right: Any) -> bool | None:
        """Whether `value` is what the right side stands for."""
        if isinstance(right, str) and right.startswith("@"):
            right = {"set": self._sets.get((place[0], place[1], right[1:]), [])}
        if isinstance(right, list):
            right = {"set": right}
        if isinstance(right, dict) and "set" in right:
            members = right["set"] if isinstance(right["set"], list) else [right["set"]]
            if len(members) > MAX_MEMBERS:
                return None
            each = [self._among(place, value, member) for member in members]
            return True if True in each else None if None in each else False
        return _equals(value, right)


HARMLESS = ("counter", "log", "comment", "notrack", "meta")
VERDICTS = ("accept", "drop", "reject", "return", "jump", "goto")


def _meta(key: Any, packet: Packet) -> str | None:
    if key in ("iifname", "iif"):
        return packet.iifname or None
    if key in ("oifname", "oif"):
        return packet.oifname or None
    if key == "l4proto":
        return packet.protocol or None
    if key in ("nfproto", "protocol"):
        return {"ip": "ipv4", "ip6": "ipv6"}[packet.family] if key == "nfproto" else packet.family
    return None


def _payload(payload: Any, packet: Packet) -> Any:
    protocol, field = payload.get("protocol"), payload.get("field")
    if field == "dport" and protocol in ("tcp", "udp", "th"):
        if packet.protocol and protocol not in ("th", packet.protocol):
            return -1  # No such header: matches no port.
        return packet.dport or None
    if field in ("saddr", "daddr") and protocol in ("ip", "ip6"):
        return (packet.saddr if field == "saddr" else packet.daddr) or None
    if field in ("protocol", "nexthdr"):
        return packet.protocol or None
    return None


def _equals(value: Any, right: Any) -> bool | None:
    if isinstance(right, dict):
        if "range" in right:
            low, high = right["range"]
            return _within(value, low, high)
        if "prefix" in right:
            return _inside(value, f"{right['prefix'].get('addr')}/{right['prefix'].get('len')}")
        if "elem" in right and isinstance(right["elem"], dict):
            return _equals(value, right["elem"].get("val"))
        return None
    if isinstance(value, str) and isinstance(right, str) and right.endswith("*"):
        return value.startswith(right[:-1])
    if isinstance(value, str) and isinstance(right, str):
        return value == right
    return value == right if isinstance(right, int) and isinstance(value, int) else None


def _within(value: Any, low: Any, high: Any) -> bool | None:
    if isinstance(value, int) and isinstance(low, int) and isinstance(high, int):
        return low <= value <= high
    try:
        return bool(ip_address(low) <= ip_address(value) <= ip_address(high))  # type: ignore[operator]
    except (TypeError, ValueError):
        return None


def _inside(value: Any, prefix: str) -> bool | None:
    try:
        return ip_address(value) in ip_network(prefix, strict=False)
    except ValueError:
        return None
