"""Which ZeroTier service is behind which uplink, when only their homes are known."""

from __future__ import annotations

from collections.abc import Sequence

from speaker.plan import UplinkPlan
from speaker.zerotier.local import LocalError, LocalService
from speaker.zerotier.service import assigned


def placed(uplinks: Sequence[UplinkPlan], services: Sequence[tuple[str, LocalService]]) -> dict[str, LocalService]:
    """Name of an uplink -> its service. `services`: (name of the uplink or "", service). Blocks; raises nothing.

    One that does not answer is found by the name that was given, or as the only one.
    """
    asked = [(name, node_behind(service)) for name, service in services]
    return {uplink: services[index][1] for uplink, index in assigned(uplinks, asked).items()}


def node_behind(service: LocalService) -> str:
    """Its node id; "" where it does not answer."""
    try:
        return service.status().node_id
    except LocalError:
        return ""
