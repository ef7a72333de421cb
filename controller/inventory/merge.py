"""What becomes of an inventory when a part of it is declared anew: merge, removals and their guard, diff, rename."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from operator import attrgetter
from typing import Any

from controller.inventory.document import order, plain
from controller.inventory.fields import Unreadable, closest
from controller.inventory.fields import name as read_name
from controller.inventory.findings import Finding, InventoryRefused
from controller.inventory.model import SECTIONS, Gateway, Inventory, Object, objects
from controller.inventory.specs import SPECS

GUARDED = ("site", "gateway")
GUARD_PERCENT = 10

REFERENCES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "regions": (("region",), ("regions",)),
    "sites": (("site",), ("sites",)),
    "circuit_classes": (("circuit_class",), ("circuit_classes", "never_over")),
    "gateways": (("gateway",), ("gateways",)),
    "clients": ((), ("gateways",)),  # Rules name clients among gateways.
    "lan_peers": ((), ()),
    "rules": ((), ()),
    "assertions": ((), ()),
    "hosts": ((), ()),
    "moons": ((), ()),
}
"""Section -> fields that hold one name of it, and fields that hold several, wherever they stand."""


def merge(old: Inventory, new_part: Inventory, prune: bool = False) -> Inventory:
    """`old` with the objects of `new_part` put in by their keys, whole. `prune`: and nothing else left of `old`.

    The fabric itself stays when `new_part` has none. Numbers and addresses that `new_part` leaves out come
    back by `allocate` with `numbers_of(old)`.
    """
    sections: dict[str, Any] = {}
    for section, kind in SECTIONS.items():
        former, part = () if prune else getattr(old, section), getattr(new_part, section)
        sections[section] = _merged(former, part, SPECS[kind].key[0])
    return Inventory(fabric=new_part.fabric or old.fabric, **sections, broken=new_part.broken)


def _merged(former: tuple[Any, ...], part: tuple[Any, ...], first: str) -> tuple[Any, ...]:
    """In canonical order, if `former` is. `first`: the first field of a key; keys as a whole cost more to make."""
    if not part:
        return former
    new = {each.key: each for each in part}
    if len(new) > len(former) // 100:
        return tuple(sorted((*(each for each in former if each.key not in new), *new.values()), key=order))
    kept, firsts = list(former), list(map(attrgetter(first), former))
    places = {at for each in part for at in _places(firsts, getattr(each, first))}
    for at in sorted(places, reverse=True):
        if kept[at].key in new:
            del kept[at]
    for each in new.values():
        insort(kept, each, key=order)
    return tuple(kept)


def _places(values: list[str], value: str) -> Iterator[int]:
    """Where `value` stands, at the speed of C."""
    at = -1
    with suppress(ValueError):
        while True:
            at = values.index(value, at + 1)
            yield at


def removals(old: Inventory, new: Inventory) -> list[str]:
    """Labels of what `old` has and `new` lacks, in canonical order of kinds."""
    left = {each.label for each in objects(new)}
    return [each.label for each in objects(old) if each.label not in left]


def removal_guard(old: Inventory, new: Inventory, allow_removals: int | None = None) -> Finding | None:
    """Stops a change that removes more than 10 % of the sites or of the gateways, unless so many are allowed."""
    over: list[tuple[int, str]] = []
    for section, kind in SECTIONS.items():
        if kind in GUARDED:
            if getattr(old, section) is getattr(new, section):
                continue
            before = {each.key for each in getattr(old, section)}
            gone = len(before - {each.key for each in getattr(new, section)})
            if gone * 100 > len(before) * GUARD_PERCENT:
                over.append((gone, f"{gone} of {len(before)} {section}"))
    needed = max((gone for gone, _ in over), default=0)
    if needed <= (allow_removals or 0):
        return None
    what = " and ".join(text for _, text in over)
    return Finding(
        "fabric",
        "removals-guarded",
        f"this removes {what}, more than {GUARD_PERCENT} %: if that is meant, allow it with allow_removals {needed}"
        f" (--allow-removals {needed})",
    )


def diff(old: Inventory, new: Inventory) -> list[dict[str, Any]]:
    """[{"action": "add" | "change" | "remove", "object": label, "fields": {name: [old, new]}}], by kind and key.

    Values are as in the document; None is a field that is not set. `fields` of an added or removed
    object are empty: the label says it.
    """
    before = {each.label: each for each in objects(old)}
    after = {each.label: each for each in objects(new)}
    both = after | before
    found = []
    for label in sorted(both, key=lambda label: _place(both[label])):
        if label not in before:
            found.append({"action": "add", "object": label, "fields": {}})
        elif label not in after:
            found.append({"action": "remove", "object": label, "fields": {}})
        elif before[label] != after[label]:
            fields = _changed(plain(before[label]), plain(after[label]))
            found.append({"action": "change", "object": label, "fields": fields})
    return found


def rename(inventory: Inventory, kind: str, old: str, new: str) -> Inventory:
    """The same object under a new name, wherever it is referred to. Number and address stay.

    `kind` is a kind with a name ("site", "gateway", "rule", "fabric", ...) or "uplink" with `old` as GATEWAY/UPLINK.
    Raises InventoryRefused.
    """
    label = f"{kind} {old}"
    try:
        read_name(new)
    except Unreadable as error:
        raise InventoryRefused([Finding(label, error.code, error.message)]) from None
    if kind == "uplink":
        return _rename_uplink(inventory, old, new)
    if kind not in SPECS or SPECS[kind].key != ("name",):
        kinds = sorted(each for each, spec in SPECS.items() if spec.key == ("name",))
        raise InventoryRefused([Finding(label, "kind-unknown", f"{kind!r} has no name{closest(kind, kinds)}")])
    if kind == "fabric":
        if inventory.fabric is None or inventory.fabric.name != old:
            raise InventoryRefused([Finding(label, "object-unknown", "there is no such fabric")])
        return replace(inventory, fabric=replace(inventory.fabric, name=new))
    section = next(section for section, each in SECTIONS.items() if each == kind)
    _may_rename([each.name for each in getattr(inventory, section)], kind, old, new)
    if kind in ("gateway", "client", "lan-peer", "host"):
        # Tokens, sessions, reports and the segment's members know them by name alone.
        others = (*inventory.gateways, *inventory.clients, *inventory.lan_peers, *inventory.hosts)
        _may_rename([old, *(each.name for each in others)], kind, old, new)
    changed: dict[str, Any] = {
        each: tuple(_with_name(item, each, section, old, new) for item in getattr(inventory, each)) for each in SECTIONS
    }
    return replace(inventory, **changed)


def _with_name(item: Any, stands_in: str, section: str, old: str, new: str) -> Any:
    """`item` of section `stands_in`, when OLD of `section` is now NEW."""
    if stands_in == section:
        item = replace(item, name=new) if item.name == old else item
    return _referring(item, section, old, new)


def _referring(item: Any, section: str, old: str, new: str) -> Any:
    """`item` (an object, an uplink, or a match or viewer of a rule) with its references to OLD followed to NEW."""
    one, many = REFERENCES[section]
    changed: dict[str, Any] = {}
    for field in one:
        if getattr(item, field, None) == old:
            changed[field] = new
    for field in many:
        if old in (named := getattr(item, field, ())):
            changed[field] = tuple(sorted(new if each == old else each for each in named))
    for field in ("match", "viewer"):
        if (part := getattr(item, field, None)) is not None:
            changed[field] = _referring(part, section, old, new)
    if isinstance(item, Gateway):
        changed["uplinks"] = tuple(_referring(uplink, section, old, new) for uplink in item.uplinks)
    return replace(item, **changed) if changed else item


def _rename_uplink(inventory: Inventory, old: str, new: str) -> Inventory:
    owner, _, name = old.partition("/")
    found = [gateway for gateway in inventory.gateways if gateway.name == owner]
    _may_rename([uplink.name for gateway in found for uplink in gateway.uplinks], "uplink", name, new)
    gateways = tuple(
        replace(g, uplinks=tuple(replace(u, name=new) if u.name == name else u for u in g.uplinks))
        if g.name == owner
        else g
        for g in inventory.gateways
    )
    moons = tuple(
        replace(moon, uplink=new) if (moon.gateway, moon.uplink) == (owner, name) else moon for moon in inventory.moons
    )
    return replace(inventory, gateways=gateways, moons=moons)


def _may_rename(names: list[str], kind: str, old: str, new: str) -> None:
    if old not in names:
        message = f"there is no {kind} {old!r}{closest(old, names)}"
        raise InventoryRefused([Finding(f"{kind} {old}", "object-unknown", message)])
    if new in names and new != old:
        raise InventoryRefused([Finding(f"{kind} {old}", "name-taken", f"{new!r} exists already: choose another name")])


def _place(each: Object) -> tuple[Any, ...]:
    kinds = ["fabric", *SECTIONS.values()]
    return kinds.index(each.kind), order(each)


def _changed(old: dict[str, Any], new: dict[str, Any]) -> dict[str, list[Any]]:
    fields = [*old, *(field for field in new if field not in old)]
    return {field: [old.get(field), new.get(field)] for field in fields if old.get(field) != new.get(field)}
