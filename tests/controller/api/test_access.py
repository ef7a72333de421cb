"""Tokens and roles: who may do what, and what an unusable token is told."""

from __future__ import annotations

import time

import pytest

from controller.api.settings import Settings
from controller.store.engine import Database
from controller.store.store import Store
from tests.controller.api.served import Served, problem, serve

READS = [
    "/fabric",
    "/sites",
    "/sites/berlin",
    "/prefixes",
    "/gateways/paris-1/uplinks",
    "/revisions",
    "/status/gateways",
]
CHANGES = [
    ("post", "/apply", {}),
    ("put", "/fabric", {}),
    ("post", "/regions", {"name": "x"}),
    ("put", "/regions/x", {}),
    ("patch", "/regions/eu", {}),
    ("delete", "/clients/frr1", None),
    ("post", "/rename", {"kind": "site", "old": "paris", "new": "x"}),
    ("post", "/gateways/paris-1/token", {}),
    ("get", "/audit", None),
]
ADMIN = [("get", "/tokens", None), ("post", "/tokens", {"role": "viewer"}), ("delete", "/tokens/aaaaaaaaaaaa", None)]


@pytest.mark.parametrize("path", [*READS, "/tokens", "/audit", "/whoami", "/gateways/paris-1/plan"])
def test_nothing_is_told_without_a_token(api: Served, path: str) -> None:
    answer = api.nobody.get(path)
    problem(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_only_health_is_open(api: Served) -> None:
    assert api.nobody.get("/healthz").json() == {"status": "ok"}


def test_a_viewer_reads_and_changes_nothing(api: Served) -> None:
    viewer = api.with_small().as_role("viewer")
    for path in READS:
        assert viewer.get(path).status_code == 200, path
    for method, path, body in [*CHANGES, *ADMIN]:
        problem(viewer.http.request(method, path, json=body), 403, "forbidden")
    problem(viewer.poll("paris-1"), 403, "forbidden")
    assert api.context.store.state().revision == 1


def test_an_operator_changes_but_makes_no_tokens_for_people(api: Served) -> None:
    operator = api.with_small().as_role("operator")
    for method, path, body in ADMIN:
        problem(operator.http.request(method, path, json=body), 403, "forbidden")
    for method, path, body in CHANGES:
        answer = operator.http.request(method, path, json=body)
        assert answer.status_code in (200, 201, 409), answer.text  # 409: an empty PUT would remove everything.


def test_a_gateway_sees_its_own_plan_and_nothing_else(served: Served) -> None:
    gateway = served.with_small().as_gateway("paris-1")
    assert gateway.poll("paris-1").json()["plan"]["gateway"] == "paris-1"
    body = problem(gateway.poll("berlin-1"), 403, "forbidden")
    assert "paris-1" in body["detail"]
    problem(gateway.poll("nobody"), 403, "forbidden")
    problem(gateway.post("/gateways/berlin-1/report", {}), 403, "forbidden")
    problem(gateway.post("/gateways/berlin-1/answers", {}), 403, "forbidden")
    for path in READS:
        problem(gateway.get(path), 403, "forbidden")
    for method, path, body in [*CHANGES, *ADMIN]:
        problem(gateway.http.request(method, path, json=body), 403, "forbidden")
    problem(gateway.post("/gateways/paris-1/asks", {"kind": "routes"}), 403, "forbidden")
    assert gateway.get("/whoami").json()["gateway"] == "paris-1"


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("", "no token"),
        ("Basic abc", "no token"),
        ("Bearer", "no token"),
        ("Bearer hello", "leyline_ID_SECRET"),
        ("Bearer leyline_aaaaaaaaaaaa_" + "a" * 43, "unknown"),
        ("Bearer leyline_aaaaaaaaaaaa_" + "a" * 42, "leyline_ID_SECRET"),
        ("Bearer leyline_aaaaaaaaaaaa_" + "a" * 9000, "leyline_ID_SECRET"),
    ],
)
def test_a_token_that_is_none(api: Served, header: str, says: str) -> None:
    body = problem(api.nobody.get("/whoami", headers={"Authorization": header}), 401, "unauthorized")
    assert says in body["detail"]


def test_the_right_id_with_a_wrong_secret(served: Served) -> None:
    head, _, secret = served.admin_token.rpartition("_")
    wrong = served.as_token(f"{head}_{secret[::-1]}")
    assert "unknown" in problem(wrong.get("/whoami"), 401, "unauthorized")["detail"]


@pytest.mark.parametrize("role", ["admin", "gateway"])
def test_an_expired_token(served: Served, role: str) -> None:
    served.with_small()
    gateway = "paris-1" if role == "gateway" else None
    text, _ = served.context.controller.issue_token(
        role,  # type: ignore[arg-type]
        actor="test",
        gateway=gateway,
        expires_at=time.time() - 1,
    )
    late = served.as_token(text)
    assert "expired" in problem(late.get("/whoami"), 401, "unauthorized")["detail"]
    assert "expired" in problem(late.poll("paris-1"), 401, "unauthorized")["detail"]


def test_a_revoked_token_is_refused_at_once_and_its_poll_too(served: Served) -> None:
    gateway = served.with_small().as_gateway("paris-1")
    digest = gateway.poll("paris-1").json()["digest"]
    poll = gateway.in_background(lambda: gateway.poll("paris-1", digest, wait=30))
    served.waiting(1)
    public = gateway.get("/whoami").json()["id"]
    revoked = served.admin.delete(f"/tokens/{public}").json()
    assert revoked["state"] == "revoked"
    assert "revoked" in problem(poll.result(), 401, "unauthorized")["detail"]
    problem(gateway.get("/whoami"), 401, "unauthorized")
    assert served.admin.delete(f"/tokens/{public}").json()["revoked_at"] == revoked["revoked_at"]
    problem(served.admin.delete("/tokens/aaaaaaaaaaaa"), 404, "not-found")


def test_tokens_are_listed_without_their_secrets(api: Served) -> None:
    made = api.admin.post("/tokens", {"role": "operator", "note": "ci", "expires_in": 60}).json()
    listed = api.admin.get("/tokens").json()["items"]
    assert [each["role"] for each in listed] == ["admin", "operator"]
    assert (listed[1]["note"], listed[1]["state"], listed[1]["expires_at"]) == ("ci", "usable", made["expires_at"])
    assert listed[0]["last_used_at"] is not None
    secret = made["token"].rpartition("_")[2]
    assert secret not in str(listed)
    with api.context.store.database.read() as connection:
        rows = connection.exec_driver_sql("SELECT * FROM tokens").fetchall()
    assert secret not in str(rows)


@pytest.mark.parametrize(
    "body",
    [
        {"role": "gateway"},
        {"role": "king"},
        {},
        {"role": "viewer", "expires_in": 0},
        {"role": "viewer", "colour": "red"},
    ],
)
def test_tokens_that_cannot_be_made(api: Served, body: dict[str, object]) -> None:
    problem(api.admin.post("/tokens", body), 422, "invalid-parameters")


def test_a_token_for_an_unknown_gateway(api: Served) -> None:
    problem(api.with_small().admin.post("/gateways/nobody/token"), 404, "not-found")


@pytest.mark.slow
def test_the_last_use_of_a_token_is_stored_when_the_controller_ends(sqlite: Database) -> None:
    """And once a minute: a reader must not become a writer at every request."""
    settings = Settings(str(sqlite.url))
    with serve(settings) as api:
        viewer = api.as_role("viewer")
        public = viewer.get("/whoami").json()["id"]
        stored = api.context.store.token(public)
        assert stored is not None
        assert stored.last_used_at is None
        assert api.admin.get("/tokens").json()["items"][1]["last_used_at"] is not None, "but it is shown at once"
    stored = Store(sqlite).token(public)
    assert stored is not None
    assert stored.last_used_at is not None
