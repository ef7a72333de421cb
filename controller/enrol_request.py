"""What somebody with a key asks for -> what is stored of it, and the inventory with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from controller.inventory.document import parse_object
from controller.inventory.findings import InventoryRefused
from controller.inventory.merge import merge
from controller.inventory.model import Gateway, Inventory
from controller.service import Wanted
from controller.store.enroll import EnrollKey, Enrolment
from controller.store.state import State

MAX_PENDING = 1_000


class EnrolmentRefused(Exception):
    """The key is good, but what is asked for cannot be."""


@dataclass(frozen=True)
class AskedUplink:
    node_id: str
    interface: str
    name: str


@dataclass(frozen=True)
class Asked:
    """What a gateway asks for. `name` "": the controller chooses. The token is the gateway's own making."""

    name: str
    uplinks: tuple[AskedUplink, ...]
    token_id: str
    token_sha256: str
    came_from: str = ""


def of_newcomer(state: State, key: EnrollKey, asked: Asked, waiting: list[Enrolment], now: float) -> Enrolment:
    """What is to be stored of a request by a key of a site. Raises EnrolmentRefused and InventoryRefused."""
    pending = [each for each in waiting if each.approved_at is None]
    if len(pending) >= MAX_PENDING:
        raise EnrolmentRefused(f"{MAX_PENDING} gateways wait for approval already: approve or refuse some first")
    _check_node_ids(state.inventory, pending, asked)
    name = asked.name or _free_name(state.inventory, pending, key.site)
    if name in _names(state.inventory) | {each.gateway for each in pending}:
        raise EnrolmentRefused(
            f"the name {name} is taken: choose another with --name. A gateway of the fabric comes by a key of its own"
            f" (leyline enroll-key create --gateway {name}), and is no more after leyline gateway revoke {name}"
        )
    classes = key.circuit_classes
    uplinks = [
        {**vars(uplink), "circuit_class": classes[min(position, len(classes) - 1)]}
        for position, uplink in enumerate(asked.uplinks)
    ]
    enrolment = _enrolment(name, key, asked, uplinks, now)
    _parsed(enrolment.body)
    return enrolment


def of_declared(inventory: Inventory, key: EnrollKey, asked: Asked, former: Enrolment | None, now: float) -> Enrolment:
    """The same of a key of a gateway that is declared: who asks must be that one, and changes nothing in the inventory.

    `former`: by which it came before; one that was ephemeral stays so. Raises EnrolmentRefused.
    """
    gateway = next((each for each in inventory.gateways if each.name == key.gateway), None)
    if gateway is None:
        raise EnrolmentRefused(f"there is no gateway {key.gateway} any more: ask for a key of its site")
    if asked.name not in ("", gateway.name):
        raise EnrolmentRefused(f"this key is of gateway {gateway.name}: leave --name out")
    declared = {each.name: each.node_id for each in gateway.uplinks}
    here = {each.name: each.node_id for each in asked.uplinks}
    if here != declared:
        homes = " ".join(f"--zerotier-home {name}=DIR" for name in declared)
        raise EnrolmentRefused(
            f"gateway {gateway.name} is declared with {_named(declared)}, and this box has {_named(here)}: name the"
            f" services' homes ({homes}), or correct the node ids in the inventory"
        )
    uplinks = [
        {"name": each.name, "node_id": each.node_id, "interface": each.interface, "circuit_class": each.circuit_class}
        for each in gateway.uplinks
    ]
    enrolment = _enrolment(gateway.name, key, asked, uplinks, now)
    if former is None:
        return enrolment
    return replace(enrolment, ephemeral=former.ephemeral, gone_seconds=former.gone_seconds)


def _named(uplinks: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={node_id}" for name, node_id in sorted(uplinks.items()))


def _enrolment(name: str, key: EnrollKey, asked: Asked, uplinks: list[dict[str, str]], now: float) -> Enrolment:
    return Enrolment(
        gateway=name,
        key_id=key.id,
        body={"name": name, "site": key.site, "role": key.role, "uplinks": uplinks},
        token_id=asked.token_id,
        token_sha256=asked.token_sha256,
        token_seconds=key.token_seconds,
        came_from=asked.came_from,
        requested_at=now,
        approved_at=None,
        approved_by=None,
        ephemeral=key.ephemeral,
        gone_seconds=key.gone_seconds,
    )


def with_gateway(state: State, enrolment: Enrolment) -> Wanted:
    """Raises EnrolmentRefused when the name was taken while it waited, and InventoryRefused."""
    if enrolment.gateway in _names(state.inventory):
        raise EnrolmentRefused(
            f"the name {enrolment.gateway} was taken meanwhile: refuse it (leyline gateway revoke), and let it ask"
            " again under another one"
        )
    return Wanted(merge(state.inventory, Inventory(gateways=(_parsed(enrolment.body),))))


def _parsed(body: dict[str, Any]) -> Gateway:
    """Raises InventoryRefused."""
    gateway, findings = parse_object("gateway", body)
    if findings:
        raise InventoryRefused(findings)
    assert isinstance(gateway, Gateway)
    return gateway


def _check_node_ids(inventory: Inventory, pending: list[Enrolment], asked: Asked) -> None:
    gateways = {uplink.node_id: gateway.name for gateway in inventory.gateways for uplink in gateway.uplinks}
    for uplink in asked.uplinks:
        if name := gateways.get(uplink.node_id):
            raise EnrolmentRefused(
                f"node {uplink.node_id} is {name} already. If this is that gateway, it comes by a key of its own"
                f" (leyline enroll-key create --gateway {name}); if it is to be another one, put that out first"
                f" (leyline gateway revoke {name})"
            )
    users = {each.node_id: each.name for each in inventory.hosts}
    users.update((each.node_id, each.name) for each in inventory.clients if each.node_id is not None)
    users.update((node_id, each.gateway) for each in pending for node_id in each.node_ids)
    for uplink in asked.uplinks:
        if name := users.get(uplink.node_id):
            raise EnrolmentRefused(
                f"node {uplink.node_id} is {name} already: leyline gateway revoke {name} refuses one that waits; a host"
                " or client has to leave the inventory first"
            )


def _free_name(inventory: Inventory, pending: list[Enrolment], site: str) -> str:
    """SITE-1, SITE-2, ..."""
    taken = _names(inventory) | {each.gateway for each in pending}
    number = 1
    while f"{site}-{number}" in taken:
        number += 1
    return f"{site}-{number}"


def _names(inventory: Inventory) -> set[str]:
    """Gateways, clients, LAN peers and hosts share one space of names."""
    members = (inventory.gateways, inventory.clients, inventory.lan_peers, inventory.hosts)
    return {each.name for section in members for each in section}
