"""From a key to a gateway that can start: ask, join, wait, and keep what `leyline speaker run` needs.

Each step first stores what it is about to use, so that a run which was broken off goes on where it was.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from speaker.enroll import access as stored
from speaker.enroll.access import Access
from speaker.enroll.exchange import EnrolFailed, Enrolled, Exchange, Gone, NotReached
from speaker.enroll.key import Key
from speaker.enroll.pin import pinned_context
from speaker.enroll.tokens import make_token, told
from speaker.plan import PlanUnreadable, decode
from speaker.report import NO_PLAN
from speaker.state import StateDir, write_atomically

POLL_SECONDS = 2.0
INTERFACE_SECONDS = 15.0
"""For the service to make the network's interface after it was told to join."""


class ZeroTier(Protocol):
    """The service of one uplink: speaker.zerotier.local, as far as enrolment goes."""

    def node_id(self) -> str: ...

    def join(self, network: str) -> str:
        """Joins, unless it has, and returns the network's interface, "" while there is none."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted. `name` "": the controller chooses. `services`: name of the uplink -> its service."""

    key: Key
    services: Sequence[tuple[str, ZeroTier]]
    name: str = ""
    ca_file: str = ""
    homes: tuple[tuple[str, str], ...] = ()  # Of the services, for the speaker to find them again.
    wait_seconds: float = 3_600.0


Say = Callable[[str], None]


def enroll(wish: Wish, state: StateDir, say: Say, verify: ssl.SSLContext | bool | None = None) -> Access:
    """The access that is stored. Raises EnrolFailed, AccessUnusable, OSError, and LocalError of the services.

    `verify` is for tests: trust this instead of what the key says.
    """
    trust = _trust(wish.key) if verify is None else verify
    with Exchange(wish.key.url, trust) as controller:
        access = _begun(wish, state, controller)
        if not access.gateway:
            access = _asked(wish, state, controller, access, say)
        if not access.approved:
            access = _approved(wish, state, controller, access, say)
        _keep_plan(state, controller, access)
    return access


def _trust(key: Key) -> ssl.SSLContext | bool:
    return pinned_context(key.fingerprint) if key.fingerprint else True


def _begun(wish: Wish, state: StateDir, controller: Exchange) -> Access:
    """What an earlier run by this key has stored, or a new beginning."""
    former = stored.load(state)
    if former is not None and former.key_id == wish.key.id:
        return former
    if former is not None and former.gateway and former.url == wish.key.url:
        try:
            controller.state(former.gateway, former.token)
        except Gone:
            pass  # It was put out, or its token is over: this key is for a new beginning.
        else:
            raise EnrolFailed(
                f"this is gateway {former.gateway} of {former.url} already, and {state.access} is its access. To begin"
                f" anew put it out first: leyline gateway revoke {former.gateway}"
            )
    elif former is not None and former.gateway and former.approved:
        raise EnrolFailed(
            f"this is gateway {former.gateway} of another controller, {former.url}: if that is over, remove"
            f" {state.access} and {state.plan}"
        )
    invitation = controller.invitation(wish.key)
    fingerprint, ca_file = whom_to_trust(wish)
    access = Access(
        url=wish.key.url,
        gateway="",
        token=make_token(),
        fingerprint=fingerprint,
        ca_file=ca_file,
        network=invitation.network,
        key_id=wish.key.id,
        homes=wish.homes,
    )
    stored.save(state, access)  # Before the controller hears of the token: the same request can be sent again.
    return access


def whom_to_trust(wish: Wish) -> tuple[str, str]:
    """(fingerprint, ca_file) for the time after enrolment.

    A certificate that the system's CAs, or the operator's, vouch for may be replaced by the next one of its kind; of
    any other the very one is trusted.
    """
    if not wish.key.fingerprint or _vouched_for(wish.key.url, None):
        return "", ""
    if wish.ca_file:
        if not _vouched_for(wish.key.url, wish.ca_file):
            raise EnrolFailed(
                f"the CAs in {wish.ca_file} do not vouch for {wish.key.url}: leave --cacert out, or mend it"
            )
        return "", wish.ca_file
    return wish.key.fingerprint, ""


def _vouched_for(url: str, ca_file: str | None) -> bool:
    try:
        verify: ssl.SSLContext | bool = ssl.create_default_context(cafile=ca_file) if ca_file else True
        with Exchange(url, verify) as controller:
            return not controller.why_silent()
    except OSError:  # ssl.SSLError is one: no CAs in that file.
        return False


def _asked(wish: Wish, state: StateDir, controller: Exchange, access: Access, say: Say) -> Access:
    """Joined, and known to the controller."""
    uplinks = []
    for name, service in wish.services:
        node_id = service.node_id()
        interface = _joined(service, access.network, name)
        say(f"node {node_id} has joined {access.network} on {interface}")
        uplinks.append({"name": name, "node_id": node_id, "interface": interface})
    body = {"name": wish.name, "uplinks": uplinks, "token": told(access.token)}
    try:
        enrolled = controller.enrol(wish.key, body)
    except NotReached:
        raise
    except EnrolFailed:
        stored.forget(state)  # The next run begins anew, with what was put right.
        raise
    access = msgspec.structs.replace(access, gateway=enrolled.gateway, approved=enrolled.state == "approved")
    stored.save(state, access)
    return access


def _joined(service: ZeroTier, network: str, uplink: str) -> str:
    """The network's interface."""
    deadline = time.monotonic() + INTERFACE_SECONDS
    while not (interface := service.join(network)):
        if time.monotonic() > deadline:
            raise EnrolFailed(
                f"the ZeroTier service of uplink {uplink} has joined {network} and makes no interface: look at its log"
                " (is there /dev/net/tun?), then run this again"
            )
        time.sleep(0.2)
    return interface


def _approved(wish: Wish, state: StateDir, controller: Exchange, access: Access, say: Say) -> Access:
    """Waits until somebody has let it in."""
    deadline = time.monotonic() + wish.wait_seconds
    waits = f"{access.gateway} waits for approval: leyline gateway approve {access.gateway}"
    while not access.approved:
        say(waits)
        enrolled = _look(controller, access, say)
        if enrolled is None:
            stored.forget(state)
            raise EnrolFailed(f"{access.gateway} was refused by an operator. To ask again get a new key")
        if enrolled.state == "approved":
            access = msgspec.structs.replace(access, approved=True)
            stored.save(state, access)
            break
        if time.monotonic() >= deadline:
            raise EnrolFailed(f"{waits}. Run the same command again to go on waiting")
        time.sleep(min(POLL_SECONDS, max(0.0, deadline - time.monotonic())))
    return access


def _look(controller: Exchange, access: Access, say: Say) -> Enrolled | None:
    """None when it was refused. A controller that is away is waited for."""
    try:
        return controller.state(access.gateway, access.token)
    except Gone:
        return None
    except NotReached as error:
        say(str(error))
        return Enrolled(access.gateway, "pending", access.network)


def _keep_plan(state: StateDir, controller: Exchange, access: Access) -> None:
    """The first plan, so that the speaker can start without its controller."""
    try:
        envelope = controller.plan(access.gateway, access.token)
    except Gone as error:
        raise EnrolFailed(
            f"{access.gateway} was enrolled, and the controller lets it in no more: {error}. If it was put out, remove"
            f" {state.access} and enrol again by a new key"
        ) from None
    if envelope.plan == NO_PLAN:
        return
    try:
        decode(bytes(envelope.plan))
    except PlanUnreadable as error:
        raise EnrolFailed(f"the plan that came is refused: {error}") from None
    write_atomically(state.plan, bytes(envelope.plan))
