"""Relay labels on a kernel that has MPLS."""

from __future__ import annotations

import pytest

from tests.uml import machine

pytestmark = [pytest.mark.root, pytest.mark.slow]


def test_relay_labels_with_real_packets() -> None:
    result = machine.run_pytest("tests/uml/inside/relay_labels.py", "tests/uml/inside/agent_labels.py", timeout=120)
    assert result.status == 0, result.output


def test_whole_speakers_detour_by_relay_label() -> None:
    result = machine.run_pytest("tests/uml/inside/relay_speakers.py", timeout=1000)
    assert result.status == 0, result.output
