"""What a hub says of what it refuses: from whom, why and how much; and of what it did not take a client's word for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from speaker.agent import answers
from speaker.agent.reporting import _sessions
from speaker.bgp.encode import encode_updates
from speaker.bgp.events import UpdateReceived
from speaker.bgp.wire import HEADER_OCTETS
from speaker.report import Answer, Ask
from speaker.rib.attributes import Attributes
from speaker.rib.prefix import Family, key_of
from tests.speaker.agent.test_router import AGREED, BERLIN, HUB, PARIS, Bench, plan, run, session

NO_FIB: Any = None


def a_hub(limit: int = 0) -> Bench:
    berlin = session(BERLIN, "client", 1)
    assert berlin.imports is not None
    berlin = replace(berlin, imports=replace(berlin.imports, max_prefixes=limit))
    hub = Bench(plan(HUB, [berlin, session(PARIS, "client", 2)]))
    for peer in (BERLIN, PARIS):
        hub.up(peer)
        hub.says_all(peer)
    return hub


def ask(hub: Bench, kind: str = "filtered", **arguments: str) -> Answer:
    return asyncio.run(answers.answer(Ask("1", kind, arguments, 0.0), hub.router.rib, NO_FIB))


def refused(hub: Bench, **arguments: str) -> list[tuple[str, str, str]]:
    return [(row["prefix"], row["from"], row["rejected"]) for row in ask(hub, **arguments).body["filtered"]]


def claims(hub: Bench, prefix: str, path_id: int = 2, **attributes: Any) -> None:
    """Berlin announces `prefix` with these."""
    said = Attributes(**{"next_hop": ip_address(BERLIN).packed, **attributes})
    for message in encode_updates(Family.IPV4, AGREED, [], [(path_id, said, [key_of(ip_network(prefix))])]):
        hub.router.update(UpdateReceived(BERLIN, message[HEADER_OCTETS:]))


def told(story: Callable[[Bench], None], limit: int = 0) -> Bench:
    """The hub after it was told this."""
    made: list[Bench] = []

    async def all_of_it() -> None:
        made.append(a_hub(limit))
        story(made[0])
        await made[0].settle()

    run(all_of_it())
    return made[0]


def attacked(hub: Bench) -> None:
    hub.says(BERLIN, "10.1.1.0/24", "10.2.1.0/24", "10.1.1.128/25", "0.0.0.0/0")
    hub.says(PARIS, "10.1.1.0/24")
    hub.says(PARIS, "10.2.2.0/24", next_hop=BERLIN)


def test_each_refused_path_is_told_with_its_peer_and_reason() -> None:
    body = ask(told(attacked)).body
    assert {(row["prefix"], row["from"], row["rejected"]) for row in body["filtered"]} == {
        ("10.2.1.0/24", f"gw-{BERLIN}", "prefix-not-allocated"),
        ("10.1.1.128/25", f"gw-{BERLIN}", "more-specific-than-allowed"),
        ("0.0.0.0/0", f"gw-{BERLIN}", "default-route"),
        ("10.1.1.0/24", f"gw-{PARIS}", "prefix-not-allocated"),
        ("10.2.2.0/24", f"gw-{PARIS}", "next-hop-not-yours"),
    }
    assert (body["total"], body["truncated"], body["unkept"]) == (5, False, {})
    assert body["counts"][0] == {
        "from": f"gw-{BERLIN}",
        "rejected": "default-route",
        "reason": "no allocation of the peer's site is a default route",
        "paths": 1,
    }
    (theft,) = (row for row in body["filtered"] if row["prefix"] == "10.2.1.0/24")
    assert theft["reason"] == "no allocation of the peer's site contains the prefix"
    assert "64512:9:4" in theft["communities"]


def test_one_peer_or_one_reason() -> None:
    hub = told(attacked)
    assert refused(hub, peer=f"gw-{PARIS}", reason="prefix-not-allocated") == [
        ("10.1.1.0/24", f"gw-{PARIS}", "prefix-not-allocated")
    ]
    assert refused(hub, peer="nobody") == []
    assert refused(hub, reason="martian") == []
    answer = ask(hub, reason="bad-taste")
    assert not answer.ok
    assert answer.body["error"].startswith("'bad-taste' is no reason; there is next-hop-not-yours,")


def test_at_most_so_many_are_told_and_all_are_counted() -> None:
    hub = told(lambda hub: hub.says(BERLIN, *(f"10.2.{n}.0/24" for n in range(200)), "10.1.1.0/24"))
    body = ask(hub, limit="7").body
    assert (len(body["filtered"]), body["total"], body["truncated"]) == (7, 200, True)
    assert [each["paths"] for each in body["counts"]] == [200]
    assert not ask(hub, limit="20001").ok


def test_what_was_counted_only_is_counted_here_too() -> None:
    def story(hub: Bench) -> None:
        hub.router.rib._limits._most_filtered = 2
        hub.says(BERLIN, *(f"10.1.{n}.0/24" for n in range(10)))

    body = ask(told(story, limit=1)).body
    assert [(each["rejected"], each["paths"]) for each in body["counts"]] == [("over-limit", 2)]
    assert body["unkept"] == {f"gw-{BERLIN}": 7}


@pytest.mark.parametrize("refresh", [True, False])
def test_what_was_counted_only_is_asked_for_where_the_peer_can_be_asked(refresh: bool) -> None:
    """RFC 2918 4: only a peer that has said so is sent a ROUTE-REFRESH; others may end the session over it."""

    async def story() -> None:
        hub = a_hub(limit=1)
        hub.router.rib._limits._most_filtered = 2
        hub.up(BERLIN, refresh=refresh, enhanced=False)
        hub.says(BERLIN, *(f"10.1.{n}.0/24" for n in range(4)))
        with capture_logs() as logs:
            for n in range(3):
                hub.says(BERLIN, withdrawn=[f"10.1.{n}.0/24"])
                await hub.settle()
        assert (("request", "ipv4") in hub.heard(BERLIN)) is refresh
        assert len([each for each in logs if each["event"] == "peer cannot be asked"]) == (not refresh)

    run(story())


def test_the_report_counts_by_reason_without_being_asked() -> None:
    hub = told(attacked)
    found = {each.peer_address: each.reasons for each in _sessions(hub.router.sessions, hub.router.rib)}
    assert found == {
        BERLIN: {"default-route": 1, "more-specific-than-allowed": 1, "prefix-not-allocated": 1},
        PARIS: {"next-hop-not-yours": 1, "prefix-not-allocated": 1},
    }


def test_what_is_withdrawn_is_not_told_any_more() -> None:
    def story(hub: Bench) -> None:
        attacked(hub)
        hub.says(BERLIN, withdrawn=["10.2.1.0/24", "10.1.1.128/25", "0.0.0.0/0"])
        hub.says(PARIS, withdrawn=["10.1.1.0/24", "10.2.2.0/24"])

    hub = told(story)
    assert (refused(hub), hub.router.rib.refused()) == ([], {})
    assert [each.reasons for each in _sessions(hub.router.sessions, hub.router.rib)] == [{}, {}]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"local_pref": 100}, []),
        ({"local_pref": 200, "large_communities": ((64512, 4, 2),)}, []),
        ({"local_pref": 2**32 - 1}, ["LOCAL_PREF 4294967295"]),
        ({"large_communities": ((64512, 1, 9), (65000, 1, 9))}, ["64512:1:9"]),
        ({"path_id": 3}, ["path id 3"]),
        ({"extended_communities": (bytes.fromhex("0603aa0000000004"),)}, ["extended 0x0603aa0000000004"]),
    ],
)
def test_what_the_hub_does_not_take_its_word_for(said: dict[str, Any], words: list[str]) -> None:
    hub = told(lambda hub: claims(hub, "10.1.1.0/24", **said))
    answer = asyncio.run(answers.routes({"prefix": "10.1.1.0/24"}, hub.router.rib, _Kernel()))
    (row,) = answer["routes"]
    assert (row["rejected"], row["overruled"]) == ("", words)


class _Kernel:
    def installed(self, *_: object) -> bool:
        return True


def test_a_refused_path_claims_no_place_in_the_fabric() -> None:
    """Its communities, as people are shown them, are the hub's word or the operators'."""
    said = {"large_communities": ((64512, 1, 9), (65000, 1, 9))}
    hub = told(lambda hub: claims(hub, "10.1.1.0/24", next_hop=ip_address(PARIS).packed, **said))
    (row,) = ask(hub).body["filtered"]
    assert row["communities"] == ["65000:1:9", "64512:9:1"]
    assert row["overruled"] == ["64512:1:9"]


def test_a_forged_originator_is_named() -> None:
    hub = told(lambda hub: claims(hub, "10.1.1.0/24", originator_id=ip_address(PARIS).packed))
    (row,) = ask(hub).body["filtered"]
    assert (row["rejected"], row["overruled"]) == ("forged-originator-id", [f"ORIGINATOR_ID {PARIS}"])
