"""local.conf: ours goes in beside the operator's and out again, and nothing of theirs is ever lost."""

from __future__ import annotations

import contextlib
import json
import os
from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speaker.zerotier.config import (
    MAX_PHYSICAL,
    ConfigUnreadable,
    Wanted,
    in_force,
    merged,
    overlaid,
    read,
    without,
    write,
)
from tests.speaker.zerotier.fake_service import recorded

SPACE = (ip_network("10.1.0.0/16"), ip_network("10.42.0.0/16"), ip_network("fd42::/64"))
BLACKLISTED = {"blacklist": True}
WANTED = Wanted(interfaces=("lan0", "sdwan0"), spared=("eth0", "eth10"), space=SPACE)
THEIRS: dict[str, Any] = {
    "settings": {"primaryPort": 9993, "interfacePrefixBlacklist": ["docker", "lan0"]},
    "physical": {"192.0.2.0/24": {"trustedPathId": 7}},
    "virtual": {"deadbeef42": {"try": ["203.0.113.7/9993"]}},
}

prefixes = st.builds(
    lambda number, length: str(ip_network((number << 16, length), strict=False)),
    st.integers(0, 2**16 - 1),
    st.integers(8, 24),
)
plain = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=4), st.lists, max_leaves=3)
documents = st.fixed_dictionaries(
    {},
    optional={
        "settings": st.fixed_dictionaries(
            {},
            optional={
                "interfacePrefixBlacklist": st.lists(
                    st.sampled_from(["docker", "lan0", "eth"]), unique=True, min_size=1
                ),
                "primaryPort": st.integers(1, 65535),
            },
        ).filter(bool),
        "physical": st.dictionaries(prefixes, st.just({"trustedPathId": 7}), min_size=1),
        "virtual": st.dictionaries(st.text(max_size=4), plain),
        "other": plain,
    },
)
wishes = st.builds(
    Wanted,
    st.lists(st.sampled_from(["lan0", "lan1", "sdwan0", "zt0"]), max_size=3).map(tuple),
    st.just(("eth0",)),
    st.lists(prefixes.map(ip_network), max_size=4).map(tuple),
    st.lists(prefixes.map(ip_network), max_size=2).map(tuple),
)


def after(document: Any, wanted: Wanted = WANTED) -> dict[str, Any]:
    text = document if isinstance(document, str) else json.dumps(document)
    found: dict[str, Any] = json.loads(merged(text, wanted).text or "{}")
    return found


def test_a_box_without_a_file_gets_one() -> None:
    assert after("") == {
        "settings": {"interfacePrefixBlacklist": ["lan0", "sdwan0"]},
        "physical": {str(network): {"blacklist": True} for network in SPACE},
        "leyline": {
            "interfacePrefixBlacklist": ["lan0", "sdwan0"],
            "physical": [str(network) for network in SPACE],
        },
    }


def test_what_the_operator_has_there_stays() -> None:
    document = after(THEIRS)
    assert document["virtual"] == THEIRS["virtual"]
    assert document["settings"] == {"primaryPort": 9993, "interfacePrefixBlacklist": ["docker", "lan0", "sdwan0"]}
    assert document["physical"]["192.0.2.0/24"] == {"trustedPathId": 7}
    assert document["leyline"]["interfacePrefixBlacklist"] == ["sdwan0"], "lan0 is theirs, and will stay"


def test_the_file_in_the_page_is_what_is_written() -> None:
    page = (Path(__file__).parents[3] / "docs" / "zerotier.md").read_text()
    shown = json.loads(page.split("```json")[1].split("```")[0])
    theirs = {"settings": {"primaryPort": 9993, "interfacePrefixBlacklist": ["docker"]}}
    wanted = Wanted(interfaces=("lan0", "ztabc"), spared=("eth0",), space=SPACE[:2])
    assert after(theirs, wanted) == shown
    assert after(shown, Wanted()) == theirs


@given(documents, wishes, wishes)
def test_whatever_was_wanted_meanwhile_theirs_is_what_is_left(
    theirs: dict[str, Any], first: Wanted, second: Wanted
) -> None:
    text = merged(merged(json.dumps(theirs), first).text, second).text
    assert json.loads(merged(text, Wanted()).text) == theirs


@given(documents, wishes, wishes)
def test_a_second_pass_changes_nothing_and_the_way_there_leaves_no_trace(
    theirs: dict[str, Any], first: Wanted, second: Wanted
) -> None:
    direct = merged(json.dumps(theirs), second)
    assert not merged(direct.text, second).changed
    assert merged(direct.text, second).problems == direct.problems
    around = merged(merged(json.dumps(theirs), first).text, second)
    assert json.loads(around.text) == json.loads(direct.text)


@given(documents)
def test_nothing_wanted_is_nothing_changed(theirs: dict[str, Any]) -> None:
    text = json.dumps(theirs)
    assert merged(text, Wanted()) == merged(text, Wanted())
    assert (merged(text, Wanted()).text, merged(text, Wanted()).changed) == (text, False)


@given(st.lists(prefixes.map(ip_network), max_size=4), st.lists(prefixes.map(ip_network), max_size=3))
def test_holes_are_cut_out_and_nothing_else(space: list[IPv4Network], holes: list[IPv4Network]) -> None:
    left = without(space, holes)
    ends = {int(address) + step for each in (*space, *holes) for address in (each[0], each[-1]) for step in (-1, 0, 1)}
    for address in (IPv4Address(end) for end in ends if 0 <= end < 2**32):
        wanted = any(address in each for each in space) and not any(address in each for each in holes)
        assert any(address in each for each in left) is wanted


def test_what_zerotier_runs_over_is_never_listed() -> None:
    wanted = Wanted(space=(ip_network("10.0.0.0/8"),), underlay=(ip_network("10.255.0.0/16"), ip_network("fd00::/8")))
    listed = [ip_network(prefix) for prefix in after("", wanted)["physical"]]
    assert not any(ip_address("10.255.3.4") in network for network in listed)
    assert any(ip_address("10.254.255.255") in network for network in listed)


def test_an_interface_is_not_listed_when_its_name_begins_that_of_the_way_out() -> None:
    found = merged("", Wanted(interfaces=("eth1",), spared=("eth10", "wan")))
    assert found.text == ""
    assert found.problems == (
        "eth1 cannot be kept from ZeroTier, which would keep out of eth10 as well: rename one of them",
    )


@pytest.mark.parametrize("name", ["zt0", "ztabc", "lo", "tun0", "tap1"])
def test_interfaces_that_zerotier_keeps_out_of_by_itself_are_not_listed(name: str) -> None:
    assert merged("", Wanted(interfaces=(name,))).text == ""


def test_an_entry_of_theirs_for_our_prefix_wins_and_is_named() -> None:
    theirs = {"physical": {"10.1.0.0/16": {"trustedPathId": 7}}}
    found = merged(json.dumps(theirs), Wanted(space=SPACE[:1]))
    assert not found.changed
    assert found.problems == ('10.1.0.0/16 stands in local.conf with other settings: add "blacklist": true to them',)
    theirs["physical"]["10.1.0.0/16"]["blacklist"] = True
    assert merged(json.dumps(theirs), Wanted(space=SPACE[:1])).problems == ()


def test_the_bound_of_zerotier_is_kept_and_said() -> None:
    space = tuple(ip_network(f"10.{n * 2}.0.0/{16 + n % 2}") for n in range(MAX_PHYSICAL + 6))
    found = merged("", Wanted(space=space))
    listed = json.loads(found.text)["physical"]
    assert len(listed) == MAX_PHYSICAL
    assert {prefix for prefix in map(str, space) if prefix.endswith("/16")} <= set(listed), "the widest"
    assert "which has room for some" in found.problems[0]
    assert not merged(found.text, Wanted(space=space)).changed


@pytest.mark.parametrize(
    ("theirs", "said", "room"),
    [
        (12, {"trustedPathId": 7}, 20),
        (12, {"mtu": 1400, "blacklist": True}, 20),
        (8, {"trustedPathId": 7}, MAX_PHYSICAL),
        (40, {"trustedPathId": 7}, 0),
        (12, BLACKLISTED, MAX_PHYSICAL),
        (40, {"trustedPathId": 0}, MAX_PHYSICAL),
    ],
)
def test_ours_never_push_out_what_the_operator_has_set_for_a_path(theirs: int, said: dict[str, Any], room: int) -> None:
    """ZeroTier keeps the first 32 by family, then length, then address: ours, which are wide."""
    document = {"physical": {f"172.16.{n}.0/24": said for n in range(theirs)}}
    space = tuple(ip_network(f"10.{n * 2}.0.0/16") for n in range(MAX_PHYSICAL))
    found = merged(json.dumps(document), Wanted(space=space))
    listed = json.loads(found.text)["physical"]
    assert len(listed) == theirs + room
    assert listed.items() >= document["physical"].items()
    assert [f"the {room} widest are" in each for each in found.problems] == ([True] if room < MAX_PHYSICAL else [])
    assert not merged(found.text, Wanted(space=space)).changed


@pytest.mark.parametrize(
    "text", ["{", "[]", "5", '"x"', "// a comment\n{}", '{"physical": []}', '{"settings": 5}', "[" * 100_000]
)
def test_a_file_that_the_service_would_not_read_is_left_alone(text: str) -> None:
    with pytest.raises(ConfigUnreadable, match="repair it"):
        merged(text, WANTED)


@given(st.text(max_size=30) | plain.map(json.dumps) | documents.map(json.dumps), wishes)
def test_whatever_stands_there_it_is_merged_or_left(text: str, wanted: Wanted) -> None:
    with contextlib.suppress(ConfigUnreadable):
        found = merged(text, wanted)
        assert isinstance(json.loads(found.text or "{}"), dict)


@pytest.mark.parametrize("depth", [10, 300, 900, 1_000, 5_000])
def test_depth_is_no_danger(depth: int) -> None:
    text = '{"a":' * depth + "1" + "}" * depth
    with contextlib.suppress(ConfigUnreadable):
        assert json.loads(merged(text, WANTED).text)["a"] == json.loads(text)["a"]


def test_a_file_is_replaced_whole_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "local.conf"
    assert read(path) == ""
    write(path, "{}\n")
    assert path.stat().st_mode & 0o777 == 0o644
    path.chmod(0o600)
    write(path, '{"settings": {}}\n')
    assert (read(path), path.stat().st_mode & 0o777) == ('{"settings": {}}\n', 0o600)
    assert os.listdir(tmp_path) == ["local.conf"]


def test_what_cannot_be_written_leaves_what_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "local.conf"
    write(path, "{}\n")

    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="No space"):
        write(path, '{"settings": {}}\n')
    assert (read(path), os.listdir(tmp_path)) == ("{}\n", ["local.conf"])


@pytest.mark.parametrize("data", [b"\xff\xfe", b" " * (1 << 20) + b"{}"])
def test_a_file_that_is_no_text_or_endless_is_named(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "local.conf"
    path.write_bytes(data)
    with pytest.raises(ConfigUnreadable, match=r"local\.conf"):
        read(path)


def test_the_service_says_what_it_has_in_force() -> None:
    running = recorded("member_GET_status.json")["config"]
    assert in_force(running, json.dumps(recorded("member_GET_config.json")))
    assert not in_force(running, merged(json.dumps(recorded("member_GET_config.json")), WANTED).text)
    assert in_force({}, "")
    assert not in_force(None, "")


@pytest.mark.parametrize("other", [[], ["wan9"], ["lan0", "wan9"]])
def test_what_the_service_keeps_out_of_beyond_the_file_is_not_in_force_either(other: list[str]) -> None:
    """It has overlooked that something is gone, which ZeroTier may need now."""
    text = json.dumps({"settings": {"interfacePrefixBlacklist": ["lan0"]}, "physical": {"10.1.0.0/16": BLACKLISTED}})
    same = json.loads(text)
    assert in_force(same | {"virtual": {}}, text)
    assert in_force(same | {"physical": {**same["physical"], "192.0.2.0/24": {"mtu": 1400}}}, text)
    assert not in_force(same | {"settings": {"interfacePrefixBlacklist": other}}, text)
    assert not in_force(same | {"physical": {**same["physical"], "192.0.2.0/24": BLACKLISTED}}, text)
    assert not in_force(same | {"physical": {"10.1.0.0/16": {"mtu": 1400}}}, text)


def test_a_service_that_listens_inside_the_overlay_is_found() -> None:
    listening = ("192.0.2.20/9993", "10.42.0.7/9993", "fd42::7/9993", "junk")
    assert overlaid(listening, SPACE) == ["10.42.0.7/9993", "fd42::7/9993"]
    assert overlaid(listening, ()) == []
