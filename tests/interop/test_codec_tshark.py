"""tshark reads what our UPDATE codec writes."""

from __future__ import annotations

import json
import re
import struct
import subprocess
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from speaker.bgp.encode import encode_updates
from speaker.bgp.negotiated import Negotiated
from speaker.bgp.wire import end_of_rib, route_refresh
from speaker.rib.prefix import Family, network_of
from tests.interop.codec_routes import OWN, PEER, PREFIXES, RICH, announcement, keys, of_family

pytestmark = pytest.mark.root

ADD_PATH = Negotiated(frozenset(Family), frozenset(Family), True, frozenset(Family))


def pcap(messages: list[bytes]) -> bytes:
    """Each message in a TCP segment to port 179: raw IPv4, link type 101."""
    file = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101)
    sequence = 1
    for number, octets in enumerate(messages):
        tcp = struct.pack("!HHIIBBHHH", 40000, 179, sequence, 1, 0x50, 0x18, 65535, 0, 0) + octets
        addresses = ip_address(OWN).packed + ip_address(PEER).packed
        packet = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), number, 0, 64, 6, 0) + addresses + tcp
        file += struct.pack("<IIII", number, 0, len(packet), len(packet)) + packet
        sequence += len(octets)
    return file


def tshark(messages: list[bytes], directory: Path) -> list[list[tuple[str, str]]]:
    """What tshark shows of each message: (field, value), in order."""
    file = directory / "messages.pcap"
    file.write_bytes(pcap(messages))
    result = subprocess.run(["tshark", "-r", str(file), "-T", "json", "-J", "bgp"], capture_output=True, check=True)
    packets = json.loads(result.stdout, object_pairs_hook=list)
    return [list(_leaves(packet, "")) for packet in packets]


def _leaves(value: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield name.removeprefix("bgp.").removeprefix("update.path_attribute."), value
    elif isinstance(value, list):
        for inner_name, inner in value:
            yield from _leaves(inner, inner_name)


def prefixes_of(shown: list[tuple[str, str]]) -> list[tuple[int, str]]:
    """(path id, prefix) of one message."""
    found = []
    values = [pair for pair in shown if re.search(r"nlri_path_id$|prefix_length$|prefix$", pair[0])]
    for (_, path_id), (_, length), (_, address) in zip(values[::3], values[1::3], values[2::3], strict=True):
        found.append((int(path_id), f"{address}/{length}"))
    return found


@pytest.mark.parametrize("family", Family)
def test_tshark_reads_what_we_write(family: Family, tmp_path: Path) -> None:
    withdrawn = [(5, keys("10.7.0.0/16" if family is Family.IPV4 else "fd42:7::/48"))]
    messages = encode_updates(family, ADD_PATH, withdrawn, announcement(family))
    messages += [end_of_rib(family), route_refresh(family, 2)]
    rich, plain, gone, marker, refresh = tshark(messages, tmp_path)

    assert prefixes_of(rich) == [(3, prefix) for prefix in PREFIXES[family]]
    assert prefixes_of(plain) == [(4, PREFIXES[family][0])]
    assert prefixes_of(gone) == [(5, str(network_of(family, withdrawn[0][1][0])))]
    assert prefixes_of(marker) == []
    assert ("route_refresh.subtype", "2") in refresh
    assert ("route_refresh.afi", str(family.afi)) in refresh
    hop = "next_hop" if family is Family.IPV4 else "mp_reach_nlri.next_hop.ipv6"
    told = {(name, value) for name, value in rich if not name.startswith(("update", "flags"))}
    assert told >= {
        (hop, str(ip_address(of_family(family, RICH).next_hop))),
        ("origin", "1"),
        ("as_path_segment.as4", "65010"),
        ("as_path_segment.as4", "4200000001"),
        ("as_path_segment.type", "1"),
        ("multi_exit_disc", "9"),
        ("local_pref", "210"),
        ("aggregator_as", "4200000001"),
        ("aggregator_origin", "10.9.0.8"),
        ("community_value", "5"),
        ("community_value", "6"),
        ("originator_id", "10.9.0.9"),
        ("path_attribute.cluster_id", "10.9.1.1"),
        ("path_attribute.cluster_id", "10.9.1.2"),
        ("ext_com.value_link_bw", "1.25e+08"),
        ("large_communities.ldp2", "4294967295"),
    }
    codes = [int(value) for name, value in rich if name == "type_code"]
    classic = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 16, 32, 200]
    assert codes == (classic if family is Family.IPV4 else [14, *(code for code in classic if code != 3)])
    assert not [value for _, value in rich + plain + gone + marker if "alformed" in value]
