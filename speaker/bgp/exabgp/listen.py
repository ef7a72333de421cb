"""The address to listen on travels in the configuration's first lines, so that a reload can change it."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

PREFIX = "# leyline listen "


def listen_line(address: str) -> str:
    return PREFIX + address


def listen_address(config_file: str) -> str | None:
    """The address that the configuration says to listen on; None when it says nothing or cannot be read."""
    try:
        with Path(config_file).open(encoding="ascii", errors="replace") as lines:
            for line in lines:
                if not line.startswith("#"):
                    return None
                if line.startswith(PREFIX):
                    return str(ip_address(line[len(PREFIX) :].strip()))
    except (OSError, ValueError):
        return None
    return None
