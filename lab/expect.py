"""What a scenario expects, whether it held, and the evidence. One `Run` is one run of one scenario."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lab.labs import Lab

PAUSE_SECONDS = 0.02
"""Between two looks of `wait_until`."""
MOST_EVIDENCE = 20_000
"""Characters of evidence kept for one expectation."""


Figure = float | int | bool | None


class Unmet(AssertionError):
    """An expectation that the rest of the scenario stands on was not met."""


@dataclass(frozen=True)
class Expectation:
    what: str
    ok: bool
    evidence: str  # Empty when it held.


@dataclass(frozen=True)
class Table:
    """Something that the reader of the summary wants to see."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass
class Run:
    """Handed to a scenario: the lab, and where its outcome goes."""

    lab: Lab
    on_step: Callable[[str], None] = lambda _text: None
    on_expectation: Callable[[Expectation], None] = lambda _expectation: None
    expectations: list[Expectation] = field(default_factory=list)
    figures: dict[str, Figure] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return bool(self.expectations) and all(expectation.ok for expectation in self.expectations)

    def step(self, text: str) -> None:
        """What happens now, for whoever watches."""
        self.on_step(text)

    def expect(self, what: str, condition: object, evidence: object = "") -> bool:
        """Note whether `what` held. The scenario goes on, so that one failure does not hide the next."""
        shown = "" if condition else str(evidence() if callable(evidence) else evidence)[:MOST_EVIDENCE]
        expectation = Expectation(what, bool(condition), shown)
        self.expectations.append(expectation)
        self.on_expectation(expectation)
        return expectation.ok

    def require(self, what: str, condition: object, evidence: object = "") -> None:
        """As `expect`, but the scenario ends here when it did not hold. Raises Unmet."""
        if not self.expect(what, condition, evidence):
            raise Unmet(what)

    def wait_until(
        self, what: str, condition: Callable[[], object], seconds: float, evidence: object = "",
        since: float | None = None, patience: float = 0.0,
    ) -> float:  # fmt: skip
        """Seconds until `condition` held, from now or from `since` (time.monotonic); expected are at most `seconds`.

        `patience` (at least `seconds`): so long is waited, because what follows needs the condition however late.
        Raises Unmet after that.
        """
        start = time.monotonic() if since is None else since
        while not condition():
            if time.monotonic() - start > max(seconds, patience):
                self.require(f"{what} (within {seconds:g} s)", False, evidence)
            time.sleep(PAUSE_SECONDS)
        taken = time.monotonic() - start
        self.expect(f"{what} (within {seconds:g} s)", taken <= seconds, f"it took {taken:.2f} s")
        return taken

    def figure(self, name: str, value: Figure) -> None:
        """A measured value. The larger, the worse: that is how several runs are summed up. None: it never came."""
        self.figures[name] = round(value, 4) if isinstance(value, float) else value

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        self.tables.append(Table(title, tuple(columns), tuple(tuple(str(cell) for cell in row) for row in rows)))
