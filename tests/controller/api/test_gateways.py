"""The gateways' endpoints: long poll, report, asks; and what they cost while they wait."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import httpx2
import pytest

from controller.api.board import MAX_ASKS, MAX_POLLS
from controller.store.store import StoredReport
from speaker import plan
from speaker.report import MAX_REPORT_BYTES, NO_PLAN, Answer, decode_envelope, encode
from tests.controller.api.served import Caller, Served, problem, report, wait_until
from tests.controller.store.fabrics import sized, small

PREFIX = {"site": "paris", "prefix": "10.2.9.0/24"}


def test_a_poll_gives_the_plan_with_its_digest(served: Served) -> None:
    gateway = served.with_small().as_gateway("paris-1")
    answer = gateway.poll("paris-1")
    envelope = decode_envelope(answer.content)
    assert plan.digest(plan.decode(bytes(envelope.plan))) == envelope.digest
    assert answer.headers["etag"] == f'"{envelope.digest}"'
    unchanged = gateway.poll("paris-1", envelope.digest)
    assert (unchanged.status_code, unchanged.content) == (304, b"")


def test_a_poll_wakes_when_its_plan_moves_and_sleeps_through_all_else(served: Served) -> None:
    gateway = served.with_small().as_gateway("paris-1")
    digest = gateway.poll("paris-1").json()["digest"]
    poll = gateway.in_background(lambda: gateway.poll("paris-1", digest, wait=30))
    served.waiting(1)
    problem(served.admin.post("/prefixes", {"site": "paris", "prefix": "10.99.0.0/24"}), 422, "inventory-refused")
    served.admin.post("/prefixes?dry_run=true", PREFIX)
    served.admin.post("/prefixes", {"site": "berlin", "prefix": "10.1.9.0/24"})
    assert poll.waiting, "a rejected change, a dry run and a change of others wake nobody"
    started = time.monotonic()
    served.admin.post("/prefixes", PREFIX)
    answer = poll.result().json()
    assert answer["digest"] != digest
    assert PREFIX["prefix"] in answer["plan"]["announcements"][0]["prefixes"]
    assert time.monotonic() - started < 2


def test_a_poll_ends_after_its_wait(api: Served) -> None:
    gateway = api.with_small().as_gateway("paris-1")
    digest = gateway.poll("paris-1").json()["digest"]
    started = time.monotonic()
    assert gateway.poll("paris-1", digest, wait=0.3).status_code == 304
    assert 0.25 < time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("versions", "status"), [("4", 200), ("1, 2, 3, 4", 200), ("1, 2, 3", 406), ("", 406), ("junk", 406)]
)
def test_plan_versions(api: Served, versions: str, status: int) -> None:
    gateway = api.with_small().as_gateway("paris-1")
    answer = gateway.poll("paris-1", **{"Leyline-Plan-Versions": versions})
    assert answer.status_code == status
    if status == 406:
        assert "upgrade" in problem(answer, 406, "no-common-plan-version")["detail"]


@pytest.mark.parametrize(("versions", "status"), [("1, 2, 3", 406), ("3, 4", 200)])
def test_only_plans_that_use_the_newest_version_need_it(api: Served, versions: str, status: int) -> None:
    """A fabric whose ZeroTier network is its own; all others go on with speakers of before."""
    document = small()
    document["fabric"]["network"] = "8056c2e21c000001"
    api.apply(document)
    gateway = api.as_gateway("paris-1")
    answer = gateway.poll("paris-1", **{"Leyline-Plan-Versions": versions})
    assert answer.status_code == status
    if status == 406:
        detail = problem(answer, 406, "no-common-plan-version")["detail"]
        assert "is of version 4" in detail
        assert "upgrade" in detail


@pytest.mark.parametrize("wait", ["-1", "inf", "nan", "long", "1e9"])
def test_waits_that_are_none(api: Served, wait: str) -> None:
    gateway = api.with_small().as_gateway("paris-1")
    problem(gateway.get("/gateways/paris-1/plan", params={"wait": wait}), 422, "invalid-parameters")


def test_a_gateway_that_has_gone(served: Served) -> None:
    gateway = served.with_small().as_gateway("paris-2")
    digest = gateway.poll("paris-2").json()["digest"]
    poll = gateway.in_background(lambda: gateway.poll("paris-2", digest, wait=30))
    served.waiting(1)
    served.admin.patch("/prefixes/paris/global/10.2.1.0/24", {"gateways": None})
    assert served.admin.delete("/gateways/paris-2").status_code == 200
    problem(poll.result(), 401, "unauthorized")  # Its token went with it.
    problem(served.admin.poll("paris-2"), 404, "not-found")


def test_a_report_is_kept_and_shown(served: Served) -> None:
    gateway = served.with_small().as_gateway("paris-1")
    digest = gateway.poll("paris-1").json()["digest"]
    sent = gateway.http.post("/gateways/paris-1/report", content=encode(report("paris-1", digest)))
    assert (sent.status_code, sent.content) == (204, b"")
    shown = {each["gateway"]: each for each in served.admin.get("/status/gateways").json()["items"]}
    assert shown["paris-1"]["in_force"] is True
    assert shown["paris-1"]["report"]["kernel"]["routes"] == {"ipv4": 1}
    assert shown["paris-1"]["token"]["state"] == "usable"
    assert (shown["paris-2"]["report"], shown["paris-2"]["token"]["state"]) == (None, "none")
    assert served.admin.get("/status/gateways/paris-1").json() == shown["paris-1"]
    served.admin.post("/prefixes", PREFIX)
    assert served.admin.get("/status/gateways/paris-1").json()["in_force"] is False


def test_of_a_page_no_more_reports_are_read_than_it_shows(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report may have a megabyte, and there may be a thousand."""
    store, read = api.with_small().context.store, []
    names = [each["gateway"] for each in api.admin.get("/status/gateways").json()["items"]]
    for name in names:
        assert store.save_report(name, encode(report(name)), 1.0)
    really = store.reports

    def reports(*arguments: Any) -> dict[str, StoredReport]:
        found = really(*arguments)
        read.append(set(found))
        return found

    monkeypatch.setattr(store, "reports", reports)
    first = api.admin.get("/status/gateways", params={"limit": 2}).json()
    rest = api.admin.get("/status/gateways", params={"cursor": first["next"]}).json()
    shown = [each["report"]["gateway"] for each in (*first["items"], *rest["items"])]
    assert (shown, read) == (names, [set(names[:2]), set(names[2:])])
    assert api.admin.get("/paths", params={"gateway": names[0]}).status_code == 200
    assert read[2:] == [{names[0]}]


def test_reports_that_are_none(served: Served) -> None:
    gateway = served.with_small().as_gateway("paris-1")

    def send(content: bytes) -> httpx2.Response:
        return gateway.http.post("/gateways/paris-1/report", content=content)

    for garbage in (b"", b"{", b"\xff", b"[]", b"[" * 10000, b'{"version": 1}', encode(report("paris-1"))[:-1]):
        problem(send(garbage), 422, "report-unreadable")
    foreign = problem(send(encode(report("berlin-1"))), 422, "report-unreadable")
    assert "berlin-1" in foreign["detail"]
    problem(send(b" " * (MAX_REPORT_BYTES + 1)), 413, "body-too-large")
    problem(served.admin.http.post("/gateways/paris-1/report", content=encode(report("paris-1"))), 403, "forbidden")
    assert served.context.store.reports() == {}


def serve_one_ask(gateway: Caller, name: str, known: str, body: object, ok: bool = True) -> None:
    """What an agent does: take the ask from a poll, answer it."""
    envelope = decode_envelope(gateway.poll(name, known, wait=10).content)
    assert envelope.plan == NO_PLAN, "the plan has not moved: it is not sent again with the ask"
    (ask,) = envelope.asks
    assert (ask.kind, ask.arguments) == ("routes", {"family": "ipv4"})
    answered = gateway.http.post(f"/gateways/{name}/answers", content=encode(Answer(ask.id, ok, body)))
    assert answered.status_code == 204, answered.text


@pytest.mark.parametrize("ok", [True, False])
def test_an_ask_reaches_the_gateway_and_its_answer_comes_back(api: Served, ok: bool) -> None:
    gateway = api.with_small().as_gateway("paris-1")
    body: dict[str, object] = {"routes": [], "total": 0} if ok else {"error": "no such kind"}
    known = gateway.poll("paris-1").json()["digest"]
    agent = threading.Thread(target=serve_one_ask, args=(gateway, "paris-1", known, body, ok))
    agent.start()
    api.waiting(1)
    answer = api.admin.post("/gateways/paris-1/asks", {"kind": "routes", "arguments": {"family": "ipv4"}})
    agent.join()
    if ok:
        assert (answer.status_code, answer.json()) == (200, body)
    else:
        assert "no such kind" in problem(answer, 502, "ask-refused")["detail"]


@pytest.mark.slow
def test_an_ask_without_an_answer_ends_and_is_forgotten(api: Served) -> None:
    gateway = api.with_small().as_gateway("paris-1")
    asks = [
        api.admin.in_background(lambda: api.admin.post("/gateways/paris-1/asks", {"kind": "paths"}))
        for _ in range(MAX_ASKS)
    ]
    known = gateway.poll("paris-1").json()
    given = [each["id"] for each in known["asks"]]
    while len(given) < MAX_ASKS:
        given += [each["id"] for each in gateway.poll("paris-1", wait=1).json()["asks"]]
    assert len(set(given)) == len(given) == MAX_ASKS
    assert gateway.poll("paris-1", known["digest"]).status_code == 304, "each ask is given once"
    refused = api.admin.post("/gateways/paris-1/asks", {"kind": "paths"})
    problem(refused, 429, "too-many-asks")
    assert refused.headers["retry-after"]
    for each in asks:
        assert "does not poll" in problem(each.result(), 504, "no-answer")["detail"]
    late = gateway.http.post("/gateways/paris-1/answers", content=encode(Answer("0" * 16, True, {})))
    problem(late, 404, "not-found")
    problem(api.admin.post("/gateways/nobody/asks", {"kind": "paths"}), 404, "not-found")


def test_answers_that_are_none(api: Served) -> None:
    gateway = api.with_small().as_gateway("paris-1")
    problem(gateway.http.post("/gateways/paris-1/answers", content=b"{nope"), 422, "report-unreadable")


def test_a_gateway_that_comes_again_and_again_holds_few_polls(api: Served) -> None:
    """Connections whose far end has gone without a word end first."""
    gateway = api.with_small().as_gateway("paris-1")
    digest = gateway.poll("paris-1").json()["digest"]
    polls = []
    for n in range(MAX_POLLS + 2):
        polls.append(gateway.in_background(lambda: gateway.poll("paris-1", digest, wait=30)))
        api.waiting(min(n + 1, MAX_POLLS))
    assert [each.result().status_code for each in polls[:2]] == [304, 304]
    assert all(each.waiting for each in polls[2:])
    api.admin.post("/prefixes", PREFIX)
    assert {each.result().status_code for each in polls[2:]} == {200}


async def poll_all(url: str, tokens: dict[str, str], digests: dict[str, str]) -> list[httpx2.Response]:
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(base_url=url, timeout=60, limits=limits, trust_env=False, verify=False) as client:
        return await asyncio.gather(
            *(
                client.get(
                    f"/api/v1/gateways/{name}/plan",
                    params={"wait": 50},
                    headers={"Authorization": f"Bearer {token}", "If-None-Match": f'"{digests[name]}"'},
                )
                for name, token in tokens.items()
            )
        )


@pytest.mark.slow
def test_200_waiting_gateways_hold_no_thread_and_no_connection(served: Served) -> None:
    served.apply(sized(200, 200))
    controller, store = served.context.controller, served.context.store
    tokens = {f"g{n}": controller.issue_token("gateway", actor="test", gateway=f"g{n}")[0] for n in range(200)}
    threads = threading.active_count()
    answers: list[httpx2.Response] = []
    digests = store.digests()
    polling = threading.Thread(target=lambda: answers.extend(asyncio.run(poll_all(served.url, tokens, digests))))
    polling.start()
    served.waiting(200)
    pool = store.database.engine.pool
    wait_until(lambda: pool.checkedout() == 0, pool.status)  # type: ignore[attr-defined]
    wait_until(lambda: served.context.poll_threads.borrowed_tokens == 0)
    assert served.context.board.waiting == 200
    assert threading.active_count() - threads < 60, "the threads of the pool, not one for each"
    assert served.admin.get("/fabric").status_code == 200
    metrics = httpx2.get(f"{served.url}/metrics", headers={"Authorization": f"Bearer {served.admin_token}"}).text
    assert "leyline_polls_waiting 200.0" in metrics
    assert "leyline_revision 1.0" in metrics
    served.admin.put("/fabric", {**sized(200, 200), "fabric": {**sized(1, 1)["fabric"], "hold_time": 30}})
    polling.join()
    assert {each.status_code for each in answers} == {200}, "one change of the fabric moved all plans"
