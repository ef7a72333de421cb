"""The recorded answers of ZeroTier One 1.14.1 (see recorded/README.md), read once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RECORDED = Path(__file__).with_name("recorded")
EXCHANGES = sorted((RECORDED / "exchanges").glob("*.json"))
CONTROLLER, MEMBER = "53fe91125f", "456efad81a"
SDWAN = "53fe91125fc50e14"  # The network that all members are in.
FIXTURE = "53fe91125f32f35c"  # The network of exchanges 01 to 17.
TIMES = ("clock", "creationTime", "lastAuthorizedTime", "lastDeauthorizedTime")


def answer(name: str) -> Any:
    """The body of one GET, as "controller_GET_status"."""
    return json.loads((RECORDED / f"{name}.json").read_text())


def exchange(name: str) -> Any:
    return json.loads((RECORDED / "exchanges" / f"{name}.json").read_text())


def clock(document: Any) -> int:
    """The last moment that an answer tells of; 0: none."""
    return max((document.get(name, 0) for name in TIMES), default=0) if isinstance(document, dict) else 0
