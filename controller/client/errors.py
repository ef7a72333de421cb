"""How a command ends when it does not end well: each failure has one exit code and says the way out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import IO, Any

import click

from controller.cli import EXIT_INTERRUPTED, EXIT_NO_ANSWER, EXIT_NO_CONTROLLER, EXIT_REFUSED


class CommandFailed(click.ClickException):
    """Printed as one line on stderr; subclasses choose the exit code."""

    exit_code = EXIT_REFUSED


class NoController(CommandFailed):
    """Unreachable, broken, something else than a Leyline controller, or it does not let us in."""

    exit_code = EXIT_NO_CONTROLLER


class NoAnswer(CommandFailed):
    """The controller is there; the gateway that was asked is silent."""

    exit_code = EXIT_NO_ANSWER


class Interrupted(CommandFailed):
    """Ctrl-C after something was changed: the message says what stays so."""

    exit_code = EXIT_INTERRUPTED


class Refused(CommandFailed):
    """The controller understood and said no. `problem` is its RFC 9457 document."""

    def __init__(self, message: str, problem: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.problem = dict(problem)

    @property
    def findings(self) -> Sequence[Mapping[str, Any]]:
        findings = self.problem.get("findings")
        return [f for f in findings if isinstance(f, dict)] if isinstance(findings, list) else []

    def show(self, file: IO[Any] | None = None) -> None:
        super().show(file)
        if self.findings:
            from controller.client.tables import print_findings

            print_findings(self.findings, to_stderr=True)
