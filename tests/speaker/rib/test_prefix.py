"""Text to key: the quick way reads what `ipaddress` reads, and refuses what it refuses."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speaker.rib.prefix import family_of, key_of, key_of_text

near_misses = st.text("0123456789./:a -+_²", max_size=20)
addresses = st.ip_addresses(v=4).map(str) | st.ip_addresses(v=6).map(str)


def outcome(text: str) -> object:
    try:
        return key_of_text(text)
    except ValueError:
        return ValueError


def expected(text: str) -> object:
    try:
        network = ip_network(text)
    except ValueError:
        return ValueError
    return family_of(network), key_of(network)


@given(addresses, st.integers(0, 130))
def test_networks_are_read_as_ipaddress_reads_them(address: str, length: int) -> None:
    host_bits = f"{address}/{length}"
    assert outcome(host_bits) == expected(host_bits)
    try:
        canonical = str(ip_network(host_bits, strict=False))
    except ValueError:
        return
    assert key_of_text(canonical) == expected(canonical)


@given(near_misses | st.tuples(addresses, near_misses).map("/".join))
def test_what_is_no_network_is_refused(text: str) -> None:
    assert outcome(text) == expected(text)


@pytest.mark.parametrize(
    "text", ["10.0.0.1", "10.1.0.0/255.255.0.0", "010.0.0.0/8", "10.0.0.0/08", "+10.0.0.0/8", "10.0.0.0/33", "10.0.0/8"]
)
def test_unusual_words_for_a_network(text: str) -> None:
    assert outcome(text) == expected(text)
