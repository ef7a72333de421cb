"""The description: complete, valid, and its examples are true."""

from __future__ import annotations

import pytest

from controller.api.schemas import DOCUMENT_EXAMPLE, EXAMPLES, schema_of
from controller.inventory.document import parse_document, parse_object
from controller.inventory.specs import SPECS
from tests.controller.api.served import Served

NOUNS = ["regions", "circuit-classes", "sites", "allocations", "prefixes", "gateways", "clients"]
NOUNS += ["lan-peers", "rules", "assertions", "hosts", "moons"]


@pytest.mark.parametrize("kind", sorted(SPECS))
def test_every_kind_has_a_schema_of_its_fields_and_a_true_example(kind: str) -> None:
    assert set(schema_of(kind)["properties"]) == set(SPECS[kind].readers)
    assert parse_object(kind, EXAMPLES[kind])[1] == []


def test_the_example_of_the_document_can_be_applied(api: Served) -> None:
    assert parse_document(DOCUMENT_EXAMPLE)[1] == []
    assert api.admin.post("/apply", DOCUMENT_EXAMPLE).status_code == 200


def test_every_endpoint_is_described(api: Served) -> None:
    described = api.admin.http.get(api.url + "/openapi.json").json()
    paths = {path.removeprefix("/api/v1") for path in described["paths"]}
    for noun in NOUNS:
        key = "{key}"
        assert {f"/{noun}", f"/{noun}/{key}"} <= paths
    assert {
        "/fabric",
        "/apply",
        "/rename",
        "/revisions",
        "/revisions/{number}",
        "/audit",
        "/tokens",
        "/tokens/{public}",
        "/whoami",
        "/healthz",
        "/metrics",
        "/status/gateways",
        "/gateways/{name}/plan",
        "/gateways/{name}/report",
        "/gateways/{name}/answers",
        "/gateways/{name}/asks",
        "/gateways/{name}/token",
        "/gateways/{name}/drain",
        "/gateways/{name}/undrain",
        "/gateways/{name}/uplinks",
        "/gateways/{name}/uplinks/{uplink}",
        "/clients/{name}/config",
        "/enroll",
        "/enroll/{name}",
        "/enroll-keys",
        "/enroll-keys/{public}",
        "/enrolments",
        "/gateways/{name}/approve",
        "/gateways/{name}/revoke",
        "/gateways/{name}/token/renew",
        "/tokens/{public}/rotate",
        "/explain",
        "/whatif",
    } <= paths
    names = [each["operationId"] for methods in described["paths"].values() for each in methods.values()]
    assert len(names) == len(set(names))
    for path, methods in described["paths"].items():
        for method, each in methods.items():
            assert each["summary"], (path, method)
            if method in ("put", "patch") or path in ("/api/v1/apply", "/api/v1/sites"):
                contents = each.get("requestBody", {}).get("content", {})
                assert method == "get" or all("example" in content for content in contents.values()), (path, method)
            if "422" in each["responses"]:
                assert list(each["responses"]["422"]["content"]) == ["application/problem+json"], (path, method)
