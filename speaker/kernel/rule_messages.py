"""Rules of the kernel's routing policy as bytes (RTM_NEWRULE and its kin, linux/fib_rules.h), both directions. Pure."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from typing import NamedTuple

from speaker.kernel import messages as m
from speaker.kernel import parse
from speaker.kernel.port import PROTO_LEYLINE
from speaker.rib.prefix import Family

RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34
FRA_IIFNAME, FRA_PRIORITY, FRA_SUPPRESS_PREFIXLEN, FRA_TABLE, FRA_PROTOCOL = 3, 6, 14, 15, 21
FR_ACT_TO_TBL = 1
FIB_RULE_IIF_DETACHED = 0x8  # The interface is not there now.
NONE = 0xFFFFFFFF
RULE = struct.Struct("=BBBBBBBBI")  # fib_rule_hdr: family, dst_len, src_len, tos, table, two reserved, action, flags
_KNOWN = {FRA_IIFNAME, FRA_PRIORITY, FRA_SUPPRESS_PREFIXLEN, FRA_TABLE, FRA_PROTOCOL}


class LanRule(NamedTuple):
    """What comes in by `interface` is looked up in `table`; a match no longer than `suppress` counts as none."""

    family: Family
    interface: str
    priority: int
    table: int
    suppress: int | None = None


class Found(NamedTuple):
    """A rule with our protocol number."""

    rule: LanRule | None  # None: it says something that ours never do.
    body: bytes  # As the kernel has it, which is what removes it.


def put(rule: LanRule) -> bytes:
    """Refused with EEXIST when the very same is there."""
    return _message(RTM_NEWRULE, m.NLM_F_CREATE | m.NLM_F_EXCL, _body(rule))


def delete(found: Found) -> bytes:
    return _message(RTM_DELRULE, 0, found.body)


def dump(family: Family, sequence: int) -> bytes:
    """RTM_GETRULE for all rules of a family."""
    body = RULE.pack(m.ADDRESS_FAMILY[family], 0, 0, 0, 0, 0, 0, 0, 0)
    header = m.HEADER.pack(m.HEADER.size + len(body), RTM_GETRULE, m.NLM_F_REQUEST | m.NLM_F_DUMP, sequence, 0)
    return header + body


def found(buffer: bytes) -> Iterator[Found]:
    """Ours among the rules in one datagram of a dump. Raises parse.Malformed."""
    for type_, _, _, start, end in parse.split(buffer):
        if type_ == RTM_NEWRULE:
            each = _found(buffer, start, end)
            if each is not None:
                yield each


def _found(buffer: bytes, start: int, end: int) -> Found | None:
    if end - start < RULE.size:
        raise parse.Malformed("rule message without its header")
    number, to, from_, tos, _, _, _, action, flags = RULE.unpack_from(buffer, start)
    has = parse.attributes(buffer, start + RULE.size, end)
    if number not in parse.FAMILIES or has.get(FRA_PROTOCOL) != bytes((PROTO_LEYLINE,)):
        return None
    suppress = _u32(has, FRA_SUPPRESS_PREFIXLEN, NONE)
    rule = LanRule(
        parse.FAMILIES[number],
        has.get(FRA_IIFNAME, b"").rstrip(b"\0").decode("utf-8", "replace"),
        _u32(has, FRA_PRIORITY, 0),
        _u32(has, FRA_TABLE, 0),
        None if suppress == NONE else suppress,
    )
    plain = not (to or from_ or tos) and action == FR_ACT_TO_TBL and not flags & ~FIB_RULE_IIF_DETACHED
    return Found(rule if plain and has.keys() <= _KNOWN else None, buffer[start:end])


def _u32(has: dict[int, bytes], type_: int, default: int) -> int:
    return int.from_bytes(has[type_], sys.byteorder) if type_ in has else default


def _body(rule: LanRule) -> bytes:
    name = rule.interface.encode() + b"\0"
    suppress = NONE if rule.suppress is None else rule.suppress
    return (
        RULE.pack(m.ADDRESS_FAMILY[rule.family], 0, 0, 0, 0, 0, 0, FR_ACT_TO_TBL, 0)
        + m.ATTRIBUTE.pack(4 + len(name), FRA_IIFNAME)
        + name.ljust((len(name) + 3) & ~3, b"\0")
        + m.ATTRIBUTE_U32.pack(8, FRA_PRIORITY, rule.priority)
        + m.ATTRIBUTE_U32.pack(8, FRA_SUPPRESS_PREFIXLEN, suppress)
        + m.ATTRIBUTE_U32.pack(8, FRA_TABLE, rule.table)
        + m.ATTRIBUTE.pack(5, FRA_PROTOCOL)
        + bytes((PROTO_LEYLINE, 0, 0, 0))
    )


def _message(type_: int, flags: int, body: bytes) -> bytes:
    return m.HEADER.pack(m.HEADER.size + len(body), type_, m.NLM_F_REQUEST | flags, 0, 0) + body
