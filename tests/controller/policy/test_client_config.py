"""Configurations for routers that are not ours: goldens for each software, and what must be in each of them."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from controller.client.client_config import FORMATS as OFFERED
from controller.inventory.allocate import allocate
from controller.inventory.model import Inventory
from controller.inventory.yaml import check_yaml
from controller.policy.client_config import FORMATS, Format, client_config, render
from controller.policy.compile import compile_plans
from tests.controller.golden import compare
from tests.controller.inventories import shuffled

GOLDEN = Path(__file__).parent / "client_configs"
CLIENTS = ("partner", "legacy")


@cache
def inventory() -> Inventory:
    found, findings = check_yaml([GOLDEN / "inventory.yml"])
    assert found is not None, "\n".join(map(str, findings))
    return allocate(found)


def text(client: str, software: Format) -> str:
    return render(client_config(inventory(), client), software)


@pytest.mark.parametrize("software", FORMATS)
@pytest.mark.parametrize("client", CLIENTS)
def test_golden(client: str, software: Format) -> None:
    compare(GOLDEN / f"{client}.{software}", text(client, software))


def test_golden_files_are_those_of_the_clients() -> None:
    assert {file.name for file in GOLDEN.iterdir() if file.suffix != ".yml"} == {
        f"{client}.{software}" for client in CLIENTS for software in FORMATS
    }


@pytest.mark.parametrize("software", FORMATS)
def test_the_order_of_rows_is_irrelevant(software: Format) -> None:
    again = render(client_config(shuffled(inventory(), 3), "partner"), software)
    assert again == text("partner", software)


@pytest.mark.parametrize("software", FORMATS)
def test_every_hub_is_a_neighbour_and_nothing_outside_the_allocations_leaves(software: Format) -> None:
    found = text("partner", software)
    for expected in ("10.42.0.1", "10.42.0.2", "64512", "65021", "10.21.0.0/16", "192.168.7.0/24", "fd21::/48"):
        assert expected in found
    assert "10.1.0.0/16" not in found
    assert "FILL IN" in found


@pytest.mark.parametrize("software", FORMATS)
def test_what_the_circuit_class_or_the_fabric_turns_off_is_not_there(software: Format) -> None:
    lines = [line for line in text("legacy", software).splitlines() if not line.lstrip().startswith(("#", "!"))]
    assert not any("bfd" in line and "use-bfd=no" not in line for line in lines)
    config = client_config(inventory(), "partner")
    without = render(replace(config, restart_time=0), software)
    assert "graceful-restart\n" not in without
    assert "graceful restart on" not in without
    only_ipv4 = render(replace(config, address6=None, spaces6=()), software)
    assert not any(word in only_ipv4 for word in ("ipv6", "fd42", "fd21"))


def test_the_command_offers_what_can_be_rendered() -> None:
    assert OFFERED == FORMATS


def test_an_unknown_client_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        client_config(inventory(), "hub-1")


DOCS = (Path(__file__).parents[3] / "docs" / "clients.md").read_text()


def test_the_inventory_in_the_docs_makes_the_configuration_that_they_promise(tmp_path: Path) -> None:
    example, _ = re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL)
    fabric = "fabric: {name: demo, asn: 64512, segment: 10.42.0.0/16}\nregions: [{name: eu}]\n"
    hub = (
        "gateways: [{name: hub-1, site: partner, role: hub, uplinks: "
        '[{name: zt0, node_id: "aa00000001", interface: zt0, circuit_class: fiber}]}]\n'
    )
    (tmp_path / "inventory.yml").write_text(fabric + example + hub)
    found, findings = check_yaml([tmp_path / "inventory.yml"])
    assert found is not None, "\n".join(map(str, findings))
    written = render(client_config(allocate(found), "partner"), "frr")
    assert "\nrouter bgp 65021\n" in written
    assert "permit 10.21.0.0/16 le 24\n" in written


def test_the_lan_peer_in_the_docs_has_a_session_that_fits_the_configuration_beside_it(tmp_path: Path) -> None:
    _, example = re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL)
    world = (
        "fabric: {name: demo, asn: 64512, segment: 10.42.0.0/16}\nregions: [{name: eu}]\n"
        "sites: [{name: dallas, region: eu}]\nallocations: [{site: dallas, prefix: 10.3.0.0/16}]\n"
        "gateways: [{name: dallas-1, site: dallas, role: hub, uplinks: "
        '[{name: zt0, node_id: "aa00000001", interface: zt0, circuit_class: fiber}]}]\n'
    )
    (tmp_path / "inventory.yml").write_text(world + example)
    found, findings = check_yaml([tmp_path / "inventory.yml"])
    assert found is not None, "\n".join(map(str, findings))
    (session,) = compile_plans(allocate(found))["dallas-1"].sessions
    assert (session.peer_role, session.interface, session.passive) == ("lan", "lan0", False)
    assert f"router bgp {session.peer_asn}\n" in DOCS
    assert f" neighbor {session.local_address} remote-as 64512\n" in DOCS


def test_the_docs_name_every_software() -> None:
    assert re.findall(r"for `(\w+)`, `(\w+)`, `(\w+)` or `(\w+)`", DOCS.replace("\n", " ")) == [
        ("frr", "vyos", "bird", "routeros")
    ]
