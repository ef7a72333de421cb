"""Every error is a problem, names what is wrong, and changes nothing."""

from __future__ import annotations

import inspect
import socket
from collections.abc import Iterator
from contextlib import suppress

import httpx2
import pytest

from controller.api import bodies, errors, middleware
from tests.controller.api.served import Served, problem
from tests.controller.store.fabrics import small


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"{", "truncated"),
        (b"\xff\xfe", "malformed"),
        (b"[" * 100_000, ""),
        (b'{"a": NaN}', "malformed"),
    ],
)
@pytest.mark.parametrize("path", ["/apply", "/sites"])
def test_malformed_json(api: Served, path: str, content: bytes, says: str) -> None:
    body = problem(api.admin.http.post(path, content=content), 400, "malformed-body")
    assert says in body["detail"]


def test_malformed_json_where_pydantic_reads_it(api: Served) -> None:
    problem(api.admin.http.post("/rename", content=b"{nope"), 400, "malformed-body")


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"7", b"null"])
def test_json_of_another_shape(api: Served, body: bytes) -> None:
    refused = problem(api.admin.http.post("/apply", content=body), 422, "inventory-refused")
    assert refused["findings"][0]["code"] == "field-type"
    problem(api.admin.http.post("/sites", content=body), 422, "inventory-refused")


def test_all_findings_come_at_once_and_nothing_is_stored(served: Served) -> None:
    document = small()
    document["sites"][0]["colour"] = "red"
    document["regiosn"] = []
    document["prefixes"][1]["prefix"] = "10.2.1.1/24"
    document["gateways"][1]["uplinks"][0]["circuit_class"] = "golden"
    body = problem(served.admin.post("/apply", document), 422, "inventory-refused")
    assert {"field-unknown", "prefix-host-bits", "circuit-class-unknown"} <= {each["code"] for each in body["findings"]}
    assert served.admin.get("/fabric").json() == {}
    assert served.admin.get("/audit").json()["items"][0]["action"] == "issue"


def test_a_referenced_object_cannot_be_deleted(api: Served) -> None:
    body = problem(api.with_small().admin.delete("/regions/eu"), 422, "inventory-refused")
    assert {each["object"] for each in body["findings"]} == {"site berlin", "site paris", "rule all-of-it"}


def test_a_key_that_contradicts_the_url(api: Served) -> None:
    body = problem(api.with_small().admin.put("/sites/berlin", {"name": "paris", "region": "eu"}), 400, "bad-request")
    assert "rename" in body["detail"]


def zeros(total: int, sent: list[int]) -> Iterator[bytes]:
    """So many bytes in chunks, whose length is not declared; `sent` counts along."""
    while sent[0] < total:
        sent[0] += 65536
        yield b" " * 65536


@pytest.mark.parametrize("path", ["/apply", "/regions"])
def test_a_body_that_is_too_large(api: Served, path: str) -> None:
    answer = api.admin.http.post(path, content=zeros(bodies.MAX_BODY_BYTES + 65536, [0]))
    assert str(bodies.MAX_BODY_BYTES) in problem(answer, 413, "body-too-large")["detail"]
    assert api.admin.get("/whoami").status_code == 200


def test_a_refusal_arrives_though_the_body_is_still_on_its_way(api: Served) -> None:
    """Else an operator with an expired token would see a connection reset."""
    problem(api.nobody.http.post("/apply", content=zeros(8 << 20, [0])), 401, "unauthorized")


def test_a_body_without_an_end_is_not_read_for_ever(api: Served) -> None:
    sent = [0]
    with suppress(httpx2.TransportError):
        assert api.nobody.http.post("/apply", content=zeros(1 << 40, sent)).status_code == 401
    assert sent[0] < 4 * middleware.DRAIN_BYTES


def test_a_declared_length_that_is_too_large(api: Served) -> None:
    """Refused at once: no byte of the body was sent."""
    host, _, port = api.url.removeprefix("http://").partition(":")
    head = f"POST /api/v1/apply HTTP/1.1\r\nHost: x\r\nContent-Length: {1 << 40}"
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(f"{head}\r\nAuthorization: Bearer {api.admin_token}\r\n\r\n".encode())
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"urn:leyline:problem:body-too-large" in answer


@pytest.mark.parametrize(
    ("path", "status", "slug"),
    [
        ("/nothing", 404, "not-found"),
        ("/sites?limit=0", 422, "invalid-parameters"),
        ("/sites?limit=many", 422, "invalid-parameters"),
        ("/sites?page=3", 422, "unknown-parameter"),
        ("/sites?cursor=%C3%A4", 400, "bad-request"),
        ("/sites?cursor=WzEsMl0", 400, "bad-request"),
        ("/revisions?cursor=WzEsMl0", 400, "bad-request"),
        ("/revisions/99999999999999999999", 404, "not-found"),
        ("/regions?site=x", 400, "bad-request"),
        ("/sites/" + "x" * 5000, 404, "not-found"),
        ("/sites/%00", 404, "not-found"),
    ],
)
def test_what_cannot_be_read(api: Served, path: str, status: int, slug: str) -> None:
    problem(api.with_small().admin.get(path), status, slug)


def test_wrong_method(api: Served) -> None:
    problem(api.admin.delete("/fabric"), 405, "method-not-allowed")


def test_our_own_bug_is_a_problem_too(api: Served) -> None:
    """A plan table that is gone: no StoreUnavailable, a bug."""
    with api.context.store.database.write() as connection:
        connection.exec_driver_sql("DROP TABLE revisions")
    body = problem(api.admin.get("/revisions"), 500, "internal-error")
    assert "revisions" not in body["detail"], "what went wrong inside is for the log"


def test_the_error_table_is_complete() -> None:
    """Every exception of the API has its row, and slugs are unique."""
    kinds = [
        each
        for _, each in inspect.getmembers(errors, inspect.isclass)
        if issubclass(each, errors.ApiError) and each is not errors.ApiError
    ]
    assert set(kinds) <= set(errors.PROBLEMS)
    slugs = [each.slug for each in errors.PROBLEMS.values()]
    assert len(slugs) == len(set(slugs))
