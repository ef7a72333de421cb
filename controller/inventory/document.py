"""The document (plain data, from JSON or YAML) <-> Inventory. Strict: everything wrong is said, at once.

A document is a mapping of sections; see docs/inventory.md. An object that cannot be read is left
out of the inventory, named in `Inventory.broken`, and each of its faults is a finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from controller.inventory import fields_policy
from controller.inventory.fields import Parts, Reader, Unreadable, closest, shown
from controller.inventory.findings import Finding
from controller.inventory.model import (
    DEFAULT_MTU,
    GLOBAL,
    SECTIONS,
    Action,
    Allocation,
    BfdTimers,
    Gateway,
    Inventory,
    Match,
    Object,
    Prefix,
    PrefixMatch,
    Probe,
    Rule,
    Uplink,
    Viewer,
    network_order,
)
from controller.inventory.specs import SPECS

Where = tuple[str | int, ...]
"""Where in the document: ("gateways", 3, "uplinks", 0, "node_id")."""

Locate = Callable[[Where], tuple[str, int] | None]
"""Where -> (file, line), for documents that came from files."""

MAX_OBJECTS = 200_000
"""In one section: twice the 100,000 prefixes of the largest fabric that is measured. So many, 9 MB of JSON, are read in
under 5 s and 160 MB on a small machine; a request may have 32 MiB."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """`where`: label of an object -> where it stands in the document."""

    inventory: Inventory
    findings: list[Finding]
    where: dict[str, Where]


def parse_document(data: Any) -> tuple[Inventory, list[Finding]]:
    """What `data` declares, and all that is wrong with its form. Raises nothing, whatever `data` is.

    A section may be absent, then it is empty; `fabric` may be absent, then it is None.
    """
    parsed = parse_located(data)
    return parsed.inventory, parsed.findings


def parse_located(data: Any, locate: Locate = lambda _path: None) -> Parsed:
    """As parse_document, for a document that came from files."""
    if not isinstance(data, Mapping):
        message = f"must be a mapping of sections, not {shown(data)}"
        return Parsed(Inventory(), [Finding("document", "field-type", message)], {})
    parser = _Parser(locate)
    known = ["fabric", *SECTIONS]
    for section in data:
        if section not in known:
            parser.say((str(section),), "document", "field-unknown", _unknown(str(section), tuple(known)), str(section))
    fabric = parser.one("fabric", data["fabric"], ("fabric",)) if data.get("fabric") is not None else None
    sections = {section: parser.section(section, kind, data.get(section)) for section, kind in SECTIONS.items()}
    inventory = Inventory(fabric=fabric, **sections, broken=frozenset(parser.broken))
    return Parsed(inventory, parser.findings, parser.where)


def parse_object(kind: str, data: Any) -> tuple[Any, list[Finding]]:
    """One object of `kind` ("site", "uplink", ...; KeyError when there is none such): (object or None, findings)."""
    parser = _Parser(lambda _path: None)
    return parser.one(kind, data, (kind,)), parser.findings


def to_document(inventory: Inventory) -> dict[str, Any]:
    """Plain JSON types, in canonical order: equal inventories give equal documents.

    Fields that are not set are left out. `parse_document` gives the same inventory back.
    """
    document: dict[str, Any] = {}
    if inventory.fabric is not None:
        document["fabric"] = plain(inventory.fabric)
    for section in SECTIONS:
        found = sorted(getattr(inventory, section), key=order)
        if found:
            document[section] = [plain(each) for each in found]
    return document


def order(each: Object | Uplink) -> tuple[Any, ...]:
    """Canonical order inside a section: by name, or by site, tenant and address; rules as they are looked at."""
    if isinstance(each, Allocation | Prefix):
        return each.site, each.tenant, network_order(each.prefix)
    if isinstance(each, Rule):
        return each.order, each.name
    return (each.name,)


ZERO_IS_UNSET = frozenset({"bandwidth", "max_prefixes", "preference_add", "prepend", "max_paths", "relayed_seconds"})
SAID_ANYWAY = frozenset({"guard_default", "permanent_neighbours", "mss_clamp"})
"""Switches that are on by default: left out, their False would be lost."""

DEFAULT_IS_UNSAID = {
    "mtu": DEFAULT_MTU,
    "segment_rules": "checked",
    "permanent_neighbours": True,
    "mss_clamp": True,
    "relayed_preference": -50,
}
"""Of the fabric: most fabrics own no segment, and these would be noise there."""


def plain(each: Object | Uplink) -> dict[str, Any]:
    """One object as plain JSON types; what is None, empty, False or a 0 that means "none" is left out."""
    return _plain_fields(each, SPECS[each.kind].readers)


def _plain_fields(each: Any, names: Iterable[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in names:
        value = getattr(each, field)
        if value is None or (value is False and field not in SAID_ANYWAY) or value == () or value == "":
            continue
        if (value == 0 and field in ZERO_IS_UNSET) or value == Match() or value == DEFAULT_IS_UNSAID.get(field, ...):
            continue
        found[field] = plain_value(value)
    return found


def plain_value(value: Any) -> Any:
    """One field's value as plain JSON types: what the field's reader reads."""
    match value:
        case int() | str():
            return value
        case tuple():
            return [plain(each) if isinstance(each, Uplink) else plain_value(each) for each in value]
        case BfdTimers():
            return {"interval_ms": value.interval_ms, "multiplier": value.multiplier}
        case Probe():
            six = f"[{value.address}]" if value.address.version == 6 else str(value.address)
            target = f"{six}:{value.port}" if value.kind == "tcp" else str(value.address)
            return {value.kind: target, "interval_ms": value.interval_ms, "multiplier": value.multiplier}
        case Match() | Viewer() | Action():
            found = _plain_fields(value, fields_policy.PARTS[type(value)].readers)
            return {field: each for field, each in found.items() if (field, each) != ("tenant", GLOBAL)}
        case PrefixMatch():
            return fields_policy.prefix_match_text(value)
        case _:
            return str(value)


@lru_cache(1024)
def _unknown(field: str, known: tuple[str, ...]) -> str:
    return f"unknown field {shown(field)}{closest(field, list(known))}"


class _Parser:
    """Collects findings; nothing stops it."""

    def __init__(self, locate: Locate) -> None:
        self.locate = locate
        self.findings: list[Finding] = []
        self.broken: set[str] = set()
        self.where: dict[str, Where] = {}

    def say(self, path: Where, label: str, code: str, message: str, field: str = "") -> None:
        place = self.locate(path)
        file, line = place if place is not None else (None, None)
        self.findings.append(Finding(label, code, message, file, line, field))

    def section(self, section: str, kind: str, data: Any) -> tuple[Any, ...]:
        if data is None:
            return ()
        if not isinstance(data, Sequence) or isinstance(data, str):
            self.say((section,), "document", "field-type", f"{section} must be a list, not {shown(data)}", section)
            self.broken.add(f"{kind} *")
            return ()
        if len(data) > MAX_OBJECTS:
            message = f"{len(data)} {section}; at most {MAX_OBJECTS} are possible"
            self.say((section,), "document", "too-many-objects", message, section)
            self.broken.add(f"{kind} *")
            return ()
        return self.unique([(self.one(kind, each, (section, n)), (section, n)) for n, each in enumerate(data)])

    def unique(self, found: list[tuple[Any, Where]], owner: str = "") -> tuple[Any, ...]:
        """Those that could be read; the second one with a key is a finding that names the first one's place."""
        first: dict[str, Where] = {}
        kept = []
        for each, path in found:
            if each is None:
                continue
            if each.key in first:
                label = f"{each.kind} {owner}{each.key}"
                message = f"declared twice; the first one stands {self.place(first[each.key])}: remove one of them"
                self.say(path, label, "declared-twice", message)
                continue
            first[each.key] = path
            kept.append(each)
        return tuple(kept)

    def place(self, path: Where) -> str:
        where = self.locate(path)
        return f"in {where[0]} line {where[1]}" if where else f"at {path[-2]}[{path[-1]}]"

    def one(self, kind: str, data: Any, path: Where, owner: str = "") -> Any:
        """The object, or None and it is `broken`."""
        spec = SPECS[kind]
        if not isinstance(data, Mapping):
            label = self.label(kind, {}, path, owner)
            self.say(path, label, "field-type", f"must be a mapping, not {shown(data)}")
            self.broken.add(label)
            return None
        label = self.label(kind, data, path, owner)
        self.where.setdefault(label, path)
        before = len(self.findings)
        values = self.fields(spec.readers, data, path, label, required=spec.required)
        if kind == Gateway.kind and "uplinks" in values:
            values["uplinks"] = self.uplinks(values["uplinks"], (*path, "uplinks"), label)
        if len(self.findings) == before:
            try:
                return spec.make(**values)
            except Unreadable as error:
                self.say(path, label, error.code, error.message)
        self.broken.add(label)
        return None

    def fields(
        self,
        readers: Mapping[str, Reader],
        data: Mapping[Any, Any],
        path: Where,
        label: str,
        required: tuple[str, ...] = (),
        part: str = "",
    ) -> dict[str, Any]:
        """Those that could be read. `part` is the field of the object that holds them, "" for the object's own."""
        for field in data:
            if field not in readers:
                message = f"{part}: " * bool(part) + _unknown(str(field), tuple(readers))
                self.say((*path, str(field)), label, "field-unknown", message, part or str(field))
        values: dict[str, Any] = {}
        for field, read in readers.items():
            given, name = data.get(field), f"{part}.{field}" if part else field
            if given is None:
                if field in required:
                    self.say(path, label, "field-missing", f'"{field}" is missing', field)
                continue
            try:
                if isinstance(read, Parts) and isinstance(given, Mapping):
                    values[field] = self.parts(read, given, (*path, field), label, field)
                else:
                    values[field] = read(given)
            except Unreadable as error:
                self.say((*path, field), label, error.code, f"{name}: {error.message}", part or field)
        return values

    def parts(self, read: Parts, data: Mapping[Any, Any], path: Where, label: str, part: str) -> Any:
        """A field that is a mapping itself; None when its own fields could not be read. Raises Unreadable."""
        before = len(self.findings)
        values = self.fields(read.readers, data, path, label, part=part)
        return read.make(**values) if len(self.findings) == before else None

    def uplinks(self, data: list[Any], path: Where, gateway: str) -> tuple[Uplink, ...]:
        owner = gateway.partition(" ")[2] + "/"
        found = [(self.one("uplink", each, (*path, n), owner), (*path, n)) for n, each in enumerate(data)]
        return self.unique(found, owner)

    @staticmethod
    def label(kind: str, data: Mapping[str, Any], path: Where, owner: str) -> str:
        """As the object's own `label`, as far as its key can be read; else by its place: "site #3"."""
        parts = [data.get(field, GLOBAL if field == "tenant" else None) for field in SPECS[kind].key]
        if all(isinstance(part, str) and part.isprintable() and 0 < len(part) <= 100 for part in parts):
            return f"{kind} {owner}{'/'.join(parts)}"
        return f"{kind} {owner}#{path[-1] + 1}" if isinstance(path[-1], int) else kind
