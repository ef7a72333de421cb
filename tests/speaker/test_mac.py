"""A member's Ethernet address, against every one that real ZeroTier services gave."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speaker.mac import mac_of, mac_text, node_of

RECORDED = Path(__file__).parents[1] / "controller" / "zerotier" / "recorded"
NETWORKS = st.from_regex(r"[0-9a-f]{16}", fullmatch=True)
NODES = st.from_regex(r"[0-9a-f]{10}", fullmatch=True)


def joined(value: Any) -> Iterator[tuple[str, str]]:
    """(network, MAC) of every network that a local service told of."""
    if isinstance(value, dict):
        if "mac" in value and "nwid" in value:
            yield value["nwid"], value["mac"]
        for inner in value.values():
            yield from joined(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from joined(inner)


def recorded() -> Iterator[tuple[str, str, str]]:
    """(file, network, MAC)."""
    for path in sorted(RECORDED.rglob("*.json")):
        for network, mac in joined(json.loads(path.read_text())):
            yield path.name, network, mac


def recorded_as(name: str) -> str:
    """A node id, from a file that names it."""
    return str(json.loads((RECORDED / name).read_text())["address"])


MEMBER = recorded_as("member_GET_status.json")
OTHER = recorded_as("member_GET_peer_one_relayed.json")
"""The two that the answers were recorded on: the second one was de-authorised and cut off."""
OF_THE_OTHER = {"member_GET_network_one_ACCESS_DENIED.json", "member_GET_network_one_deauthorized_early.json"}


@pytest.mark.parametrize(("file", "network", "mac"), sorted(set(recorded())))
def test_the_address_is_the_one_that_zerotier_gave(file: str, network: str, mac: str) -> None:
    node = OTHER if file in OF_THE_OTHER else MEMBER
    assert mac_text(mac_of(node, network)) == mac
    assert node_of(bytes.fromhex(mac.replace(":", "")), network) == node


def test_more_than_one_network_and_node_was_recorded() -> None:
    assert len({network for _, network, _ in recorded()}) >= 2
    assert OTHER != MEMBER


@given(NODES, NETWORKS)
def test_there_and_back(node: str, network: str) -> None:
    mac = mac_of(node, network)
    assert node_of(mac, network) == node
    assert mac[0] & 0b11 == 0b10, "locally administered, and no multicast"
    assert mac[0] != 0x52, "libvirt's"


def test_libvirts_octet_is_avoided() -> None:
    assert mac_of("0000000000", "0000000000000052") == bytes.fromhex("320000000000")
    assert node_of(bytes.fromhex("520000000000"), "0000000000000052") == ""


@pytest.mark.parametrize(
    ("node", "network"), [("", "0" * 16), ("A" * 10, "0" * 16), ("a" * 10, ""), ("a" * 10, "g" * 16)]
)
def test_what_is_no_id_is_named(node: str, network: str) -> None:
    with pytest.raises(ValueError, match="is no ZeroTier"):
        mac_of(node, network)


def test_a_mac_of_elsewhere_is_nobodys() -> None:
    assert node_of(bytes(6), "8056c2e21c000001") == ""
    assert node_of(b"", "8056c2e21c000001") == ""
