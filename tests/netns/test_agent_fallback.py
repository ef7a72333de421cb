"""A site with a gateway that carries its traffic and one behind it, and a path to that one which never worked.

Whole speakers and real packets: nobody ever heard the second gateway from here, so when the first one is cut off its
traffic must not end there.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from msgspec.structs import replace

from speaker import plan as p
from tests.netns.namespaces import Namespace, segment, veth, wait_until
from tests.netns.speakers import PATIENCE, Speaker, address, plan_of, to_client, to_hub, within
from tests.netns.test_agent_liveness import CUT, FAST, QUICK, host, lan

pytestmark = [pytest.mark.root, pytest.mark.slow]

HUB, A, FIRST, SECOND = 1, 2, 3, 4
NAMES = {HUB: "hub", A: "a", FIRST: "first", SECOND: "second"}
SITE = FIRST
"""Both gateways announce the LAN of this number, and both hold its host."""


def second_choice() -> p.SessionPlan:
    """The hub's session with the second gateway, which may announce what the first does, for less."""
    session = to_client(HUB, SECOND)
    assert session.imports is not None
    (hop,) = session.imports.next_hops
    (space,) = session.imports.allocations
    shared = replace(space, prefix=f"20.{SITE}.0.0/16")
    return replace(session, imports=p.ImportPlan((replace(hop, preference=100),), (shared,)))


class Site:
    def __init__(self, members: dict[str, Namespace], place: Path) -> None:
        self.members = members
        self.switch = members["hub"].name.removesuffix("hub") + "switch"
        self.macs = {
            number: members[name].run("cat", "/sys/class/net/eth0/address").strip() for number, name in NAMES.items()
        }
        for number, behind in ((A, A), (FIRST, SITE), (SECOND, SITE)):
            veth(members[NAMES[number]], "lan0", [f"{host(behind)}/24"], members["hub"], f"cable{number}", ())
        self.cut((A, SECOND))  # Before anybody has said a word.
        self.speakers = {number: Speaker(members[name], name, place) for number, name in NAMES.items()}
        clients = [to_client(HUB, A), to_client(HUB, FIRST), second_choice()]
        self.speakers[HUB].start(plan_of("hub", HUB, clients, hub=True, bfd=FAST, liveness=QUICK))
        for number, behind in ((A, A), (FIRST, SITE), (SECOND, SITE)):
            spoke = plan_of(NAMES[number], number, [to_hub(number, HUB)], [lan(behind)], bfd=FAST, liveness=QUICK)
            self.speakers[number].start(spoke)
        self.a = self.speakers[A]
        for number in (A, FIRST, SECOND):
            speaker = self.speakers[number]
            wait_until(lambda s=speaker: s.settled(HUB) and s.judges(HUB, "up"), PATIENCE, self.evidence)  # type: ignore[misc]
        wait_until(lambda: self.a.kernel() == {lan(SITE): address(FIRST)}, PATIENCE, self.evidence)

    def cut(self, *pairs: tuple[int, int]) -> None:
        """Nothing passes between these, either way; every interface keeps its carrier."""
        dropped = [f"{self.macs[x]} . {self.macs[y]}" for x, y in (*pairs, *((y, x) for x, y in pairs))]
        rules = CUT.replace("ELEMENTS", f"elements = {{ {', '.join(dropped)} }};")
        subprocess.run(["ip", "netns", "exec", self.switch, "nft", "-f", "-"], input=rules, text=True, check=True)

    def ttl(self) -> int:
        """Of the answer to A's ping: 64 when it came directly, 63 through the hub; 0 without an answer."""
        said = self.members["a"].run("ping", "-n", "-c1", "-W1", "-I", host(A), host(SITE), check=False)
        found = re.search(r"ttl=(\d+)", said)
        return int(found.group(1)) if found else 0

    def evidence(self) -> str:
        objects = "\n".join(f"{name}: {node.run('ip', 'nexthop')}" for name, node in self.members.items())
        return "\n".join([objects, *(each.evidence() for each in self.speakers.values())])


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    addresses = {name: [f"{address(number)}/16"] for number, name in NAMES.items()}
    with TemporaryDirectory(prefix="ll-fall-") as place, segment("fall", {**addresses}) as members:
        yield Site(members, Path(place))


def test_traffic_does_not_fall_to_who_was_never_heard(site: Site) -> None:
    def known() -> bool:
        """While the first one is in use the second is asked, and its silence is known."""
        return site.ttl() == 64 and site.a.next_hop(SECOND).get("reason") == "never answered"

    wait_until(known, PATIENCE, site.evidence)
    assert site.a.judges(FIRST, "up"), site.evidence()
    site.cut((A, SECOND), (A, FIRST))
    took = wait_until(lambda: site.ttl() == 63, PATIENCE, site.evidence)
    assert took < within(3), site.evidence()
    assert site.a.judges(FIRST, "down", "n1"), site.evidence()


def test_who_answers_for_the_first_time_is_used_at_once(site: Site) -> None:
    site.cut((A, FIRST))
    took = wait_until(lambda: site.ttl() == 64, PATIENCE, site.evidence)
    assert took < within(5), site.evidence()
    assert site.a.judges(SECOND, "up"), site.evidence()
    assert site.a.next_hop(SECOND)["reason"] == ""
