"""The paths between members, as the gateways have last reported them; and of each pair of sites the best one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import Query

from controller.api import answers
from controller.api.access import Context, Ctx, Viewer
from controller.api.answers import Cursor, Limit, Page, page, time_text
from controller.api.errors import NotFound
from controller.inventory.fields import closest
from controller.policy.paths import Path, matrix, paths
from controller.store.store import StoredReport
from speaker.report import Report, ReportUnreadable, decode_report

router = answers.router(tag="paths")

Gateway = Annotated[str | None, Query(max_length=63, description="Only the paths of this gateway.")]


@router.get("/paths", response_model=Page, summary="List: paths between members, as last reported")
def list_paths(context: Ctx, _: Viewer, gateway: Gateway = None, limit: Limit = 100, cursor: Cursor = None) -> Page:
    """`state`: "direct", "relayed" or "unknown", as ZeroTier says; figures are the speakers' own, or null."""
    found, heard = _paths(context, gateway)

    def show(path: Path) -> dict[str, Any]:
        return {**asdict(path), "heard_at": heard[path.gateway]}

    return page(found, lambda path: (path.gateway, path.uplink, path.address), show, limit, cursor)


@router.get("/paths/matrix", response_model=Page, summary="List: pairs of sites, with the best path of each")
def list_site_pairs(context: Ctx, _: Viewer, limit: Limit = 100, cursor: Cursor = None) -> Page:
    """From `site` to `to_site`: the path that loses least, and of equal ones the quickest."""
    found, _heard = _paths(context, None)
    return page(matrix(found), lambda pair: (pair.site, pair.to_site), asdict, limit, cursor)


def _paths(context: Context, gateway: str | None) -> tuple[list[Path], Mapping[str, str | None]]:
    """(paths, name of a gateway -> when its report came). Raises NotFound."""
    state = context.store.state()
    known = state.by_key["gateways"]
    if gateway is not None and gateway not in known:
        raise NotFound(f"there is no gateway {gateway}{closest(gateway, list(known))}")
    stored = context.store.reports(None if gateway is None else [gateway])
    reports = [report for each in stored.values() if (report := _read(each)) is not None]
    return paths(state.inventory, reports), {name: time_text(each.received_at) for name, each in stored.items()}


def _read(stored: StoredReport) -> Report | None:
    """None for one that another release has stored and this one cannot read."""
    try:
        return decode_report(stored.body)
    except ReportUnreadable:
        return None
