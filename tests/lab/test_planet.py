"""The bytes of a planet file, held against ZeroTier's own; names of interfaces, as seen on members."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from lab.planet import WORLD_ID, Identity, interface_name, planet

PUBLIC = "62f865ae71:0:" + "e2076c57de870e6288d7d5e7404408b1" * 4
SECRET = f"{PUBLIC}:{'5a' * 64}"


def test_an_identity_is_read_and_keeps_its_secret() -> None:
    identity = Identity(SECRET)
    assert (identity.node_id, identity.public) == ("62f865ae71", PUBLIC)
    assert repr(identity) == "Identity(62f865ae71)"


@pytest.mark.parametrize("text", ["", PUBLIC, SECRET.upper(), SECRET.replace(":0:", ":1:"), SECRET + "\n"])
def test_what_is_no_secret_identity_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(ValueError, match="no secret identity") as caught:
        Identity(text)
    assert "5a5a" not in str(caught.value)


def test_a_planet_is_laid_out_as_the_built_in_one() -> None:
    """Offsets in the built-in one (node/Topology.cpp): type 0, id 1, time 9, key 17, signature 81, roots 177.

    A root: 5 bytes of address, type, 64 of key, length of the private key, then its endpoints (04, address, port).
    """
    world = planet(Identity(SECRET), IPv4Address("50.7.252.138"), 9993)
    assert world[0] == 1
    assert int.from_bytes(world[1:9], "big") == WORLD_ID != 149604618
    assert int.from_bytes(world[9:17], "big") > 0
    assert world[177:] == bytes.fromhex(
        "01 62f865ae71 00" + "e2076c57de870e6288d7d5e7404408b1" * 4 + "00 01 0432 07fc8a 2709"
    )
    assert b"\x5a" * 8 not in world


def test_the_name_of_the_interface_follows_from_the_network() -> None:
    """`nwid` and `portDeviceName` of a recorded answer (GET /network/53fe91125fc50e14 at a member, 1.14.1)."""
    assert interface_name("53fe91125fc50e14") == "ztigqvihcl"
