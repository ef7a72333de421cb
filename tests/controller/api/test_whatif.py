"""What if over HTTP; assertions and dry runs as the API answers them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.controller.api.served import Served, problem
from tests.controller.store.fabrics import small

ASSERTED = {
    **small(),
    "rules": [],
    "assertions": [{"name": "to-paris", "sites": ["berlin"], "prefix": "10.2.1.0/24", "reaches": True}],
}
HIDE = {"name": "hide", "match": {"sites": ["paris"]}, "viewer": {"sites": ["berlin"]}, "action": {"deny": True}}


@pytest.fixture
def asserted(api: Served) -> Served:
    api.apply(ASSERTED)
    return api


def test_one_failure_by_get_and_by_post_is_the_same(asserted: Served) -> None:
    viewer = asserted.as_role("viewer")
    posted = viewer.post("/whatif", {"fail": ["gateway:paris-1", "paris-2"], "floor": "broadband"})
    assert posted.status_code == 200, posted.text
    got = viewer.get("/whatif", params={"fail": ["gateway:paris-1", "paris-2"], "floor": "broadband"})
    assert got.json() == posted.json()
    answer = posted.json()
    assert (answer["revision"], answer["harmful"]) == (1, 1)
    failure = answer["failures"][0]
    assert (failure["failed"], failure["down"]) == (["gateway:paris-1", "gateway:paris-2"], ["paris"])
    assert failure["lost"]["total"] == 2
    assert failure["capacity"] == [{"site": "paris", "before": 100_000_000, "after": 0}]


def test_each_is_bounded_and_counts_all(asserted: Served) -> None:
    whole = asserted.admin.get("/whatif", params={"each": True}).json()
    assert whole["harmful"] == len(whole["failures"]) > 3
    some = asserted.admin.get("/whatif", params={"each": True, "limit": 2}).json()
    assert (some["harmful"], some["failures"]) == (whole["harmful"], whole["failures"][:2])


@pytest.mark.parametrize(
    ("question", "says"),
    [
        ({"fail": ["berlin-9"]}, "there is nothing named 'berlin-9'"),
        ({"fail": ["router:x"]}, "there are no things of kind 'router'"),
        ({"fail": ["berlin"], "floor": "fibre"}, "there is no circuit class 'fibre'"),
        ({}, "nothing fails"),
    ],
)
def test_a_question_that_means_nothing_says_why(asserted: Served, question: dict[str, Any], says: str) -> None:
    assert says in problem(asserted.admin.post("/whatif", question), 400, "bad-request")["detail"]


def test_what_if_needs_a_token_of_people(asserted: Served) -> None:
    problem(asserted.nobody.get("/whatif"), 401, "unauthorized")
    problem(asserted.as_gateway("paris-1").get("/whatif", params={"each": True}), 403, "forbidden")


def test_a_broken_assertion_is_a_conflict_unless_forced(asserted: Served) -> None:
    found = problem(asserted.admin.post("/rules", HIDE), 409, "assertions-broken")
    assert found["findings"][0]["code"] == "assertion-broken"
    assert "because of rule hide" in found["findings"][0]["message"]
    forced = asserted.admin.post("/rules", HIDE, params={"force": True})
    assert forced.status_code == 201, forced.text
    assert forced.json()["assertions"] == [
        {
            "assertion": "to-paris",
            "what": ["berlin does not reach 10.2.1.0/24 (rule hide denies it to this viewer)"],
            "by": ["rule hide"],
        }
    ]
    assert asserted.admin.get("/audit", params={"limit": 1}).json()["items"][0]["action"] == "force-assertions"


def test_a_dry_run_tells_routes(asserted: Served) -> None:
    answer = asserted.apply(
        {"rules": [{"name": "lte", "match": {"circuit_classes": ["lte"]}, "action": {"preference": 900}}]}, dry_run=True
    )
    assert answer["paths"]["routes"] == 2
    assert answer["paths"]["first"][0] == {
        "prefix": "10.2.1.0/24",
        "targets": ["paris"],
        "sites": ["berlin"],
        "more_sites": 0,
        "before": ["paris-1/wan"],
        "after": ["paris-1/backup"],
    }
    assert "paths" not in asserted.apply({"rules": [{"name": "more", "action": {"preference_add": 5}}]})
