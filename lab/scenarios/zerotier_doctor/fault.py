"""A fault: how it is made on the running network, what the doctors must say of it, how it is undone as they say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lab.scenarios.zerotier_doctor.doctors import Expected, Finding
from lab.scenarios.zerotier_doctor.world import DoctorWorld

Change = Callable[[DoctorWorld], None]
Undo = Callable[[DoctorWorld, Sequence[Finding]], None]


@dataclass(frozen=True)
class Fault:
    """`undo` is given those of the findings that were `expected` that came, in that order."""

    name: str
    what: str
    make: Change
    expected: Callable[[DoctorWorld], list[Expected]]
    undo: Undo


def do(world: DoctorWorld, gateway: str, command: str) -> None:
    world.node(gateway).run(["sh", "-c", command])


def command_of(finding: Finding) -> str:
    """With which its fix begins."""
    return finding.fix.partition(", and ")[0]


def as_told(gateway: str) -> Undo:
    """The command at the beginning of each fix, as it stands there."""

    def undo(world: DoctorWorld, findings: Sequence[Finding]) -> None:
        for finding in findings:
            do(world, gateway, command_of(finding))

    return undo


def by_itself(_world: DoctorWorld, _findings: Sequence[Finding]) -> None:
    """The finding says that Leyline puts it right."""


def synchronise(world: DoctorWorld) -> None:
    world.leyline("segment", "sync")
