"""What Hypothesis makes UPDATEs from."""

from __future__ import annotations

from hypothesis import strategies as st

from speaker.bgp.path_attributes import RULES, is_host
from speaker.rib.attributes import AS_CONFED_SEQUENCE, AS_CONFED_SET, AS_SEQUENCE, AS_SET, Attributes
from speaker.rib.prefix import Family, Key

families = st.sampled_from(Family)
path_ids = st.integers(0, 2**32 - 1)
u32 = st.integers(0, 2**32 - 1)


@st.composite
def keys(draw: st.DrawFn, family: Family) -> Key:
    length = draw(st.integers(0, family.bits))
    octets = (length + 7) // 8
    bits = draw(st.integers(0, 2**length - 1)) << (octets * 8 - length)
    return bytes((length,)) + bits.to_bytes(octets, "big")


def as_paths(*, confederations: bool) -> st.SearchStrategy[tuple[tuple[int, tuple[int, ...]], ...]]:
    kinds = [AS_SET, AS_SEQUENCE, *((AS_CONFED_SEQUENCE, AS_CONFED_SET) if confederations else ())]
    segment = st.tuples(st.sampled_from(kinds), st.lists(u32, min_size=1, max_size=5).map(tuple))
    return st.lists(segment, max_size=3).map(tuple)


def attribute_sets(family: Family, *, as4: bool = True, ibgp: bool = True) -> st.SearchStrategy[Attributes]:
    """Sets that a peer of such a session can have sent, that is, what `decode` can return."""
    octets = family.bits // 8
    unknown_codes = st.integers(33, 255)
    internal = st.none() | st.binary(min_size=4, max_size=4) if ibgp else st.none()
    return st.builds(
        Attributes,
        next_hop=st.binary(min_size=octets, max_size=octets).filter(is_host),
        origin=st.integers(0, 2),
        as_path=as_paths(confederations=as4),
        med=st.none() | u32,
        local_pref=u32 if ibgp else st.none(),
        atomic_aggregate=st.booleans(),
        aggregator=st.none() | st.tuples(u32, st.binary(min_size=4, max_size=4)),
        communities=st.lists(u32, max_size=70).map(tuple),
        originator_id=internal,
        cluster_list=st.lists(st.binary(min_size=4, max_size=4), max_size=3 if ibgp else 0).map(tuple),
        extended_communities=st.lists(st.binary(min_size=8, max_size=8), max_size=3).map(tuple),
        large_communities=st.lists(st.tuples(u32, u32, u32), max_size=3, unique=True).map(tuple),
        unknown=st.dictionaries(unknown_codes, st.binary(max_size=300), max_size=2).map(
            lambda items: tuple((0xE0, code, value) for code, value in sorted(items.items()))
        ),
    )


assert not [code for code in RULES[True] if code > 32], "unknown_codes holds a code that has a row"
