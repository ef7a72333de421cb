"""Whatever the bytes: an Update that holds together, or SessionReset, and nothing else."""

from __future__ import annotations

import contextlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speaker.bgp.decode import Decoder
from speaker.bgp.encode import encode_updates
from speaker.bgp.negotiated import Negotiated
from speaker.bgp.wire import SessionReset
from speaker.rib.path import Update
from speaker.rib.prefix import Family, key_of, network_of
from tests.speaker.bgp_codec.build import ADD_PATH, BOTH, PLAIN, announced_keys, withdrawn_keys
from tests.speaker.bgp_codec.strategies import attribute_sets, families, keys
from tests.speaker.bgp_codec.test_vectors import FILES
from tests.speaker.bgp_codec.vector import load

SESSIONS = [
    (PLAIN, True),
    (ADD_PATH, True),
    (ADD_PATH, False),
    (Negotiated(as4=False, families=BOTH), False),
    (Negotiated(frozenset({Family.IPV6}), as4=False, families=frozenset({Family.IPV6})), True),
]
BODIES = [load(path).body for path in FILES]


def holds_together(update: Update) -> None:
    """Prefixes are canonical, ids fit, next hops are of the family, and what is withdrawn by force has a reason."""
    groups = [*update.withdrawn, *((family, path_id, part) for family, path_id, part, _ in update.announced)]
    for family, path_id, part in groups:
        assert 0 <= path_id < 2**32
        assert part
        assert [key_of(network_of(family, key)) for key in part] == part
    for family, _, _, attributes in update.announced:
        assert len(attributes.next_hop) == family.bits // 8
        hash(attributes)


def survives(octets: bytes) -> None:
    for negotiated, ibgp in SESSIONS:
        decoder = Decoder(negotiated, ibgp)
        with contextlib.suppress(SessionReset):
            update = decoder.decode(octets)
            holds_together(update)
            assert decoder.decode(octets) == update, "the second time is answered from the cache"


@given(st.binary(max_size=200))
def test_random_octets(octets: bytes) -> None:
    survives(octets)


@given(st.binary(max_size=20), st.binary(max_size=100), st.binary(max_size=20))
def test_random_fields(withdrawn: bytes, attributes: bytes, announced: bytes) -> None:
    """The outer lengths are right, so that what is within is reached."""
    survives(
        len(withdrawn).to_bytes(2, "big") + withdrawn + len(attributes).to_bytes(2, "big") + attributes + announced
    )


@given(st.sampled_from(BODIES), st.integers(0, 2**32), st.integers(1, 6))
def test_mutated_vectors(octets: bytes, seed: int, changes: int) -> None:
    survives(mutated(octets, random.Random(seed), changes))


@pytest.mark.slow
def test_many_mutations() -> None:
    """Plain and quick: fifty thousand of them, the same ones every time."""
    chance = random.Random(7606)
    decoders = [Decoder(negotiated, ibgp) for negotiated, ibgp in SESSIONS]
    resets = 0
    for _ in range(50_000):
        octets = mutated(chance.choice(BODIES), chance, chance.randint(1, 6))
        try:
            holds_together(chance.choice(decoders).decode(octets))
        except SessionReset:
            resets += 1
    assert 1_000 < resets < 49_000


@given(data=st.data(), family=families, negotiated=st.sampled_from([PLAIN, ADD_PATH]))
def test_no_prefix_is_lost_by_a_broken_attribute(data: st.DataObject, family: Family, negotiated: Negotiated) -> None:
    """Attributes may become anything: every prefix is still announced or withdrawn, or all reset."""
    part = data.draw(st.lists(keys(family), min_size=1, max_size=5, unique=True))
    attributes = data.draw(attribute_sets(family))
    [octets] = encode_updates(family, negotiated, [], [(0, attributes, part)])
    broken = bytearray(octets[19:])
    size = int.from_bytes(broken[2:4], "big")
    start = 4
    if family is Family.IPV6:  # Behind MP_REACH_NLRI, which comes first.
        start = 8 + int.from_bytes(broken[6:8], "big")
    for at in data.draw(st.lists(st.integers(start, 3 + size), min_size=1, max_size=4)):
        broken[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(SessionReset):
        update = Decoder(negotiated, ibgp=True).decode(bytes(broken))
        found = announced_keys(update) + withdrawn_keys(update)
        assert set(part) <= set(found)
        if withdrawn_keys(update):
            assert update.faults


def mutated(octets: bytes, chance: random.Random, changes: int) -> bytes:
    """Octets changed, put in, taken out, and cut off; or pieces of it repeated."""
    result = bytearray(octets)
    for _ in range(changes):
        at = chance.randrange(len(result) + 1)
        match chance.randrange(6):
            case 0 | 1 if at < len(result):
                result[at] = chance.choice((0, 1, 0x40, 0x80, 0xFF, chance.randrange(256)))
            case 2:
                result[at:at] = chance.randbytes(chance.randint(1, 4))
            case 3:
                del result[at : at + chance.randint(1, 4)]
            case 4:
                result[at:at] = result[at : at + chance.randint(1, 30)]
            case 5 if chance.random() < 0.2:
                del result[at:]
    return bytes(result)
