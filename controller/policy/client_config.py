"""What a router that is not ours must be told to become a client of the hubs, and that as text for its software.

Pure: an inventory in, a configuration out. The texts stand in `templates/`, one for each software.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from controller.inventory.model import (
    GLOBAL,
    Allocation,
    BfdTimers,
    Client,
    Fabric,
    Inventory,
    bfd_of,
    circuit_classes,
    network_order,
)
from controller.policy.fabric import compile_fabric, speaker_address, speaker_address6

if TYPE_CHECKING:
    from jinja2 import Environment

Format = Literal["frr", "vyos", "bird", "routeros"]
FORMATS: tuple[Format, ...] = get_args(Format)

CONNECT_SECONDS = 5
"""Between two attempts of the client's to connect. Hubs dial it as well."""


@dataclass(frozen=True, slots=True)
class Hub:
    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Space:
    """What the client may announce: prefixes inside `prefix`, down to `longest`."""

    prefix: str
    length: int
    longest: int


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """The client's side of its sessions. Times in seconds where the name does not say milliseconds."""

    name: str
    site: str
    asn: int
    fabric_asn: int
    address: str
    address6: str | None  # None: IPv4 only.
    hubs: tuple[Hub, ...]  # Sorted by name; sessions of both families run over IPv4.
    spaces: tuple[Space, ...]
    spaces6: tuple[Space, ...]
    hold_time: int
    restart_time: int  # 0: no graceful restart.
    connect_time: int
    max_paths: int
    bfd: BfdTimers | None

    @property
    def ebgp(self) -> bool:
        return self.asn != self.fabric_asn

    @property
    def keepalive(self) -> int:
        return max(1, self.hold_time // 3)


def client_config(inventory: Inventory, name: str) -> ClientConfig:
    """The configuration of the client of this name.

    `inventory` must be allocated and without findings. Raises KeyError when it has no such client.
    """
    client = {each.name: each for each in inventory.clients}[name]
    fabric = inventory.fabric
    if fabric is None:
        raise ValueError("there is no fabric: check before asking")
    six = speaker_address6(client) if fabric.segment6 is not None else None
    spaces = _spaces(inventory, client.site)
    return ClientConfig(
        name=client.name,
        site=client.site,
        asn=_asn(client, fabric),
        fabric_asn=fabric.asn,
        address=str(speaker_address(client)),
        address6=None if six is None else str(six),
        hubs=tuple(Hub(each.name, str(speaker_address(each))) for each in compile_fabric(inventory).hubs),
        spaces=tuple(_space(each) for each in spaces if each.prefix.version == 4),
        spaces6=tuple(_space(each) for each in spaces if each.prefix.version == 6 and six is not None),
        hold_time=fabric.hold_time,
        restart_time=fabric.restart_time,
        connect_time=CONNECT_SECONDS,
        max_paths=fabric.max_paths,
        bfd=bfd_of(circuit_classes(inventory)[client.circuit_class]),
    )


def render(config: ClientConfig, software: Format) -> str:
    """`config` as this software reads it."""
    return _templates().get_template(f"{software}.j2").render(c=config)


@cache
def _templates() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # 60 ms that a controller's start does without.

    return Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # No HTML; names and addresses have been parsed.
    )


def _asn(client: Client, fabric: Fabric) -> int:
    return fabric.asn if client.asn is None else client.asn


def _spaces(inventory: Inventory, site: str) -> list[Allocation]:
    found = [each for each in inventory.allocations if each.site == site and each.tenant == GLOBAL]
    return sorted(found, key=lambda each: network_order(each.prefix))


def _space(allocation: Allocation) -> Space:
    return Space(str(allocation.prefix), allocation.prefix.prefixlen, allocation.longest)
