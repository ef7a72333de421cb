"""Drain and undrain over HTTP: a change like any other, idempotent, with a word about what has no other way."""

from __future__ import annotations

import json

import pytest

from speaker.plan import decode
from tests.controller.api.served import Served, problem
from tests.controller.store.fabrics import Document, small


def active() -> Document:
    """`small` with nobody drained."""
    document = small()
    for gateway in document["gateways"]:
        gateway.pop("drained", None)
    return document


@pytest.fixture
def paris(api: Served) -> Served:
    api.apply(active())
    return api


def drained_in(served: Served, gateway: str, about: str) -> bool:
    """Whether `gateway`'s plan says that `about` is drained."""
    plan = decode(json.dumps(served.admin.poll(gateway).json()["plan"]).encode())
    if gateway == about:
        return plan.drained
    (session,) = [each for each in plan.sessions if each.peer == about]
    assert session.imports is not None
    (found,) = {each.drained for each in session.imports.next_hops}
    return found


def test_drain_and_undrain_are_revisions_that_move_the_plans_of_hub_and_gateway(served: Served) -> None:
    served.apply(active())
    operator = served.as_role("operator")
    done = operator.post("/gateways/paris-1/drain")
    assert done.status_code == 200, done.text
    answer = done.json()
    assert (answer["revision"], answer["gateway"], answer["drained"]) == (2, "paris-1", True)
    assert answer["gateways"] == ["berlin-1", "paris-1"], "the other spoke hears of it by BGP"
    assert answer["plan_digest"] == operator.poll("paris-1").json()["digest"]
    assert drained_in(served, "paris-1", "paris-1")
    assert drained_in(served, "berlin-1", "paris-1")
    assert not drained_in(served, "berlin-1", "paris-2")
    assert operator.get("/gateways/paris-1").json()["drained"] is True
    assert operator.get("/status/gateways/paris-1").json()["drained"] is True
    back = operator.post("/gateways/paris-1/undrain").json()
    assert (back["revision"], back["drained"], back["warnings"]) == (3, False, [])
    assert "drained" not in operator.get("/gateways/paris-1").json()
    assert not drained_in(served, "berlin-1", "paris-1")
    log = operator.get("/audit").json()["items"]
    assert [(each["action"], each["object"], each["revision"]) for each in log[:2]] == [
        ("undrain", "gateway paris-1", 3),
        ("drain", "gateway paris-1", 2),
    ]


@pytest.mark.parametrize("verb", ["drain", "undrain"])
def test_twice_is_once(paris: Served, verb: str) -> None:
    if verb == "drain":
        paris.admin.post("/gateways/paris-1/drain")
    before = paris.admin.get("/fabric").headers["leyline-revision"]
    again = paris.admin.post(f"/gateways/paris-1/{verb}")
    assert (again.status_code, again.json()["changes"], again.json()["gateways"]) == (200, [], [])
    assert str(again.json()["revision"]) == before == paris.admin.get("/fabric").headers["leyline-revision"]


def test_a_dry_run_drains_nothing(paris: Served) -> None:
    told = paris.admin.post("/gateways/paris-1/drain?dry_run=true").json()
    assert (told["dry_run"], told["gateways"]) == (True, ["berlin-1", "paris-1"])
    assert "plan_digest" not in told
    assert paris.admin.get("/status/gateways/paris-1").json()["drained"] is False


def test_a_drain_outlives_documents_that_do_not_know_of_it(paris: Served) -> None:
    paris.admin.post("/gateways/paris-1/drain")
    assert paris.apply(active())["changes"] == []
    assert paris.admin.put("/fabric", active()).json()["changes"] == []
    ended = active()
    ended["gateways"][1]["drained"] = False
    (change,) = paris.apply(ended)["changes"]
    assert (change["object"], change["fields"]) == ("gateway paris-1", {"drained": [True, None]})


def test_what_has_no_other_way_is_said_and_drained_all_the_same(paris: Served) -> None:
    assert paris.admin.post("/gateways/paris-1/drain").json()["warnings"] == []
    (said,) = paris.admin.post("/gateways/paris-2/drain").json()["warnings"]
    assert said.startswith("no other undrained gateway announces 10.2.1.0/24, 2001:db8:2:1::/64: this traffic")
    prefixes, hub = paris.admin.post("/gateways/berlin-1/drain").json()["warnings"]
    assert "announces 10.1.1.0/24" in prefixes
    assert hub.startswith("no other hub is undrained")


def test_a_warning_names_five_prefixes_and_counts_the_rest(paris: Served) -> None:
    paris.apply({"prefixes": [{"site": "berlin", "prefix": f"10.1.{n}.0/24"} for n in range(10, 16)]})
    said = paris.admin.post("/gateways/berlin-1/drain").json()["warnings"][0]
    assert "10.1.1.0/24, 10.1.10.0/24, 10.1.11.0/24, 10.1.12.0/24, 10.1.13.0/24 and 2 more:" in said


@pytest.mark.parametrize("verb", ["drain", "undrain"])
def test_who_may_not_and_what_is_not_there(paris: Served, verb: str) -> None:
    unknown = problem(paris.admin.post(f"/gateways/paris-11/{verb}"), 404, "not-found")
    assert unknown["detail"] == 'there is no gateway paris-11; did you mean "paris-1"?'
    problem(paris.as_role("viewer").post(f"/gateways/paris-1/{verb}"), 403, "forbidden")
    problem(paris.as_gateway("paris-1").post(f"/gateways/paris-1/{verb}"), 403, "forbidden")
    problem(paris.nobody.post(f"/gateways/paris-1/{verb}"), 401, "unauthorized")
    assert paris.admin.get("/revisions").json()["items"][0]["revision"] == 1


def test_a_report_of_a_speaker_that_knows_of_no_drain_is_taken(paris: Served) -> None:
    """The first release's: none of the fields of liveness."""
    gateway = paris.as_gateway("paris-1")
    old = {
        "version": 1, "gateway": "paris-1", "speaker_version": "0.1.0", "plan_versions": [1], "plan_digest": "",
        "plan_error": "", "started_at": 1.0, "reported_at": 2.0, "converged": True, "sessions": [], "uplinks": [],
        "kernel": {"routes": {}, "groups": 0, "failed": 0, "repaired": 0, "last_error": "", "sysctls": {}},
    }  # fmt: skip
    assert gateway.post("/gateways/paris-1/report", old).status_code == 204
    said = paris.admin.get("/status/gateways/paris-1").json()["report"]
    assert (said["drained"], said["next_hops"], said["forwarded_pps"]) == (False, [], 0.0)
