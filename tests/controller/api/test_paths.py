"""Paths and pairs of sites, from what gateways have reported."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from speaker.report import PathProbeReport, PeerReport, encode
from tests.controller.api.served import Served, problem, report


def reported(api: Served, gateway: str, *addresses: str, state: Any = "direct") -> None:
    peers = tuple(PeerReport("a" * 10, each, "main", state, 3.0, 1.0, 100.0, "1.14.1", "") for each in addresses)
    probes = tuple(PathProbeReport(each, "main", 10.0, 12.0, 0.0, 1280, 60) for each in addresses)
    body = encode(replace(report(gateway), peers=peers, paths=probes))
    headers = {"Content-Type": "application/json"}
    sent = api.as_gateway(gateway).http.post(f"/gateways/{gateway}/report", content=body, headers=headers)
    assert sent.status_code == 204, sent.text


def addresses(api: Served) -> dict[str, str]:
    """GATEWAY/UPLINK -> its overlay address."""
    found = api.admin.get("/gateways").json()["items"]
    return {f"{each['name']}/{uplink['name']}": uplink["address"] for each in found for uplink in each["uplinks"]}


def test_paths_have_names_and_the_age_of_their_report(api: Served) -> None:
    api.with_small()
    (name, address), *_ = [each for each in addresses(api).items() if not each[0].startswith("berlin-1/")]
    assert api.admin.get("/paths").json() == {"items": [], "next": None}
    reported(api, "berlin-1", address, "10.42.99.99")
    by_address = {each["address"]: each for each in api.admin.get("/paths").json()["items"]}
    path = by_address[address]
    assert (path["gateway"], path["to"], path["state"], path["rtt_p50_ms"]) == ("berlin-1", name, "direct", 10.0)
    assert path["heard_at"].endswith("Z") or "+" in path["heard_at"]
    assert by_address["10.42.99.99"]["to"] == "10.42.99.99"


def test_one_gateways_paths_and_pages_of_them(api: Served) -> None:
    api.with_small()
    known = addresses(api)
    gateways = sorted({name.partition("/")[0] for name in known})
    for gateway in gateways:
        reported(api, gateway, *known.values())
    of_one = api.as_role("viewer").get("/paths", params={"gateway": gateways[0]}).json()["items"]
    assert {each["gateway"] for each in of_one} == {gateways[0]}
    seen, cursor = [], None
    while True:
        found = api.admin.get("/paths", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        seen += [(each["gateway"], each["address"]) for each in found["items"]]
        if (cursor := found["next"]) is None:
            break
    assert len(seen) == len(set(seen)) == len(gateways) * len(known)
    problem(api.admin.get("/paths", params={"gateway": "nobody"}), 404, "not-found")


def test_pairs_of_sites(api: Served) -> None:
    api.with_small()
    known = addresses(api)
    reported(api, "berlin-1", *known.values(), state="relayed")
    pairs = api.admin.get("/paths/matrix").json()["items"]
    assert pairs
    assert {each["site"] for each in pairs} == {"berlin"}
    assert {(each["state"], each["rtt_p95_ms"], each["relayed"] == each["paths"]) for each in pairs} == {
        ("relayed", 12.0, True)
    }


def test_nobody_sees_them_without_a_token(api: Served) -> None:
    problem(api.nobody.get("/paths"), 401, "unauthorized")
    problem(api.nobody.get("/paths/matrix"), 401, "unauthorized")
