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


VYOS = {
    r"policy (prefix-list|prefix-list6) \S+ rule \d+ (action (permit|deny)|prefix \S+|le \d+)": "policy",
    r"policy route-map \S+ rule \d+ action permit": "policy",
    r"policy route-map \S+ rule \d+ match (ip|ipv6) address prefix-list \S+": "policy",
    r"policy route-map \S+ rule \d+ set ipv6-next-hop global \S+": "policy",
    r"protocols bfd profile \S+ interval (multiplier|receive|transmit) \d+": "protocols_bfd",
    r"protocols bgp system-as \d+": "protocols_bgp",
    r"protocols bgp parameters (router-id \S+|graceful-restart|bestpath as-path multipath-relax)": "protocols_bgp",
    r"protocols bgp timers (keepalive|holdtime) \d+": "protocols_bgp",
    r"protocols bgp address-family ipv[46]-unicast (redistribute (connected|static)|network \S+)": "protocols_bgp",
    r"protocols bgp address-family ipv[46]-unicast maximum-paths [ei]bgp \d+": "protocols_bgp",
    r"protocols bgp neighbor \S+ (description \S+|remote-as \d+|timers connect \d+|bfd profile \S+)": "protocols_bgp",
    r"protocols bgp neighbor \S+ address-family ipv[46]-unicast nexthop-self": "protocols_bgp",
    r"protocols bgp neighbor \S+ address-family ipv[46]-unicast route-map (import|export) \S+": "protocols_bgp",
}
"""What may be set -> file NAME.xml.in, with what it includes, of
https://github.com/vyos/vyos-1x/tree/sagitta/interface-definitions (VyOS 1.4), and the same in the branches
circinus (1.5) and current. Every line of the goldens was looked up there."""

BFD, BGP = (
    f"https://help.mikrotik.com/docs/spaces/ROS/pages/{page}"
    for page in ("331612210/routing+bfd", "331612228/routing+bgp")
)
FILTER = "https://help.mikrotik.com/docs/x/CAD2BQ"
INSTANCES = "https://github.com/ansible-collections/community.routeros/pull/404"
AFI = "https://github.com/ansible-collections/community.routeros/pull/416"
ROUTEROS = {
    "/routing filter rule": ({"chain", "rule"}, (FILTER,)),
    "/routing bfd configuration": ({"interfaces", "addresses", "min-rx", "min-tx", "multiplier"}, (BFD,)),
    # A connection must name its instance, and router-id stands there and nowhere else, as of 7.20; afi was
    # address-families before 7.19.
    "/routing bgp instance": ({"name", "as", "router-id"}, (BGP, INSTANCES)),
    "/routing bgp template": (
        {"name", "as", "afi", "hold-time", "keepalive-time", "use-bfd", "nexthop-choice"}
        | {"output.redistribute", "output.filter-chain", "input.filter"},
        (BGP, AFI),
    ),
    "/routing bgp connection": (
        {"name", "instance", "templates", "remote.address", "remote.as", "local.address", "local.role"},
        (BGP, INSTANCES),
    ),
}
"""Menu -> (the properties that are set, where they are documented)."""
RULES = (r"if \(dst in \S+ && dst-len <= \d+\) \{ accept \}", r"if \(dst == \S+\) \{ accept \}", "accept", "reject")
"""Of filters, see FILTER. What no rule takes is rejected, as the last one says, too."""


def statements(client: str, software: Format) -> list[str]:
    """What is commented out for the operator to fill in, too; without comments."""
    lines = [line.removeprefix("# FILL IN: ").strip() for line in text(client, software).splitlines()]
    return [line for line in lines if line.startswith(("set ", "add ", "/"))]


@pytest.mark.parametrize("client", CLIENTS)
def test_every_statement_for_vyos_is_defined_there(client: str) -> None:
    for line in statements(client, "vyos"):
        assert [shape for shape in VYOS if re.fullmatch(f"set {shape}", line)], line


@pytest.mark.parametrize("client", CLIENTS)
def test_every_statement_for_routeros_is_documented(client: str) -> None:
    menu = ""
    for line in statements(client, "routeros"):
        if line.startswith("/"):
            menu = line
            continue
        given = dict(re.findall(r'(\S+?)=("[^"]*"|\S+)', line))
        assert given.keys() <= ROUTEROS[menu][0], line
        assert line == "add " + " ".join(f"{name}={value}" for name, value in given.items())
        if menu == "/routing filter rule":
            assert [rule for rule in RULES if re.fullmatch(rule, given["rule"].strip('"'))], line
        if menu == "/routing bgp connection":
            assert {"instance", "templates"} <= given.keys()
            assert given["local.role"] in ("ebgp", "ibgp")


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
