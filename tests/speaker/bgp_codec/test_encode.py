"""What the encoder promises beside the round trip: order, sizes, what stays out, what cannot be sent."""

from __future__ import annotations

from dataclasses import replace

import pytest

from speaker.bgp import decode as decode_module
from speaker.bgp import encode as encode_module
from speaker.bgp.decode import Decoder
from speaker.bgp.encode import attribute_octets, encode_updates
from speaker.bgp.negotiated import Negotiated
from speaker.bgp.wire import end_of_rib, notification, route_refresh
from speaker.rib.attributes import AS_SEQUENCE, Attributes
from speaker.rib.prefix import Family
from tests.speaker.bgp_codec.build import (
    ADD_PATH,
    BASE,
    PLAIN,
    PREFIX,
    PREFIX6,
    announced_keys,
    body,
    decode,
    mp_reach,
    mp_unreach,
    withdrawn_keys,
)

HOP = bytes((10, 42, 0, 3))
HOP6 = bytes.fromhex("fd420042000000000000000000000003")
ROUTE = Attributes(next_hop=HOP, local_pref=210)


def test_the_bytes_of_a_route() -> None:
    [octets] = encode_updates(Family.IPV4, PLAIN, [], [(3, ROUTE, [PREFIX])])
    assert octets[19:] == body(BASE)


def test_the_bytes_of_an_ipv6_route() -> None:
    """MP_REACH_NLRI is the first attribute (RFC 7606 5.1) and NEXT_HOP is left out."""
    [octets] = encode_updates(Family.IPV6, PLAIN, [], [(3, replace(ROUTE, next_hop=HOP6), [PREFIX6])])
    reach = mp_reach()
    assert octets[19:] == body([b"\x90\x0e\0" + reach[2:], BASE[0], BASE[1], BASE[3]], b"")


def test_new_paths_come_before_old_ones_go() -> None:
    messages = encode_updates(Family.IPV4, ADD_PATH, [(1, [PREFIX])], [(2, ROUTE, [PREFIX])])
    updates = [Decoder(ADD_PATH, ibgp=True).decode(each[19:]) for each in messages]
    assert [bool(update.announced) for update in updates] == [True, False]


def test_without_add_path_withdrawals_come_first() -> None:
    """A later withdrawal would take the prefix back, whatever path it was meant for."""
    messages = encode_updates(Family.IPV4, PLAIN, [(1, [PREFIX])], [(2, ROUTE, [PREFIX])])
    assert [bool(decode(each[19:]).announced) for each in messages] == [False, True]


def test_paths_with_one_attribute_set_share_a_message() -> None:
    groups = [(number, ROUTE, [PREFIX]) for number in range(5)]
    [octets] = encode_updates(Family.IPV4, ADD_PATH, [], groups)
    update = Decoder(ADD_PATH, ibgp=True).decode(octets[19:])
    assert [path_id for _, path_id, _, _ in update.announced] == [0, 1, 2, 3, 4]


def test_nothing_to_say_is_no_message() -> None:
    assert encode_updates(Family.IPV4, ADD_PATH, [], []) == []
    assert encode_updates(Family.IPV6, ADD_PATH, [(1, [])], [(1, replace(ROUTE, next_hop=HOP6), [])]) == []


def test_messages_are_full() -> None:
    keys = [bytes((24, 10, number >> 8, number & 255)) for number in range(5000)]
    sizes = [len(octets) for octets in encode_updates(Family.IPV4, ADD_PATH, [], [(1, ROUTE, keys)])]
    assert max(sizes) <= 4096
    assert min(sizes[:-1]) > 4096 - 8


@pytest.mark.parametrize("add_path", [True, False])
def test_groups_fill_messages_to_the_last_octet_and_no_further(add_path: bool) -> None:
    """Groups of one prefix each, of all lengths, so that pieces of every size meet the end of a message."""
    keys = [bytes((number % 33, *bytes(4)[: (number % 33 + 7) // 8])) for number in range(5000)]
    session = ADD_PATH if add_path else PLAIN
    for messages in (
        encode_updates(Family.IPV4, session, [(7, [key]) for key in keys], []),
        encode_updates(Family.IPV4, session, [], [(7, ROUTE, [key]) for key in keys]),
    ):
        assert {len(octets) for octets in messages[:-1]} <= set(range(4088, 4097))
        updates = [Decoder(session, ibgp=True).decode(octets[19:]) for octets in messages]
        assert [key for update in updates for key in withdrawn_keys(update) + announced_keys(update)] == keys


def test_internal_attributes_stay_inside() -> None:
    inside = replace(ROUTE, med=7, originator_id=HOP, cluster_list=(HOP,))
    [octets] = encode_updates(Family.IPV4, PLAIN, [], [(0, inside, [PREFIX])], ibgp=False)
    update = decode(octets[19:], ibgp=False)
    assert update.faults == []
    assert update.announced[0][3] == Attributes(next_hop=HOP, med=7)


def test_ibgp_always_has_a_local_pref() -> None:
    [octets] = encode_updates(Family.IPV4, PLAIN, [], [(0, Attributes(next_hop=HOP), [PREFIX])])
    assert decode(octets[19:]).announced[0][3].local_pref == 100


def test_unknown_attributes_are_passed_on_as_partial() -> None:
    """RFC 4271 5: who passes on what it does not know sets the Partial bit."""
    [octets] = encode_updates(Family.IPV4, PLAIN, [], [(0, replace(ROUTE, unknown=((0xC0, 99, b"x"),)), [PREFIX])])
    assert decode(octets[19:]).announced[0][3].unknown == ((0xE0, 99, b"x"),)


def test_long_segments_are_split() -> None:
    route = replace(ROUTE, as_path=((AS_SEQUENCE, tuple(range(1, 301))),))
    [octets] = encode_updates(Family.IPV4, PLAIN, [], [(0, route, [PREFIX])])
    path = decode(octets[19:]).announced[0][3].as_path
    assert [len(asns) for _, asns in path] == [255, 45]
    assert path[0][1] + path[1][1] == tuple(range(1, 301))


def test_two_octet_sessions_carry_large_numbers_beside() -> None:
    """RFC 6793 4.2.2: AS_TRANS in the attributes that everybody reads. Bytes: a round trip would not show it."""
    route = replace(ROUTE, as_path=((AS_SEQUENCE, (65000, 4200000000)),), aggregator=(4200000000, HOP))
    octets = attribute_octets(route, as4=False, ibgp=False)
    assert bytes.fromhex("40 02 06 02 02 fde8 5ba0") in octets
    assert bytes.fromhex("c0 07 06 5ba0 0a2a0003") in octets
    assert bytes.fromhex("c0 11 0a 02 02 0000fde8 fa56ea00") in octets
    assert bytes.fromhex("c0 12 08 fa56ea00 0a2a0003") in octets


def test_two_octet_sessions_carry_nothing_beside_when_all_fits() -> None:
    route = replace(ROUTE, as_path=((AS_SEQUENCE, (65000,)),), aggregator=(65000, HOP))
    octets = attribute_octets(route, as4=False, ibgp=True)
    assert octets == bytes.fromhex("400101004002040201fde84003040a2a0003400504000000d2c00706fde80a2a0003")


def test_attributes_that_fit_no_message_cost_their_routes() -> None:
    long = replace(ROUTE, communities=tuple(range(1010)))
    faults: list[str] = []
    messages = encode_updates(Family.IPV4, ADD_PATH, [], [(1, long, [PREFIX]), (2, ROUTE, [PREFIX])], faults=faults)
    updates = [Decoder(ADD_PATH, ibgp=True).decode(each[19:]) for each in messages]
    assert [group[1] for update in updates for group in update.announced] == [2]
    assert [group[1] for update in updates for group in update.withdrawn] == [1]
    assert faults == ["1 prefixes withdrawn: their attributes (4065 octets) fit no message"]


@pytest.mark.parametrize(("family", "hop"), [(Family.IPV4, HOP6), (Family.IPV6, HOP), (Family.IPV4, b"")])
def test_a_next_hop_of_the_wrong_family_is_refused(family: Family, hop: bytes) -> None:
    with pytest.raises(ValueError, match=f"a next hop of {len(hop)} octets for {family.value} prefixes"):
        encode_updates(family, PLAIN, [], [(0, Attributes(next_hop=hop), [PREFIX])])


def test_equal_attribute_bytes_are_one_object() -> None:
    decoder = Decoder(PLAIN, ibgp=True)
    first, second = (decoder.decode(body(announced=prefix)) for prefix in (PREFIX, b"\0"))
    assert first.announced[0][3] is second.announced[0][3]
    six, again = (decoder.decode(body([mp_reach(prefix), *BASE], b"")) for prefix in (PREFIX6, b"\0"))
    assert six.announced[0][3] is again.announced[0][3]


def test_caches_are_bounded() -> None:
    decoder = Decoder(PLAIN, ibgp=True)
    bound = decode_module.CACHED_ATTRIBUTE_SETS
    for number in range(bound + 10):
        attributes = [*BASE[:3], b"\x40\x05\x04" + number.to_bytes(4, "big")]
        decoder.decode(body(attributes))
        decoder.decode(body([mp_reach(), *attributes], b""))
        attribute_octets(Attributes(next_hop=HOP, local_pref=number), True, True)
    assert len(decoder._classic) == len(decoder._multiprotocol) == bound
    assert len(encode_module._encoded) <= encode_module.CACHED_ATTRIBUTE_SETS


def test_the_encoder_is_not_fooled_by_an_id_that_returns() -> None:
    """Attributes die and their ids are used again; what is cached by id keeps its object alive."""
    for number in range(10_000):
        octets = attribute_octets(Attributes(next_hop=HOP, local_pref=number), True, True)
        assert octets.endswith(number.to_bytes(4, "big"))


def test_an_empty_mp_unreach_beside_attributes_or_prefixes_is_no_end_of_rib() -> None:
    """RFC 4724 2: the marker has nothing else in it."""
    for octets in (body([mp_unreach(b"")]), body([mp_unreach(b""), *BASE], b""), body([mp_unreach(b"")], b"", PREFIX)):
        assert decode(octets).end_of_rib is None


def test_repeated_large_communities_are_one() -> None:
    """RFC 8092 3."""
    octets = attribute_octets(replace(ROUTE, large_communities=((1, 2, 3), (4, 5, 6), (1, 2, 3))), True, True)
    assert decode(body([octets])).announced[0][3].large_communities == ((1, 2, 3), (4, 5, 6))


@pytest.mark.parametrize("family", Family)
def test_end_of_rib(family: Family) -> None:
    update = decode(end_of_rib(family)[19:])
    assert (update.end_of_rib, update.announced, update.withdrawn, update.faults) == (family, [], [], [])


def test_end_of_rib_of_a_family_that_was_not_negotiated() -> None:
    update = decode(end_of_rib(Family.IPV4)[19:], negotiated=Negotiated(families=frozenset({Family.IPV6})))
    assert update.end_of_rib is None


def test_other_messages() -> None:
    marker = b"\xff" * 16
    assert route_refresh(Family.IPV4) == marker + bytes.fromhex("0017 05 0001 00 01")
    assert route_refresh(Family.IPV6, 1) == marker + bytes.fromhex("0017 05 0002 01 01")
    assert route_refresh(Family.IPV6, 2) == marker + bytes.fromhex("0017 05 0002 02 01")
    assert notification(6, 2) == marker + bytes.fromhex("0015 03 06 02")
    assert notification(3, 1, b"why") == marker + bytes.fromhex("0018 03 03 01") + b"why"
    assert len(notification(3, 1, bytes(9999))) == 4096
