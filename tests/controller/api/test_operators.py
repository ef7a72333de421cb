"""What operators do: the whole document, and one object at a time."""

from __future__ import annotations

import pytest

from tests.controller.api.served import Served, problem
from tests.controller.store.fabrics import sized, small

ITEMS = [
    ("regions", "asia", {"name": "asia"}, {"closed": True}),
    ("circuit-classes", "slow", {"name": "slow", "preference": 10}, {"preference": 11}),
    ("sites", "rome", {"name": "rome", "region": "eu"}, {"provider": "other", "tags": ["x"]}),
    ("allocations", "berlin/global/10.7.0.0/16", {"site": "berlin", "prefix": "10.7.0.0/16"}, {"longest": 30}),
    ("prefixes", "paris/global/10.2.7.0/24", {"site": "paris", "prefix": "10.2.7.0/24"}, {"gateways": ["paris-2"]}),
    (
        "gateways",
        "berlin-2",
        {
            "name": "berlin-2",
            "site": "berlin",
            "role": "spoke",
            "uplinks": [{"name": "m", "node_id": "c000000001", "interface": "zt0", "circuit_class": "fiber"}],
        },
        {"role": "hub"},
    ),
    ("clients", "bird1", {"name": "bird1", "site": "paris", "circuit_class": "lte"}, {"preference": 7}),
    (
        "lan-peers",
        "edge",
        {
            "name": "edge",
            "gateway": "paris-1",
            "asn": 65002,
            "interface": "lan1",
            "address": "10.2.1.2",
            "local_address": "10.2.1.1",
        },
        {"asn": 65003},
    ),
    (
        "rules",
        "lte-last",
        {"name": "lte-last", "match": {"circuit_classes": ["lte"]}, "action": {"preference": 20}},
        {"action": {"preference": 20, "preference_add": 5}},
    ),
    ("hosts", "tv", {"name": "tv", "site": "paris", "node_id": "d000000001"}, {"node_id": "d000000002"}),
    (
        "moons",
        "second",
        {"name": "second", "gateway": "paris-2", "endpoints": ["203.0.113.12/9993"]},
        {"endpoints": ["203.0.113.12/443"]},
    ),
    ("assertions", "hubs", {"name": "hubs", "sites": ["paris"], "survives": "uplink"}, {"survives": "provider"}),
]


@pytest.mark.parametrize(("path", "key", "item", "change"), ITEMS, ids=[each[0] for each in ITEMS])
def test_every_noun_is_created_read_patched_put_and_deleted(
    api: Served, path: str, key: str, item: dict[str, object], change: dict[str, object]
) -> None:
    admin = api.with_small().admin
    created = admin.post(f"/{path}", item)
    assert created.status_code == 201, created.text
    assert created.headers["location"] == f"/api/v1/{path}/{key}"
    assert created.json()["revision"] == 2
    problem(admin.post(f"/{path}", item), 409, "already-exists")

    read = admin.get(f"/{path}/{key}")
    assert read.json() == created.json()["item"]
    assert {**read.json(), **item} == read.json() or "uplinks" in item
    assert read.headers["etag"] == created.headers["etag"]
    assert read.json() in admin.get(f"/{path}").json()["items"]

    patched = admin.patch(f"/{path}/{key}", change, headers={"If-Match": read.headers["etag"]})
    assert patched.status_code == 200, patched.text
    assert patched.json()["item"] == {**read.json(), **change}
    assert [each["action"] for each in patched.json()["changes"]] == (["change"] if change else [])
    stale = admin.put(f"/{path}/{key}", item, headers={"If-Match": '"0123456789abcdef"'})
    problem(stale, 412, "precondition-failed")
    if change:
        stale = admin.put(f"/{path}/{key}", item, headers={"If-Match": read.headers["etag"]})
        problem(stale, 412, "precondition-failed")

    put = admin.put(f"/{path}/{key}", item, headers={"If-Match": patched.headers["etag"]})
    assert put.json()["item"] == read.json(), "numbers and addresses that the body leaves out come back"
    assert admin.delete(f"/{path}/{key}", headers={"If-Match": put.headers["etag"]}).status_code == 200
    problem(admin.get(f"/{path}/{key}"), 404, "not-found")
    problem(admin.delete(f"/{path}/{key}"), 404, "not-found")


def test_uplinks_are_parts_of_their_gateway(api: Served) -> None:
    admin = api.with_small().admin
    item = {"node_id": "c000000002", "interface": "zt9", "circuit_class": "satellite"}
    put = admin.put("/gateways/berlin-1/uplinks/sat", item)
    assert put.status_code == 200, put.text
    assert put.json()["item"]["address"].startswith("10.42.")
    names = [each["name"] for each in admin.get("/gateways/berlin-1").json()["uplinks"]]
    assert names == ["main", "sat"], "a new uplink is never the primary one by accident"
    problem(admin.post("/gateways/berlin-1/uplinks", {**item, "name": "sat"}), 409, "already-exists")
    tag = admin.get("/gateways/berlin-1/uplinks/sat").headers["etag"]
    patch = admin.patch("/gateways/berlin-1/uplinks/sat", {"preference": 5}, headers={"If-Match": tag})
    assert patch.json()["item"]["preference"] == 5
    assert [each["name"] for each in admin.get("/gateways/berlin-1/uplinks").json()["items"]] == ["main", "sat"]
    assert admin.delete("/gateways/berlin-1/uplinks/sat").status_code == 200
    problem(admin.get("/gateways/berlin-1/uplinks/sat"), 404, "not-found")
    problem(admin.get("/gateways/nobody/uplinks"), 404, "not-found")


def test_the_document_comes_back_as_it_is_put(api: Served) -> None:
    admin = api.with_small().admin
    first = admin.get("/fabric")
    again = admin.put("/fabric", first.json(), headers={"If-Match": first.headers["etag"]})
    assert again.json() == {"revision": 1, "dry_run": False, "changes": [], "gateways": []}
    assert admin.get("/fabric", headers={"If-None-Match": first.headers["etag"]}).status_code == 304
    problem(admin.put("/fabric", small(), headers={"If-Match": '"other"'}), 412, "precondition-failed")


def test_a_revision_can_be_read_and_put_back(served: Served) -> None:
    admin = served.with_small().admin
    admin.delete("/clients/frr1")
    assert [each["revision"] for each in admin.get("/revisions").json()["items"]] == [2, 1]
    first = admin.get("/revisions/1").json()
    assert first["summary"] == "apply"
    back = admin.put("/fabric", first["document"]).json()
    assert [each["object"] for each in back["changes"]] == ["client frr1"]
    assert admin.get("/fabric").json() == first["document"]
    problem(admin.get("/revisions/99"), 404, "not-found")


def test_apply_merges_and_prune_removes_under_guard(served: Served) -> None:
    document = sized(20, 20)
    served.apply(document)
    part = {"prefixes": [{"site": "s0", "prefix": "10.0.3.0/28"}]}
    assert [each["action"] for each in served.apply(part)["changes"]] == ["add"]
    less = {**document, "gateways": document["gateways"][:16]}
    guarded = problem(served.admin.post("/apply?prune=true", less), 409, "removals-guarded")
    assert "allow_removals 4" in guarded["detail"]
    problem(served.admin.put("/fabric", less), 409, "removals-guarded")
    assert len(served.admin.get("/gateways").json()["items"]) == 20
    done = served.admin.put("/fabric?allow_removals=4", less).json()
    assert sum(each["action"] == "remove" for each in done["changes"]) == 5


def test_dry_run_stores_nothing(served: Served) -> None:
    told = served.admin.post("/apply?dry_run=true", small()).json()
    assert (told["dry_run"], told["gateways"]) == (True, ["berlin-1", "paris-1", "paris-2"])
    assert served.admin.get("/fabric").json() == {}
    assert served.admin.get("/revisions").json()["items"] == []
    served.with_small()
    gone = served.admin.delete("/clients/frr1?dry_run=true").json()
    assert gone["changes"][0]["action"] == "remove"
    assert served.admin.get("/clients/frr1").status_code == 200


def test_rename_over_http(api: Served) -> None:
    admin = api.with_small().admin
    number = admin.get("/sites/paris").json()["number"]
    answer = admin.post("/rename", {"kind": "site", "old": "paris", "new": "lutetia"})
    assert answer.status_code == 200, answer.text
    assert admin.get("/sites/lutetia").json()["number"] == number
    assert admin.get("/prefixes/lutetia/global/10.2.1.0/24").status_code == 200
    refused = problem(admin.post("/rename", {"kind": "site", "old": "nix", "new": "b"}), 422, "inventory-refused")
    assert refused["findings"][0]["code"] == "object-unknown"


def test_lists_come_in_pages_that_survive_changes(api: Served) -> None:
    api.apply(sized(10, 40))
    seen: list[str] = []
    params: dict[str, str | int] = {"limit": 7}
    while True:
        answer = api.admin.get("/prefixes", params=params).json()
        seen += [each["prefix"] for each in answer["items"]]
        if len(seen) == 14:
            last = answer["items"][-1]
            api.admin.delete(f"/prefixes/{last['site']}/global/{last['prefix']}")  # What the cursor stands on.
        if answer["next"] is None:
            break
        params["cursor"] = answer["next"]
    assert len(seen) == len(set(seen)) == 40
    assert [each["site"] for each in api.admin.get("/prefixes?site=s4").json()["items"]] == ["s4"] * 4
    assert len(api.admin.get("/revisions?limit=1").json()["items"]) == 1


def test_the_audit_log_tells_who_did_what(api: Served) -> None:
    operator = api.with_small().as_role("operator")
    operator.post("/regions", {"name": "asia"})
    entry = operator.get("/audit").json()["items"][0]
    assert (entry["action"], entry["object"], entry["revision"]) == ("create", "region asia", 2)
    assert entry["actor"].startswith("operator (")
