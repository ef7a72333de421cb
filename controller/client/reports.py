"""What a gateway says of itself: asked now, or as it was last stored."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from controller.client.errors import NoAnswer, Refused
from controller.client.tables import ago, unix

if TYPE_CHECKING:
    from controller.client.http import Controller


SILENT_SECONDS = 30.0
"""A gateway reports every few seconds; one that was not heard for so long is marked."""


def silent(status: Mapping[str, Any], now: float) -> bool:
    return status["received_at"] is None or now - unix(status["received_at"]) > SILENT_SECONDS


def heard(item: Mapping[str, Any], now: float) -> str:
    """How old what it says is, of an item with `heard_at` and `silent`."""
    age = ago(item["heard_at"], now)
    return f"{age}, silent" if item["silent"] else age


def latest_report(controller: Controller, gateway: str) -> dict[str, Any] | None:
    """The gateway's own answer; its last stored report when it does not answer; None when it was never heard.

    Raises CommandFailed.
    """
    return _asked(controller, gateway) or _stored(controller, gateway)["report"]


def latest_status(controller: Controller, gateway: str) -> dict[str, Any]:
    """As the controller's `status/gateways/NAME`, with the gateway's own answer in the place of its last report."""
    status, report = _stored(controller, gateway), _asked(controller, gateway)
    if report is None:
        return status
    return {**status, "report": report, "received_at": datetime.now(UTC).isoformat()}


def _asked(controller: Controller, gateway: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = controller.post(f"gateways/{gateway}/asks", {"kind": "report"})
    except (NoAnswer, Refused):
        return None
    return found


def _stored(controller: Controller, gateway: str) -> dict[str, Any]:
    found: dict[str, Any] = controller.get(f"status/gateways/{gateway}")
    return found
