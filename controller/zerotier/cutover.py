"""From managed routes to BGP, in steps that can each be taken back. Pure.

BGP's routes have metric 1000 and managed ones 5000, so both stand side by side until Leyline takes the managed ones
away, one at a time: see controller.zerotier.difference.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from shlex import quote

from controller.inventory.model import Inventory
from controller.zerotier.port import ManagedRoute, NetworkChange, NetworkState, Service
from controller.zerotier.state import REMOVAL_SECONDS
from controller.zerotier.summaries import summaries
from controller.zerotier.wire import write_network

BEFORE = "routes.json"
"""The file with the body that sets the routes as they are now."""

UNDO = "ip -4 route flush table main proto 76 && ip -6 route flush table main proto 76"
"""Takes what a speaker has put into the kernel out again, when the speaker is stopped."""


@dataclass(frozen=True)
class Step:
    """`run`: command lines, in order. `look`: what must be so before the next step. `back`: how to undo this one."""

    title: str
    run: tuple[str, ...]
    look: str
    back: str


@dataclass(frozen=True)
class Removals:
    """What becomes of the routes with a `via`. `going`: BGP takes their place. `kept`: Leyline's own from now on.
    `open`: nobody of the inventory announces them, and they go as well."""

    going: tuple[ManagedRoute, ...]
    kept: tuple[ManagedRoute, ...]
    open: tuple[ManagedRoute, ...]


def removals(network: NetworkState, inventory: Inventory) -> Removals:
    """`inventory`: allocated and sound."""
    own = set(summaries(inventory, {}, network.routes).routes)
    declared = {each.prefix for each in inventory.prefixes}
    routed = [each for each in network.routes if each.via is not None]
    return Removals(
        tuple(each for each in routed if each not in own and each.target in declared),
        tuple(each for each in routed if each in own),
        tuple(each for each in routed if each not in own and each.target not in declared),
    )


def bodies(service: Service, network: NetworkState) -> dict[str, str]:
    """File name -> the body of a request to the service."""
    fields = write_network(NetworkChange(routes=network.routes))
    body = {"config": fields} if service.kind == "central" else fields
    return {BEFORE: json.dumps(body, indent=1) + "\n"}


def steps(
    network: NetworkState, inventory: Inventory, service: Service, plan: Removals, flags: str, token_file: str
) -> Iterator[Step]:
    """`flags`: those by which `leyline import` and the controller find the ZeroTier service."""
    yield from _prepare(network, flags)
    for gateway in sorted(inventory.gateways, key=lambda each: (each.role != "hub", each.name)):
        yield Step(
            f"{gateway.role} {gateway.name}: start the speaker",
            (
                f"leyline gateway token {gateway.name}   # into a file on that gateway, readable by root",
                "leyline speaker run --controller https://leyline.example:8642"
                f" --gateway {gateway.name} --token-file /etc/leyline/token   # there",
            ),
            f"leyline show sessions: those of {gateway.name} with started hubs are up; leyline show routes --gateway"
            f" {gateway.name}: what others announce already. Hosts of its LAN reach the other sites as before.",
            f"stop the speaker on {gateway.name}, then: {UNDO}; the managed routes carry on",
        )
    yield Step(
        "Let Leyline write the members",
        ("leyline segment adopt --every",),
        "leyline segment show: no member is held. Addresses stay, but for those that inventory.yml says they lose.",
        "not needed: only names in ZeroTier become those of the inventory, and addresses are no longer automatic",
    )
    yield _remove(network, service, plan, flags, token_file)
    yield Step(
        "Let declared space never leave by a default route",
        ("leyline apply inventory.yml   # with guard_default: true", check_line(network, flags)),
        "the check says that nothing is left, by exit code 0.",
        "leyline apply inventory.yml, with guard_default: false",
    )


def to_text(network: NetworkState, found: Iterable[Step]) -> str:
    lines = [
        f"Cut-over of ZeroTier network {network.network} from managed routes to BGP",
        "",
        "BGP's routes (metric 1000) win over managed ones (5000), so both stand side by side, and a gateway without a",
        "speaker goes on as before. Stop between any two steps for as long as you like. Never give a managed route",
        "another `via` in place: members do not apply it. leyline.example:8642 stands for your controller.",
    ]
    for number, step in enumerate(found, 1):
        lines += ["", f"{number}. {step.title}"]
        lines += [f"   run:  {each}" for each in step.run]
        lines += [f"   look: {step.look}", f"   back: {step.back}"]
    return "\n".join(lines) + "\n"


def check_line(network: NetworkState, flags: str) -> str:
    return f"leyline import zerotier {network.network} {flags} --check"


def _prepare(network: NetworkState, flags: str) -> Iterator[Step]:
    yield Step(
        "Answer what waits for your word",
        ("leyline validate inventory.yml",),
        "it finds nothing, and no TODO is left in inventory.yml that you have not read.",
        "nothing has been changed yet",
    )
    yield Step(
        "Start the controller and tell it the inventory",
        (
            f"leyline controller serve {flags}   # as a service, on its machine",
            "leyline login --url https://leyline.example:8642",
            "leyline apply --dry-run inventory.yml",
            "leyline apply inventory.yml",
        ),
        "leyline segment show: the network is held, so Leyline leaves it as it is. Do not adopt it yet.",
        f"stop the controller; the ZeroTier network {network.network} goes on by itself",
    )


def _remove(network: NetworkState, service: Service, plan: Removals, flags: str, token_file: str) -> Step:
    going = (*plan.going, *plan.open)
    seconds = len(going) * REMOVAL_SECONDS
    pace = f"one after another, {len(going)} in some {seconds:g} s; each stalls every member for about a second"
    what = f" It takes managed routes away {pace}." if going else ""
    left = f" Nobody announces these, and they go, too: {_shown(plan.open)}." if plan.open else ""
    stays = f" These stay, as Leyline's own, for hosts: {_shown(plan.kept)}." if plan.kept else ""
    return Step(
        "Let Leyline write the network, and take the managed routes away",
        (check_line(network, flags), "leyline segment adopt --network", check_line(network, flags)),
        "first: the check calls no route waiting, and what it calls undeclared you can do without. Then leyline"
        f" segment show says that the network is being written, at last that it is as declared.{what}{left}{stays}",
        f"take `network` out of inventory.yml, leyline apply inventory.yml; then {_put(network, service, token_file)}",
    )


def _put(network: NetworkState, service: Service, token_file: str) -> str:
    central = service.kind == "central"
    path = "network" if central else "controller/network"
    secret = f"$(cat {quote(token_file)})"
    header = f"Authorization: token {secret}" if central else f"X-ZT1-Auth: {secret}"
    return f'curl -f -H "{header}" -d @{BEFORE} {service.url.rstrip("/")}/{path}/{network.network}'


def _shown(routes: Iterable[ManagedRoute]) -> str:
    return ", ".join(map(str, routes))
