"""What all tests share: Hypothesis profiles, and the rule that every skip is named with its reason."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import settings

settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("dev", deadline=None)
settings.register_profile("quick", derandomize=True, deadline=None, max_examples=10)  # `make check`
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))

A_CONTROLLER = {"api", "operator", "running", "served"}  # Fixtures that are one, or need one.
ALLOWED_SKIPS = Path(__file__).with_name("allowed-skips.txt")


def allowed_skips() -> dict[str, str]:
    """test id -> reason, from `tests/allowed-skips.txt` ("ID: reason" a line)."""
    lines = [line.strip() for line in ALLOWED_SKIPS.read_text().splitlines()]
    pairs = (line.partition(": ")[::2] for line in lines if line and not line.startswith("#"))
    return dict(pairs)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    allowed = allowed_skips()
    strangers = [report.nodeid for report in skipped if report.nodeid not in allowed]
    if strangers:
        terminalreporter.section("skips that tests/allowed-skips.txt does not name")
        for name in strangers:
            terminalreporter.line(name)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A skip that nobody has signed for is a failure."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return
    allowed = allowed_skips()
    if exitstatus == 0 and any(r.nodeid not in allowed for r in reporter.stats.get("skipped", [])):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that talk to a running controller are for the whole run; the fast gate stays fast."""
    for item in items:
        if A_CONTROLLER & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A command that is run in this process sets logging up for a process of its own, on a stream of its test's."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.setLevel(level)
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)
