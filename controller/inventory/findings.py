"""A finding: one thing that is wrong, about one named object, with the way out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """`code` is stable and listed in docs/findings.md; `message` is for people and ends in the way out.

    `object` reads "gateway berlin-1", "uplink berlin-1/main", "prefix berlin/global/10.1.1.0/24".
    `field` is the field of the object that is meant, "" when it is the object as a whole.
    """

    object: str
    code: str
    message: str
    file: str | None = None
    line: int | None = None
    field: str = ""

    def __str__(self) -> str:
        """As the CLI prints it: `sites.yml:12: site berlin: message [code]`."""
        place = "" if self.file is None else f"{self.file}: " if self.line is None else f"{self.file}:{self.line}: "
        return f"{place}{self.object}: {self.message} [{self.code}]"


class InventoryRefused(ValueError):
    """What was asked for would not leave a sound inventory; `findings` says why."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__("; ".join(map(str, findings)))
        self.findings = findings
