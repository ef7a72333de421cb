"""One change of the fabric, from what was asked for to what gateways must hear.

    edit -> allocate -> check -> assertions -> compile -> store (rows, plans, revision, audit) | commit | tell

All in one transaction, or nothing. The parts are pure or live in controller.store; this module
only puts them in order.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from controller.inventory.allocate import allocate, is_complete, numbers_of
from controller.inventory.checks import check, check_after
from controller.inventory.findings import Finding, InventoryRefused
from controller.inventory.merge import removal_guard, rename
from controller.inventory.model import Gateway, Inventory, Object
from controller.policy.assertions import Broken, Verdict, judge
from controller.policy.compile import compile_plans
from controller.policy.effects import PathChanges, path_changes
from controller.policy.md5 import keyed, keys_after
from controller.policy.touched import touched
from controller.policy.whatif import some
from controller.store import tokens
from controller.store.md5 import Md5Key, new_key, secrets_of
from controller.store.state import Difference, State, described, difference, next_state
from controller.store.store import Changing, Store, StoredPlan
from speaker.plan import encode


@dataclass(frozen=True)
class Wanted:
    """What the fabric should become, and what was already found wrong with how it was said."""

    inventory: Inventory
    findings: Sequence[Finding] = ()


Edit = Callable[[State], Wanted]
"""What should become of the present state. Pure; raises InventoryRefused or a refusal of its own."""

Clock = Callable[[], float]

NONE_BROKEN = Verdict()


class RemovalsGuarded(Exception):
    """More would be removed than was allowed."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding


class AssertionsBroken(Exception):
    """The change would break what the operator says must hold."""

    def __init__(self, broken: Sequence[Broken]) -> None:
        self.findings = [_finding(each) for each in broken]
        super().__init__("; ".join(map(str, self.findings)))


@dataclass(frozen=True)
class Moved:
    """After a commit: the gateways whose plan is another one now, each with its digest (None: it has gone)."""

    revision: int
    digests: dict[str, str | None]


@dataclass(frozen=True)
class Outcome:
    """What a change did, or with `dry_run` would do. Without changes the revision is the former one."""

    state: State
    dry_run: bool
    changes: list[dict[str, Any]]
    gateways: list[str]
    broken: Sequence[Broken] = ()  # Assertions that do not hold now: by force, or as before.
    paths: PathChanges | None = None  # Of a dry run.

    @property
    def revision(self) -> int:
        return self.state.revision


@dataclass(frozen=True)
class Renamed:
    """The object that a change renames. Traffic stays where it is, under other names."""

    kind: str
    old: str
    new: str


@dataclass(frozen=True)
class _Draft:
    state: State
    changes: Any
    plans: dict[str, StoredPlan]
    keys: Mapping[str, Md5Key]
    verdict: Verdict = NONE_BROKEN


@dataclass(frozen=True)
class _How:
    """What a draft has to know besides the state and the edit. `held`: assertions are asked.

    `settled`: an inventory that is sound and whose plans are stored. A change of that costs what it changes.
    """

    allow_removals: int | None
    force: bool
    renamed: Renamed | None
    settled: Inventory | None
    now: float

    @property
    def held(self) -> bool:
        return self.renamed is None


class Controller:
    """Changes the fabric, and tells `announce` after each commit what moved. Thread-safe."""

    def __init__(self, store: Store, announce: Callable[[Moved], None], clock: Clock = time.time) -> None:
        self.store = store
        self._announce = announce
        self._clock = clock
        self._settled: Inventory | None = None  # Checked and compiled whole by this process, and stored.

    def change(
        self,
        edit: Edit,
        *,
        actor: str,
        action: str,
        subject: str,
        dry_run: bool = False,
        allow_removals: int | None = None,
        force: bool = False,
        renamed: Renamed | None = None,
        also: Callable[[Changing], None] | None = None,
    ) -> Outcome:
        """Carries `edit` out. `force`: even when it breaks assertions. `also`: in the same transaction, if it is one.

        Raises InventoryRefused with all findings, RemovalsGuarded, AssertionsBroken, StoreUnavailable, or what
        `edit` raises; nothing is stored then, and nobody is told.
        """
        how = _How(allow_removals, force, renamed, self._settled, self._clock())
        if dry_run:
            state = self.store.state()
            draft = _draft(state, edit, self.store.md5_keys(), how)
            outcome = _outcome(draft, self.store.digests(), dry_run=True)
            moved = how.held and draft.changes
            return replace(outcome, paths=path_changes(state.inventory, draft.state.inventory)) if moved else outcome
        with self.store.changing() as change:
            draft = _draft(change.state, edit, change.md5_keys(), how)
            before = change.digests()
            outcome = _outcome(draft, before, dry_run=False)
            if not draft.changes:
                return outcome  # Nothing to write: no revision, and the lock goes.
            if renamed is not None and renamed.kind == Gateway.kind:
                change.rename_gateway(renamed.old, renamed.new)
            if also is not None:
                also(change)
            self._store(change, draft, outcome, before, (actor, action, subject))
        self._settled = draft.state.inventory
        self._announce(_moved(draft, before))
        return outcome

    def rename(self, kind: str, old: str, new: str, *, actor: str, dry_run: bool = False) -> Outcome:
        """`leyline rename`: number, address, token and report stay. Raises as `change`."""

        def edit(state: State) -> Wanted:
            return Wanted(rename(state.inventory, kind, old, new))

        return self.change(
            edit,
            actor=actor,
            action="rename",
            subject=f"{kind} {old} -> {new}",
            dry_run=dry_run,
            # A rename is no removal, though by their names one object goes and another comes.
            allow_removals=1,
            renamed=Renamed(kind, old, new),
        )

    def refresh_plans(self, first: Callable[[Changing], None] | None = None) -> list[str]:
        """Compiles everything anew, as after an upgrade of the controller. -> gateways whose plan moved.

        `first` in the same transaction: what plans are made of and the inventory does not say, such as keys. Raises
        InventoryRefused when this release's checks refuse what is stored; the plans stay as they are.
        """
        with self.store.changing() as change:
            if first is not None:
                first(change)
            findings = check(change.state.inventory) if change.state.revision else []
            if findings:
                raise InventoryRefused(findings)
            keys = change.md5_keys()
            plans = _plans(change.state.inventory, keys)
            before = change.digests()
            draft = _Draft(change.state, None, plans, keys)
            moved = _moved(draft, before)
            change.save_plans({name: plans[name] for name, digest in moved.digests.items() if digest is not None})
            if moved.digests:
                change.notify()
        self._settled = change.state.inventory
        self._announce(moved)
        return sorted(moved.digests)

    def issue_token(
        self,
        role: tokens.Role,
        *,
        actor: str,
        gateway: str | None = None,
        note: str = "",
        expires_at: float | None = None,
    ) -> tuple[str, tokens.Token]:
        """A new token; its text is nowhere but in the answer. The caller has checked that the gateway exists."""
        now = self._clock()
        with self.store.changing() as change:
            text, token = tokens.issue(
                change.connection,
                role,
                now=now,
                created_by=actor,
                gateway=gateway,
                note=note,
                expires_at=expires_at,
            )
            detail = {"role": role, "gateway": gateway, "expires_at": expires_at}
            change.log(actor, "issue", f"token {token.id}", now=now, detail=detail)
        return text, token

    def rotate_token(self, former: tokens.Token, *, actor: str, grace_seconds: float) -> tuple[str, tokens.Token]:
        """Another token for the same, for as long as `former` was made for; that one ends after the grace time."""
        now = self._clock()
        span = None if former.expires_at is None else former.expires_at - former.created_at
        with self.store.changing() as change:
            text, token = tokens.issue(
                change.connection,
                former.role,
                now=now,
                created_by=actor,
                gateway=former.gateway,
                note=former.note,
                expires_at=None if span is None else now + span,
            )
            tokens.end_by(change.connection, former.id, now + grace_seconds)
            detail = {"role": former.role, "replaces": former.id, "expires_at": token.expires_at}
            change.log(actor, "rotate", f"token {token.id}", now=now, detail=detail)
        return text, token

    def revoke_token(self, public: str, *, actor: str) -> tokens.Token | None:
        """The revoked token, or None when there is none such. Its gateway's poll is woken, and refused."""
        now = self._clock()
        with self.store.changing() as change:
            token = tokens.revoke(change.connection, public, now)
            if token is None:
                return None
            change.log(actor, "revoke", f"token {public}", now=now, detail={"role": token.role})
        if token.gateway is not None:
            self._announce(Moved(change.state.revision, {token.gateway: None}))
        return token

    def first_admin_token(self) -> str | None:
        """The text of the first admin token; None when there has been one already."""
        now = self._clock()
        with self.store.changing() as change:
            if tokens.has_admin(change.connection):
                return None
            text, token = tokens.issue(
                change.connection, "admin", now=now, created_by="controller", note="made on first start"
            )
            change.log("controller", "issue", f"token {token.id}", now=now, detail={"role": "admin"})
        return text

    def _store(
        self, change: Changing, draft: _Draft, outcome: Outcome, before: dict[str, str], who: tuple[str, str, str]
    ) -> None:
        actor, action, subject = who
        now = self._clock()
        summary = f"{action} {subject}".strip()
        change.save(draft.state, draft.changes, actor=actor, summary=summary, now=now)
        change.save_plans({name: plan for name, plan in draft.plans.items() if before.get(name) != plan.digest})
        change.save_md5_keys(draft.keys)
        change.log(actor, action, subject, now=now, revision=draft.state.revision, detail=outcome.changes)
        if draft.verdict.new:
            names = ", ".join(each.assertion for each in draft.verdict.new)
            detail = {"findings": [str(_finding(each)) for each in draft.verdict.new]}
            change.log(actor, "force-assertions", names, now=now, revision=draft.state.revision, detail=detail)


def _draft(state: State, edit: Edit, keys: Mapping[str, Md5Key], how: _How) -> _Draft:
    """The next state, and the plans that may have moved. Raises as Controller.change."""
    asked = edit(state)
    wanted = asked.inventory
    if not is_complete(wanted):
        wanted = allocate(wanted, numbers_of(state.inventory))
    if asked.findings:  # Said together with what else is wrong, so that nobody has to come twice.
        raise InventoryRefused([*asked.findings, *check(wanted)])
    changes = difference(state.inventory, wanted)
    if not changes:
        return _Draft(state, changes, {}, keys)
    is_settled = state.inventory is how.settled
    findings = check_after(changes.objects, wanted) if is_settled else check(wanted)
    if findings:
        raise InventoryRefused(findings)
    guarded = removal_guard(state.inventory, wanted, how.allow_removals)
    if guarded is not None:
        raise RemovalsGuarded(guarded)
    verdict = judge(state.inventory, wanted, _objects(changes)) if how.held else NONE_BROKEN
    if verdict.new and not how.force:
        raise AssertionsBroken(verdict.new)
    names = (how.renamed.old, how.renamed.new) if how.renamed and how.renamed.kind == Gateway.kind else None
    keys = keys_after(keys, state.inventory, wanted, lambda: new_key(how.now), names)
    plans = _plans(wanted, keys, touched(changes.objects, wanted) if is_settled else None)
    return _Draft(next_state(state, wanted, changes), changes, plans, keys, verdict)


def _objects(changes: Difference) -> list[Object]:
    return [*changes.added, *(new for _, new in changes.changed), *changes.removed]


def _finding(broken: Broken) -> Finding:
    by = f"because of {', '.join(some(broken.by))}" if broken.by else "as before this change"
    return Finding(
        f"assertion {broken.assertion}",
        "assertion-broken",
        f"{'; '.join(some(broken.what))}; {by}: correct that or the assertion, or force it"
        " (--force-assertions, ?force=true)",
    )


def _plans(
    inventory: Inventory, keys: Mapping[str, Md5Key], only: frozenset[str] | None = None
) -> dict[str, StoredPlan]:
    """Here keys come into plans, and nowhere else: what explains or foretells compiles without them."""
    known = secrets_of(keys)
    return {name: stored_plan(encode(keyed(plan, known))) for name, plan in compile_plans(inventory, only).items()}


def stored_plan(body: bytes) -> StoredPlan:
    """As speaker.plan.digest, without encoding twice."""
    return StoredPlan(hashlib.sha256(body).hexdigest()[:16], body)


def _moved(draft: _Draft, before: dict[str, str]) -> Moved:
    digests: dict[str, str | None] = {
        name: plan.digest for name, plan in draft.plans.items() if before.get(name) != plan.digest
    }
    left = {gateway.name for gateway in draft.state.inventory.gateways}
    digests.update((name, None) for name in before if name not in left)
    return Moved(draft.state.revision, digests)


def _outcome(draft: _Draft, before: dict[str, str], *, dry_run: bool) -> Outcome:
    if not draft.changes:
        return Outcome(draft.state, dry_run, [], [])
    broken = (*draft.verdict.new, *draft.verdict.old)
    gateways = sorted(_moved(draft, before).digests)
    return Outcome(draft.state, dry_run, described(draft.changes), gateways, broken)
