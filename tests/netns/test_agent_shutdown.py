"""A site's gateway is told to go down, as `systemctl reboot` does it: its processes end in order, then its segment.

`systemctl` is a script here, which says what the test has written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

import pytest

from tests.netns.namespaces import Namespace, segment, veth, wait_until
from tests.netns.speakers import PATIENCE, Speaker, address, plan_of, to_client, to_hub, within
from tests.netns.test_agent_fallback import FIRST, NAMES, SECOND, SITE, A, second_choice
from tests.netns.test_agent_liveness import FAST, HUB, QUICK, host, lan

pytestmark = [pytest.mark.root, pytest.mark.slow]

SYSTEMCTL = """#!/bin/sh
[ "$*" = is-system-running ] && exec cat {}
exit 1
"""
FAILOVER_MS = 400


class Site:
    """A's site, and one with two gateways: the first carries its traffic as long as it can."""

    def __init__(self, members: dict[str, Namespace], place: Path) -> None:
        self.members = members
        self.place = place
        self.systemd_says("running")
        for number, behind in ((A, A), (FIRST, SITE), (SECOND, SITE)):
            veth(members[NAMES[number]], "lan0", [f"{host(behind)}/24"], members["hub"], f"cable{number}", ())
        self.speakers = {number: Speaker(members[name], name, place) for number, name in NAMES.items()}
        clients = [to_client(HUB, A), to_client(HUB, FIRST), second_choice()]
        self.speakers[HUB].start(plan_of("hub", HUB, clients, hub=True, bfd=FAST, liveness=QUICK))
        for number, behind in ((A, A), (FIRST, SITE), (SECOND, SITE)):
            spoke = plan_of(NAMES[number], number, [to_hub(number, HUB)], [lan(behind)], bfd=FAST, liveness=QUICK)
            self.speakers[number].start(spoke)
        self.a, self.first = self.speakers[A], self.speakers[FIRST]

    def systemd_says(self, state: str) -> None:
        (self.place / "state").write_text(f"{state}\n")

    def until_carried_by_first(self) -> None:
        def carried() -> bool:
            """While the first one is in use the second is asked, too."""
            self.members["a"].run("ping", "-n", "-c1", "-W1", "-I", host(A), host(SITE), check=False)
            return self.a.judges(FIRST, "up") and self.a.judges(SECOND, "up")

        wait_until(lambda: self.a.settled(HUB) and self.leads_to(FIRST), PATIENCE, self.evidence)
        wait_until(carried, PATIENCE, self.evidence)

    def leads_to(self, number: int) -> bool:
        return self.a.kernel() == {lan(SITE): address(number)}

    @contextmanager
    def pings(self) -> Iterator[list[int]]:
        """From A's LAN to the site's every 10 ms. When it is left, the list holds the longest loss in ms."""
        outage: list[int] = []
        file = self.place / "ping"
        with file.open("wb") as output:
            process = self.members["a"].start(
                "ping", "-n", "-D", "-i", "0.01", "-I", host(A), host(SITE), output=output
            )
        wait_until(lambda: "bytes from" in file.read_text(), 10, self.evidence)
        yield outage
        answers = file.read_text().count("bytes from")
        wait_until(lambda: file.read_text().count("bytes from") > answers, PATIENCE, self.evidence)
        self.members["a"].stop(process)
        found = re.findall(r"^\[([\d.]+)\] .*bytes from .*icmp_seq=(\d+)", file.read_text(), re.MULTILINE)
        replies = [(float(at), int(number)) for at, number in found]
        # Late is not lost: a time without answers counts only when some never came.
        gaps = [1000 * (after - at) for (at, one), (after, two) in pairwise(replies) if two > one + 1]
        outage.append(round(max(gaps, default=0)))

    def evidence(self) -> str:
        objects = "\n".join(f"{name}: {node.run('ip', 'nexthop')}" for name, node in self.members.items())
        return "\n".join([objects, *(each.evidence() for each in self.speakers.values())])


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    addresses = {name: [f"{address(number)}/16"] for number, name in NAMES.items()}
    with (
        TemporaryDirectory(prefix="ll-shut-") as name,
        pytest.MonkeyPatch.context() as patch,
        segment("shut", {**addresses}) as members,
    ):
        place = Path(name)
        commands = place / "bin"
        commands.mkdir()
        (commands / "systemctl").write_text(SYSTEMCTL.format(place / "state"))
        (commands / "systemctl").chmod(0o755)
        patch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
        yield Site(members, place)


def test_leyline_bfd_that_is_restarted_alone_costs_nothing(site: Site) -> None:
    site.until_carried_by_first()
    with site.pings() as outage:
        before = site.first.pid("bfd")
        site.first.terminate("bfd")
        wait_until(lambda: site.first.pid("bfd") != before, PATIENCE, site.evidence)
        site.until_carried_by_first()
    assert outage[0] == 0, site.evidence()


def test_a_gateway_that_goes_down_in_order_is_left_at_once(site: Site) -> None:
    """Before its segment is gone: who sends to it has been told by then, so that nothing need be lost."""
    site.until_carried_by_first()
    site.systemd_says("stopping")
    with site.pings() as outage:
        started = monotonic()
        assert site.first.stop() == 0, site.evidence()
        site.members["first"].run("ip", "link", "set", "eth0", "down")
        wait_until(lambda: site.leads_to(SECOND), PATIENCE, site.evidence)
        taken = monotonic() - started
    assert outage[0] <= within(FAILOVER_MS), site.evidence()
    assert taken < within(8), "the hub has taken its paths away as those of a dead gateway"
