"""The document (plain data, from JSON or YAML) <-> Inventory. Strict: everything wrong is said, at once.

A document is a mapping of sections; see docs/inventory.md. An object that cannot be read is left
out of the inventory, named in `Inventory.broken`, and each of its faults is a finding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from controller.inventory import fields
from controller.inventory.fields import Reader, Unreadable, closest, shown
from controller.inventory.findings import Finding
from controller.inventory.model import (
    DEFAULT_LONGEST,
    GLOBAL,
    MAX_NUMBER,
    SECTIONS,
    Allocation,
    BfdTimers,
    CircuitClass,
    Client,
    Fabric,
    Gateway,
    Inventory,
    Network,
    Object,
    Prefix,
    Probe,
    Region,
    Site,
    Uplink,
    network_order,
)

Where = tuple[str | int, ...]
"""Where in the document: ("gateways", 3, "uplinks", 0, "node_id")."""

Locate = Callable[[Where], tuple[str, int] | None]
"""Where -> (file, line), for documents that came from files."""

MAX_OBJECTS = 50_000
"""In one section. A fabric has 2,000 gateways and 5,000 prefixes in what is measured."""

PREFERENCE = fields.integer(1, 2**32 - 1)  # 0 is for what is drained.
NUMBER = fields.integer(1, MAX_NUMBER)


@dataclass(frozen=True, slots=True)
class Spec:
    """The fields of one kind: name -> reader. What is not required has its default in the model."""

    make: Callable[..., Any]
    readers: dict[str, Reader]
    required: tuple[str, ...]
    key: tuple[str, ...] = ("name",)


UPLINK = Spec(
    Uplink,
    {
        "name": fields.name,
        "number": NUMBER,
        "node_id": fields.node_id,
        "interface": fields.interface,
        "address": fields.address4,
        "address6": fields.address6,
        "circuit_class": fields.name,
        "preference": PREFERENCE,
        "bandwidth": fields.bandwidth,
    },
    ("name", "node_id", "interface", "circuit_class"),
)


def _uplinks(value: Any) -> Any:
    if not isinstance(value, list):
        raise Unreadable("field-type", f"must be a list of uplinks, not {shown(value)}")
    return value


def _allocation(site: str, prefix: Network, tenant: str = GLOBAL, longest: int | None = None) -> Allocation:
    if longest is None:
        longest = max(DEFAULT_LONGEST[prefix.version], prefix.prefixlen)
    if not prefix.prefixlen <= longest <= prefix.max_prefixlen:
        raise Unreadable(
            "number-range", f"longest {longest} does not fit {prefix}: use {prefix.prefixlen} to {prefix.max_prefixlen}"
        )
    return Allocation(site, prefix, longest, tenant)


SPECS: dict[str, Spec] = {
    "fabric": Spec(
        Fabric,
        {
            "name": fields.name,
            "asn": fields.asn,
            "segment": fields.network4,
            "segment6": fields.network6,
            "hold_time": fields.integer(3, 65535),
            "restart_time": fields.integer(0, 4095),
            "max_paths": fields.integer(1, 64),
            "bfd_up_delay_ms": fields.integer(0, 600_000),
            "bfd_hold_max_ms": fields.integer(0, 3_600_000),
            "bfd_idle_seconds": fields.integer(10, 86_400),
            "bfd_max_sessions": fields.integer(1, 4096),
            "hubless_seconds": fields.integer(0, 30 * 86_400),
            "vrrp_advert_ms": fields.integer(10, 40_950),
        },
        ("name", "asn", "segment"),
    ),
    "region": Spec(Region, {"name": fields.name}, ("name",)),
    "circuit-class": Spec(
        CircuitClass, {"name": fields.name, "preference": PREFERENCE, "bfd": fields.bfd}, ("name", "preference")
    ),
    "site": Spec(
        Site,
        {
            "name": fields.name,
            "number": fields.integer(1, 2**32 - 1),
            "region": fields.name,
            "provider": fields.text,
            "tags": fields.tags,
        },
        ("name", "region"),
    ),
    "allocation": Spec(
        _allocation,
        {
            "site": fields.name,
            "prefix": fields.network,
            "longest": fields.integer(0, 128),
            "tenant": fields.name,
        },
        ("site", "prefix"),
        ("site", "tenant", "prefix"),
    ),
    "prefix": Spec(
        Prefix,
        {
            "site": fields.name,
            "prefix": fields.network,
            "tenant": fields.name,
            "gateways": fields.names,
            "first_hop": fields.address,
            "vrid": fields.integer(1, 255),
            "probe": fields.probe,
        },
        ("site", "prefix"),
        ("site", "tenant", "prefix"),
    ),
    "gateway": Spec(
        Gateway,
        {
            "name": fields.name,
            "site": fields.name,
            "role": fields.role,
            "drained": fields.boolean,
            "uplinks": _uplinks,
        },
        ("name", "site", "role", "uplinks"),
    ),
    "client": Spec(
        Client,
        {
            "name": fields.name,
            "site": fields.name,
            "number": NUMBER,
            "node_id": fields.node_id,
            "address": fields.address4,
            "address6": fields.address6,
            "circuit_class": fields.name,
            "preference": PREFERENCE,
            "bandwidth": fields.bandwidth,
        },
        ("name", "site", "circuit_class"),
    ),
    "uplink": UPLINK,
}


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
    """Canonical order inside a section: by name, or by site, tenant and address."""
    if isinstance(each, Allocation | Prefix):
        return each.site, each.tenant, network_order(each.prefix)
    return (each.name,)


def plain(each: Object | Uplink) -> dict[str, Any]:
    """One object as plain JSON types; what is None, empty, False or 0 bandwidth is left out."""
    found: dict[str, Any] = {}
    for field in SPECS[each.kind].readers:
        value = getattr(each, field)
        if value is None or value is False or value == () or value == "" or (field == "bandwidth" and value == 0):
            continue
        found[field] = plain_value(value)
    return found


def plain_value(value: Any) -> Any:
    """One field's value as plain JSON types: what the field's reader reads."""
    match value:
        case int() | str():
            return value
        case tuple():
            return [plain(each) if isinstance(each, Uplink) else each for each in value]
        case BfdTimers():
            return {"interval_ms": value.interval_ms, "multiplier": value.multiplier}
        case Probe():
            six = f"[{value.address}]" if value.address.version == 6 else str(value.address)
            target = f"{six}:{value.port}" if value.kind == "tcp" else str(value.address)
            return {value.kind: target, "interval_ms": value.interval_ms, "multiplier": value.multiplier}
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
        for field in data:
            if field not in spec.readers:
                message = _unknown(str(field), tuple(spec.readers))
                self.say((*path, str(field)), label, "field-unknown", message, str(field))
        values = {}
        for field, read in spec.readers.items():
            if data.get(field) is None:
                if field in spec.required:
                    self.say(path, label, "field-missing", f'"{field}" is missing', field)
                continue
            try:
                values[field] = read(data[field])
            except Unreadable as error:
                self.say((*path, field), label, error.code, f"{field}: {error.message}", field)
        if kind == Gateway.kind and "uplinks" in values:
            values["uplinks"] = self.uplinks(values["uplinks"], (*path, "uplinks"), label)
        if len(self.findings) == before:
            try:
                return spec.make(**values)
            except Unreadable as error:
                self.say(path, label, error.code, error.message)
        self.broken.add(label)
        return None

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
