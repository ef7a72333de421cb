"""decode(encode(x)) == x, for everything that a peer can be told."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from speaker.bgp.decode import Decoder
from speaker.bgp.encode import Announced, Withdrawn, encode_updates
from speaker.bgp.negotiated import Negotiated
from speaker.rib.attributes import Attributes
from speaker.rib.prefix import Family, Key
from tests.speaker.bgp_codec.build import BOTH
from tests.speaker.bgp_codec.strategies import attribute_sets, families, keys, path_ids

Fact = tuple[int, Key, Attributes | None]


def facts(decoder: Decoder, messages: Iterable[bytes]) -> set[Fact]:
    """What the messages say: (path id, prefix, attributes), None for withdrawn."""
    said: set[Fact] = set()
    for octets in messages:
        assert len(octets) <= 4096
        assert octets[:16] == b"\xff" * 16
        assert int.from_bytes(octets[16:18], "big") == len(octets)
        assert octets[18] == 2
        update = decoder.decode(octets[19:])
        assert update.faults == []
        said |= {(path_id, key, None) for _, path_id, keys in update.withdrawn for key in keys}
        said |= {(path_id, key, attributes) for _, path_id, keys, attributes in update.announced for key in keys}
    return said


@st.composite
def sessions(draw: st.DrawFn) -> tuple[Family, Negotiated, bool]:
    family = draw(families)
    add_path = frozenset({family}) if draw(st.booleans()) else frozenset()
    return family, Negotiated(add_path, add_path, draw(st.booleans()), BOTH), draw(st.booleans())


@given(data=st.data(), session=sessions())
def test_routes(data: st.DataObject, session: tuple[Family, Negotiated, bool]) -> None:
    family, negotiated, ibgp = session
    ids = path_ids if negotiated.add_path_send else st.just(0)
    sets = data.draw(st.lists(attribute_sets(family, as4=negotiated.as4, ibgp=ibgp), min_size=1, max_size=3))
    prefixes = st.lists(keys(family), max_size=8, unique=True)
    announced: list[Announced] = data.draw(st.lists(st.tuples(ids, st.sampled_from(sets), prefixes), max_size=4))
    withdrawn: list[Withdrawn] = data.draw(st.lists(st.tuples(ids, prefixes), max_size=3))
    meant: set[Fact] = {(path_id, key, None) for path_id, part in withdrawn for key in part}
    meant |= {(path_id, key, attributes) for path_id, attributes, part in announced for key in part}
    messages = encode_updates(family, negotiated, withdrawn, announced, ibgp=ibgp)
    assert facts(Decoder(negotiated, ibgp), messages) == meant


@given(data=st.data(), session=sessions(), count=st.integers(300, 3000))
def test_many_prefixes(data: st.DataObject, session: tuple[Family, Negotiated, bool], count: int) -> None:
    """More than one message holds, of one length or of several."""
    family, negotiated, ibgp = session
    lengths = data.draw(st.lists(st.integers(12, family.bits), min_size=1, max_size=4))
    part = list(dict.fromkeys(_key(lengths[at % len(lengths)], at) for at in range(count)))
    attributes = data.draw(attribute_sets(family, as4=negotiated.as4, ibgp=ibgp))
    messages = encode_updates(family, negotiated, [], [(7, attributes, part)], ibgp=ibgp)
    path_id = 7 if negotiated.add_path_send else 0
    assert facts(Decoder(negotiated, ibgp), messages) == {(path_id, key, attributes) for key in part}
    messages = encode_updates(family, negotiated, [(7, part)], [], ibgp=ibgp)
    assert facts(Decoder(negotiated, ibgp), messages) == {(path_id, key, None) for key in part}


def _key(length: int, number: int) -> Key:
    octets = (length + 7) // 8
    bits: int = number % 2**length << (octets * 8 - length)
    return bytes((length,)) + bits.to_bytes(octets, "big")
