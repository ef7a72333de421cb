"""What a declared inventory must come to in kernels: worked out from the files alone, by nothing that is under test."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

Document = Mapping[str, Any]


@dataclass(frozen=True)
class GatewayFacts:
    name: str
    site: str
    role: str
    number: int  # Of its first uplink.
    addresses: tuple[str, ...]  # Overlay IPv4 addresses of its uplinks.
    addresses6: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    gateways: tuple[GatewayFacts, ...]
    prefixes: tuple[tuple[str, str], ...]  # (site, prefix)

    def gateway(self, name: str) -> GatewayFacts:
        return next(gateway for gateway in self.gateways if gateway.name == name)

    def hubs(self) -> list[str]:
        return [gateway.name for gateway in self.gateways if gateway.role == "hub"]

    def spokes(self) -> list[str]:
        return [gateway.name for gateway in self.gateways if gateway.role == "spoke"]

    def next_hops(self, site: str, prefix: str) -> frozenset[str]:
        """The originating uplinks: all of the site's."""
        six = version(prefix) == 6
        own = [gateway for gateway in self.gateways if gateway.site == site]
        return frozenset(address for gateway in own for address in (gateway.addresses6 if six else gateway.addresses))

    def expected(self, name: str) -> dict[str, frozenset[str]]:
        """prefix -> next hops that the kernel of this gateway (or of a client that is not ours) must have."""
        own = next((gateway.site for gateway in self.gateways if gateway.name == name), "")
        return {prefix: self.next_hops(site, prefix) for site, prefix in self.prefixes if site != own}


def version(prefix: str) -> int:
    return ipaddress.ip_network(prefix).version


def read_documents(paths: Iterable[Path]) -> list[Document]:
    return [YAML(typ="safe", pure=True).load(path.read_text()) for path in paths]


def facts(documents: Iterable[Document]) -> Facts:
    """Of documents that give every uplink its addresses."""
    documents = list(documents)
    gateways = [gateway for document in documents for gateway in document.get("gateways", ())]
    prefixes = [prefix for document in documents for prefix in document.get("prefixes", ())]
    return Facts(
        tuple(
            GatewayFacts(
                gateway["name"],
                gateway["site"],
                gateway["role"],
                gateway["uplinks"][0]["number"],
                tuple(uplink["address"] for uplink in gateway["uplinks"]),
                tuple(uplink["address6"] for uplink in gateway["uplinks"]),
            )
            for gateway in gateways
        ),
        tuple((prefix["site"], prefix["prefix"]) for prefix in prefixes),
    )
