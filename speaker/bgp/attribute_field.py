"""The path attributes of one UPDATE: found, checked against the table, read (RFC 4271 4.3, RFC 7606)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from speaker.bgp.as_path import Malformed, with_as4_path
from speaker.bgp.path_attributes import (
    EXTENDED_LENGTH,
    MP_FLAGS,
    MP_NAMES,
    OPTIONAL,
    OPTIONAL_TRANSITIVE,
    PARTIAL,
    TRANSITIVE,
    Rule,
    Treatment,
)
from speaker.bgp.wire import MALFORMED_ATTRIBUTE_LIST, UPDATE_ERROR, SessionReset
from speaker.rib.attributes import Attributes
from speaker.rib.communities import AS_TRANS


class Attribute(NamedTuple):
    """One attribute as it stands in the field; `start` and `end` are offsets of the whole of it."""

    flags: int
    code: int
    value: bytes
    start: int
    end: int


class CutOff(NamedTuple):
    """The field ends within an attribute. `code` is 0 when not even its header is there."""

    code: int
    text: str


def walk(data: bytes) -> tuple[list[Attribute], CutOff | None]:
    """Attributes by their lengths, as far as these add up (RFC 7606 4)."""
    found: list[Attribute] = []
    at, size = 0, len(data)
    while at < size:
        start = at + (4 if data[at] & EXTENDED_LENGTH else 3)
        if start > size:
            return found, CutOff(0, f"{size - at} octets are left, too few for an attribute")
        code = data[at + 1]
        end = start + int.from_bytes(data[at + 2 : start], "big")
        if end > size:
            return found, CutOff(code, f"attribute {code} is longer than what is left")
        found.append(Attribute(data[at], code, data[start:end], at, end))
        at = end
    return found, None


def split(data: bytes) -> tuple[bytes, dict[int, Attribute]]:
    """The attributes without the multiprotocol ones, and those by code.

    Raises SessionReset when one of those is repeated (RFC 7606 3 g) or cut off: prefixes would be lost.
    """
    found: dict[int, Attribute] = {}
    items, cut = walk(data)
    for item in items:
        if item.code not in MP_NAMES:
            continue
        if item.code in found:
            raise SessionReset(UPDATE_ERROR, MALFORMED_ATTRIBUTE_LIST, f"{MP_NAMES[item.code]}: repeated")
        found[item.code] = item
    if cut and cut.code in MP_NAMES:
        raise SessionReset(UPDATE_ERROR, MALFORMED_ATTRIBUTE_LIST, f"{MP_NAMES[cut.code]}: longer than what is left")
    rest, at = b"", 0
    for item in found.values():
        rest += data[at : item.start]
        at = item.end
    return rest + data[at:], found


def mp_flags_fault(item: Attribute) -> str:
    """What is wrong with the flags of a multiprotocol attribute; "" when nothing is."""
    if not _wrong_flags(item.flags, MP_FLAGS):
        return ""
    return f"{MP_NAMES[item.code]}: {_flags_text(item.flags, MP_FLAGS)}: {Treatment.WITHDRAW.value}"


@dataclass(slots=True)
class Parsed:
    """The attributes of one message without the multiprotocol ones."""

    values: dict[str, Any] = field(default_factory=dict)  # By field of Attributes.
    faults: list[str] = field(default_factory=list)
    malformed: bool = False  # So badly that prefixes are treated as withdrawn.

    def blame(self, name: str, text: str, treatment: Treatment) -> None:
        self.faults.append(f"{name}: {text}: {treatment.value}")
        self.malformed = self.malformed or treatment is Treatment.WITHDRAW

    def require(self, names: Mapping[str, str]) -> None:
        """Blames what is missing (RFC 7606 3 d), unless that is because it was malformed."""
        if not self.malformed:
            for name in [text for field_name, text in names.items() if field_name not in self.values]:
                self.blame(name, "missing", Treatment.WITHDRAW)

    def attributes(self, as4: bool) -> Attributes:
        """The result. Where AS numbers have 2 octets, AS4_PATH and AS4_AGGREGATOR are merged in (RFC 6793 4.2.3).

        Only for what is not malformed and has passed `require`.
        """
        values = dict(self.values)
        as4_path = values.pop("as4_path", ())
        as4_aggregator = values.pop("as4_aggregator", None)
        if not as4:
            aggregator = values.get("aggregator")
            if aggregator and as4_aggregator and aggregator[0] != AS_TRANS:
                as4_path = ()  # Somebody aggregated who knew nothing of them: both are out of date.
            elif aggregator and as4_aggregator:
                values["aggregator"] = as4_aggregator
            values["as_path"] = with_as4_path(values["as_path"], as4_path)
        return Attributes(**values)


def parse(data: bytes, rules: Mapping[int, Rule], ibgp: bool) -> Parsed:
    """`data` is what `split` leaves."""
    parsed = Parsed()
    unknown = []
    seen: set[int] = set()
    items, cut = walk(data)
    for item in items:
        rule = rules.get(item.code)
        name = rule.name if rule else f"attribute {item.code}"
        if item.code in seen:
            parsed.faults.append(f"{name}: repeated: the first one counts")
        elif rule:
            _known(parsed, rule, item, ibgp)
        elif not item.flags & OPTIONAL:
            parsed.blame(name, "well-known by its flags, but unknown", Treatment.WITHDRAW)
        elif item.flags & TRANSITIVE:
            unknown.append((item.flags & (OPTIONAL_TRANSITIVE | PARTIAL), item.code, item.value))
        seen.add(item.code)
    if cut:
        parsed.blame("path attributes", cut.text, Treatment.WITHDRAW)
    if unknown:
        parsed.values["unknown"] = tuple(unknown)
    return parsed


def _known(parsed: Parsed, rule: Rule, item: Attribute, ibgp: bool) -> None:
    if rule.ibgp_only and not ibgp:
        parsed.blame(rule.name, "has no place on eBGP", Treatment.DISCARD)
    elif _wrong_flags(item.flags, rule.flags):
        parsed.blame(rule.name, _flags_text(item.flags, rule.flags), Treatment.WITHDRAW)
    elif not rule.form.fits(len(item.value)):
        parsed.blame(rule.name, f"length {len(item.value)}", rule.malformed)
    else:
        try:
            parsed.values[rule.field] = rule.form.read(item.value)
        except Malformed as error:
            parsed.blame(rule.name, str(error), rule.malformed)


def _wrong_flags(flags: int, expected: int) -> bool:
    """RFC 7606 3 c: Optional and Transitive count, Partial and Extended Length do not."""
    return bool((flags ^ expected) & OPTIONAL_TRANSITIVE)


def _flags_text(flags: int, expected: int) -> str:
    return f"flags 0x{flags:02x} instead of 0x{expected:02x}"
