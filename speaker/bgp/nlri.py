"""Fields of prefixes: the loop that every route passes through (RFC 4271 4.3, RFC 7911 3).

A prefix stays what it is on the wire, a slice of the message: see speaker/rib/prefix.py.
"""

from __future__ import annotations

from speaker.rib.prefix import Family, Key

_TOO_LONG = 1 << 20  # An impossible prefix length: jumps past the end of any field, which the loop notices.

Group = tuple[int, list[Key]]


def _octets(family: Family) -> tuple[int, ...]:
    """Octets of a prefix on the wire, by its length octet."""
    return tuple(1 + (length + 7) // 8 if length <= family.bits else _TOO_LONG for length in range(256))


_OCTETS = {family: _octets(family) for family in Family}
_HOST_BITS = tuple(0xFF >> length % 8 if length % 8 else 0 for length in range(256))
"""The bits of a prefix's last octet that are no part of it, by its length octet."""


class Unparsable(ValueError):
    """The field is no list of prefixes (RFC 7606 5.3)."""


def read_prefixes(field: bytes, family: Family, add_path: bool) -> list[Group]:
    """Prefixes by consecutive equal path id (0 without ADD-PATH), host bits zeroed.

    Raises Unparsable when a prefix is longer than its family allows or the last one is cut off.
    """
    if not field:
        return []
    lead = 4 if add_path else 0
    uniform = _uniform(field, _OCTETS[family], lead)
    if uniform is not None:
        return [(int.from_bytes(field[:lead], "big"), uniform)]
    try:
        return _with_path_ids(field, family) if add_path else [(0, _plain(field, family))]
    except IndexError:
        raise Unparsable("it ends within a path id") from None


def _uniform(field: bytes, octets: tuple[int, ...], lead: int) -> list[Key] | None:
    """The prefixes of a field where all have one path id and one length, in whole octets; None for any other.

    Such fields are the most common and take a quarter of the time here. `lead`: octets of a path id.
    """
    if len(field) <= lead or field[lead] % 8:
        return None
    step = lead + octets[field[lead]]
    count, rest = divmod(len(field), step)
    if rest or any(field[at::step] != field[at : at + 1] * count for at in range(lead, -1, -1)):
        return None
    return [field[at : at + step - lead] for at in range(lead, len(field), step)]


def _plain(field: bytes, family: Family) -> list[Key]:
    octets, host_bits = _OCTETS[family], _HOST_BITS
    keys: list[Key] = []
    append = keys.append
    at, end = 0, len(field)
    while at < end:
        length = field[at]
        stop = at + octets[length]
        key = field[at:stop]
        spare = host_bits[length]
        if spare and key[-1] & spare:
            key = _canonical(key)
        append(key)
        at = stop
    if at != end:
        raise Unparsable(_reason(keys[-1], family))
    return keys


def _with_path_ids(field: bytes, family: Family) -> list[Group]:
    octets, host_bits = _OCTETS[family], _HOST_BITS
    groups: list[Group] = []
    path_id = b""
    keys: list[Key] = []
    append = keys.append
    start, end = 0, len(field)
    while start < end:
        at = start + 4
        if field[start:at] != path_id:
            path_id = field[start:at]
            keys = []
            append = keys.append
            groups.append((int.from_bytes(path_id, "big"), keys))
        length = field[at]
        start = at + octets[length]
        key = field[at:start]
        spare = host_bits[length]
        if spare and key[-1] & spare:
            key = _canonical(key)
        append(key)
    if start != end:
        raise Unparsable(_reason(keys[-1], family))
    return groups


def _canonical(key: Key) -> Key:
    """Host bits zeroed. A prefix that is cut off (refused by the caller, a little later) keeps its length octet."""
    return key[:-1] + bytes((key[-1] & ~_HOST_BITS[key[0]],)) if len(key) > 1 else key


def _reason(key: Key, family: Family) -> str:
    if key[0] > family.bits:
        return f"prefix length {key[0]}, more than {family.bits}"
    return f"its last prefix (length {key[0]}) is cut off"
