"""Whole gateways whose next hops' MACs are known: from the plan and from the hub's word, kept, adopted, taken away."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from speaker import plan as p
from speaker.agent.neighbours import AUDIT_SECONDS
from speaker.mac import mac_of, mac_text
from tests.netns.fabric import BIRD, EXTRA, HUB, OWN, SPOKE, THEIRS, Fabric, fabric, hub_plan, spoke_plan
from tests.netns.namespaces import Namespace, wait_until
from tests.netns.speakers import PATIENCE, address

pytestmark = pytest.mark.root

NETWORK = "8056c2e21c000001"
FOREIGN = ("10.42.0.77", "02:00:00:00:00:77")


def node(number: int) -> str:
    return f"a{number:09x}"


def mac(number: int) -> str:
    return mac_text(mac_of(node(number), NETWORK))


def known(plan: p.Plan, **fields: object) -> p.Plan:
    """The same gateway where everybody's node is known."""

    def number(text: str) -> int:
        return int(text.rpartition(".")[2])

    def imports(session: p.SessionPlan) -> p.ImportPlan | None:
        if session.imports is None:
            return None
        hops = tuple(replace(hop, node_id=node(hop.number)) for hop in session.imports.next_hops)
        return replace(session.imports, next_hops=hops)

    uplinks = tuple(replace(uplink, node_id=node(uplink.number)) for uplink in plan.uplinks)
    sessions = tuple(
        replace(session, peer_node_id=node(number(session.peer_address)), imports=imports(session))
        for session in plan.sessions
    )
    values = {"version": 4, "uplinks": uplinks, "sessions": sessions, "network": NETWORK, "permanent_neighbours": True}
    return replace(plan, **{**values, **fields})


def entries(namespace: Namespace) -> dict[str, str]:
    """Permanent neighbours: address -> MAC."""
    shown = namespace.run("ip", "-4", "neigh", "show", "nud", "permanent")
    return dict(re.findall(r"^(\S+) dev eth0 lladdr (\S+) PERMANENT", shown, flags=re.MULTILINE))


def ours(namespace: Namespace) -> dict[str, str]:
    found = entries(namespace)
    found.pop(FOREIGN[0], None)
    return found


@pytest.fixture
def world() -> Iterator[Fabric]:
    with fabric() as made:
        for name, number in (("hub", HUB), ("spoke", SPOKE), ("bird", BIRD)):
            made.members[name].run("ip", "link", "set", "eth0", "address", mac(number))
        for namespace in made.members.values():
            namespace.run("ip", "neigh", "flush", "dev", "eth0")
        made.hub.give(known(hub_plan()))
        made.spoke.give(known(spoke_plan()))
        made.until_settled()
        yield made


AT_SPOKE = {address(HUB): mac(HUB), address(BIRD): mac(BIRD)}
AT_HUB = {address(SPOKE): mac(SPOKE), address(BIRD): mac(BIRD)}


def until_there(world: Fabric, wanted: dict[str, str] = AT_SPOKE, within: float = AUDIT_SECONDS / 4) -> None:
    """Long before the next audit, unless told otherwise."""
    spoke = world.spoke.namespace

    def evidence() -> str:
        return f"{entries(spoke)}\n{world.evidence()}"

    wait_until(lambda: ours(spoke) == wanted, within, evidence)


def test_entries_from_plan_and_from_the_hubs_word(world: Fabric) -> None:
    until_there(world)
    wait_until(lambda: ours(world.hub.namespace) == AT_HUB, PATIENCE, world.evidence)
    spoke = world.spoke.namespace
    for name in ("hub", "spoke", "bird"):
        world.members[name].run("ip", "link", "set", "eth0", "multicast", "off")
    world.members["bird"].run(
        *("ip", "neigh", "replace", address(SPOKE), "lladdr", mac(SPOKE), "dev", "eth0"), *("nud", "permanent")
    )
    world.members["bird"].run("sysctl", "-qw", "net.ipv4.conf.eth0.arp_ignore=8")
    assert " 0% packet loss" in spoke.run("ping", "-n", "-c", "2", "-W", "1", address(BIRD), check=False)
    assert world.spoke.report()["kernel"]["neighbours"] == 2


def test_they_survive_the_agent_and_are_adopted(world: Fabric) -> None:
    until_there(world)
    spoke = world.spoke.namespace
    log = world.place / "neigh.monitor"
    with log.open("wb") as output:
        spoke.start("stdbuf", "-oL", "ip", "monitor", "neigh", output=output)
    with world.spoke.without_restarts():
        world.spoke.kill("agent")
        assert ours(spoke) == AT_SPOKE
    world.until_settled()
    until_there(world)
    told = [line for line in log.read_text().splitlines() if any(hop in line for hop in AT_SPOKE)]
    assert not [line for line in told if line.lower().startswith("delete")], told


def test_they_go_with_the_next_hop_and_with_the_switch_and_nobody_elses_do(world: Fabric) -> None:
    until_there(world)
    spoke = world.spoke.namespace
    spoke.run("ip", "neigh", "replace", FOREIGN[0], "lladdr", FOREIGN[1], "dev", "eth0", "nud", "permanent")
    for protocol in ("own", "extra"):
        world.bird.bird.ask(f"disable {protocol}")
    until_there(world, {address(HUB): mac(HUB)}, within=PATIENCE)  # Its groups wait for a sweep, and it with them.
    for protocol in ("own", "extra"):
        world.bird.bird.ask(f"enable {protocol}")
    until_there(world)
    world.spoke.give(known(spoke_plan(), permanent_neighbours=False))
    until_there(world, {})
    world.until_settled(THEIRS + EXTRA, OWN)
    assert entries(spoke) == dict([FOREIGN])


def test_they_return_with_the_interface(world: Fabric) -> None:
    until_there(world)
    spoke = world.spoke.namespace
    spoke.run("ip", "link", "set", "eth0", "down")
    assert ours(spoke) == {}
    spoke.run("ip", "link", "set", "eth0", "up")
    until_there(world, {address(HUB): mac(HUB), address(BIRD): mac(BIRD)})
    world.until_settled()
