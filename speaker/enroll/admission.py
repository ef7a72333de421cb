"""The last step of enrolment: ZeroTier lets the box in, and gives it the addresses of its plan."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from speaker.enroll.access import Access
from speaker.enroll.exchange import EnrolFailed, Exchange
from speaker.enroll.steps import Say
from speaker.enroll.trust import context_of
from speaker.plan import Plan, UplinkPlan, decode
from speaker.state import StateDir
from speaker.zerotier.local import LocalService
from speaker.zerotier.service import Membership, NotAdmitted, assigned, wait_for_address

PATIENCE_SECONDS = 10.0
"""Before it is said what is missing: until then all of it is on its way."""
ASK_SECONDS = 5.0
"""Between two questions to the controller."""

Services = Sequence[tuple[str, LocalService]]
"""Name of the uplink, and its service."""


class NotAddressed(EnrolFailed):
    """The gateway is enrolled, and the network has not given it its addresses in time."""


def await_addresses(access: Access, state: StateDir, services: Services, say: Say, seconds: float) -> list[str]:
    """The addresses, in the order of the uplinks; none where there is no plan of a network yet.

    Raises NotAddressed after `seconds`, EnrolFailed, LocalError and OSError.
    """
    if not state.plan.exists():
        return []
    plan = decode(state.plan.read_bytes())
    if not plan.network:
        return []
    nodes = [("", service.status().node_id) for _, service in services]
    found = assigned(plan.uplinks, nodes)
    end = time.monotonic() + seconds
    addresses = []
    for uplink in plan.uplinks:
        if uplink.name in found:
            service = services[found[uplink.name]][1]
            addresses += _awaited(access, plan, uplink, service, say, seconds, end)
    return addresses


def _awaited(
    access: Access, plan: Plan, uplink: UplinkPlan, service: LocalService, say: Say, seconds: float, end: float
) -> list[str]:
    wanted = [each for each in (uplink.address, uplink.address6) if each]
    waits = f"{access.gateway} waits for its address in the segment, {' and '.join(wanted)}"
    asked = Asked(access)
    since = time.monotonic()

    def tell(why: str) -> None:
        late = time.monotonic() - since >= PATIENCE_SECONDS
        say(f"{waits}: {_both(why, asked.kept_out())}" if late else waits)

    membership = Membership(plan.network, plan.segments, plan.mtu, uplink)
    try:
        given = wait_for_address(service, membership, seconds=end - time.monotonic(), waits=tell)
    except NotAdmitted as error:
        raise NotAddressed(
            f"{access.gateway} is enrolled, and has no address in the segment after {seconds:.0f} s: "
            f"{_both(str(error), asked.kept_out())}. The same command goes on waiting; leyline speaker run does, too"
        ) from None
    return wanted or sorted(given)


class Asked:
    """What the controller says, asked now and then. One that does not answer says nothing: it may come back."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._due = 0.0
        self._said = ""

    def kept_out(self) -> str:
        if time.monotonic() >= self._due:
            access = self._access
            try:
                with Exchange(access.url, context_of(access.fingerprint, access.ca_file)) as controller:
                    self._said = controller.state(access.gateway, access.token).kept_out
            except EnrolFailed:
                self._said = ""
            self._due = time.monotonic() + ASK_SECONDS
        return self._said


def _both(here: str, there: str) -> str:
    return f"{here}; {there}" if there else here


def opened(homes: Sequence[tuple[str, Path]]) -> Services:
    return [(name, LocalService(home)) for name, home in homes]
