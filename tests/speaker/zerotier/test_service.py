"""A member: joined, with managed addresses, and told what is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from speaker.plan import UplinkPlan
from speaker.report import ServiceReport
from speaker.zerotier.local import LocalService
from speaker.zerotier.service import (
    Managed,
    Membership,
    NotAdmitted,
    assigned,
    attend,
    not_answering,
    settings_for,
    wait_for_address,
)
from tests.speaker.zerotier.fake_service import FakeService, recorded

NETWORK, NODE, IN_KERNEL = "53fe91125fc50e14", "456efad81a", frozenset({"10.42.0.11", "fd42::11"})


def uplink(**fields: Any) -> UplinkPlan:
    values: dict[str, Any] = {
        "number": 1, "name": "main", "interface": "ztfake", "address": "10.42.0.11", "address6": None,
        "circuit_class": "fiber", "preference": 200, "bandwidth": 0, "node_id": NODE,
    }  # fmt: skip
    return UplinkPlan(**values | fields)


def member(mtu: int = 2800, segments: tuple[str, ...] = ("10.42.0.0/16",), **fields: Any) -> Membership:
    return Membership(NETWORK, segments, mtu, uplink(**fields))


class Clock:
    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def managed(service: LocalService, clock: Clock) -> Managed:
    return Managed(service, clock, clock.sleep)


def look(service: LocalService, managed: Managed, wanted: Membership | None = None) -> ServiceReport:
    return attend(service, managed, wanted or member(), lambda _: IN_KERNEL)


def test_a_member_joins_and_is_well(fake: FakeService, service: LocalService, managed: Managed) -> None:
    fake.authorise(NETWORK, "10.42.0.11/16")
    assert look(service, managed) == ServiceReport("main", NODE, "1.14.1", True, "OK", 2800, "")
    asked = fake.log.copy()
    assert look(service, managed).problem == ""
    assert [each for each in fake.log[len(asked) :] if each.startswith("POST")] == [], "what is well is left alone"


def test_managed_addresses_are_turned_on_where_they_are_off(
    fake: FakeService, service: LocalService, managed: Managed, clock: Clock
) -> None:
    fake.authorise(NETWORK, "10.42.0.11/16")
    service.join(NETWORK, allowManaged=False)
    assert look(service, managed).problem == ""
    assert fake.networks[NETWORK]["allowManaged"] is True
    assert clock.slept == [2.0], "it may have been turned off just now"


def test_off_and_on_are_two_seconds_apart(
    fake: FakeService, service: LocalService, managed: Managed, clock: Clock
) -> None:
    service.join(NETWORK)
    managed.off(NETWORK)
    clock.now += 0.5
    managed.on(NETWORK)
    assert clock.slept == [1.5]
    managed.on(NETWORK)
    assert clock.slept == [1.5]
    assert fake.networks[NETWORK]["allowManaged"] is True


def test_an_address_that_the_kernel_lost_is_given_anew(
    fake: FakeService, service: LocalService, managed: Managed, clock: Clock
) -> None:
    fake.authorise(NETWORK, "10.42.0.11/16")
    look(service, managed)
    fake.log.clear()
    for _ in range(3):
        attend(service, managed, member(), lambda _: frozenset())
        attend(service, managed, member(), lambda _: None)
        clock.now += 3
    assert fake.log.count(f"POST /network/{NETWORK}") == 0, "it may only just have joined; or nobody can tell"
    assert watched(service, managed, clock, frozenset(), seconds=15) == ""
    assert fake.log.count(f"POST /network/{NETWORK}") == 2, "off and on, once"
    assert clock.slept == [2.0]


def watched(
    service: LocalService, managed: Managed, clock: Clock, standing: frozenset[str], *, seconds: int, **fields: Any
) -> str:
    """The problem after looks at an interface that has the addresses `standing` all the time."""
    for _ in range(seconds // 3):
        report = attend(service, managed, member(**fields), lambda _: standing)
        clock.now += 3
    return report.problem


BOTH = {"address6": "fd42::11", "segments": ("10.42.0.0/16", "fd42::/64")}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("assigned", "standing", "fields", "words"),
    [
        (["10.42.0.11/16", "fd42::11/64"], {"10.42.0.11"}, BOTH, "fd42::11 is not on ztfake, though the service"),
        (["10.42.0.11/16", "fd42::11/64"], {"10.42.0.11"}, BOTH, "is net.ipv6.conf.ztfake.disable_ipv6 set?"),
        (["10.42.0.11/16", "fd42::11/64"], {"fd42::11"}, BOTH, "10.42.0.11 is not on ztfake, though the service"),
        (["10.42.0.11/16", "203.0.113.9/24"], {"10.42.0.11"}, {}, ""),
        (["10.42.0.11/16", "10.42.0.99/16"], {"10.42.0.99"}, {}, "10.42.0.11 is not on ztfake"),
        (["10.42.0.99/16"], {"10.42.0.11"}, {}, "10.42.0.11 is not this member's address"),
        (["10.42.0.99/16"], {"fe80::1"}, {}, "10.42.0.11 is not this member's address"),
    ],
    ids=["no IPv6", "no IPv6, why", "no IPv4", "public", "another stands", "by hand", "none of the plan's is given"],
)
def test_no_address_that_stands_is_ever_taken_away(
    fake: FakeService,
    service: LocalService,
    managed: Managed,
    clock: Clock,
    assigned: list[str],
    standing: set[str],
    fields: dict[str, Any],
    words: str,
) -> None:
    """Off takes all away: BFD and BGP would die of what another address lacks."""
    fake.authorise(NETWORK, *assigned)
    look(service, managed)
    fake.log.clear()
    problem = watched(service, managed, clock, frozenset(standing), seconds=1_200, **fields)
    assert [each for each in fake.log if each.startswith("POST")] == []
    assert words in problem
    assert bool(words) == bool(problem)


@pytest.mark.slow
def test_off_and_on_that_did_not_help_is_not_tried_again_and_said(
    fake: FakeService, service: LocalService, managed: Managed, clock: Clock
) -> None:
    fake.authorise(NETWORK, "10.42.0.11/16")
    look(service, managed)
    fake.log.clear()
    problem = watched(service, managed, clock, frozenset(), seconds=1_200)
    assert fake.log.count(f"POST /network/{NETWORK}") == 2
    assert problem == (
        "10.42.0.11 is not on ztfake, though the service has it from the network: see what takes it away or refuses "
        "it, then restart zerotier-one"
    )
    attend(service, managed, member(), lambda _: None)
    assert "is not on ztfake" in watched(service, managed, clock, frozenset(), seconds=1_200), "nor after no answer"
    assert fake.log.count(f"POST /network/{NETWORK}") == 2


@pytest.mark.slow
def test_an_address_that_is_lost_again_is_given_anew_again_but_not_all_the_time(
    fake: FakeService, service: LocalService, managed: Managed, clock: Clock
) -> None:
    fake.authorise(NETWORK, "10.42.0.11/16")
    look(service, managed)
    fake.log.clear()
    assert watched(service, managed, clock, frozenset(), seconds=15) == ""
    for _ in range(8):
        assert watched(service, managed, clock, IN_KERNEL, seconds=12) == ""
        assert "is not on ztfake" in watched(service, managed, clock, frozenset(), seconds=24)
    assert fake.log.count(f"POST /network/{NETWORK}") == 2
    assert watched(service, managed, clock, IN_KERNEL, seconds=30) == ""
    assert watched(service, managed, clock, frozenset(), seconds=15) == ""
    assert fake.log.count(f"POST /network/{NETWORK}") == 4


def test_what_the_operator_allows_beyond_is_not_touched(
    fake: FakeService, service: LocalService, managed: Managed
) -> None:
    fake.authorise(NETWORK, "10.42.0.11/16")
    service.join(NETWORK, allowManaged=False, allowDNS=True, allowGlobal=True)
    look(service, managed)
    assert (fake.networks[NETWORK]["allowDNS"], fake.networks[NETWORK]["allowGlobal"]) == (True, True)


def test_a_list_of_what_is_allowed_is_never_overwritten(
    fake: FakeService, service: LocalService, managed: Managed, clock: Clock
) -> None:
    """Whatever is posted, the service writes its file anew without the list (OneService.cpp, setNetworkSettings)."""
    fake.authorise(NETWORK, "10.42.0.11/16")
    service.join(NETWORK)
    place = fake.home / "networks.d"
    place.mkdir()
    (place / f"{NETWORK}.local.conf").write_text("allowManaged=10.42.0.0/16,fd42::/64\nallowGlobal=0\n")
    fake.log.clear()
    assert look(service, managed).problem == ""
    for _ in range(40):
        report = attend(service, managed, member(), lambda _: frozenset())
        clock.now += 3
    assert f"{place / NETWORK}.local.conf allows 10.42.0.0/16, fd42::/64: " in report.problem
    assert "add what holds 10.42.0.11, and restart zerotier-one" in report.problem
    public = member(segments=("8.42.0.0/16",))
    assert "set allowGlobal=1 there, and restart zerotier-one" in look(service, managed, public).problem
    assert [each for each in fake.log if each.startswith("POST")] == []


@pytest.mark.parametrize(
    "text", ["allowManaged=1\n", "allowManaged=0\nallowDNS=1\n", "allowManaged=true\n", "", "\xff"]
)
def test_what_is_no_list_restricts_nothing(
    fake: FakeService, service: LocalService, managed: Managed, text: str
) -> None:
    fake.authorise(NETWORK, "10.42.0.11/16")
    service.join(NETWORK, allowManaged=False)
    (fake.home / "networks.d").mkdir()
    (fake.home / "networks.d" / f"{NETWORK}.local.conf").write_bytes(text.encode("latin-1"))
    assert look(service, managed).problem == ""
    assert fake.networks[NETWORK]["allowManaged"] is True


@pytest.mark.parametrize(
    ("segments", "public"),
    [(("10.42.0.0/16",), False), (("100.64.0.0/10", "fd42::/64"), False), (("8.8.8.0/24",), True)],
)
def test_public_segments_need_more_permission(segments: tuple[str, ...], public: bool) -> None:
    assert settings_for(segments) == {"allowManaged": True} | ({"allowGlobal": True} if public else {})


@pytest.mark.parametrize(
    ("said", "fields", "words"),
    [
        ({"status": "ACCESS_DENIED"}, {}, f"does not admit node {NODE}: authorise it"),
        ({"status": "NOT_FOUND"}, {}, "53fe91125f knows no network 53fe91125fc50e14"),
        ({"status": "REQUESTING_CONFIGURATION"}, {}, "no answer yet from 53fe91125f"),
        ({"status": "PORT_ERROR"}, {}, "/dev/net/tun"),
        ({"status": "CLIENT_TOO_OLD"}, {}, "ZeroTier says CLIENT_TOO_OLD"),
        ({}, {"node_id": "a000000001"}, f"this is node {NODE}; the inventory says a000000001"),
        ({}, {"interface": "zt0"}, "interface is ztfake; the inventory says zt0"),
        ({}, {"address": "10.42.0.12"}, "10.42.0.12 is not this member's address"),
        ({}, {"address6": "fd42::11"}, "fd42::11 is not this member's address"),
        ({"assignedAddresses": ["junk"]}, {}, "10.42.0.11 is not this member's address"),
        ({"mtu": 1280}, {}, "MTU is 1280; the fabric says 2800"),
    ],
)
def test_what_is_wrong_is_said_with_the_way_out(
    fake: FakeService, service: LocalService, managed: Managed, said: dict[str, Any], fields: dict[str, Any], words: str
) -> None:
    fake.authorise(NETWORK, "10.42.0.11/16")
    service.join(NETWORK)
    fake.networks[NETWORK] |= said
    fake.members.clear()
    assert words in look(service, managed, member(**fields)).problem


@pytest.mark.parametrize(
    ("fields", "lacks"),
    [
        ({}, ()),
        ({"address": "10.42.0.12", "address6": "fd42::11"}, ("10.42.0.12", "fd42::11")),
        ({"address6": "fd42::11"}, ("fd42::11",)),
        ({"address": "10.42.0.12", "node_id": "a000000001"}, ()),
        ({"address": "10.42.0.12", "node_id": ""}, ()),
    ],
    ids=["well", "both", "one", "another node's", "nobody knows whose"],
)
def test_addresses_that_the_network_has_not_given_are_reported(
    fake: FakeService, service: LocalService, managed: Managed, fields: dict[str, Any], lacks: tuple[str, ...]
) -> None:
    fake.authorise(NETWORK, "10.42.0.11/16")
    assert look(service, managed, member(**fields)).lacks == lacks
    fake.networks[NETWORK]["status"] = "ACCESS_DENIED"
    fake.members.clear()
    assert look(service, managed, member(**fields)).lacks == ()


def test_a_service_without_roots_says_so(fake: FakeService, service: LocalService, managed: Managed) -> None:
    fake.authorise(NETWORK, "10.42.0.11/16")
    fake.status["online"] = False
    report = look(service, managed)
    assert (report.online, report.problem) == (False, "ZeroTier reaches none of its roots: is UDP 9993 blocked?")


@pytest.mark.parametrize("file", ["member_GET_network_one_ACCESS_DENIED.json", "member_GET_network_one.json"])
def test_recorded_memberships_are_judged(fake: FakeService, service: LocalService, managed: Managed, file: str) -> None:
    fake.networks[NETWORK] = recorded(file)
    held = frozenset(text.partition("/")[0] for text in fake.networks[NETWORK]["assignedAddresses"])
    wanted = member(interface="ztigqvihcl")
    report = attend(service, managed, wanted, lambda _: held)
    assert ("does not admit" in report.problem) == ("DENIED" in file)
    assert report.status == fake.networks[NETWORK]["status"]


def test_the_address_is_waited_for(fake: FakeService, service: LocalService, clock: Clock) -> None:
    said: list[str] = []

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        given = {4: "10.42.9.9/16", 6: "10.42.0.11/16"}
        if len(clock.slept) in given:
            fake.authorise(NETWORK, given[len(clock.slept)])

    found = wait_for_address(service, member(), waits=said.append, clock=clock, sleep=sleep)
    assert found == {"10.42.0.11"}
    assert len(clock.slept) == 6
    assert [text[:13] for text in said] == ["no answer yet"] * 4 + ["10.42.0.11 is"] * 2


def test_both_addresses_are_waited_for(fake: FakeService, service: LocalService, clock: Clock) -> None:
    fake.authorise(NETWORK, "10.42.0.11/16")
    with pytest.raises(NotAdmitted, match="fd42::11 is not this member's address"):
        wait_for_address(service, member(address6="fd42::11"), seconds=1, clock=clock, sleep=clock.sleep)
    fake.authorise(NETWORK, "10.42.0.11/16", "fd42::11/64")
    assert wait_for_address(service, member(address6="fd42::11"), seconds=0) == {"10.42.0.11", "fd42::11"}


def test_who_is_not_admitted_is_told_why(service: LocalService, clock: Clock) -> None:
    with pytest.raises(NotAdmitted, match="no answer yet from 53fe91125f, the controller of"):
        wait_for_address(service, member(), seconds=5, clock=clock, sleep=clock.sleep)
    assert sum(clock.slept) == 5


def test_a_list_of_what_may_be_managed_is_left_alone_while_it_waits(
    fake: FakeService, service: LocalService, clock: Clock
) -> None:
    fake.authorise(NETWORK, "10.42.0.11/16")
    service.join(NETWORK)
    settings = fake.home / "networks.d" / f"{NETWORK}.local.conf"
    settings.parent.mkdir()
    settings.write_text("allowManaged=10.42.0.0/16,10.43.0.0/16\n")
    fake.log.clear()
    wait_for_address(service, member(), clock=clock, sleep=clock.sleep)
    assert not [line for line in fake.log if line.startswith("POST")]


UPLINKS = (uplink(), uplink(name="backup", node_id="a000000002"))


@pytest.mark.parametrize(
    ("services", "found"),
    [
        ([("", NODE), ("", "a000000002")], {"main": 0, "backup": 1}),
        ([("", "a000000002"), ("", NODE)], {"main": 1, "backup": 0}),
        ([("backup", NODE)], {"backup": 0}),
        ([("", "a00000000f")], {}),
        ([("", ""), ("", NODE)], {"main": 1}),
        ([], {}),
    ],
)
def test_services_are_found_by_name_or_by_node(services: list[tuple[str, str]], found: dict[str, int]) -> None:
    assert assigned(UPLINKS, services) == found


def test_the_only_service_is_the_only_uplinks() -> None:
    """Then its report says that the inventory has another node."""
    assert assigned(UPLINKS[:1], [("", "a00000000f")]) == {"main": 0}
    assert assigned(UPLINKS[:1], [("other", NODE)]) == {}


def test_a_service_that_does_not_answer_is_reported() -> None:
    assert not_answering("main", "start it") == ServiceReport("main", "", "", False, "", 0, "start it")
