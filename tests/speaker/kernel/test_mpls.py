"""Labels as messages, and what is to change. tests/uml/inside/relay_labels.py shows them on a kernel."""

from __future__ import annotations

import contextlib
import socket
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from speaker.kernel import messages as m
from speaker.kernel import mpls_messages as codec
from speaker.kernel.mpls import (
    HIGHEST_LABEL,
    LabelTable,
    apply_mpls_sysctls,
    changes,
    encap_unsupported,
    knobs,
    relay_label,
    unsupported,
)
from speaker.kernel.mpls_messages import LabelRoute
from speaker.kernel.parse import Malformed, split
from speaker.kernel.sysctls import Knob
from speaker.rib.prefix import Family

LABELS = st.integers(0, 2**20 - 1)
ADDRESSES = st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16)
ROUTES = st.builds(LabelRoute, LABELS, st.integers(1, 2**31 - 1), ADDRESSES, st.just(True))
V4 = LabelRoute(16002, 7, bytes([10, 42, 0, 3]))
V6 = LabelRoute(16002, 7, socket.inet_pton(socket.AF_INET6, "fd42:42::3"))

# Captured: `ip -f mpls route add 16002 via inet 10.42.0.3 dev seg proto 76`, sequence 0.
FROM_IPROUTE2 = bytes.fromhex(
    "38000000180005060000000000000000 1c140000fe4c000100000000"
    "0800010003e82100 0a00120002000a2a00030000 0800040003000000"
)
# Captured: what Linux 6.1 answers to `dump`: 16002 by IPv4, 16003 by IPv6, 16004 by two next hops.
FROM_LINUX = bytes.fromhex(
    "380000001800220005000000b2020000 1c140000fe4c000100000000"
    "0800010003e82100 0a00120002000a2a00030000 0800040003000000"
    "440000001800220005000000b2020000 1c140000fe4c000100000000"
    "0800010003e83100 160012000a00fd42004200000000000000000000000300000800040003000000"
    "500000001800220005000000b2020000 1c140000fe4c000100000000"
    "0800010003e841002c00090014000000030000000a00120002000a2a0003000014000000030000000a00120002000a2a00040000"
)


def told(message: bytes) -> dict[str, object]:
    """What pyroute2 reads in it: a codec that shares nothing with ours."""
    parsed = rtmsg(message)
    parsed.decode()
    return {"family": parsed["family"], "proto": parsed["proto"], "table": parsed["table"], **dict(parsed["attrs"])}


def test_bytes_are_those_of_iproute2() -> None:
    flags = m.NLM_F_CREATE | m.NLM_F_EXCL | m.NLM_F_ACK
    assert codec.put(V4._replace(ifindex=3), flags) == FROM_IPROUTE2


def test_a_dump_is_read() -> None:
    assert codec.routes(FROM_LINUX) == [
        V4._replace(ifindex=3),
        V6._replace(label=16003, ifindex=3),
        LabelRoute(16004, 0, b"", plain=False),
    ]


@pytest.mark.parametrize(("route", "family", "address"), [(V4, 2, "10.42.0.3"), (V6, 10, "fd42:42::3")])
def test_pyroute2_reads_what_was_meant(route: LabelRoute, family: int, address: str) -> None:
    read = told(codec.put(route, m.CREATE))
    assert (read["family"], read["proto"], read["table"]) == (28, 76, 254)
    assert read["RTA_VIA"] == {"family": family, "addr": address}
    assert read["RTA_OIF"] == 7
    assert read["RTA_DST"] == [{"label": 16002, "tc": 0, "bos": 1, "ttl": 0}]


@given(ROUTES)
def test_what_is_put_is_read_back(route: LabelRoute) -> None:
    message = codec.put(route, m.CREATE)
    assert codec.routes(message) == [route]
    assert codec.label_of(message) == codec.label_of(codec.delete(route.label)) == route.label


def test_other_programs_and_other_families_are_not_read() -> None:
    message = bytearray(codec.put(V4, 0))
    message[m.HEADER.size + 5] = 4
    assert codec.routes(bytes(message)) == []
    assert codec.routes(m.put_route(Family.IPV4, bytes([24, 10, 0, 0]), 0, 1000, 0)) == []


@pytest.mark.parametrize(
    "more",
    [
        struct.pack("=HHI", 8, 19, 0x11100),  # RTA_NEWDST: swapped, not popped.
        struct.pack("=HHBxxx", 5, 26, 0),  # RTA_TTL_PROPAGATE
    ],
)
def test_a_route_with_more_in_it_is_not_plain(more: bytes) -> None:
    message = codec.put(V4, 0) + more
    message = struct.pack("=I", len(message)) + message[4:]
    assert codec.routes(message) == [V4._replace(plain=False)]


@given(st.binary(max_size=64))
def test_junk_is_malformed_and_nothing_else(junk: bytes) -> None:
    body = m.ROUTE.pack(28, 20, 0, 0, 254, 76, 0, 1, 0) + junk
    message = m.HEADER.pack(m.HEADER.size + len(body), m.RTM_NEWROUTE, 0, 0, 0) + body
    with contextlib.suppress(Malformed):
        codec.routes(message)


@pytest.mark.parametrize("bad", [V4._replace(label=2**20), V4._replace(label=-1), V4._replace(address=b"123")])
def test_what_is_no_label_and_no_address_is_refused(bad: LabelRoute) -> None:
    with pytest.raises(ValueError):
        codec.put(bad, 0)


@given(st.lists(ROUTES, unique_by=lambda route: route.label), st.lists(ROUTES, unique_by=lambda route: route.label))
def test_changes_turn_actual_into_desired(actual: list[LabelRoute], wanted: list[LabelRoute]) -> None:
    desired = {route.label: route for route in wanted}
    kernel = {route.label: route for route in actual}
    for batch in changes(actual, desired):
        for type_, flags, _, start, end in split(batch):
            message = batch[start - m.HEADER.size : end]
            label = codec.label_of(message)
            if type_ == m.RTM_DELROUTE:
                del kernel[label]
                continue
            assert bool(flags & m.NLM_F_REPLACE) == (label in kernel)
            (kernel[label],) = codec.routes(message)
    assert kernel == desired
    assert changes(kernel.values(), desired) == []


def test_new_labels_go_in_before_old_ones_out_and_what_cannot_be_said_stays() -> None:
    old = [V4._replace(label=1), V4._replace(label=2)]
    (batch,) = changes(old, {16002: V4}, keep=[2])
    assert [(type_, codec.label_of(batch[start - 16 : end])) for type_, _, _, start, end in split(batch)] == [
        (m.RTM_NEWROUTE, 16002),
        (m.RTM_DELROUTE, 1),
    ]


def test_batches_are_bounded() -> None:
    batches = changes([], {label: V4._replace(label=label) for label in range(2500)})
    assert [sum(1 for _ in split(batch)) for batch in batches] == [1000, 1000, 500]


def test_what_cannot_be_resolved_is_told_by_its_label() -> None:
    errors = LabelTable().apply({2**20: ("lo", "10.42.0.3"), 16002: ("lo", "10.42.0"), 16003: ("none0", "10.42.0.3")})
    assert errors[:3] == [
        f"label 1048576: Linux has labels up to {HIGHEST_LABEL}; give the uplink a lower number",
        "label 16002: '10.42.0' does not appear to be an IPv4 or IPv6 address",
        "label 16003: no interface none0 here",
    ]


def test_the_table_of_labels_grows_in_steps_and_has_an_end() -> None:
    assert list(knobs(["zt0", "eth0.5"], [relay_label(1)])) == [
        Knob("net.mpls.platform_labels", 65536, at_least=True),
        Knob("net.mpls.conf.zt0.input", 1),
        Knob("net.mpls.conf.eth0/5.input", 1),
    ]
    assert next(knobs([], [])).value == 65536
    assert next(knobs([], [65535])).value == 65536
    assert next(knobs([], [65536])).value == 131072
    assert next(knobs([], [HIGHEST_LABEL])).value == next(knobs([], [2**20])).value == 2**20 - 1


def test_knobs_of_a_kernel_without_mpls_are_missing(tmp_path: Path) -> None:
    outcome = apply_mpls_sysctls(["zt0"], [16001], proc=tmp_path)
    assert outcome.missing == ["net.mpls.platform_labels", "net.mpls.conf.zt0.input"]
    assert unsupported(proc=tmp_path) == (
        "the kernel has no MPLS here: modprobe mpls_router, and name it in /etc/modules-load.d"
    )


def test_knobs_are_set_and_told(tmp_path: Path) -> None:
    conf = tmp_path / "sys/net/mpls/conf/zt0"
    conf.mkdir(parents=True)
    (conf / "input").write_text("0\n")
    (tmp_path / "sys/net/mpls/platform_labels").write_text("0\n")
    outcome = apply_mpls_sysctls(["zt0"], [16001], proc=tmp_path)
    assert outcome.changed == {"net.mpls.platform_labels": "0 -> 65536", "net.mpls.conf.zt0.input": "0 -> 1"}
    assert unsupported(proc=tmp_path) == ""


def test_pushing_labels_needs_a_module_of_its_own(tmp_path: Path) -> None:
    assert "modprobe mpls_iptunnel" in encap_unsupported(root=tmp_path)
    (tmp_path / "sys/module/mpls_iptunnel").mkdir(parents=True)
    assert encap_unsupported(root=tmp_path) == ""
