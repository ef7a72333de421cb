"""Fields of prefixes against the obvious way to read them, with uniform and nearly uniform fields often."""

from __future__ import annotations

from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speaker.bgp.nlri import Group, Unparsable, read_prefixes
from speaker.rib.prefix import Family
from tests.speaker.bgp_codec.strategies import families

FEW_IDS = st.sampled_from([1, 2, 0x01000001, 0x00010001, 0x00000101])
FEW_LENGTHS = st.sampled_from([0, 8, 16, 24, 24, 24, 25, 32])


def one_by_one(items: list[tuple[int, int, bytes]], add_path: bool) -> list[Group]:
    """(path id, length, octets of an address) into groups, one prefix after the other."""
    keys = []
    for path_id, length, octets in items:
        size = (length + 7) // 8
        kept = int.from_bytes(octets[:size], "big") >> size * 8 - length << size * 8 - length
        keys.append((path_id if add_path else 0, bytes((length,)) + kept.to_bytes(size, "big")))
    return [(path_id, [key for _, key in group]) for path_id, group in groupby(keys, key=lambda pair: pair[0])]


def field_of(items: list[tuple[int, int, bytes]], add_path: bool) -> bytes:
    return b"".join(
        (path_id.to_bytes(4, "big") if add_path else b"") + bytes((length,)) + octets[: (length + 7) // 8]
        for path_id, length, octets in items
    )


few = st.lists(st.tuples(FEW_IDS, FEW_LENGTHS, st.binary(min_size=4, max_size=4)), max_size=6)
uniform = st.builds(
    lambda path_id, length, many: [(path_id, length, octets) for octets in many],
    FEW_IDS,
    FEW_LENGTHS,
    st.lists(st.binary(min_size=4, max_size=4), max_size=6),
)


@given(items=few | uniform, family=families, add_path=st.booleans())
def test_as_one_by_one(items: list[tuple[int, int, bytes]], family: Family, add_path: bool) -> None:
    assert read_prefixes(field_of(items, add_path), family, add_path) == one_by_one(items, add_path)


@pytest.mark.parametrize("octet", range(5), ids=["id 1", "id 2", "id 3", "id 4", "length"])
@pytest.mark.parametrize("position", [0, 1, 2])
def test_one_octet_of_path_id_or_length_is_different(octet: int, position: int) -> None:
    items = [(1, 24, bytes((10, 0, number, 0))) for number in range(3)]
    different = (1 ^ 2 << 8 * (3 - octet), 24) if octet < 4 else (1, 16)
    items[position] = (*different, items[position][2])
    assert read_prefixes(field_of(items, True), Family.IPV4, True) == one_by_one(items, True)


@given(items=uniform.filter(bool), family=families, add_path=st.booleans(), cut=st.integers(1, 4))
def test_cut_off(items: list[tuple[int, int, bytes]], family: Family, add_path: bool, cut: int) -> None:
    """Never read as something else: at most as the field that ends with a whole prefix."""
    field = field_of(items, add_path)[:-cut]
    whole = [items[:count] for count in range(len(items)) if field_of(items[:count], add_path) == field]
    if whole:
        assert read_prefixes(field, family, add_path) == one_by_one(whole[0], add_path)
    else:
        with pytest.raises(Unparsable):
            read_prefixes(field, family, add_path)
