"""Letting gateways in by a key, and putting them out again.

    key -> request -> pending -> approved: a gateway of the inventory, with a token -> revoked, or gone

A request becomes a gateway through controller.service like every other change. The gateway itself makes its token and
sends it along, so a request whose answer was lost is simply sent again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from controller.enrol_request import Asked, EnrolmentRefused, of_declared, of_newcomer, with_gateway
from controller.heard import heard
from controller.inventory.fields import closest
from controller.inventory.model import Gateway, Inventory
from controller.inventory.without import without_gateway, without_vain_rules
from controller.service import Controller, Outcome, Wanted
from controller.store import enroll, segment, tokens
from controller.store.enroll import EnrollKey, Enrolment, NewKey
from controller.store.state import State
from controller.store.store import Changing
from controller.zerotier.alive import lost_for

MAX_USABLE_KEYS = 1_000
PENDING_SECONDS = 7 * 86_400
"""Nobody waits longer for approval."""
KEPT_SECONDS = 90 * 86_400
"""Keys, and tokens of gateways, are listed for so long after their end."""


class KeyRefused(Exception):
    """The key lets nobody in (any more). The text has the way out."""


class Unknown(Exception):
    """There is no gateway or enrolment of this name."""


@dataclass(frozen=True)
class Revoked:
    """`outcome` is None when the gateway was only waiting; `key` is the one that was revoked along with it. `node_ids`:
    its members of the segment."""

    outcome: Outcome | None
    key: str | None
    node_ids: tuple[str, ...] = ()


class Enrolling:
    """Thread-safe, as the controller that it changes the fabric by."""

    def __init__(self, controller: Controller, clock: Callable[[], float] = time.time) -> None:
        self._controller = controller
        self._store = controller.store
        self._clock = clock

    def make_key(self, new: NewKey, *, actor: str) -> tuple[str, EnrollKey]:
        """(secret, what is stored). Raises EnrolmentRefused when no gateway could come by it."""
        now = self._clock()
        with self._store.changing() as change:
            inventory = change.state.inventory
            if inventory.fabric is None or not inventory.fabric.network:
                raise EnrolmentRefused(
                    "the fabric has no ZeroTier network that a gateway could join: declare `network` of the fabric"
                )
            new = _placed(new, inventory)
            if sum(each.state(now) == "usable" for each in enroll.every_key(change.connection)) >= MAX_USABLE_KEYS:
                raise EnrolmentRefused(
                    f"there are {MAX_USABLE_KEYS} usable keys already: revoke some (leyline enroll-key revoke)"
                )
            secret, key = enroll.make_key(change.connection, new, now=now, created_by=actor)
            detail = {"site": key.site, "role": key.role, "approve": key.approve, "uses": key.uses}
            detail |= {"gateway": key.gateway} if key.gateway else {}
            change.log(actor, "create", f"enroll key {key.id}", now=now, detail=detail)
        return secret, key

    def revoke_key(self, public: str, *, actor: str) -> EnrollKey:
        """Who came by it stays. Raises Unknown."""
        now = self._clock()
        with self._store.changing() as change:
            key = enroll.revoke_key(change.connection, public, now)
            if key is None:
                raise Unknown(f"there is no enrolment key {public}; leyline enroll-key list has their ids")
            change.log(actor, "revoke", f"enroll key {public}", now=now)
        return key

    def keys(self) -> list[EnrollKey]:
        with self._store.database.read() as connection:
            return enroll.every_key(connection)

    def enrolments(self) -> list[Enrolment]:
        with self._store.database.read() as connection:
            return enroll.every(connection)

    def proven(self, public: str, secret: str) -> EnrollKey:
        """The key, if it is known and the secret is its own; it may be over. Raises KeyRefused."""
        with self._store.database.read() as connection:
            key = enroll.find_key(connection, public)
        if key is None or not enroll.proves(key.secret_sha256, secret):
            raise KeyRefused("the controller does not know this key: was it made by another one? Make a new key")
        return key

    def let_in(self, public: str, secret: str) -> EnrollKey:
        """The key, if it lets somebody in now. Raises KeyRefused."""
        key = self.proven(public, secret)
        refuse(key, self._clock())
        return key

    def request(self, public: str, secret: str, asked: Asked) -> Enrolment:
        """Pending, or approved if the key approves. The same request again has the same answer, and takes no use.

        Raises KeyRefused, EnrolmentRefused, and what Controller.change raises; nothing is stored then.
        """
        now, key = self._clock(), self.proven(public, secret)
        with self._store.database.read() as connection:
            earlier = enroll.find_by_token(connection, asked.token_id)
            waiting = enroll.every(connection)
        if earlier is not None and earlier.key_id == key.id and earlier.token_sha256 == asked.token_sha256:
            return earlier
        refuse(key, now)
        if key.gateway is not None:
            return self._again(key, asked, now)
        made: list[Enrolment] = []

        def enrolment(state: State) -> Enrolment:
            made.append(of_newcomer(state, key, asked, waiting, now))
            return made[-1]

        if key.approve:

            def edit(state: State) -> Wanted:
                return with_gateway(state, enrolment(state))

            def also(change: Changing) -> None:
                self._enter(change, made[-1])
                self._admit(change, made[-1], _actor(key))

            self._controller.change(edit, actor=_actor(key), action="enroll", subject=f"by key {key.id}", also=also)
        else:
            with self._store.changing() as change:
                self._enter(change, enrolment(change.state))
                change.log(_actor(key), "ask", f"gateway {made[-1].gateway}", now=now, detail=made[-1].body)
        return self.found(made[-1].gateway)

    def _again(self, key: EnrollKey, asked: Asked, now: float) -> Enrolment:
        """A declared gateway has a token, and any former one of it is over. The inventory is the approval."""
        assert key.gateway is not None
        with self._store.changing() as change:
            former = enroll.find(change.connection, key.gateway)
            enrolment = of_declared(change.state.inventory, key, asked, former, now)
            self._put(change, enrolment)
            tokens.revoke_of_gateway(change.connection, enrolment.gateway, now)
            self._admit(change, enrolment, _actor(key))
        return self.found(key.gateway)

    def approve(self, name: str, *, actor: str, force: bool = False) -> Outcome | None:
        """Makes a waiting gateway one of the fabric. None when it is one already. Raises Unknown, and as change."""
        waits = self.found(name)
        if waits.approved_at is not None:
            return None

        def also(change: Changing) -> None:
            if (still := enroll.find(change.connection, name)) is None or still.token_id != waits.token_id:
                raise EnrolmentRefused(f"{name} has been refused or has asked anew meanwhile: look again")
            self._admit(change, waits, actor)

        return self._controller.change(
            lambda state: with_gateway(state, waits),
            actor=actor,
            action="approve",
            subject=f"gateway {name}",
            force=force,
            also=also,
        )

    def revoke(self, name: str, *, actor: str, action: str = "revoke") -> Revoked:
        """Puts a gateway out, or refuses one that waits; its key goes too. Raises Unknown, and as change."""
        with self._store.database.read() as connection:
            row = enroll.find(connection, name)
        known = self._store.state().by_key["gateways"]
        if name not in known:
            if row is None:
                raise Unknown(f"there is no gateway {name}{closest(name, list(known))}, and none waits for approval")
            return self._refuse(row, actor)
        came_by: list[str] = []
        nodes: list[str] = []

        def also(change: Changing) -> None:
            nodes.extend(_node_ids(change.state, name))
            if action != "revoke":
                return
            if row is not None:
                came_by.extend(self._revoke_usable(change, row.key_id, actor))
            # An operator's word: it holds for a member, too, that somebody else had let in before Leyline came.
            if (fabric := change.state.inventory.fabric) is not None and fabric.network:
                segment.take(change.connection, fabric.network, nodes, self._clock())

        def edit(state: State) -> Wanted:
            left = without_gateway(state.inventory, name)
            # Nothing may keep in whom nobody trusts; who has only gone must not take an operator's rules along.
            return Wanted(without_vain_rules(left) if action == "revoke" else left)

        outcome = self._controller.change(
            edit,
            actor=actor,
            action=action,
            subject=f"gateway {name}",
            allow_removals=1,
            force=True,  # Whom nobody trusts any more goes, whatever the fabric loses by it.
            also=also,
        )
        return Revoked(outcome, next(iter(came_by), None), tuple(nodes))

    def by_token(self, token_id: str) -> Enrolment | None:
        """The enrolment that was asked for with this token."""
        with self._store.database.read() as connection:
            return enroll.find_by_token(connection, token_id)

    def found(self, name: str) -> Enrolment:
        """Raises Unknown."""
        with self._store.database.read() as connection:
            row = enroll.find(connection, name)
        if row is None:
            raise Unknown(f"no enrolment of a gateway {name} is known: it was refused, or is over")
        return row

    def renew(self, former: tokens.Token, token_id: str, token_sha256: str, grace_seconds: float) -> tokens.Token:
        """A gateway's next token, for as long as the former was made for; that one ends after the grace time.

        The same again has the same answer. Raises EnrolmentRefused when the id is taken.
        """
        now = self._clock()
        with self._store.changing() as change:
            known = tokens.find(change.connection, token_id)
            if known is not None:
                if (known.gateway, known.secret_sha256) != (former.gateway, token_sha256) or not known.usable(now):
                    raise EnrolmentRefused("a token of this id exists already: make another one")
                return known
            span = None if former.expires_at is None else former.expires_at - former.created_at
            token = tokens.Token(
                id=token_id,
                role="gateway",
                gateway=former.gateway,
                note=former.note,
                created_at=now,
                created_by=f"gateway {former.gateway}",
                expires_at=None if span is None else now + span,
                revoked_at=None,
                last_used_at=None,
                secret_sha256=token_sha256,
            )
            tokens.admit(change.connection, token)
            tokens.end_by(change.connection, former.id, now + grace_seconds)
            detail = {"gateway": former.gateway, "replaces": former.id, "expires_at": token.expires_at}
            change.log(token.created_by, "renew", f"token {token.id}", now=now, detail=detail)
        return token

    def tidy(self) -> None:
        """Forgets what is long over."""
        now = self._clock()
        with self._store.changing() as change:
            for name in enroll.drop_pending(change.connection, now - PENDING_SECONDS):
                change.log("controller", "forget", f"gateway {name}", now=now, detail={"waited_for_approval": True})
            enroll.drop_keys(change.connection, now - KEPT_SECONDS)
            tokens.drop_of_gateways(change.connection, now - KEPT_SECONDS)

    def gone(self, since: float) -> list[str]:
        """Ephemeral gateways of which neither the controller nor any hub has had a sign for their time, which begins at
        `since` at the earliest. Silence alone proves nothing: while no hub is heard nobody is gone."""
        with self._store.database.read() as connection:
            signs = enroll.last_signs(connection)
        now = self._clock()
        silent = [(name, seconds) for name, seconds, seen in signs if now - max(since, seen) > seconds]
        if not silent:
            return []
        inventory, reports = self._store.state().inventory, heard(self._store)
        return [name for name, seconds in silent if lost_for(name, inventory, reports, now, seconds)]

    def _enter(self, change: Changing, enrolment: Enrolment) -> None:
        """The request's row, and one use of its key."""
        taken = enroll.find(change.connection, enrolment.gateway)
        if taken is not None and (taken.approved_at is None or enrolment.gateway in change.state.by_key["gateways"]):
            raise EnrolmentRefused(f"somebody has asked to be {enrolment.gateway} at this moment: try again")
        self._put(change, enrolment)

    def _put(self, change: Changing, enrolment: Enrolment) -> None:
        """In place of any of that name. Raises EnrolmentRefused and KeyRefused."""
        if tokens.find(change.connection, enrolment.token_id) is not None:
            raise EnrolmentRefused("a token of this id exists already: make another one")
        if not enroll.use_key(change.connection, enrolment.key_id, self._clock()):
            raise KeyRefused(f"key {enrolment.key_id} was used by somebody else at this moment: make a new key")
        enroll.drop(change.connection, [enrolment.gateway])
        enroll.put(change.connection, enrolment)

    def _admit(self, change: Changing, enrolment: Enrolment, actor: str) -> None:
        """The gateway's token, from now on good."""
        now = self._clock()
        token = tokens.Token(
            id=enrolment.token_id,
            role="gateway",
            gateway=enrolment.gateway,
            note="",
            created_at=now,
            created_by=f"enroll key {enrolment.key_id}",
            expires_at=now + enrolment.token_seconds,
            revoked_at=None,
            last_used_at=None,
            secret_sha256=enrolment.token_sha256,
        )
        tokens.admit(change.connection, token)
        enroll.mark_approved(change.connection, enrolment.gateway, now=now, actor=actor)
        detail = {"role": "gateway", "gateway": enrolment.gateway, "expires_at": token.expires_at}
        change.log(actor, "issue", f"token {token.id}", now=now, detail=detail)

    def _refuse(self, row: Enrolment, actor: str) -> Revoked:
        """Somebody who waits is told no."""
        with self._store.changing() as change:
            enroll.drop(change.connection, [row.gateway])
            change.log(actor, "refuse", f"gateway {row.gateway}", now=self._clock())
            keys = self._revoke_usable(change, row.key_id, actor)
        return Revoked(None, next(iter(keys), None))

    def _revoke_usable(self, change: Changing, public: str, actor: str) -> list[str]:
        """Who was put out must not come in again by the same key."""
        now = self._clock()
        key = enroll.find_key(change.connection, public)
        if key is None or key.state(now) != "usable":
            return []
        enroll.revoke_key(change.connection, public, now)
        change.log(actor, "revoke", f"enroll key {public}", now=now)
        return [public]


def refuse(key: EnrollKey, now: float) -> None:
    """Raises KeyRefused when the key lets nobody in any more."""
    state = key.state(now)
    if state != "usable":
        said = {"used up": f"has been used {key.used} of {key.uses} times", "expired": "has expired"}
        raise KeyRefused(
            f"key {key.id} {said.get(state, 'has been revoked')}: ask for a new one"
            f" (leyline enroll-key create {f'--gateway {key.gateway}' if key.gateway else f'--site {key.site}'})"
        )


def _node_ids(state: State, name: str) -> tuple[str, ...]:
    gateway = state.by_key["gateways"].get(name)
    return tuple(each.node_id for each in gateway.uplinks) if isinstance(gateway, Gateway) else ()


def _actor(key: EnrollKey) -> str:
    return f"enroll key {key.id}"


def _placed(new: NewKey, inventory: Inventory) -> NewKey:
    """With the site and role of the gateway that it is of, if it is of one. Raises EnrolmentRefused."""
    if new.gateway is not None:
        gateways = {each.name: each for each in inventory.gateways}
        if new.gateway not in gateways:
            raise EnrolmentRefused(f"there is no gateway {new.gateway}{closest(new.gateway, list(gateways))}")
        return replace(new, site=gateways[new.gateway].site, role=gateways[new.gateway].role)
    sites = [each.name for each in inventory.sites]
    if new.site not in sites:
        raise EnrolmentRefused(f"there is no site {new.site}{closest(new.site, sites)}")
    return new
