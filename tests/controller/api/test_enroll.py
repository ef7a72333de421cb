"""Gateways that come by a key: asked for, waiting, approved, renewed, put out, and gone by themselves."""

from __future__ import annotations

import hashlib
import time
from typing import Any

import httpx2
import pytest
from msgspec import structs

from controller.api.housekeeping import counted_from, put_out_the_gone
from controller.enrolling import KEPT_SECONDS, PENDING_SECONDS, Enrolling
from speaker.enroll.key import Key, parse
from speaker.report import SessionReport, encode
from tests.controller.api.served import Served, problem, report
from tests.controller.store.fabrics import small
from tests.controller.zerotier.test_alive import session

NETWORK = "8056c2e21c000001"
SECRET = "s" * 43


def with_network(served: Served) -> Served:
    document = small()
    document["fabric"]["network"] = NETWORK
    served.apply(document)
    return served


def make(served: Served, **fields: Any) -> Key:
    answer = served.admin.post("/enroll-keys", {"site": "berlin", **fields})
    assert answer.status_code == 201, answer.text
    return parse(answer.json()["key"])


class Gateway:
    """One that enrols: it has made its token, whose secret stays with it."""

    def __init__(self, served: Served, key: Key, node_id: str = "e000000001", name: str = "", token: str = "") -> None:
        token = token or (node_id + "00")
        self.key, self.token = key, f"leyline_{token}_{SECRET}"
        self.asked = {
            "name": name,
            "token": {"id": token, "sha256": hashlib.sha256(SECRET.encode()).hexdigest()},
            "uplinks": [{"name": "main", "node_id": node_id, "interface": "ztfabric0"}],
        }
        self.by_key = httpx2.Client(
            base_url=f"{served.url}/api/v1", headers={"Authorization": f"Leyline-Key {key.bearer}"}, trust_env=False
        )
        self.by_token = served.as_token(self.token)

    def asks(self) -> httpx2.Response:
        return self.by_key.post("/enroll", json=self.asked)

    def enrols(self) -> str:
        """-> its name."""
        answer = self.asks()
        assert answer.status_code == 201, answer.text
        name: str = answer.json()["gateway"]
        return name


def audited(served: Served) -> list[tuple[str, str, str]]:
    return [(e["actor"], e["action"], e["object"]) for e in served.admin.get("/audit").json()["items"]]


def test_from_a_key_to_a_gateway_of_the_fabric(served: Served) -> None:
    with_network(served)
    key = make(served, circuit_classes=["gold"])
    gateway = Gateway(served, key)
    told = gateway.by_key.get("/enroll").json()
    assert told == {"fabric": "demo", "network": NETWORK, "site": "berlin", "role": "spoke"}
    answer = gateway.asks()
    assert answer.json() == {"gateway": "berlin-2", "state": "pending", "network": NETWORK, "approved_at": None}
    assert served.admin.get("/revisions").json()["items"][0]["revision"] == 1, "the inventory is what is approved"
    problem(gateway.by_token.poll("berlin-2"), 401, "unauthorized")
    assert gateway.by_token.get("/enroll/berlin-2").json()["state"] == "pending"
    (waits,) = served.as_role("viewer").get("/enrolments").json()["items"]
    assert (waits["gateway"], waits["node_ids"], waits["key"]) == ("berlin-2", ["e000000001"], key.id)

    approved = served.admin.post("/gateways/berlin-2/approve").json()
    assert (approved["revision"], [each["object"] for each in approved["changes"]]) == (2, ["gateway berlin-2"])
    assert gateway.by_token.get("/enroll/berlin-2").json()["state"] == "approved"
    plan = gateway.by_token.poll("berlin-2").json()["plan"]
    assert plan["uplinks"][0]["circuit_class"] == "gold"
    days = served.admin.get("/status/gateways/berlin-2").json()["token"]["expires_at"]
    assert days[:10] == time.strftime("%Y-%m-%d", time.gmtime(time.time() + 90 * 86_400))
    again = served.admin.post("/gateways/berlin-2/approve").json()
    assert (again["revision"], again["changes"]) == (2, [])
    served.admin.delete(f"/tokens/{gateway.asked['token']['id']}")  # type: ignore[index]
    problem(gateway.by_token.get("/enroll/berlin-2"), 401, "unauthorized")


def test_a_key_that_approves_makes_one_revision_by_its_own_name(served: Served) -> None:
    with_network(served)
    key = make(served, approve=True)
    name = Gateway(served, key, name="roof").enrols()
    assert name == "roof"
    (entry, _) = served.admin.get("/revisions").json()["items"]
    assert (entry["revision"], entry["actor"]) == (2, f"enroll key {key.id}")
    assert [entry[:2] for entry in audited(served)[:2]] == [(f"enroll key {key.id}", a) for a in ("enroll", "issue")]
    assert served.admin.get("/gateways/roof").json()["role"] == "spoke"


def test_the_same_request_again_is_the_same_and_takes_no_use(served: Served) -> None:
    with_network(served)
    key = make(served, approve=True)
    gateway = Gateway(served, key)
    first, again = gateway.asks().json(), gateway.asks().json()
    assert first == again
    assert served.admin.get("/enroll-keys").json()["items"][0]["used"] == 1
    other = problem(Gateway(served, key, "e000000002").asks(), 403, "key-refused")
    assert "used 1 of 1 times" in other["detail"]
    assert "leyline enroll-key create --site berlin" in other["detail"]


def test_what_is_refused_leaves_nothing_behind(served: Served) -> None:
    with_network(served)
    key = make(served, approve=True, uses=9, circuit_classes=["no-such-class"])
    before = served.admin.get("/revisions").json()
    refused = problem(Gateway(served, key).asks(), 422, "inventory-refused")
    assert refused["findings"][0]["code"] == "circuit-class-unknown"
    assert served.admin.get("/revisions").json() == before
    assert served.admin.get("/enrolments").json()["items"] == []
    assert served.admin.get("/enroll-keys").json()["items"][0]["used"] == 0
    problem(served.as_token(Gateway(served, key).token).get("/whoami"), 401, "unauthorized")


@pytest.mark.parametrize(
    ("node_id", "name", "says"),
    [
        ("a000000001", "", "revoke berlin-1"),
        ("e000000009", "paris-1", "--name"),
        ("e000000009", "frr1", "--name"),
        ("e000000001", "", "is berlin-2 already"),
    ],
)
def test_names_and_nodes_that_are_taken(api: Served, node_id: str, name: str, says: str) -> None:
    with_network(api)
    key = make(api, uses=2)
    Gateway(api, key).enrols()
    other = Gateway(api, key, node_id, name, token="f" * 12)
    assert says in problem(other.asks(), 409, "enrolment-refused")["detail"]


def test_a_name_that_was_taken_while_it_waited(api: Served) -> None:
    with_network(api)
    Gateway(api, make(api)).enrols()
    uplinks = [{"name": "m", "node_id": "e000000007", "interface": "zt0", "circuit_class": "fiber"}]
    api.admin.post("/gateways", {"name": "berlin-2", "site": "berlin", "role": "spoke", "uplinks": uplinks})
    refused = problem(api.admin.post("/gateways/berlin-2/approve"), 409, "enrolment-refused")
    assert "taken meanwhile" in refused["detail"]


def test_keys_that_are_over_or_unknown(api: Served) -> None:
    with_network(api)
    key = make(api, note="roof")
    stranger = Key(key.id, "x" * 43, key.url, key.fingerprint)
    assert "does not know" in problem(Gateway(api, stranger).asks(), 403, "key-refused")["detail"]
    assert api.admin.delete(f"/enroll-keys/{key.id}").json()["state"] == "revoked"
    for call in (Gateway(api, key).asks, lambda: Gateway(api, key).by_key.get("/enroll")):
        assert "revoked" in problem(call(), 403, "key-refused")["detail"]
    problem(api.admin.delete("/enroll-keys/nobody"), 404, "enrolment-unknown")
    late = make(api, expires_in=60)
    enrolling = Enrolling(api.context.controller, clock=lambda: time.time() + 61)
    with pytest.raises(Exception, match="has expired"):
        enrolling.let_in(late.id, late.secret)


def test_a_key_needs_a_site_and_a_network(api: Served) -> None:
    document = small()
    for field in ("network", "managed_floor", "segment_rules"):
        del document["fabric"][field]
    api.apply(document)
    assert "network" in problem(api.admin.post("/enroll-keys", {"site": "berlin"}), 409, "enrolment-refused")["detail"]
    with_network(api)
    refused = problem(api.admin.post("/enroll-keys", {"site": "berlim"}), 409, "enrolment-refused")
    assert "berlin" in refused["detail"]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"url": "http://leyline.example"}, "not encrypted"),
        ({"url": "https://leyline.example"}, "fingerprint"),
        ({"url": "https://leyline.example", "fingerprint": "ab:cd"}, "64 hex digits"),
        ({"url": "ftp://leyline.example"}, "no controller URL"),
        ({"url": "https://"}, "no controller URL"),
        ({"url": "https://u:p@leyline.example", "fingerprint": "0" * 64}, "no user"),
    ],
)
def test_urls_that_no_key_is_made_for(api: Served, fields: dict[str, str], says: str) -> None:
    with_network(api)
    assert says in problem(api.admin.post("/enroll-keys", {"site": "berlin", **fields}), 422, "bad-address")["detail"]


def test_a_fingerprint_may_come_as_openssl_prints_it(api: Served) -> None:
    with_network(api)
    printed = ":".join(["AB"] * 32)
    key = make(api, url="https://leyline.example/x/", fingerprint=printed)
    assert (key.url, key.fingerprint) == ("https://leyline.example/x", "ab" * 32)


def test_who_may_do_what(api: Served) -> None:
    with_network(api)
    viewer = api.as_role("viewer")
    problem(viewer.get("/enroll-keys"), 403, "forbidden")
    problem(viewer.post("/enroll-keys", {"site": "berlin"}), 403, "forbidden")
    for action in ("approve", "revoke", "token/renew"):
        problem(viewer.post(f"/gateways/paris-1/{action}"), 403, "forbidden")
    problem(api.admin.get("/enroll"), 401, "unauthorized")
    name = Gateway(api, make(api, approve=True)).enrols()
    problem(api.as_gateway("paris-1").get(f"/enroll/{name}"), 403, "forbidden")
    stranger = api.as_token(f"leyline_{'7' * 12}_{SECRET}")
    for each in (name, "nobody"):
        problem(stranger.get(f"/enroll/{each}"), 401, "unauthorized")
    problem(api.as_gateway("paris-1").post(f"/gateways/{name}/token/renew", {}), 403, "forbidden")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"uplinks": []}',
        b'{"token": {"id": "x", "sha256": "y"}, "uplinks": []}',
        b'{"token": {"id": "aaaaaaaaaaaa", "sha256": "' + b"0" * 64 + b'"}, "uplinks": [], "role": "hub"}',
        b"[" * 10_000,
    ],
)
def test_a_request_that_cannot_be_read(api: Served, body: bytes) -> None:
    with_network(api)
    gateway = Gateway(api, make(api))
    problem(gateway.by_key.post("/enroll", content=body), 400, "malformed-body")
    problem(gateway.by_key.post("/enroll", content=b" " * 20_000), 413, "body-too-large")


def renewal(token: str, secret: str = SECRET) -> dict[str, Any]:
    return {"token": {"id": token, "sha256": hashlib.sha256(secret.encode()).hexdigest()}}


def test_a_gateway_renews_its_token_and_nothing_else_moves(served: Served) -> None:
    with_network(served)
    gateway = Gateway(served, make(served, approve=True, token_seconds=7_200))
    name = gateway.enrols()
    digest = gateway.by_token.poll(name).json()["digest"]
    first = gateway.by_token.post(f"/gateways/{name}/token/renew", renewal("9" * 12))
    assert first.status_code == 201, first.text
    again = gateway.by_token.post(f"/gateways/{name}/token/renew", renewal("9" * 12))
    assert again.json() == first.json(), "whose answer was lost asks again"
    new = served.as_token(f"leyline_{'9' * 12}_{SECRET}")
    held = new.get("/whoami").json()
    assert held["gateway"] == name
    former = gateway.by_token.get("/whoami").json()
    assert former["state"] == "usable", "in the grace time both are good"
    assert new.poll(name, digest).status_code == gateway.by_token.poll(name, digest).status_code == 304
    other = gateway.by_token.post(f"/gateways/{name}/token/renew", renewal("9" * 12, "another"))
    problem(other, 409, "enrolment-refused")
    assert new.get(f"/enroll/{name}").json()["state"] == "approved"


def test_the_grace_of_a_renewed_token_ends(api: Served) -> None:
    with_network(api)
    gateway = Gateway(api, make(api, approve=True))
    name = gateway.enrols()
    gateway.by_token.post(f"/gateways/{name}/token/renew", renewal("9" * 12))
    former = api.context.store.token(gateway.asked["token"]["id"])  # type: ignore[index]
    assert former is not None
    assert not former.usable(time.time() + 86_401)
    renewed = api.context.store.token("9" * 12)
    assert renewed is not None
    assert renewed.expires_at is not None
    assert abs(renewed.expires_at - renewed.created_at - 90 * 86_400) < 1


def test_tokens_of_operators_rotate(api: Served) -> None:
    made = api.admin.post("/tokens", {"role": "operator", "note": "ci", "expires_in": 1000}).json()
    operator = api.as_token(made["token"])
    answer = operator.post(f"/tokens/{made['id']}/rotate", {"grace_seconds": 60})
    assert answer.status_code == 201, answer.text
    new = api.as_token(answer.json()["token"]).get("/whoami").json()
    assert (new["role"], new["note"]) == ("operator", "ci")
    assert operator.get("/whoami").status_code == 200
    former, token = api.context.store.token(made["id"]), api.context.store.token(new["id"])
    assert former is not None
    assert token is not None
    assert not former.usable(time.time() + 61)
    assert token.expires_at is not None
    assert abs(token.expires_at - token.created_at - 1000) < 1
    problem(operator.post(f"/tokens/{api.admin.get('/whoami').json()['id']}/rotate"), 403, "forbidden")
    at_once = api.admin.post(f"/tokens/{new['id']}/rotate", {"grace_seconds": 0}).json()
    problem(api.as_token(answer.json()["token"]).get("/whoami"), 401, "unauthorized")
    assert api.as_token(at_once["token"]).get("/whoami").status_code == 200
    problem(api.admin.post(f"/tokens/{new['id']}/rotate"), 400, "bad-request")
    problem(api.admin.post("/tokens/nobody/rotate"), 404, "not-found")


def test_a_revoked_gateway_is_out_of_every_plan_within_a_second(served: Served) -> None:
    with_network(served)
    gateway = Gateway(served, make(served, approve=True, uses=5))
    name = gateway.enrols()
    hub = served.as_gateway("berlin-1")
    known = hub.poll("berlin-1").json()
    assert name in [each["peer"] for each in known["plan"]["sessions"]]
    held = hub.in_background(lambda: hub.poll("berlin-1", known["digest"], 30))
    own = gateway.by_token.poll(name).json()["digest"]
    polls = gateway.by_token.in_background(lambda: gateway.by_token.poll(name, own, 30))
    served.waiting(2)
    started = time.monotonic()
    answer = served.admin.post(f"/gateways/{name}/revoke")
    assert answer.status_code == 200, answer.text
    plan = held.result().json()["plan"]
    took = time.monotonic() - started
    assert name not in [each["peer"] for each in plan["sessions"]]
    assert took < 1.0, took
    assert polls.result().status_code == 401
    assert answer.json()["key"] == gateway.key.id, "who was put out must not come in again by the same key"
    problem(Gateway(served, gateway.key, "e000000002").asks(), 403, "key-refused")
    problem(served.admin.post(f"/gateways/{name}/revoke"), 404, "enrolment-unknown")


def test_what_only_a_revoked_gateway_was_for_goes_with_it(api: Served) -> None:
    with_network(api)
    name = Gateway(api, make(api, approve=True)).enrols()
    for path, item in (
        ("prefixes", {"site": "berlin", "prefix": "10.1.7.0/24", "gateways": [name]}),
        ("prefixes", {"site": "berlin", "prefix": "10.1.8.0/24", "gateways": [name, "berlin-1"]}),
        ("rules", {"name": "mine", "match": {"gateways": [name]}, "action": {"preference_add": 5}}),
        ("rules", {"name": "ours", "match": {"gateways": [name, "berlin-1"]}, "action": {"preference_add": 5}}),
        ("rules", {"name": "yours", "match": {"gateways": [name, "paris-1"]}, "action": {"preference_add": 5}}),
        ("assertions", {"name": "reached", "prefix": "10.1.7.0/24", "reaches": True}),
    ):
        assert api.admin.post(f"/{path}", item).status_code == 201, item
    answer = api.admin.post(f"/gateways/{name}/revoke").json()
    gone = {(each["action"], each["object"]) for each in answer["changes"]}
    assert gone == {
        ("remove", f"gateway {name}"),
        ("remove", "prefix berlin/global/10.1.7.0/24"),
        ("change", "prefix berlin/global/10.1.8.0/24"),
        ("remove", "rule mine"),
        ("change", "rule ours"),
        ("change", "rule yours"),
    }
    assert [each["assertion"] for each in answer["assertions"]] == ["reached"]


def test_one_that_waits_can_be_refused(api: Served) -> None:
    with_network(api)
    gateway = Gateway(api, make(api, uses=2))
    name = gateway.enrols()
    answer = api.admin.post(f"/gateways/{name}/revoke").json()
    assert (answer["was"], answer["revision"], answer["key"]) == ("pending", 1, gateway.key.id)
    problem(gateway.by_token.get(f"/enroll/{name}"), 401, "unauthorized")
    problem(api.admin.post(f"/gateways/{name}/approve"), 404, "enrolment-unknown")


def later(api: Served, seconds: float) -> Enrolling:
    return Enrolling(api.context.controller, clock=lambda: time.time() + seconds)


def hub_says(api: Served, ahead: float, *sessions: SessionReport) -> None:
    """berlin-1 reports, so many seconds from now."""
    body = encode(structs.replace(report("berlin-1"), sessions=sessions))
    assert api.context.store.save_report("berlin-1", body, time.time() + ahead)


def test_ephemeral_gateways_go_when_nobody_has_heard_them_for_their_time(api: Served) -> None:
    """Neither the controller nor any hub; the hub has lost them when they fell silent."""
    with_network(api)
    key = make(api, approve=True, uses=3, ephemeral=True, gone_seconds=600)
    silent, heard = Gateway(api, key), Gateway(api, key, "e000000002")
    names = [each.enrols() for each in (silent, heard)]
    stays = Gateway(api, make(api, approve=True), "e000000003").enrols()
    started = time.time()
    lost = (session(names[0], "down", started), session(names[1], "down", started + 300))
    hub_says(api, 599, *lost)
    assert later(api, 599).gone(started) == []
    api.context.store.save_report(names[1], b"{}", time.time() + 300)
    hub_says(api, 601, *lost)
    assert later(api, 601).gone(started) == [names[0]]
    assert later(api, 601).gone(started + 300) == [], "a controller that was away begins to count when it is back"
    hub_says(api, 902, *lost)
    assert later(api, 902).gone(started) == names
    later(api, 601).revoke(names[0], actor="controller", action="expire")
    left = [each["name"] for each in api.admin.get("/gateways").json()["items"]]
    assert names[0] not in left
    assert {names[1], stays} <= set(left)
    assert ("controller", "expire", f"gateway {names[0]}") in audited(api)
    assert api.admin.get("/enroll-keys").json()["items"][0]["state"] == "usable", "its key has done nothing wrong"


def test_a_controller_that_is_cut_off_puts_nobody_out(api: Served) -> None:
    """Its uplink, its pause or its clock: hubs have BGP with the gateways, or are silent themselves."""
    with_network(api)
    name = Gateway(api, make(api, approve=True, ephemeral=True, gone_seconds=600)).enrols()
    started = time.time()
    down = session(name, "down", started)
    assert later(api, 3601).gone(started) == [], "nobody is heard, so nobody knows"
    hub_says(api, 0, down)
    assert later(api, 3601).gone(started) == [], "what hubs said an hour ago"
    hub_says(api, 3601, session(name, "up", started))
    assert later(api, 3601).gone(started) == [], "a hub has BGP with it"
    hub_says(api, 3601, session(name, "down", started + 3500))
    assert later(api, 3601).gone(started) == [], "it went when the controller was away, and has its time"
    hub_says(api, 3601)
    assert later(api, 3601).gone(started) == [], "a hub that does not know it"
    hub_says(api, 3601, down)
    assert later(api, 3601).gone(started) == [name]


@pytest.mark.parametrize(
    ("looked", "since"),
    [(991.0, 500.0), (980.0, 500.0), (960.0, 1000.0), (1600.0, 1000.0)],
    ids=["in time", "a slow look", "paused, or no database", "the clock was put back"],
)
def test_silence_counts_anew_after_a_controller_was_away(looked: float, since: float) -> None:
    assert counted_from(500.0, looked, 1000.0) == since


def test_what_is_over_is_forgotten_after_a_while(api: Served) -> None:
    with_network(api)
    waits = Gateway(api, make(api)).enrols()
    stays = Gateway(api, make(api, approve=True), "e000000002").enrols()
    later(api, PENDING_SECONDS - 60).tidy()
    assert len(api.admin.get("/enrolments").json()["items"]) == 2
    later(api, PENDING_SECONDS + 60).tidy()
    assert [each["gateway"] for each in api.admin.get("/enrolments").json()["items"]] == [stays]
    assert ("controller", "forget", f"gateway {waits}") in audited(api)
    later(api, 86_400 + KEPT_SECONDS + 60).tidy()
    assert api.admin.get("/enroll-keys").json()["items"] == []
    later(api, 90 * 86_400 + KEPT_SECONDS + 60).tidy()
    held = [each for each in api.context.store.tokens() if each.role == "gateway"]
    assert held == []
    assert [each.role for each in api.context.store.tokens()] == ["admin"], "an operator's is never forgotten"


def test_an_approved_gateway_takes_its_enrolment_along_when_it_is_renamed(served: Served) -> None:
    with_network(served)
    key = make(served, approve=True, uses=2, ephemeral=True)
    gateway = Gateway(served, key)
    name = gateway.enrols()
    answer = served.admin.post("/rename", {"kind": "gateway", "old": name, "new": "roof"})
    assert answer.status_code == 200, answer.text
    (row,) = served.admin.get("/enrolments").json()["items"]
    assert (row["gateway"], row["ephemeral"]) == ("roof", True)
    assert gateway.by_token.poll("roof").status_code == 200


def test_the_token_of_a_gateway_lives_for_ninety_days_unless_somebody_says_otherwise(api: Served) -> None:
    api.with_small()
    made = api.admin.post("/gateways/berlin-1/token").json()
    assert made["expires_at"][:10] == time.strftime("%Y-%m-%d", time.gmtime(time.time() + 90 * 86_400))
    assert api.admin.post("/gateways/berlin-1/token", {"expires_in": None}).json()["expires_at"] is None


def test_the_background_task_puts_out_who_is_gone(api: Served) -> None:
    with_network(api)
    name = Gateway(api, make(api, approve=True, ephemeral=True, gone_seconds=60)).enrols()
    hub_says(api, 61, session(name, "down", time.time() - 1))
    put_out_the_gone(later(api, 61), time.time() - 1, set())
    problem(api.admin.get(f"/gateways/{name}"), 404, "not-found")


def test_an_ephemeral_gateway_that_the_fabric_cannot_do_without_stays(api: Served) -> None:
    with_network(api)
    key = make(api, approve=True, ephemeral=True, gone_seconds=60, circuit_classes=["satellite"])
    name = Gateway(api, key).enrols()
    rule = {"name": "sky", "match": {"circuit_classes": ["satellite"]}, "action": {"deny": True}}
    assert api.admin.post("/rules", rule).status_code == 201
    stay: set[str] = set()
    hub_says(api, 61, session(name, "down", time.time() - 1))
    put_out_the_gone(later(api, 61), time.time() - 1, stay)
    assert stay == {name}
    assert api.admin.get(f"/gateways/{name}").status_code == 200
    assert api.admin.post(f"/gateways/{name}/revoke").status_code == 200, "an operator's word is another matter"


# Keys of gateways that are declared

DECLARED = "a000000001"
"""The node of berlin-1."""


def test_a_declared_gateway_comes_by_a_key_of_its_own(served: Served) -> None:
    with_network(served)
    before = served.admin.get("/revisions").json()
    former = served.as_gateway("berlin-1")
    key = make(served, site=None, gateway="berlin-1")
    gateway = Gateway(served, key, DECLARED)
    told = gateway.by_key.get("/enroll").json()
    (site, role) = (served.admin.get("/gateways/berlin-1").json()[each] for each in ("site", "role"))
    assert (told["site"], told["role"]) == (site, role)
    answer = gateway.asks()
    assert (answer.json()["gateway"], answer.json()["state"]) == ("berlin-1", "approved")
    assert gateway.asks().json() == answer.json(), "an answer that was lost costs nothing"
    assert served.admin.get("/revisions").json() == before, "it is declared: nothing is to be approved or changed"
    assert gateway.by_token.poll("berlin-1").json()["plan"]["gateway"] == "berlin-1"
    assert gateway.by_token.get("/enroll/berlin-1").json()["state"] == "approved"
    problem(former.get("/whoami"), 401, "unauthorized")
    (row,) = served.admin.get("/enrolments").json()["items"]
    assert (row["gateway"], row["node_ids"], row["ephemeral"]) == ("berlin-1", [DECLARED], False)
    assert (f"enroll key {key.id}", "issue") in [entry[:2] for entry in audited(served)]
    used = problem(Gateway(served, key, DECLARED, token="f" * 12).asks(), 403, "key-refused")
    assert "leyline enroll-key create --gateway berlin-1" in used["detail"]


def test_one_that_came_by_a_key_before_comes_again_and_keeps_what_is_its_own(served: Served) -> None:
    """Its token has expired, say: it was off for months."""
    with_network(served)
    name = Gateway(served, make(served, approve=True, ephemeral=True, gone_seconds=600)).enrols()
    kept = served.admin.get(f"/gateways/{name}").json()
    again = Gateway(served, make(served, site=None, gateway=name), "e000000001", token="f" * 12)
    assert again.enrols() == name
    assert again.by_token.poll(name).status_code == 200
    assert served.admin.get(f"/gateways/{name}").json() == kept
    (row,) = served.admin.get("/enrolments").json()["items"]
    assert (row["gateway"], row["ephemeral"]) == (name, True), "whether it may go by itself is nothing of the key's"


@pytest.mark.parametrize(
    ("node_id", "uplink", "name", "says"),
    [
        ("e000000001", "main", "", f"declared with main={DECLARED}, and this box has main=e000000001"),
        (DECLARED, "lte", "", "--zerotier-home main=DIR"),
        (DECLARED, "main", "roof", "leave --name out"),
    ],
)
def test_who_is_not_the_declared_one_is_refused(api: Served, node_id: str, uplink: str, name: str, says: str) -> None:
    with_network(api)
    former = api.as_gateway("berlin-1")
    gateway = Gateway(api, make(api, site=None, gateway="berlin-1"), node_id, name)
    gateway.asked["uplinks"][0]["name"] = uplink  # type: ignore[index]
    assert says in problem(gateway.asks(), 409, "enrolment-refused")["detail"]
    assert former.get("/whoami").status_code == 200
    assert api.admin.get("/enrolments").json()["items"] == []
    assert api.admin.get("/enroll-keys").json()["items"][0]["used"] == 0


@pytest.mark.parametrize(
    ("fields", "status", "says"),
    [
        ({"gateway": "berlin-9"}, 409, "there is no gateway berlin-9"),
        ({}, 422, "one of site and gateway"),
        ({"gateway": "berlin-1", "site": "berlin"}, 422, "one of site and gateway"),
        ({"gateway": "berlin-1", "role": "hub", "uses": 2}, 422, "leave out role, uses"),
    ],
)
def test_a_key_is_of_a_site_or_of_a_gateway(api: Served, fields: dict[str, Any], status: int, says: str) -> None:
    with_network(api)
    answer = api.admin.post("/enroll-keys", fields)
    assert (answer.status_code, says in answer.text) == (status, True), answer.text


def test_a_key_follows_its_gateway_and_goes_with_it(api: Served) -> None:
    with_network(api)
    name = Gateway(api, make(api, approve=True)).enrols()
    key = make(api, site=None, gateway=name)
    assert api.admin.post("/rename", {"kind": "gateway", "old": name, "new": "roof"}).status_code == 200
    assert Gateway(api, key, "e000000001", token="f" * 12).enrols() == "roof"
    other = make(api, site=None, gateway="roof")
    assert api.admin.post("/gateways/roof/revoke").status_code == 200
    again = Gateway(api, other, "e000000001", token="g" * 12)
    assert "revoked" in problem(again.asks(), 403, "key-refused")["detail"]
