"""`leyline doctor` and `leyline speaker doctor`, run as a user runs them, and what they find."""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

from lab.scenarios.zerotier_doctor.world import GATEWAYS, DoctorWorld
from lab.speakers import STATE_DIR, leyline
from speaker.doctor.here import clock_synchronised

FABRIC = "fabric"
"""Whose doctor is the controller's."""
EVERYBODY = (FABRIC, *GATEWAYS)


class Finding(NamedTuple):
    level: str
    check: str
    where: str
    what: str
    fix: str


class Expected(NamedTuple):
    """A finding, by parts of its texts. `who`: a gateway, or FABRIC."""

    who: str
    check: str
    where: str
    what: str
    fix: str

    def fits(self, finding: Finding) -> bool:
        return finding.check == self.check and all(
            part in text for part, text in zip(self[2:], finding[2:], strict=True)
        )


@dataclass
class Said:
    """What one doctor said."""

    code: int
    findings: list[Finding] = field(default_factory=list)
    unread: dict[str, str] = field(default_factory=dict)

    @property
    def silent(self) -> bool:
        """It looked at everything, and found nothing."""
        return not (self.code or self.findings or self.unread)

    def fitting(self, expected: Expected) -> list[Finding]:
        return [each for each in self.findings if expected.fits(each)]


class Doctors:
    def __init__(self, world: DoctorWorld) -> None:
        self.world = world
        self.clock_kept = clock_synchronised() is not False
        """Of this machine: where nobody keeps it, every gateway's doctor says so, and is right."""

    def say(self, who: Iterable[str]) -> dict[str, Said]:
        """With --json, all at once."""
        names = list(who)
        with ThreadPoolExecutor(len(names)) as pool:
            return dict(zip(names, pool.map(self._said, names), strict=True))

    def text(self, who: str) -> str:
        """What it prints for people."""
        return self._run(who)[1]

    def _said(self, who: str) -> Said:
        code, out, error = self._run(who, "--json")
        try:
            document = json.loads(out)
        except ValueError:
            return Said(code, [], {"doctor": out + error})
        findings = [Finding(**each) for each in document["findings"]]
        return Said(code, [each for each in findings if not self._of_the_machine(each)], document["unread"])

    def _of_the_machine(self, finding: Finding) -> bool:
        return not self.clock_kept and finding.check == "clock" and finding.what.endswith("nobody keeps it right")

    def _run(self, who: str, *words: str) -> tuple[int, str, str]:
        if who == FABRIC:
            done = self.world.leyline("doctor", *words)
        else:
            command = [*leyline(), "speaker", "doctor", "--state-dir", STATE_DIR, *words]
            done = self.world.node(who).run(command, check=False)
        return done.returncode, done.stdout, done.stderr


def told(said: dict[str, Said]) -> str:
    """For evidence."""
    return "\n".join(
        f"{who}: {line}" for who, each in said.items() for line in (*map(str, each.findings), *each.unread.items())
    )
