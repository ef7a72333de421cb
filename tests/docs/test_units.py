"""The units that operators copy."""

from __future__ import annotations

from configparser import RawConfigParser
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "docs" / "systemd"


@pytest.mark.parametrize("name", ["bfd", "exabgp", "keepalived"])
def test_a_reboot_stops_zerotier_after_those_who_say_good_bye(name: str) -> None:
    """systemd stops units in the reverse of the order in which it starts them."""
    unit = RawConfigParser(strict=False)
    unit.read(UNITS / f"leyline-{name}.service")
    assert "zerotier-one.service" in unit["Unit"]["After"].split()
