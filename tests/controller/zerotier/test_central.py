"""ZeroTier Central's REST API v1: what is published about it, as facts, and that the adapter and the fake keep to them.

Sources, read in November 2026; no test asks the network.
[spec]   https://docs.zerotier.com/openapi/central/v1.json, OpenAPI 3.0.0, version v1 (repository zerotier/docs,
         static/openapi/central/v1.json, commit e8bf17c of 2025-06-10).
[client] https://github.com/zerotier/go-ztcentral at f1e78e4: ZeroTier's own client (client.go, member.go, network.go).
[rules]  https://github.com/zerotier/ZeroTierOne at 36b4659, rule-compiler/: the language of `rulesSource`, and (cli.js)
         what comes of one text: `rules`, `capabilities` and `tags` of the config, `capabilitiesByName`, `tagsByName`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from controller.zerotier.central import CENTRAL_URL, PACE, Central
from controller.zerotier.central_rules import rules_source
from controller.zerotier.port import (
    ManagedRoute,
    MemberChange,
    NetworkChange,
    NoSuchNetwork,
    NotStored,
    Pool,
    RateLimited,
    Refused,
    Unauthorised,
)
from tests.controller.zerotier.fake_central import FakeCentral, compile_rules
from tests.controller.zerotier.fake_http import Answer, transport

NODE = "abcdef0123"
NETWORK = "8056c2e21c000001"  # [spec] the example of Network.id

# [spec] servers[0].url; info.description: "Authorization: token xxxxx". ([client] sends "bearer", which it takes too.)
SERVER = "https://api.zerotier.com/api/v1"
AUTHORIZATION = "token secret"
# [spec] info.description: paid users have 100 requests a second, free users 20. [client] newRateLimitHeaders: answers
# carry X-Ratelimit-Limit: 20, X-Ratelimit-Remaining: 14, X-Ratelimit-Reset: Tue, 06 Aug 2024 20:53:48 UTC.
FREE_PER_SECOND = 20

# [spec] paths: (method, path) -> the statuses that it names.
OPERATIONS = {
    ("GET", "/status"): {200},
    ("GET", "/network/{networkID}"): {200, 401, 403, 404},
    ("POST", "/network/{networkID}"): {200, 401, 403, 404},
    ("GET", "/network/{networkID}/member"): {200, 401, 403, 404},
    ("GET", "/network/{networkID}/member/{memberID}"): {200, 401, 403, 404},
    ("POST", "/network/{networkID}/member/{memberID}"): {200, 401, 403, 404},
    ("DELETE", "/network/{networkID}/member/{memberID}"): {200, 401, 403, 404},
}
NULL = type(None)
# [spec] components.schemas, the fields that the adapter reads or writes; all but those of Status may be null.
WRITABLE: dict[str, dict[str, type]] = {
    "Network": {"config": dict, "rulesSource": str, "description": str, "capabilitiesByName": dict, "tagsByName": dict},
    "NetworkConfig": {
        "name": str, "private": bool, "routes": list, "mtu": int, "v4AssignMode": dict, "v6AssignMode": dict,
        "ipAssignmentPools": list, "multicastLimit": int, "enableBroadcast": bool, "rules": list,
        "capabilities": list, "tags": list, "dns": dict,
    },
    "Member": {"config": dict, "name": str, "description": str, "hidden": bool},
    "MemberConfig": {
        "authorized": bool, "ipAssignments": list, "noAutoAssignIps": bool, "activeBridge": bool, "tags": list,
        "capabilities": list, "ssoExempt": bool,
    },
}  # fmt: skip
READ_ONLY: dict[str, dict[str, type]] = {
    "Network": {"id": str, "clock": int, "totalMemberCount": int},
    "NetworkConfig": {"id": str, "creationTime": int},
    "Member": {
        "id": str, "clock": int, "networkId": str, "nodeId": str, "controllerId": str, "lastOnline": int,
        "lastSeen": int, "physicalAddress": str, "clientVersion": str, "protocolVersion": int,
        "supportsRulesEngine": bool,
    },
    "MemberConfig": {
        "id": str, "identity": str, "creationTime": int, "lastAuthorizedTime": int, "lastDeauthorizedTime": int,
        "revision": int, "vMajor": int, "vMinor": int, "vRev": int, "vProto": int,
    },
    "Status": {"id": str, "type": str, "clock": int, "version": str, "apiVersion": str, "user": dict,
               "readOnlyMode": bool},
}  # fmt: skip


@dataclass
class Tap:
    """A fake, and what was asked of it."""

    behind: FakeCentral
    asked: list[tuple[str, str, Mapping[str, str], Any]] = field(default_factory=list)

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        self.asked.append((method, path, headers, json.loads(body) if body else None))
        return self.behind.answer(method, path, headers, body)

    @property
    def operations(self) -> list[tuple[str, str]]:
        named = ((method, path.removeprefix("/api/v1")) for method, path, _, _ in self.asked)
        return [(m, p.replace(NETWORK, "{networkID}").replace(NODE, "{memberID}")) for m, p in named]

    @property
    def bodies(self) -> list[Any]:
        return [body for method, _, _, body in self.asked if method == "POST"]


@pytest.fixture
def tap() -> Tap:
    fake = FakeCentral("secret")
    fake.controller.put_network(NETWORK, {"name": "fixture"})
    return Tap(fake)


@pytest.fixture
def segment(tap: Tap) -> Central:
    def sleep(seconds: float) -> None:
        tap.behind.now += int(seconds * 1000) + 1

    return Central("secret", NETWORK, transport=transport(tap), sleep=sleep)


def everything(segment: Central) -> None:
    segment.describe()
    segment.network()
    segment.write_network(
        NetworkChange(
            name="segment", private=True, mtu=1280, routes=(ManagedRoute(IPv4Network("10.42.0.0/16")),),
            auto_assign4=False, auto_assign6=False, auto_6plane=False, auto_rfc4193=False,
            pools=(Pool(IPv4Address("10.42.1.1"), IPv4Address("10.42.1.9")),),
            rules=({"type": "ACTION_ACCEPT"},),
        )
    )  # fmt: skip
    segment.write_member(
        NODE,
        MemberChange(
            authorised=True, addresses=(IPv4Address("10.42.0.1"),), name="gw", no_auto_assign=True,
        ),
    )  # fmt: skip
    segment.members()
    segment.delete_member(NODE)


def test_only_published_operations_are_used_with_the_published_header(segment: Central, tap: Tap) -> None:
    everything(segment)
    assert set(tap.operations) == set(OPERATIONS)
    assert {headers["authorization"] for _, _, headers, _ in tap.asked} == {AUTHORIZATION}
    assert CENTRAL_URL == SERVER
    assert {headers["host"] for _, _, headers, _ in tap.asked} == {"api.zerotier.com"}


def test_only_published_writable_fields_are_written_with_their_types(segment: Central, tap: Tap) -> None:
    everything(segment)
    network, member = tap.bodies
    for schema, sent in (
        ("Network", network), ("NetworkConfig", network["config"]),
        ("Member", member), ("MemberConfig", member["config"]),
    ):  # fmt: skip
        assert {name: type(value) for name, value in sent.items()}.items() <= WRITABLE[schema].items(), schema


def test_a_network_is_changed_by_post_of_what_changes(segment: Central, tap: Tap) -> None:
    """[spec] updateNetwork: POST /network/{networkID}, body Network. [client] UpdateNetworkRules: a part is enough."""
    segment.write_network(NetworkChange(mtu=1400, routes=(ManagedRoute(IPv4Network("10.0.0.0/24")),)))
    assert tap.bodies == [{"config": {"mtu": 1400, "routes": [{"target": "10.0.0.0/24", "via": None}]}}]


def test_rules_are_written_as_source(segment: Central, tap: Tap) -> None:
    """[spec] Network.rulesSource, example "accept;". [client] UpdateNetworkRules posts it alone."""
    segment.write_network(NetworkChange(rules=({"type": "ACTION_ACCEPT"},)))
    assert tap.bodies == [{"rulesSource": "accept;"}]


def test_a_member_is_made_and_changed_by_post(segment: Central, tap: Tap) -> None:
    """[spec] updateNetworkMember: `name` beside `config`. [client] CreateAuthorizedMember: one that never asked."""
    segment.write_member(NODE, MemberChange(authorised=True, name="alice"))
    assert tap.bodies == [{"config": {"authorized": True}, "name": "alice"}]


def test_what_stands_beside_a_members_config_is_read(segment: Central, tap: Tap) -> None:
    """[spec] Member: lastSeen in milliseconds, clientVersion, physicalAddress; "may be reset to 0 at any time"."""
    segment.write_member(NODE, MemberChange(authorised=True))
    seen = {"lastSeen": 1612993673254, "clientVersion": "1.6.3", "physicalAddress": "8.8.8.8"}
    tap.behind.beside[NETWORK, NODE] |= seen
    member = segment.members()[NODE]
    assert (member.last_seen, member.version, member.physical) == (1612993673.254, "1.6.3", "8.8.8.8")


def test_nullable_fields_may_be_null(segment: Central, tap: Tap) -> None:
    segment.write_member(NODE, MemberChange(authorised=False))
    stored = tap.behind.controller.members[NETWORK][int(NODE, 16)]
    stored |= dict.fromkeys(WRITABLE["MemberConfig"])
    tap.behind.beside[NETWORK, NODE] |= dict.fromkeys(READ_ONLY["Member"]) | {"nodeId": NODE, "name": None}
    config = tap.behind.controller.networks[NETWORK]
    config |= dict.fromkeys(WRITABLE["NetworkConfig"])
    member = segment.members()[NODE]
    assert (member.authorised, member.addresses, member.name, member.tags) == (False, (), "", ())
    assert (segment.network().private, segment.network().routes, segment.network().mtu) == (True, (), 2800)


def test_the_fake_answers_with_published_fields(tap: Tap) -> None:
    """`config` is a controller's own document and has more than is published; where both have a field, types agree."""
    headers = {"authorization": AUTHORIZATION}
    tap.behind.controller.put_member(NETWORK, NODE, {})
    for schema, path in (
        ("Status", "/status"), ("Network", f"/network/{NETWORK}"), ("Member", f"/network/{NETWORK}/member/{NODE}"),
    ):  # fmt: skip
        shown = tap.answer("GET", f"/api/v1{path}", headers, b"").document
        published = WRITABLE.get(schema, {}) | READ_ONLY[schema]
        assert {name: type(value) for name, value in shown.items() if value is not None}.items() <= published.items()
        config = f"{schema}Config"
        for name, kind in (WRITABLE | READ_ONLY).get(config, {}).items():
            assert type(shown["config"].get(name)) in (kind, NULL), name


def test_statuses_become_errors(segment: Central, tap: Tap) -> None:
    """[spec] 401 Authorization required, 403 Access denied, 404 Item not found."""
    with pytest.raises(Unauthorised, match="account page"):
        Central("wr0ng", NETWORK, transport=transport(tap)).network()
    tap.behind.strangers.add(NETWORK)
    with pytest.raises(Unauthorised, match="403"):
        segment.network()
    tap.behind.strangers.clear()
    tap.behind.controller.delete_network(NETWORK)
    with pytest.raises(NoSuchNetwork, match="chooses ids by itself"):
        segment.write_network(NetworkChange(mtu=1280))


def test_status_answers_a_stranger_without_a_user(tap: Tap) -> None:
    """[spec] /status names no 401. Its `user` is the token's."""
    with pytest.raises(Unauthorised, match="does not know the token"):
        Central("wr0ng", NETWORK, transport=transport(tap)).describe()


def test_half_of_a_free_accounts_rate_is_taken() -> None:
    assert pytest.approx(FREE_PER_SECOND / 2) == 1 / PACE


def test_the_reset_of_a_429_is_waited_for(tap: Tap) -> None:
    tap.behind.per_second, slept = 1, []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        tap.behind.now += int(seconds * 1000)

    segment = Central("secret", NETWORK, transport=transport(tap), sleep=sleep, interval=0.0)
    segment.network()
    segment.network()  # Answered 429 once.
    assert [round(seconds) for seconds in slept] == [1]


def test_a_far_reset_is_left_to_the_caller(tap: Tap) -> None:
    tap.behind.per_second = 0
    headers = {"Date": "Tue, 06 Aug 2024 20:53:48 GMT", "X-Ratelimit-Reset": "Tue, 06 Aug 2024 20:55:48 UTC"}
    tap.behind.answer = lambda *_: Answer(429, "", b"", headers)  # type: ignore[method-assign]
    with pytest.raises(RateLimited) as caught:
        Central("secret", NETWORK, transport=transport(tap), sleep=lambda _: pytest.fail("waited")).network()
    assert caught.value.after == 120.0


RULES = (
    {"type": "MATCH_ETHERTYPE", "etherType": 2048, "not": True},
    {"type": "MATCH_ETHERTYPE", "etherType": 34887, "not": True},
    {"type": "ACTION_DROP"},
    {"type": "MATCH_CHARACTERISTICS", "mask": "1000000000000000"},
    {"type": "MATCH_CHARACTERISTICS", "mask": "2000000000000000", "not": True, "or": True},
    {"type": "ACTION_BREAK"},
    {"type": "ACTION_ACCEPT"},
)
SOURCE = """drop not ethertype 2048 and not ethertype 34887;
break chr ipauth or not chr broadcast;
accept;"""


def test_rules_in_the_editors_language() -> None:
    """[rules] was run on SOURCE and gave RULES, with `not` and `or` false where they are left out here."""
    assert rules_source(RULES) == SOURCE
    compiled = compile_rules(SOURCE)
    assert compiled is not None
    assert [{k: v for k, v in rule.items() if v is not False} for rule in compiled] == list(RULES)


@pytest.mark.parametrize(
    ("rules", "word"),
    [
        (({"type": "MATCH_IP_PROTOCOL", "ipProtocol": 6}, {"type": "ACTION_DROP"}), "rules editor"),
        (({"type": "MATCH_CHARACTERISTICS", "mask": "3000000000000000"}, {"type": "ACTION_DROP"}), "rules editor"),
        (({"type": "MATCH_ETHERTYPE", "etherType": 2048},), "no action"),
    ],
)
def test_rules_that_cannot_be_said_are_refused(rules: tuple[dict[str, Any], ...], word: str) -> None:
    with pytest.raises(Refused, match=word):
        rules_source(rules)


DEFINED = {
    "capabilities": [{"id": 1, "default": False, "rules": [{"type": "ACTION_ACCEPT"}]}],
    "tags": [{"id": 7, "default": 0}],
}


@pytest.mark.parametrize("kind", sorted(DEFINED))
def test_rules_are_not_written_where_their_text_defines_capabilities_or_tags(
    segment: Central, tap: Tap, kind: str
) -> None:
    """[rules] The text is compiled whole: one that defines none leaves none."""
    tap.behind.controller.put_network(NETWORK, {kind: DEFINED[kind]})
    with pytest.raises(Refused, match=f"defines {kind} too.*segment_rules: checked"):
        segment.write_network(NetworkChange(rules=({"type": "ACTION_ACCEPT"},)))
    assert tap.bodies == []
    segment.write_network(NetworkChange(mtu=1400))
    assert len(getattr(segment.network(), kind)) == 1


def test_the_fake_compiles_the_whole_text(tap: Tap) -> None:
    tap.behind.controller.put_network(NETWORK, DEFINED)
    headers = {"authorization": AUTHORIZATION}
    tap.answer("POST", f"/api/v1/network/{NETWORK}", headers, b'{"rulesSource": "accept;"}')
    config = tap.behind.controller.network(NETWORK)
    assert config is not None
    assert (config["capabilities"], config["tags"]) == ([], [])


def test_rules_that_central_compiled_otherwise_are_told(segment: Central, tap: Tap) -> None:
    tap.behind.controller.put_network(NETWORK, {"rules": [{"type": "ACTION_DROP"}]})
    properly = tap.behind.answer

    def deaf(method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        return properly("GET" if method == "POST" else method, path, headers, body)

    tap.behind.answer = deaf  # type: ignore[method-assign]
    with pytest.raises(NotStored, match="rules"):
        segment.write_network(NetworkChange(rules=({"type": "ACTION_ACCEPT"},)))
