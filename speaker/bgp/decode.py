"""UPDATE messages into Updates (RFC 4271 4.3), with the error handling of RFC 7606.

A malformed attribute costs at most the prefixes of its message. Only when the prefixes cannot be
found is SessionReset raised, and nothing else ever is, whatever the bytes.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from speaker.bgp.attribute_field import mp_flags_fault, parse, split
from speaker.bgp.negotiated import Negotiated
from speaker.bgp.nlri import Group, Unparsable, read_prefixes
from speaker.bgp.path_attributes import MP_NAMES, MP_REACH_NLRI, MP_UNREACH_NLRI, RULES, Treatment, is_host
from speaker.bgp.wire import (
    FAMILY_OF,
    INVALID_NETWORK_FIELD,
    MALFORMED_ATTRIBUTE_LIST,
    OPTIONAL_ATTRIBUTE_ERROR,
    UPDATE_ERROR,
    SessionReset,
)
from speaker.rib.attributes import Attributes
from speaker.rib.path import Update
from speaker.rib.prefix import Family

CACHED_ATTRIBUTE_SETS = 4096
"""Attribute sets that a decoder remembers, per way of encoding; the oldest is forgotten first."""

_NEXT_HOP_OCTETS = {Family.IPV4: (4,), Family.IPV6: (16, 32)}  # 32: global and link-local (RFC 2545 3).

K = TypeVar("K")


class Decoder:
    """Decodes the UPDATEs of one session. Equal attribute bytes give the identical Attributes."""

    def __init__(self, negotiated: Negotiated, ibgp: bool) -> None:
        self._negotiated = negotiated
        self._ibgp = ibgp
        self._rules = RULES[negotiated.as4]
        self._mandatory = {"origin": "ORIGIN", "as_path": "AS_PATH"} | ({"local_pref": "LOCAL_PREF"} if ibgp else {})
        self._classic: dict[bytes, _Verdict] = {}  # By whole fields without MP attributes: a hit needs no walk.
        self._multiprotocol: dict[tuple[bytes, bytes], _Verdict] = {}  # By the other attributes and the next hop.

    def decode(self, body: bytes) -> Update:
        """The UPDATE whose octets after the 19 of its header are `body`.

        A prefix that is both withdrawn and announced under one path id counts as announced (RFC 4271 4.3):
        apply `withdrawn` first. Raises SessionReset only.
        """
        withdrawn, field, announced = _fields(body)
        update = Update()
        if withdrawn:
            self._withdraw(update, Family.IPV4, withdrawn, "WITHDRAWN ROUTES")
        if announced and (verdict := self._classic.get(field)):
            self._announce(update, Family.IPV4, announced, verdict, "NLRI")
        elif field or announced:
            self._uncached(update, field, announced)
        elif not withdrawn and Family.IPV4 in self._negotiated.families:
            update.end_of_rib = Family.IPV4
        return update

    def _uncached(self, update: Update, field: bytes, announced: bytes) -> None:
        rest, multiprotocol = split(field)
        reach, unreach = multiprotocol.get(MP_REACH_NLRI), multiprotocol.get(MP_UNREACH_NLRI)
        if unreach:
            alone = not (rest or reach or announced or update.withdrawn)
            self._mp_unreach(update, unreach.value, alone)
        if announced:
            verdict = self._judge(rest, None)
            if not multiprotocol:
                _remember(self._classic, field, verdict)
            self._announce(update, Family.IPV4, announced, verdict, "NLRI")
        if reach:
            self._mp_reach(update, reach.value, rest)
        elif rest and not announced:
            self._without_prefixes(update, rest)
        if faults := [fault for item in multiprotocol.values() if (fault := mp_flags_fault(item))]:
            update.faults += faults
            update.withdrawn += [(family, path_id, keys) for family, path_id, keys, _ in update.announced]
            update.announced.clear()

    def _mp_reach(self, update: Update, value: bytes, rest: bytes) -> None:
        """RFC 4760 3, RFC 7606 7.11: without a sound next hop length the prefixes cannot be found."""
        family = self._family(update, MP_REACH_NLRI, value, shortest=5)
        if family is None:
            return
        octets = value[3]
        if octets not in _NEXT_HOP_OCTETS[family] or len(value) < 5 + octets:
            text = f"MP_REACH_NLRI for {family.value}: next hop of {octets} octets"
            raise SessionReset(UPDATE_ERROR, OPTIONAL_ATTRIBUTE_ERROR, text)
        next_hop, announced = value[4 : 4 + min(octets, 16)], value[5 + octets :]
        key = (rest, next_hop)
        verdict = self._multiprotocol.get(key) or _remember(self._multiprotocol, key, self._judge(rest, next_hop))
        self._announce(update, family, announced, verdict, "MP_REACH_NLRI")

    def _mp_unreach(self, update: Update, value: bytes, alone: bool) -> None:
        family = self._family(update, MP_UNREACH_NLRI, value, shortest=3)
        if family is None:
            return
        if len(value) == 3 and alone:
            update.end_of_rib = family
        self._withdraw(update, family, value[3:], "MP_UNREACH_NLRI")

    def _family(self, update: Update, code: int, value: bytes, shortest: int) -> Family | None:
        name = MP_NAMES[code]
        if len(value) < shortest:
            raise SessionReset(UPDATE_ERROR, OPTIONAL_ATTRIBUTE_ERROR, f"{name}: length {len(value)}")
        afi, safi = int.from_bytes(value[:2], "big"), value[2]
        family = FAMILY_OF.get((afi, safi))
        if family in self._negotiated.families:
            return family
        update.faults.append(f"{name}: AFI {afi} SAFI {safi} was not negotiated: its prefixes are ignored")
        return None

    def _withdraw(self, update: Update, family: Family, prefixes: bytes, name: str) -> None:
        for path_id, keys in self._prefixes(update, family, prefixes, name):
            update.withdrawn.append((family, path_id, keys))

    def _announce(self, update: Update, family: Family, prefixes: bytes, verdict: _Verdict, name: str) -> None:
        attributes, faults = verdict
        groups = self._prefixes(update, family, prefixes, name)
        if attributes is None:
            update.withdrawn += [(family, path_id, keys) for path_id, keys in groups]
        else:
            update.announced += [(family, path_id, keys, attributes) for path_id, keys in groups]
        if faults:
            update.faults += [fault for fault in faults if fault not in update.faults]

    def _prefixes(self, update: Update, family: Family, prefixes: bytes, name: str) -> list[Group]:
        negotiated = self._negotiated
        try:
            groups = read_prefixes(prefixes, family, family in negotiated.add_path_receive)
        except Unparsable as error:
            raise SessionReset(UPDATE_ERROR, INVALID_NETWORK_FIELD, f"{name}: {error}") from None
        if family not in negotiated.families:
            update.faults.append(f"{name}: {family.value} was not negotiated: its prefixes are ignored")
            return []
        return groups

    def _without_prefixes(self, update: Update, rest: bytes) -> None:
        """Attributes of nothing. When they are malformed, the prefixes may be hidden in them (RFC 7606 5.2)."""
        parsed = parse(rest, self._rules, self._ibgp)
        if parsed.malformed:
            text = f"no prefixes are found, and {'; '.join(parsed.faults)}"
            raise SessionReset(UPDATE_ERROR, MALFORMED_ATTRIBUTE_LIST, text)
        update.faults += parsed.faults

    def _judge(self, rest: bytes, next_hop: bytes | None) -> _Verdict:
        """Attributes for the prefixes of one field: `next_hop` is that of MP_REACH_NLRI, None for classic prefixes."""
        parsed = parse(rest, self._rules, self._ibgp)
        if next_hop is None:
            parsed.require(self._mandatory | {"next_hop": "NEXT_HOP"})
        else:
            parsed.require(self._mandatory)
            parsed.values["next_hop"] = next_hop  # A NEXT_HOP attribute beside it is ignored (RFC 4760 3).
            if not is_host(next_hop):
                parsed.blame("MP_REACH_NLRI", f"next hop {next_hop.hex()} is no host's address", Treatment.WITHDRAW)
        attributes = None if parsed.malformed else parsed.attributes(self._negotiated.as4)
        return _Verdict(attributes, tuple(parsed.faults))


class _Verdict(NamedTuple):
    attributes: Attributes | None  # None: what is announced with them is treated as withdrawn.
    faults: tuple[str, ...]


def _fields(body: bytes) -> tuple[bytes, bytes, bytes]:
    """Withdrawn routes, path attributes, prefixes (RFC 4271 4.3)."""
    end = 2 + int.from_bytes(body[:2], "big")
    start = end + 2
    stop = start + int.from_bytes(body[end:start], "big")
    if start > len(body) or stop > len(body):
        text = f"the lengths of withdrawn routes or path attributes exceed the message of {len(body)} octets"
        raise SessionReset(UPDATE_ERROR, MALFORMED_ATTRIBUTE_LIST, text)
    return body[2:end], body[start:stop], body[stop:]


def _remember(cache: dict[K, _Verdict], key: K, verdict: _Verdict) -> _Verdict:
    if len(cache) >= CACHED_ATTRIBUTE_SETS:
        del cache[next(iter(cache))]
    cache[key] = verdict
    return verdict
