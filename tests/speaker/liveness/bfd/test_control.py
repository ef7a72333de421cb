"""The lines between the agent and leyline-bfd, both ways, and what is refused with a reason."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speaker.liveness.bfd import control
from speaker.liveness.bfd.control import NOTHING, BfdUplink, Status, Unreadable, Want, canonical, decode, encode

WANT = Want(
    (BfdUplink("zt0", "10.42.0.1", "fd42::1", 100_000, 3), BfdUplink("zt1", "10.43.0.1", None, 2_000_000, 5)),
    (("zt0", "10.42.0.2"), ("zt0", "fd42::2")),
    frozenset({"10.42.0.3", "10.42.0.4"}),
    True,
)
STATUS = Status("zt0", "10.42.0.1", "10.42.0.2", "Up", 0, "Up", 1.5e9, True, 2, False, 300_000)


@pytest.mark.parametrize(
    ("kind", "value"),
    [("want", WANT), ("want", NOTHING), ("status", STATUS), ("gone", ["zt0", "10.42.0.2"]), ("replayed", True)],
)
def test_round_trip(kind: str, value: Any) -> None:
    line = encode(kind, value)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode(line) == (kind, value)


def broken(*path: str | int, value: Any) -> bytes:
    """WANT's line with one thing changed."""
    said: Any = json.loads(encode("want", WANT))
    at = said
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return json.dumps(said).encode()


REFUSED = {
    "no JSON": (b"{", "no JSON"),
    "no object": (b"[1]", "one object with one member"),
    "two members": (b'{"want":1,"counters":true}', "one object with one member"),
    "want is no object": (b'{"want":[]}', "want: an object with uplinks, sessions, accept, admin_down"),
    "unknown field": (broken("want", "more", value=1), "want: an object with"),
    "device too long": (broken("want", "uplinks", 0, "device", value="x" * 16), "is not the name of an interface"),
    "device empty": (broken("want", "sessions", 0, value=["", "10.0.0.1"]), "is not the name of an interface"),
    "device twice": (broken("want", "uplinks", 1, "device", value="zt0"), "a device stands twice"),
    "address": (broken("want", "uplinks", 0, "address", value="10.42.0"), "'10.42.0' is not an IP address"),
    "family": (broken("want", "uplinks", 0, "address", value="fd42::1"), "address is IPv4"),
    "family 6": (broken("want", "uplinks", 0, "address6", value="10.0.0.1"), "address6 is IPv6"),
    "interval": (broken("want", "uplinks", 0, "interval_us", value=9_999), "interval_us is 9999; a whole number from"),
    "interval as text": (broken("want", "uplinks", 0, "interval_us", value="100"), "interval_us is '100'"),
    "multiplier 0": (broken("want", "uplinks", 0, "multiplier", value=0), "multiplier is 0; a whole number from 1"),
    "multiplier true": (broken("want", "uplinks", 0, "multiplier", value=True), "multiplier is True"),
    "session": (broken("want", "sessions", 0, value=["zt0"]), "pairs of device and remote address"),
    "remote": (broken("want", "sessions", 0, value=["zt0", 7]), "7 is not an IP address"),
    "accept": (broken("want", "accept", value=["zt0"]), "'zt0' is not an IP address"),
    "too many": (broken("want", "uplinks", value=[{}] * 65), "want.uplinks: a list of at most 64"),
    "admin_down": (broken("want", "admin_down", value=0), "admin_down: true or false"),
    "status": (b'{"status":{"device":"zt0"}}', "status: an object with"),
    "status of wrong types": (encode("status", STATUS._replace(state=3)), "status: "),  # type: ignore[arg-type]
}


@pytest.mark.parametrize(("line", "text"), REFUSED.values(), ids=REFUSED)
def test_refused_with_the_reason(line: bytes, text: str) -> None:
    with pytest.raises(Unreadable) as refused:
        decode(line)
    assert text in str(refused.value)


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["zt0", "10.0.0.1", "fd::1"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*Want._fields, *Status._fields]), inner)
    ),
    max_leaves=8,
)


@given(st.one_of(st.binary(max_size=60), st.sampled_from(["want", "status", "gone"]).flatmap(
    lambda kind: json_values.map(lambda value: json.dumps({kind: value}).encode()))))  # fmt: skip
def test_decode_raises_nothing_but_its_own_error(line: bytes) -> None:
    try:
        kind, _ = decode(line)
    except Unreadable as error:
        return_text = str(error)
    else:
        return_text = kind
    assert isinstance(return_text, str)


@given(st.sampled_from(["uplinks", "sessions", "accept", "admin_down"]), json_values)
def test_a_want_with_anything_in_it_is_read_or_refused(field: str, value: Any) -> None:
    try:
        kind, want = decode(broken("want", field, value=value))
    except Unreadable:
        return
    assert kind == "want"
    assert decode(encode("want", want)) == ("want", want)


def test_addresses_are_compared_in_one_form() -> None:
    assert canonical("FD42:0::0002") == "fd42::2"
    _, want = decode(encode("want", WANT._replace(sessions=(("zt0", "fd42:0:0::2"),))))
    assert want.sessions == (("zt0", "fd42::2"),)


def test_the_process_needs_the_standard_library_only() -> None:
    """leyline-bfd must not go down with a broken dependency, and must start in no time."""
    code = """
import sys
before = {*sys.modules}
import speaker.liveness.bfd.daemon
names = {name for name in sys.modules if name not in before and name.partition(".")[0] not in sys.stdlib_module_names}
print(*sorted(name for name in names if not name.startswith("speaker.liveness.bfd")))
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.split() == ["speaker", "speaker.liveness"]


@pytest.mark.slow
def test_limits_hold_what_the_plan_allows() -> None:
    """4096 sessions on demand, and the largest want fits into a line."""
    many = tuple(("zt0123456789abc", f"fd42:4242:4242:4242:4242:4242:{n:x}:ffff") for n in range(control.MAX_SESSIONS))
    accept = frozenset(f"fd42:4242:4242:4242:4242:4242:{n:x}:eeee" for n in range(control.MAX_ACCEPT))
    line = encode("want", WANT._replace(sessions=many, accept=accept))
    assert len(line) < control.LINE_OCTETS
    assert decode(line)[1].sessions == many
    addresses = [*accept, *(address for _, address in many)]
    reading, checking = cpu(lambda: decode(line)), cpu(lambda: [ip_address(address) for address in addresses])
    assert reading < checking / 2, "no session is served meanwhile"


def cpu(work: Callable[[], object]) -> float:
    """Seconds of the processor that it takes: the best of five, as the collector's walks are not its own."""
    spent = []
    for _ in range(5):
        began = time.process_time()
        work()
        spent.append(time.process_time() - began)
    return min(spent)
