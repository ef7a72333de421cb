"""`GET /explain`: a gateway that answers, one that does not, and questions that make no sense."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from controller.api import board
from speaker.report import Answer, decode_envelope, encode
from tests.controller.api.served import Caller, Served, problem, report

ADDRESS = "10.1.1.7"  # Of berlin, in tests/controller/store/fabrics.py.


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence is noticed soon."""
    monkeypatch.setattr(board, "ASK_SECONDS", 0.7)


def next_hop(api: Served) -> str:
    hops = api.admin.get("/gateways/berlin-1").json()["uplinks"]
    return str(hops[0]["address"])


def body(hop: str, **path: Any) -> dict[str, Any]:
    """What paris-1 says when it uses berlin-1, as intended but for what is said of the path."""
    said = {"next_hop": hop, "local_pref": 300, "stale": False, "tier": 1, "step": "", "why": "", "seen": {}, **path}
    way = {"interface": "zt0", "address": hop, "label": None, "weight": 1, "towards": [hop], "detour": False}
    route = {
        "prefix": "10.1.1.0/24",
        "what": "route",
        "text": "installed",
        "taken": True,
        "kernel": {"state": "group", "moving": False, "refused": "", "ways": [way]},
        "tiers": [[{"next_hop": hop, "weight": 1, "state": "usable", "interfaces": {"zt0": "usable"}}]],
        "paths": [said],
        "paths_total": 1,
    }
    verdict = {"what": "route", "prefix": "10.1.1.0/24", "text": "installed", "ways": [way]}
    return {"address": ADDRESS, "verdict": verdict, "prefixes": [route], "truncated": False}


def answering(api: Served, name: str, gateway: Caller, said: Any, ok: bool = True) -> threading.Thread:
    """The gateway waits for an ask, and answers it."""
    known = gateway.poll(name).json()["digest"]

    def work() -> None:
        (ask,) = decode_envelope(gateway.poll(name, known, wait=10).content).asks
        assert (ask.kind, ask.arguments) == ("explain", {"address": ADDRESS})
        done = gateway.http.post(f"/gateways/{name}/answers", content=encode(Answer(ask.id, ok, said)))
        assert done.status_code == 204, done.text

    thread = threading.Thread(target=work)
    thread.start()
    api.waiting(1)
    return thread


def explained(api: Served, origin: str, **params: str) -> dict[str, Any]:
    answer = api.admin.get("/explain", params={"from": origin, "address": ADDRESS, **params})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def bring_into_force(gateway: Caller, name: str) -> None:
    digest = gateway.poll(name).json()["digest"]
    said = encode(report(name, digest))
    assert gateway.http.post(f"/gateways/{name}/report", content=said).status_code == 204


def test_a_gateway_that_does_as_intended(api: Served) -> None:
    gateway = api.with_small().as_gateway("paris-1")
    hop = next_hop(api)
    thread = answering(api, "paris-1", gateway, body(hop))
    found = explained(api, "paris-1")
    thread.join()
    assert (found["from"], found["address"], found["tenant"]) == ("paris-1", ADDRESS, "global")
    assert found["uplinks"] == {hop: "berlin-1/main"}
    (entry,) = found["gateways"]
    assert (entry["gateway"], entry["site"], entry["role"], entry["no_answer"]) == ("paris-1", "paris", "spoke", "")
    assert entry["live"] == body(hop)
    assert (entry["intended"]["what"], entry["intended"]["prefix"]) == ("route", "10.1.1.0/24")
    assert entry["intended"]["prefixes"][0]["tiers"] == [["berlin-1/main"]]
    assert entry["differences"] == []


def test_differences_and_a_plan_that_is_not_in_force(api: Served) -> None:
    gateway = api.with_small().as_gateway("paris-1")
    other = "the path over berlin-1/main has LOCAL_PREF 7, and should have 300"
    thread = answering(api, "paris-1", gateway, body(next_hop(api), local_pref=7))
    (entry,) = explained(api, "paris-1")["gateways"]
    thread.join()
    assert entry["differences"] == ["its newest plan is not in force yet, so the rest may pass", other]
    bring_into_force(gateway, "paris-1")
    thread = answering(api, "paris-1", gateway, body(next_hop(api), local_pref=7))
    (entry,) = explained(api, "paris-1")["gateways"]
    thread.join()
    assert entry["differences"] == [other]


def test_a_site_is_all_its_gateways_and_the_silent_are_explained_all_the_same(api: Served) -> None:
    gateway = api.with_small().as_gateway("paris-1")
    thread = answering(api, "paris-1", gateway, body(next_hop(api)))
    started = time.monotonic()
    first, second = explained(api, "paris")["gateways"]
    thread.join()
    assert time.monotonic() - started < 5, "they are asked side by side"
    assert (first["gateway"], first["no_answer"]) == ("paris-1", "")
    assert second["gateway"] == "paris-2"
    assert second["live"] is None
    assert second["no_answer"] == (
        "paris-2 does not answer, it does not poll this controller now: what follows is the intended state only"
    )
    assert (second["intended"]["prefix"], second["differences"]) == ("10.1.1.0/24", [])


@pytest.mark.parametrize(
    ("said", "ok", "words"),
    [
        (
            {"error": "this speaker does not answer 'explain'"},
            False,
            "paris-1: this speaker does not answer 'explain': ",
        ),
        ({"nonsense": 1}, True, "paris-1: its answer cannot be read: "),
    ],
    ids=["older", "nonsense"],
)
def test_an_answer_that_is_none_leaves_the_intended_state(api: Served, said: Any, ok: bool, words: str) -> None:
    gateway = api.with_small().as_gateway("paris-1")
    thread = answering(api, "paris-1", gateway, said, ok)
    (entry,) = explained(api, "paris-1")["gateways"]
    thread.join()
    assert entry["live"] is None
    assert entry["no_answer"].startswith(words)
    assert entry["no_answer"].endswith("what follows is the intended state only")
    assert entry["intended"]["what"] == "route"


def test_a_client_is_explained_from_the_inventory(api: Served) -> None:
    (entry,) = explained(api.with_small(), "frr1")["gateways"]
    assert entry["role"] == "client"
    assert entry["no_answer"].startswith("frr1 is not a gateway of ours and cannot be asked")
    assert "intended state only; it should " in entry["no_answer"]


def test_questions_that_make_no_sense(api: Served) -> None:
    api.with_small()

    def asked(**params: str) -> Any:
        return api.admin.get("/explain", params={"from": "berlin", "address": ADDRESS, **params})

    unknown = problem(asked(**{"from": "pariss"}), 404, "not-found")
    assert unknown["detail"] == 'there is no site or gateway pariss; did you mean "paris"?'
    wrong = problem(asked(address="10.1.1.0/24"), 400, "bad-request")
    assert wrong["detail"] == "'10.1.1.0/24' is no address; write it like 10.1.0.7 or 2001:db8::7"
    assert problem(asked(tenant="blue"), 404, "not-found")["detail"].startswith("there is no tenant blue")
    api.admin.post("/sites", {"name": "york", "region": "eu"})
    empty = problem(asked(**{"from": "york"}), 404, "not-found")
    assert empty["detail"] == "site york has no gateway and no client: nobody there can be asked"
    params = {"from": "berlin", "address": ADDRESS}
    assert api.nobody.get("/explain", params=params).status_code == 401
    assert api.as_gateway("paris-1").get("/explain", params=params).status_code == 403
    assert api.as_role("viewer").get("/explain", params=params).status_code == 200
