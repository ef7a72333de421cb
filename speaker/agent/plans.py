"""The plan in force, the last good one on disk, and why a newer one is not in force."""

from __future__ import annotations

from dataclasses import dataclass

from speaker.plan import Plan, decode, digest
from speaker.rib.intent import intent_of
from speaker.state import StateDir, write_atomically


@dataclass(frozen=True, slots=True)
class PlanState:
    """What the agent carries out, and what stands in the way of something newer."""

    plan: Plan | None = None
    digest: str = ""
    error: str = ""

    def accept(self, data: bytes, gateway: str) -> PlanState:
        """The state after `data` arrived. A plan that we cannot read, or somebody else's, changes nothing."""
        try:
            plan = decode(data)
            intent_of(plan)  # A rule that cannot be carried out may be a deny.
        except ValueError as error:  # PlanUnreadable is one.
            return PlanState(self.plan, self.digest, f"plan refused: {error}")
        if plan.gateway != gateway:
            return PlanState(self.plan, self.digest, f"plan refused: it is for gateway {plan.gateway}, not {gateway}")
        return PlanState(plan, digest(plan), "")


class PlanStore:
    """The last good plan on disk, so that a gateway starts without its controller."""

    def __init__(self, state: StateDir, gateway: str) -> None:
        self._state = state
        self._gateway = gateway
        self._unstored: bytes | None = None

    def load(self) -> PlanState:
        """The stored plan; without one, or with a broken file, an empty state that says so. Raises nothing."""
        try:
            data = self._state.plan.read_bytes()
        except FileNotFoundError:
            return PlanState()
        except OSError as error:
            return PlanState(error=f"{self._state.plan}: {error.strerror}; waiting for the controller's plan")
        loaded = PlanState().accept(data, self._gateway)
        if loaded.plan is None:
            return PlanState(error=f"{self._state.plan}: {loaded.error}; waiting for the controller's plan")
        return loaded

    def save(self, data: bytes) -> str:
        """Stores `data`; returns "" or why it could not. What is not stored is tried again by `retry`."""
        try:
            write_atomically(self._state.plan, data)
        except OSError as error:
            self._unstored = data
            return f"plan in force but not stored in {self._state.plan}: {error.strerror}; free some space there"
        self._unstored = None
        return ""

    def retry(self) -> str | None:
        """Tries an unstored plan again: None when there was none to store, else as `save`."""
        return None if self._unstored is None else self.save(self._unstored)
