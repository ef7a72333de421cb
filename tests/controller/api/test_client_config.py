"""GET /clients/NAME/config: the configuration of a router that is not ours."""

from __future__ import annotations

from controller.policy.client_config import FORMATS
from tests.controller.api.served import Served, problem

DOCUMENT = {
    "fabric": {"name": "demo", "asn": 64512, "segment": "10.42.0.0/16"},
    "regions": [{"name": "eu"}],
    "sites": [{"name": "berlin", "region": "eu"}],
    "gateways": [
        {
            "name": "hub-1",
            "site": "berlin",
            "role": "hub",
            "uplinks": [{"name": "main", "node_id": "a000000001", "interface": "zt0", "circuit_class": "fiber"}],
        }
    ],
    "clients": [{"name": "partner", "site": "berlin", "circuit_class": "fiber", "asn": 65021}],
}


def test_a_viewer_reads_the_text_for_each_software(api: Served) -> None:
    api.apply(DOCUMENT)
    viewer = api.as_role("viewer")
    for software in FORMATS:
        answer = viewer.get(f"/clients/partner/config?format={software}")
        assert answer.status_code == 200, answer.text
        assert (answer.json()["client"], answer.json()["format"], answer.json()["revision"]) == ("partner", software, 1)
        assert "65021" in answer.json()["text"]


def test_who_asks_for_what_is_not_there_hears_what_is(api: Served) -> None:
    api.apply(DOCUMENT)
    assert (
        'did you mean "partner"'
        in problem(api.admin.get("/clients/partnr/config?format=frr"), 404, "not-found")["detail"]
    )
    problem(api.admin.get("/clients/partner/config?format=ios"), 422, "invalid-parameters")
    problem(api.admin.get("/clients/partner/config"), 422, "invalid-parameters")
