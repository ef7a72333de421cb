"""Readers: one plain value (from JSON or YAML) -> one parsed value, or Unreadable with the way out.

Parse once, at the edge: behind this module there are only addresses, networks and numbers in range.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    NetmaskValueError,
    ip_address,
)
from reprlib import Repr
from typing import Any

from controller.inventory.model import (
    BFD_OFF,
    BFD_PRESETS,
    Address,
    BfdTimers,
    Network,
    Probe,
    Role,
)

Reader = Callable[[Any], Any]

MAX_TAGS = 32
MAX_TEXT = 255
RESERVED_ASNS = (0, 23456, 65535, 2**32 - 1)
_repr = Repr()
_repr.maxstring = _repr.maxother = 60
_repr.maxdict = _repr.maxlist = 3
_repr.maxlevel = 2
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)
_NODE_ID = re.compile(r"[0-9a-f]{10}", re.ASCII)
_BANDWIDTH = re.compile(r"([0-9]{1,9})([KMGT]?)", re.ASCII)
_ENDPOINT = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<four>[0-9.]+)):(?P<port>[0-9]{1,5})", re.ASCII)
_MASK = re.compile(r"[^/%]+/[0-9]{1,3}", re.ASCII)
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
MAX_BANDWIDTH = 10**14


class Unreadable(ValueError):
    """A value that is not what its field holds."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


@dataclass(frozen=True, slots=True)
class Parts:
    """Reads a field that is a mapping of fields itself. `document` says each fault of theirs, this one the first."""

    make: Callable[..., Any]
    readers: Mapping[str, Reader]

    def __call__(self, value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise Unreadable("field-type", f"must be a mapping of {', '.join(self.readers)}, not {shown(value)}")
        return self.make(**_mapping(value, self.readers))


class Unquoted(str):
    """The text of a YAML scalar that YAML reads as a number, where only its text can be meant."""

    __slots__ = ()


def shown(value: Any) -> str:
    """A value as messages print it: bounded, on one line."""
    if isinstance(value, str):
        return _repr.repr(str(value))
    if isinstance(value, int) and value.bit_length() > 128:
        return "a number of over 38 digits"
    return _repr.repr(value)


def closest(word: str, known: list[str]) -> str:
    """' (did you mean "x"?)', or a list of what is known when nothing is close."""
    near = get_close_matches(word[:64], known, 1, 0.6)
    if near:
        return f'; did you mean "{near[0]}"?'
    some = ", ".join(sorted(known)[:12]) + (", ..." if len(known) > 12 else "")
    return f"; known: {some}" if known else ""


def text(value: Any) -> str:
    if not isinstance(value, str) or isinstance(value, Unquoted):
        raise Unreadable("field-type", f"must be text, not {shown(value)}: put it in quotes")
    if len(value) > MAX_TEXT or not value.isprintable():
        raise Unreadable("field-type", f"{shown(value)} must be printable text of at most {MAX_TEXT} characters")
    return value


def name(value: Any) -> str:
    if not isinstance(value, str):
        raise Unreadable("field-type", f"must be a name, not {shown(value)}: put it in quotes")
    if not _NAME.fullmatch(value):
        raise Unreadable(
            "name-invalid",
            f"{shown(value)} is no name: use 1 to 63 of a-z, 0-9 and '-', beginning with a letter or a digit",
        )
    return value


def names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise Unreadable("field-type", f"must be a list of names, not {shown(value)}")
    return tuple(sorted({name(each) for each in value}))


def tags(value: Any) -> tuple[str, ...]:
    found = names(value)
    if len(found) > MAX_TAGS:
        raise Unreadable("number-range", f"{len(found)} tags; at most {MAX_TAGS} are possible")
    return found


def integer(least: int, most: int) -> Reader:
    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise Unreadable("field-type", f"must be a whole number, not {shown(value)}")
        if not least <= value <= most:
            raise Unreadable("number-range", f"{shown(value)} is out of range: use {least} to {most}")
        return value

    return read


def asn(value: Any) -> int:
    """RFC 7607 (0), RFC 6793 (23456), RFC 7300 (the last ones)."""
    if isinstance(value, int) and not isinstance(value, bool) and value in RESERVED_ASNS:
        raise Unreadable("asn-reserved", f"AS {value} is reserved: use another, say 64512 or 4200000000")
    number: int = integer(1, 2**32 - 2)(value)
    return number


def node_id(value: Any) -> str:
    if isinstance(value, Unquoted):
        raise Unreadable("node-id-unquoted", f'YAML reads {value} as a number: put it in quotes, "{value}"')
    if not isinstance(value, str):
        raise Unreadable(
            "node-id-unquoted",
            f"must be text, not the {type(value).__name__} {shown(value)}: put the node id in quotes",
        )
    if _NODE_ID.fullmatch(value):
        return value
    if _NODE_ID.fullmatch(value.lower()):
        raise Unreadable("node-id-invalid", f'"{value}" must be in lower case: "{value.lower()}"')
    raise Unreadable("node-id-invalid", f"{shown(value)} is no ZeroTier node id: 10 digits of 0-9 and a-f")


def interface(value: Any) -> str:
    """What Linux takes as a device name (dev_valid_name), in ASCII."""
    found = text(value)
    if not 1 <= len(found) <= 15 or found in (".", "..") or not found.isascii() or set(found) & set("/: "):
        raise Unreadable(
            "interface-invalid",
            f"{shown(value)} is no interface name: 1 to 15 characters without '/', ':' and space",
        )
    return found


def role(value: Any) -> Role:
    if value == "hub":
        return "hub"
    if value == "spoke":
        return "spoke"
    raise Unreadable("role-unknown", f"{shown(value)} is no role: use spoke or hub")


def boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Unreadable("field-type", f"must be true or false, not {shown(value)}")
    return value


def bandwidth(value: Any) -> int:
    """bit/s, from 100000000, "100M" or "1G"."""
    if isinstance(value, str) and (match := _BANDWIDTH.fullmatch(value)):
        value = int(match[1]) * _UNITS[match[2]]
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_BANDWIDTH:
        raise Unreadable(
            "bandwidth-invalid",
            f'{shown(value)} is no bandwidth: use bit/s, "100M", "1G" (K, M, G, T), up to 100T',
        )
    return value


def address4(value: Any) -> IPv4Address:
    try:
        return IPv4Address(_textual(value))
    except AddressValueError:
        raise Unreadable("address-invalid", f"{shown(value)} is no IPv4 address, such as 10.42.0.3") from None


def address6(value: Any) -> IPv6Address:
    try:
        found = IPv6Address(_textual(value))
    except AddressValueError:
        raise Unreadable("address-invalid", f"{shown(value)} is no IPv6 address, such as fd42:42::3") from None
    if found.scope_id is not None:
        raise Unreadable("address-invalid", f"{shown(value)} names a zone: an overlay address has none")
    return found


def network4(value: Any) -> IPv4Network:
    found = network(value)
    if not isinstance(found, IPv4Network):
        raise Unreadable("prefix-invalid", f"{found} is IPv6; an IPv4 prefix is meant here, such as 10.42.0.0/16")
    return found


def network6(value: Any) -> IPv6Network:
    found = network(value)
    if not isinstance(found, IPv6Network):
        raise Unreadable("prefix-invalid", f"{found} is IPv4; an IPv6 prefix is meant here, such as fd42:42::/64")
    return found


def network(value: Any) -> Network:
    written = _textual(value)
    kind = IPv6Network if ":" in written else IPv4Network
    if not _MASK.fullmatch(written):
        raise Unreadable("prefix-invalid", f"{shown(value)} is no prefix: write ADDRESS/LENGTH, such as 10.1.0.0/16")
    try:
        return kind(written)
    except (AddressValueError, NetmaskValueError):
        raise Unreadable(
            "prefix-invalid", f"{shown(value)} is no prefix: write ADDRESS/LENGTH, such as 10.1.0.0/16"
        ) from None
    except ValueError:  # Host bits: ipaddress has no class of its own for it.
        right = kind(written, strict=False)
        raise Unreadable(
            "prefix-host-bits", f"{shown(value)} has bits set behind its length: {right} is the prefix"
        ) from None


def address(value: Any) -> Address:
    """Of either family, in a LAN."""
    try:
        found = ip_address(_textual(value))
    except ValueError:
        message = f"{shown(value)} is no address, such as 10.1.0.254 or fd00:1::fe"
        raise Unreadable("address-invalid", message) from None
    if isinstance(found, IPv6Address) and found.scope_id is not None:
        raise Unreadable("address-invalid", f"{shown(value)} names a zone: use a global or unique local address")
    return found


def _textual(value: Any) -> str:
    if not isinstance(value, str):
        raise Unreadable("field-type", f"must be text, not {shown(value)}: put it in quotes")
    return str(value)


def bfd(value: Any) -> str | BfdTimers:
    """A preset, "off", or timers of the operator's own."""
    if isinstance(value, Mapping):
        found = _mapping(value, {"interval_ms": integer(10, 60_000), "multiplier": integer(2, 50)})
        if missing := {"interval_ms", "multiplier"} - found.keys():
            raise Unreadable("field-missing", f'"{min(missing)}" is missing: write {{interval_ms: 250, multiplier: 4}}')
        return BfdTimers(**found)
    if value == BFD_OFF or (isinstance(value, str) and value in BFD_PRESETS):
        return str(value)
    presets = ", ".join(f"{name} ({each.interval_ms} ms x {each.multiplier})" for name, each in BFD_PRESETS.items())
    raise Unreadable(
        "bfd-unknown",
        f'{shown(value)} is no preset: use {presets}, "{BFD_OFF}", or {{interval_ms: 250, multiplier: 4}}',
    )


def probe(value: Any) -> Probe:
    """{icmp: ADDRESS} or {tcp: "ADDRESS:PORT"}, with interval_ms and multiplier."""
    if not isinstance(value, Mapping):
        raise Unreadable("field-type", f"must be a mapping such as {{icmp: 10.1.0.10}}, not {shown(value)}")
    readers: dict[str, Reader] = {
        "icmp": lambda each: ("icmp", _target(each), 0),
        "tcp": lambda each: ("tcp", *_endpoint(each)),
        "interval_ms": integer(50, 60_000),
        "multiplier": integer(1, 50),
    }
    found = _mapping(value, readers)
    targets = [found.pop(kind) for kind in ("icmp", "tcp") if kind in found]
    if len(targets) != 1:
        raise Unreadable("probe-invalid", 'needs one target: either icmp: 10.1.0.10, or tcp: "10.1.0.10:80"')
    kind, at, port = targets[0]
    return Probe(kind, at, port, **found)


def _mapping(value: Mapping[Any, Any], readers: Mapping[str, Reader]) -> dict[str, Any]:
    """The fields of a value that is a mapping itself. null is a field that is left out, as everywhere."""
    found = {}
    for field, given in value.items():
        if field not in readers:
            raise Unreadable("field-unknown", f"unknown field {shown(field)}{closest(str(field), list(readers))}")
        if given is not None:
            try:
                found[field] = readers[field](given)
            except Unreadable as error:
                raise Unreadable(error.code, f"{field}: {error.message}") from None
    return found


def _target(value: Any) -> Address:
    """An address that one host of a LAN can have."""
    found = address(value)
    if found.is_unspecified or found.is_loopback or found.is_multicast or found.is_link_local:
        raise Unreadable("probe-invalid", f"{found} is no host of a LAN: probe one that answers, such as 10.1.0.10")
    return found


def _endpoint(value: Any) -> tuple[Address, int]:
    written = _textual(value)
    match = _ENDPOINT.fullmatch(written)
    if match is None or not 1 <= int(match["port"]) <= 65_535:
        example = '"10.1.0.10:80" or "[fd00:1::10]:80", with a port of 1 to 65535'
        raise Unreadable("probe-invalid", f"{shown(value)} is no ADDRESS:PORT: write {example}")
    return _target(match["six"] or match["four"]), int(match["port"])
