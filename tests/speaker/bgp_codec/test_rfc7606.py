"""Every attribute broken in turn, and what RFC 7606 says becomes of the UPDATE.

The table is written from section 7 of the RFC, not from the code: `flags code value` in hex, the
outcome, and words that the fault must hold.
"""

from __future__ import annotations

import pytest

from speaker.bgp.decode import Decoder
from speaker.bgp.negotiated import Negotiated
from speaker.bgp.path_attributes import RULES
from speaker.bgp.wire import SessionReset
from speaker.rib.prefix import Family
from tests.speaker.bgp_codec.build import (
    AS_PATH,
    BASE,
    LOCAL_PREF,
    NEXT_HOP,
    ORIGIN,
    PLAIN,
    PREFIX,
    PREFIX6,
    announced_keys,
    attribute,
    body,
    decode,
    mp_reach,
    mp_unreach,
    withdrawn_keys,
)

# fmt: off
BROKEN = [
    # 7.1 ORIGIN
    ("40 01", "",               "withdraw", "ORIGIN: length 0"),
    ("40 01", "0000",           "withdraw", "ORIGIN: length 2"),
    ("40 01", "03",             "withdraw", "ORIGIN: value 3 is undefined"),
    ("c0 01", "00",             "withdraw", "ORIGIN: flags 0xc0 instead of 0x40"),
    # 7.2 AS_PATH
    ("40 02", "05010000fde8",   "withdraw", "AS_PATH: segment type 5 is undefined"),
    ("40 02", "00010000fde8",   "withdraw", "AS_PATH: segment type 0 is undefined"),
    ("40 02", "02020000fde8",   "withdraw", "AS_PATH: a segment of 2 AS numbers is cut off"),
    ("40 02", "02010000fde802", "withdraw", "AS_PATH: one octet is left after the last segment"),
    ("40 02", "0200",           "withdraw", "AS_PATH: a segment is empty"),
    ("80 02", "",               "withdraw", "AS_PATH: flags 0x80 instead of 0x40"),
    # 7.3 NEXT_HOP; a value that is no host's is RFC 4271 6.3
    ("40 03", "",               "withdraw", "NEXT_HOP: length 0"),
    ("40 03", "0a2a00",         "withdraw", "NEXT_HOP: length 3"),
    ("40 03", "0a2a000300",     "withdraw", "NEXT_HOP: length 5"),
    ("40 03", "00000000",       "withdraw", "NEXT_HOP: 0.0.0.0 is no host's address"),
    ("40 03", "7f000001",       "withdraw", "NEXT_HOP: 127.0.0.1 is no host's address"),
    ("40 03", "e0000001",       "withdraw", "NEXT_HOP: 224.0.0.1 is no host's address"),
    ("c0 03", "0a2a0003",       "withdraw", "NEXT_HOP: flags"),
    # 7.4 MULTI_EXIT_DISC
    ("80 04", "",               "withdraw", "MULTI_EXIT_DISC: length 0"),
    ("80 04", "000001",         "withdraw", "MULTI_EXIT_DISC: length 3"),
    ("c0 04", "00000001",       "withdraw", "MULTI_EXIT_DISC: flags"),
    # 7.5 LOCAL_PREF
    ("40 05", "",               "withdraw", "LOCAL_PREF: length 0"),
    ("40 05", "0000000001",     "withdraw", "LOCAL_PREF: length 5"),
    ("c0 05", "00000001",       "withdraw", "LOCAL_PREF: flags"),
    # 7.6 ATOMIC_AGGREGATE
    ("40 06", "00",             "discard",  "ATOMIC_AGGREGATE: length 1"),
    ("c0 06", "",               "withdraw", "ATOMIC_AGGREGATE: flags"),
    # 7.7 AGGREGATOR
    ("c0 07", "",               "discard",  "AGGREGATOR: length 0"),
    ("c0 07", "fde80a2a0001",   "discard",  "AGGREGATOR: length 6"),
    ("40 07", "0000fde80a2a0001", "withdraw", "AGGREGATOR: flags"),
    # 7.8 COMMUNITIES
    ("c0 08", "",               "withdraw", "COMMUNITIES: length 0"),
    ("c0 08", "ffff00",         "withdraw", "COMMUNITIES: length 3"),
    ("80 08", "ffff0000",       "withdraw", "COMMUNITIES: flags"),
    # 7.9 ORIGINATOR_ID
    ("80 09", "",               "withdraw", "ORIGINATOR_ID: length 0"),
    ("80 09", "0a2a0003ff",     "withdraw", "ORIGINATOR_ID: length 5"),
    ("c0 09", "0a2a0003",       "withdraw", "ORIGINATOR_ID: flags"),
    # 7.10 CLUSTER_LIST
    ("80 0a", "",               "withdraw", "CLUSTER_LIST: length 0"),
    ("80 0a", "0a2a0003ff",     "withdraw", "CLUSTER_LIST: length 5"),
    ("40 0a", "0a2a0003",       "withdraw", "CLUSTER_LIST: flags"),
    # 7.14 EXTENDED_COMMUNITIES
    ("c0 10", "",               "withdraw", "EXTENDED_COMMUNITIES: length 0"),
    ("c0 10", "4004fc004b3ebc", "withdraw", "EXTENDED_COMMUNITIES: length 7"),
    ("80 10", "4004fc004b3ebc20", "withdraw", "EXTENDED_COMMUNITIES: flags"),
    # RFC 6793 6
    ("c0 11", "",               "discard",  "AS4_PATH: length 0"),
    ("c0 11", "05010000fde8",   "discard",  "AS4_PATH: segment type 5 is undefined"),
    ("c0 11", "02020000fde8",   "discard",  "AS4_PATH: a segment of 2 AS numbers is cut off"),
    ("80 11", "02010000fde8",   "withdraw", "AS4_PATH: flags"),
    ("c0 12", "fde80a2a0001",   "discard",  "AS4_AGGREGATOR: length 6"),
    ("40 12", "0000fde80a2a0001", "withdraw", "AS4_AGGREGATOR: flags"),
    # RFC 8092 5
    ("c0 20", "",               "withdraw", "LARGE_COMMUNITY: length 0"),
    ("c0 20", "0000fc0000000001000001", "withdraw", "LARGE_COMMUNITY: length 11"),
    ("80 20", "0000fc000000000100000001", "withdraw", "LARGE_COMMUNITY: flags"),
    # RFC 4271 6.3: unrecognised, and not optional
    ("40 63", "00",             "withdraw", "attribute 99: well-known by its flags, but unknown"),
]
SOUND = {
    1: "00", 2: "02010000fde8", 3: "0a2a0003", 4: "00000064", 5: "000000d2", 6: "", 7: "0000fde80a2a0001",
    8: "ffff0000", 9: "0a2a0003", 10: "0a2a0001", 16: "4004fc004b3ebc20", 17: "02010000fde8",
    18: "0000fde80a2a0001", 32: "0000fc000000000100000001",
}
# fmt: on


def sound(code: int) -> bytes:
    return attribute(RULES[True][code].flags, code, bytes.fromhex(SOUND[code]))


def with_in_place(code: int, octets: bytes) -> list[bytes]:
    """The mandatory attributes with `octets` instead of, or beside, that of the code."""
    return [own for own in BASE if own[1] != code] + [octets]


@pytest.mark.parametrize(("header", "value", "outcome", "words"), BROKEN, ids=[row[3] for row in BROKEN])
def test_broken_value(header: str, value: str, outcome: str, words: str) -> None:
    flags, code = bytes.fromhex(header)
    update = decode(body(with_in_place(code, attribute(flags, code, bytes.fromhex(value)))))
    assert [words in fault for fault in update.faults] == [True]
    if outcome == "withdraw":
        assert (withdrawn_keys(update), announced_keys(update)) == ([PREFIX], [])
        assert update.faults[0].endswith("prefixes treated as withdrawn")
    else:
        assert (withdrawn_keys(update), announced_keys(update)) == ([], [PREFIX])
        assert update.faults[0].endswith("attribute discarded")
        assert update.announced[0][3] == decode(body()).announced[0][3]


def test_the_table_of_this_test_covers_the_table_of_the_codec() -> None:
    broken = {bytes.fromhex(header)[1] for header, *_ in BROKEN}
    assert broken >= RULES[True].keys() == SOUND.keys()


@pytest.mark.parametrize("code", SOUND)
def test_sound(code: int) -> None:
    update = decode(body(with_in_place(code, sound(code))))
    assert (announced_keys(update), update.faults) == ([PREFIX], [])


@pytest.mark.parametrize("flag", [0x10, 0x20, 0x0F], ids=["extended length", "partial", "unused bits"])
@pytest.mark.parametrize("code", SOUND)
def test_flags_that_do_not_count(code: int, flag: int) -> None:
    flags = RULES[True][code].flags | flag
    update = decode(body(with_in_place(code, attribute(flags, code, bytes.fromhex(SOUND[code])))))
    assert (announced_keys(update), update.faults) == ([PREFIX], [])


@pytest.mark.parametrize("code", SOUND)
def test_repeated(code: int) -> None:
    """RFC 7606 3 g: all but the first are discarded, even when they are malformed."""
    once = decode(body(with_in_place(code, sound(code))))
    again = decode(body([*with_in_place(code, sound(code)), attribute(0xF0, code, b"\0" * 9)]))
    assert again.announced == once.announced
    assert again.faults == [f"{RULES[True][code].name}: repeated: the first one counts"]


def test_repeated_and_unknown() -> None:
    update = decode(body([*BASE, attribute(0xC0, 99, b"1"), attribute(0xC0, 99, b"2")]))
    assert update.announced[0][3].unknown == ((0xC0, 99, b"1"),)
    assert update.faults == ["attribute 99: repeated: the first one counts"]


@pytest.mark.parametrize("code", SOUND)
def test_cut_off(code: int) -> None:
    """RFC 7606 4: the last attribute claims more than there is; the prefixes behind it are found and withdrawn."""
    lying = attribute(RULES[True][code].flags, code, bytes.fromhex(SOUND[code]), length=200)
    update = decode(body([*(own for own in BASE if own[1] != code), lying]))
    assert (withdrawn_keys(update), announced_keys(update)) == ([PREFIX], [])
    assert f"attribute {code} is longer than what is left" in update.faults[0]


@pytest.mark.parametrize("rest", ["40", "4001", "500100"])
def test_too_little_for_an_attribute(rest: str) -> None:
    update = decode(body([*BASE, bytes.fromhex(rest)]))
    assert withdrawn_keys(update) == [PREFIX]
    assert "too few for an attribute" in update.faults[0]


@pytest.mark.parametrize(
    ("missing", "name"), [(ORIGIN, "ORIGIN"), (AS_PATH, "AS_PATH"), (NEXT_HOP, "NEXT_HOP"), (LOCAL_PREF, "LOCAL_PREF")]
)
def test_missing(missing: bytes, name: str) -> None:
    update = decode(body(own for own in BASE if own != missing))
    assert withdrawn_keys(update) == [PREFIX]
    assert update.faults == [f"{name}: missing: prefixes treated as withdrawn"]


def test_all_that_is_missing_is_named() -> None:
    assert [fault.split(":")[0] for fault in decode(body([])).faults] == ["ORIGIN", "AS_PATH", "LOCAL_PREF", "NEXT_HOP"]


def test_next_hop_is_not_missed_beside_mp_reach() -> None:
    update = decode(body([mp_reach(), ORIGIN, AS_PATH, LOCAL_PREF], announced=b""))
    assert (announced_keys(update), update.faults) == ([PREFIX6], [])


def test_local_pref_is_not_missed_on_ebgp() -> None:
    assert decode(body([ORIGIN, AS_PATH, NEXT_HOP]), ibgp=False).faults == []


def test_a_malformed_attribute_takes_all_prefixes_of_its_message() -> None:
    update = decode(body([mp_reach(), AS_PATH, NEXT_HOP, LOCAL_PREF, attribute(0x40, 1, b"\7")]))
    assert sorted(withdrawn_keys(update)) == sorted([PREFIX, PREFIX6])
    assert update.faults == ["ORIGIN: value 7 is undefined: prefixes treated as withdrawn"]


def test_the_worst_of_several_faults_counts() -> None:
    """RFC 7606 3 h."""
    update = decode(body([*BASE, attribute(0xC0, 7, b""), attribute(0xC0, 8, b"")]))
    assert withdrawn_keys(update) == [PREFIX]
    assert len(update.faults) == 2


@pytest.mark.parametrize("multiprotocol", [mp_reach(flags=0xC0), mp_unreach(flags=0x40)], ids=["reach", "unreach"])
def test_multiprotocol_with_wrong_flags(multiprotocol: bytes) -> None:
    update = decode(body([multiprotocol, *BASE]))
    assert sorted(withdrawn_keys(update)) == sorted([PREFIX, PREFIX6])
    assert update.announced == []
    assert "instead of 0x80: prefixes treated as withdrawn" in update.faults[0]


@pytest.mark.parametrize("next_hop", ["00" * 16, "00" * 15 + "01", "ff02" + "00" * 14], ids=["::", "::1", "ff02::"])
def test_multiprotocol_next_hop_that_is_no_host(next_hop: str) -> None:
    """Only its own prefixes: the classic ones of the message have a next hop of theirs."""
    update = decode(body([mp_reach(next_hop=next_hop), *BASE]))
    assert (withdrawn_keys(update), announced_keys(update)) == ([PREFIX6], [PREFIX])
    assert "is no host's address" in update.faults[0]


# fmt: off
RESETS = [
    ("withdrawn length",        bytes.fromhex("0005 0000"), (3, 1)),
    ("attribute length",        bytes.fromhex("0000 0001"), (3, 1)),
    ("nothing at all",          b"", (3, 1)),
    ("half a length",           bytes.fromhex("000000"), (3, 1)),
    ("prefix too long",         body(announced=bytes.fromhex("210a00010180")), (3, 10)),
    ("prefix cut off",          body(announced=bytes.fromhex("180a00")), (3, 10)),
    ("withdrawn cut off",       body(withdrawn=bytes.fromhex("200a00")), (3, 10)),
    ("IPv6 prefix too long",    body([mp_reach(b"\x81" + bytes(17)), *BASE], b""), (3, 10)),
    ("IPv6 withdrawn cut off",  body([mp_unreach(b"\x40\xfd")], b""), (3, 10)),
    ("MP_REACH repeated",       body([mp_reach(), mp_reach(), *BASE]), (3, 1)),
    ("MP_UNREACH repeated",     body([mp_unreach(), mp_unreach()], b""), (3, 1)),
    ("MP_REACH longer than all", body([*BASE, attribute(0x80, 14, bytes(5), length=99)]), (3, 1)),
    ("MP_REACH of 4 octets",    body([attribute(0x80, 14, bytes.fromhex("00020100")), *BASE], b""), (3, 9)),
    ("MP_UNREACH of 2 octets",  body([attribute(0x80, 15, b"\0\2")], b""), (3, 9)),
    ("next hop of 0 octets",    body([mp_reach(next_hop=""), *BASE], b""), (3, 9)),
    ("next hop of 4 octets",    body([mp_reach(next_hop="0a2a0003"), *BASE], b""), (3, 9)),
    ("next hop cut off",        body([attribute(0x80, 14, b"\0\2\1\x10" + bytes(15)), *BASE], b""), (3, 9)),
    ("malformed, no prefixes",  body([attribute(0x40, 1, b"\7")], b""), (3, 1)),
    ("malformed, no reachable prefixes", body([mp_unreach(), attribute(0x40, 1, b"\7")], b""), (3, 1)),
]
# fmt: on


@pytest.mark.parametrize(("octets", "code"), [row[1:] for row in RESETS], ids=[row[0] for row in RESETS])
def test_reset_only_when_prefixes_cannot_be_found(octets: bytes, code: tuple[int, int]) -> None:
    with pytest.raises(SessionReset) as reset:
        decode(octets)
    assert (reset.value.code, reset.value.subcode) == code
    assert reset.value.text


@pytest.mark.parametrize("octets", ["00000001", "0000000118", "000000011821"])
def test_reset_when_a_path_id_or_its_prefix_is_cut_off(octets: str) -> None:
    negotiated = Negotiated(add_path_receive=frozenset({Family.IPV4}))
    with pytest.raises(SessionReset, match="NLRI: "):
        decode(body(announced=bytes.fromhex(octets)), negotiated=negotiated)


def test_attributes_without_prefixes_and_without_faults_say_nothing() -> None:
    update = decode(body(announced=b""))
    assert (update.announced, update.withdrawn, update.end_of_rib, update.faults) == ([], [], None, [])


def test_discarded_attributes_without_prefixes_reset_nothing() -> None:
    """RFC 7606 5.2."""
    assert decode(body([attribute(0xC0, 7, b"")], b"")).faults == ["AGGREGATOR: length 0: attribute discarded"]


@pytest.mark.parametrize("bad", [b"\x40", attribute(0x40, 1, b"\7")], ids=["cut off", "malformed"])
def test_a_family_that_was_not_negotiated_changes_nothing_of_this(bad: bytes) -> None:
    negotiated = Negotiated(families=frozenset({Family.IPV6}))
    update = decode(body([mp_reach(), *BASE[1:], bad]), negotiated=negotiated)
    assert (withdrawn_keys(update), announced_keys(update)) == ([PREFIX6], [])
    assert "NLRI: ipv4 was not negotiated: its prefixes are ignored" in update.faults


def test_faults_are_told_every_time_also_from_the_cache() -> None:
    decoder = Decoder(PLAIN, ibgp=True)
    octets = body([*BASE, attribute(0xC0, 7, b"")])
    octets6 = body([mp_reach(), *BASE, attribute(0xC0, 7, b"")], b"")
    told = [decoder.decode(each).faults for each in (octets, octets6, octets, octets6)]
    assert told == [["AGGREGATOR: length 0: attribute discarded"]] * 4
