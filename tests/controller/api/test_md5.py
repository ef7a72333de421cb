"""MD5 keys over HTTP: who may change one, when it is refused, what is told, and that no answer has a key in it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

import pytest

from controller.rotating import Rotating, RotationRefused
from controller.store.md5 import secrets_of
from speaker.plan import decode
from speaker.report import SessionReport, encode
from tests.controller.api.served import Caller, Served, problem, report
from tests.controller.policy.test_md5 import DOCUMENT

NAMES = ("far", "hub-1", "hub-2")


@dataclass
class Fleet:
    """Three gateways that do as their plans say, and report it."""

    served: Served
    callers: dict[str, Caller]
    down: set[frozenset[str]]
    since: dict[frozenset[str], float]

    def plan(self, name: str) -> dict[str, Any]:
        plan: dict[str, Any] = self.callers[name].poll(name).json()["plan"]
        return plan

    def passwords(self) -> dict[tuple[str, str], str]:
        return {(name, each["peer"]): each["password"] for name in NAMES for each in self.plan(name)["sessions"]}

    def report(self, *names: str, digest: str = "") -> None:
        now = time.time()
        for name in names or NAMES:
            found = self.callers[name].poll(name).json()
            peers = [each["peer"] for each in found["plan"]["sessions"] if "/" not in each["peer"]]
            said = report(name, digest or found["digest"])
            sessions = tuple(self.session(name, peer, now) for peer in peers)
            fields = {field: getattr(said, field) for field in said.__struct_fields__}
            body = encode(type(said)(**{**fields, "sessions": sessions, "reported_at": now}))
            answer = self.callers[name].http.post(f"/gateways/{name}/report", content=body)
            assert answer.status_code == 204, answer.text

    def session(self, name: str, peer: str, now: float) -> SessionReport:
        ends = frozenset({name, peer})
        is_down = ends in self.down
        since = self.since.get(ends, now - 500)
        return SessionReport(peer, "", "down" if is_down else "up", since, "lost" * is_down, True, {}, {}, {})

    def restarted(self, *pairs: tuple[str, str]) -> None:
        self.since |= {frozenset(pair): time.time() for pair in pairs}


@pytest.fixture
def fleet(api: Served) -> Fleet:
    api.apply(DOCUMENT)
    made = Fleet(api, {name: api.as_gateway(name) for name in NAMES}, set(), {})
    with api.context.store.changing() as change:  # As if the keys were old.
        old = {name: type(key)(key.secret, key.changed_at - 9_000) for name, key in change.md5_keys().items()}
        change.save_md5_keys(old)
    made.report()
    return made


def hubs(fleet: Fleet) -> dict[str, dict[str, Any]]:
    found = fleet.served.as_role("viewer").get("/md5-keys").json()
    return {each["hub"]: each for each in found["hubs"]}


def test_a_rotation_gives_both_ends_another_key_and_waits_for_their_word(fleet: Fleet) -> None:
    before, operator = fleet.passwords(), fleet.served.as_role("operator")
    answer = operator.post("/gateways/hub-2/rotate-md5")
    assert answer.status_code == 200, answer.text
    done = answer.json()
    assert (done["hub"], done["key"], done["waited_for"], done["away"]) == ("hub-2", True, ["far", "hub-1"], [])
    assert done["gateways"] == ["far", "hub-1", "hub-2"]
    after = fleet.passwords()
    moved = {("far", "hub-2"), ("hub-1", "hub-2"), ("hub-2", "far"), ("hub-2", "far/u1"), ("hub-2", "hub-1")}
    assert {ends for ends, key in after.items() if key != before[ends]} == moved
    assert len({after[ends] for ends in moved}) == 1
    missing = hubs(fleet)["hub-2"]["missing"]
    assert [each["reason"].removeprefix(each["gateway"]) for each in missing] == [" has not taken its plan yet"] * 2
    fleet.report()
    assert "before the key was changed" in hubs(fleet)["hub-2"]["missing"][0]["reason"]
    fleet.restarted(("far", "hub-2"), ("hub-1", "hub-2"))
    fleet.report()
    assert hubs(fleet)["hub-2"]["missing"] == []
    assert hubs(fleet)["hub-2"]["changed_at"] == done["changed_at"]


def test_the_next_hub_is_refused_until_the_last_one_is_back(fleet: Fleet) -> None:
    operator = fleet.served.as_role("operator")
    assert operator.post("/gateways/hub-2/rotate-md5").status_code == 200
    refused = problem(operator.post("/gateways/hub-1/rotate-md5"), 409, "rotation-refused")
    assert "far has not taken its plan yet" in refused["detail"]
    fleet.report()
    refused = problem(operator.post("/gateways/hub-1/rotate-md5"), 409, "rotation-refused")
    assert "far with hub-2: at far it is still the one of before the key was changed" in refused["detail"]
    fleet.restarted(("far", "hub-2"), ("hub-1", "hub-2"))
    fleet.down.add(frozenset({"far", "hub-2"}))
    fleet.report()
    refused = problem(operator.post("/gateways/hub-1/rotate-md5"), 409, "rotation-refused")
    assert refused["detail"].startswith("far with hub-2: down at far: lost: a new key for hub-1 now may cost gateways")
    fleet.down.clear()
    fleet.report()
    assert operator.post("/gateways/hub-1/rotate-md5").status_code == 200


def test_force_changes_it_all_the_same_and_the_audit_log_says_so(fleet: Fleet) -> None:
    fleet.down.add(frozenset({"far", "hub-2"}))
    fleet.report()
    admin = fleet.served.admin
    before = fleet.passwords()
    problem(admin.post("/gateways/hub-1/rotate-md5"), 409, "rotation-refused")
    assert fleet.passwords() == before
    assert admin.post("/gateways/hub-1/rotate-md5?force=true").status_code == 200
    entry = admin.get("/audit").json()["items"][0]
    assert (entry["action"], entry["object"], entry["revision"]) == ("rotate-md5", "gateway hub-1", None)
    assert entry["detail"] == {"key": "new", "forced": ["far with hub-2: down at far: lost"]}
    assert admin.get("/revisions").json()["items"][0]["revision"] == 1, "it is no revision"


def test_gateways_that_wait_hear_of_it_at_once(fleet: Fleet) -> None:
    far = fleet.callers["far"]
    digest = far.poll("far").json()["digest"]
    waiting = far.in_background(lambda: far.poll("far", digest, wait=30))
    fleet.served.waiting(1)
    fleet.served.admin.post("/gateways/hub-1/rotate-md5")
    plan = decode(json.dumps(waiting.result().json()["plan"]).encode())
    keys = secrets_of(fleet.served.context.store.md5_keys())
    assert {each.peer: each.password for each in plan.sessions if each.peer in keys} == keys


def test_switched_off_keys_go_hub_by_hub_too(fleet: Fleet) -> None:
    admin = fleet.served.admin
    fleet.served.apply({"fabric": {**DOCUMENT["fabric"], "md5": False}})
    fleet.report()
    assert admin.get("/md5-keys").json()["wanted"] is False
    assert [each["key"] for each in hubs(fleet).values()] == [True, True]
    done = admin.post("/gateways/hub-2/rotate-md5").json()
    assert (done["key"], done["waited_for"]) == (False, ["far", "hub-1"])
    assert fleet.passwords()[("far", "hub-2")] == fleet.passwords()[("hub-2", "hub-1")] == ""
    assert fleet.passwords()[("far", "hub-1")] != ""
    assert hubs(fleet)["hub-2"]["missing"][0]["gateway"] == "far"
    again = problem(admin.post("/gateways/hub-2/rotate-md5?force=true"), 409, "rotation-refused")
    assert again["detail"] == "hub-2 has no key, and none is wanted: declare `md5: true` of the fabric first"


def test_switched_on_a_hub_gets_its_first_key_by_a_rotation(api: Served) -> None:
    api.apply({**DOCUMENT, "fabric": {**DOCUMENT["fabric"], "md5": False}})
    fleet = Fleet(api, {name: api.as_gateway(name) for name in NAMES}, set(), {})
    fleet.report()
    api.apply({"fabric": DOCUMENT["fabric"]})
    assert set(fleet.passwords().values()) == {""}
    assert [(each["key"], each["changed_at"]) for each in hubs(fleet).values()] == [(False, None)] * 2
    assert api.admin.post("/gateways/hub-1/rotate-md5").json()["key"] is True
    keyed = {ends for ends, key in fleet.passwords().items() if key}
    assert keyed == {("far", "hub-1"), ("hub-1", "far"), ("hub-1", "far/u1")}


def test_who_may_not_and_what_is_not_there(fleet: Fleet) -> None:
    admin = fleet.served.admin
    unknown = problem(admin.post("/gateways/hub-9/rotate-md5"), 404, "hub-unknown")
    assert unknown["detail"] == 'there is no gateway hub-9; did you mean "hub-2"?'
    spoke = problem(admin.post("/gateways/far/rotate-md5?force=true"), 409, "rotation-refused")
    assert spoke["detail"].startswith("far is a spoke: keys are those of hubs")
    problem(fleet.served.as_role("viewer").post("/gateways/hub-1/rotate-md5"), 403, "forbidden")
    problem(fleet.callers["hub-1"].post("/gateways/hub-1/rotate-md5"), 403, "forbidden")
    problem(fleet.served.nobody.post("/gateways/hub-1/rotate-md5"), 401, "unauthorized")
    problem(fleet.callers["hub-1"].get("/md5-keys"), 403, "forbidden")


def test_no_key_is_in_any_answer_but_a_plan(fleet: Fleet) -> None:
    """What a viewer can read, with what a rotation answers."""
    admin, viewer = fleet.served.admin, fleet.served.as_role("viewer")
    said = [
        admin.post("/gateways/hub-1/rotate-md5").text,
        fleet.served.apply({"sites": [{"name": "t", "region": "eu"}]}),
    ]
    paths = ("/fabric", "/export", "/md5-keys", "/revisions", "/revisions/1", "/audit", "/status/gateways",
             "/gateways", "/gateways/hub-1", "/paths")  # fmt: skip
    said += [viewer.get(path).text for path in paths]
    problem(viewer.poll("far"), 403, "forbidden")
    keys = [*secrets_of(fleet.served.context.store.md5_keys()).values()]
    assert len(keys) == 2
    assert not [key for key in keys if key in str(said)]


def test_two_at_once_are_one_after_the_other(fleet: Fleet) -> None:
    """The second one looks when the first one is stored, and finds gateways that have not taken their plan."""
    rotating = Rotating(fleet.served.context.controller)
    rotating.rotate("hub-1", actor="one")
    with pytest.raises(RotationRefused, match="has not taken its plan yet"):
        rotating.rotate("hub-2", actor="two")
