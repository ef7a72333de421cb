"""The uplinks of one gateway. They are parts of it: a change of one is a change of the gateway."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fastapi import Request, Response

from controller.api import answers, schemas
from controller.api.access import Caller, Context, Ctx, Operator, Viewer
from controller.api.answers import (
    ChangeAnswer,
    Cursor,
    DryRun,
    Force,
    IfMatch,
    Limit,
    Page,
    change_answer,
    page,
    require_match,
    with_etag,
)
from controller.api.bodies import Json
from controller.api.errors import AlreadyExists, NotFound
from controller.api.nouns import keyed, patched
from controller.inventory.document import parse_object, plain
from controller.inventory.findings import InventoryRefused
from controller.inventory.merge import merge
from controller.inventory.model import Gateway, Inventory, Uplink
from controller.service import Wanted
from controller.store.state import State, etag

router = answers.router("/gateways/{name}/uplinks", "gateways")

Uplinks = tuple[Uplink, ...]


def _gateway(state: State, name: str) -> Gateway:
    found = state.by_key["gateways"].get(name)
    if not isinstance(found, Gateway):
        raise NotFound(f"there is no gateway {name}")
    return found


def _find(gateway: Gateway, uplink: str) -> Uplink:
    for each in gateway.uplinks:
        if each.name == uplink:
            return each
    raise NotFound(f"gateway {gateway.name} has no uplink {uplink}")


def _parse(data: Any) -> Uplink:
    found, findings = parse_object(Uplink.kind, data)
    if findings:
        raise InventoryRefused(findings)
    assert isinstance(found, Uplink)
    return found


def _put(uplinks: Uplinks, item: Uplink) -> Uplinks:
    """In its place, or behind the others: the first uplink is the primary one and must not change by accident."""
    if any(each.name == item.name for each in uplinks):
        return tuple(item if each.name == item.name else each for each in uplinks)
    return (*uplinks, item)


def _change(
    context: Context,
    caller: Caller,
    response: Response,
    where: tuple[str, str],
    action: str,
    dry_run: bool,
    force: bool,
    edit_uplinks: Callable[[Gateway], Uplinks],
) -> ChangeAnswer:
    name, uplink = where

    def edit(state: State) -> Wanted:
        gateway = _gateway(state, name)
        changed = replace(gateway, uplinks=edit_uplinks(gateway))
        return Wanted(merge(state.inventory, Inventory(gateways=(changed,))))

    subject = f"uplink {name}/{uplink}"
    outcome = context.controller.change(
        edit, actor=caller.actor, action=action, subject=subject, dry_run=dry_run, force=force
    )
    item = next((each for each in _gateway(outcome.state, name).uplinks if each.name == uplink), None)
    if item is None:
        return change_answer(outcome)
    with_etag(response, etag(item))
    return change_answer(outcome, plain(item))


@router.get("", response_model=Page, summary="List: uplinks of a gateway")
def list_uplinks(context: Ctx, _: Viewer, name: str, limit: Limit = 100, cursor: Cursor = None) -> Page:
    """By name; the order that counts (the first is the primary one) is in the gateway itself."""
    gateway = _gateway(context.store.state(), name)
    rows = sorted(gateway.uplinks, key=lambda each: each.name)
    return page(rows, lambda each: (each.name,), plain, limit, cursor)


@router.post(
    "",
    status_code=201,
    response_model=ChangeAnswer,
    response_model_exclude_none=True,
    summary="Create: uplink",
    openapi_extra=schemas.request_body("uplink"),
)
def create_uplink(
    request: Request,
    response: Response,
    context: Ctx,
    caller: Operator,
    name: str,
    data: Json,
    dry_run: DryRun = False,
    force: Force = False,
) -> ChangeAnswer:
    item = _parse(data)

    def edit(gateway: Gateway) -> Uplinks:
        if any(each.name == item.name for each in gateway.uplinks):
            raise AlreadyExists(f"uplink {name}/{item.name} exists already: PUT or PATCH changes it")
        return (*gateway.uplinks, item)

    response.headers["Location"] = f"{request.url.path}/{item.name}"
    return _change(context, caller, response, (name, item.name), "create", dry_run, force, edit)


@router.get("/{uplink}", summary="Read: uplink")
def read_uplink(response: Response, context: Ctx, _: Viewer, name: str, uplink: str) -> dict[str, Any]:
    item = _find(_gateway(context.store.state(), name), uplink)
    with_etag(response, etag(item))
    return plain(item)


@router.put(
    "/{uplink}",
    response_model=ChangeAnswer,
    response_model_exclude_none=True,
    summary="Create or replace: uplink",
    openapi_extra=schemas.request_body("uplink"),
)
def put_uplink(
    response: Response,
    context: Ctx,
    caller: Operator,
    name: str,
    uplink: str,
    data: Json,
    dry_run: DryRun = False,
    force: Force = False,
    if_match: IfMatch = None,
) -> ChangeAnswer:
    item = _parse(keyed(("name",), uplink, data))

    def edit(gateway: Gateway) -> Uplinks:
        found = next((each for each in gateway.uplinks if each.name == uplink), None)
        require_match(if_match, None if found is None else etag(found))
        return _put(gateway.uplinks, item)

    return _change(context, caller, response, (name, uplink), "put", dry_run, force, edit)


@router.patch(
    "/{uplink}",
    response_model=ChangeAnswer,
    response_model_exclude_none=True,
    summary="Change some fields (RFC 7396): uplink",
    openapi_extra=schemas.patch_body("uplink"),
)
def patch_uplink(
    response: Response,
    context: Ctx,
    caller: Operator,
    name: str,
    uplink: str,
    data: Json,
    dry_run: DryRun = False,
    force: Force = False,
    if_match: IfMatch = None,
) -> ChangeAnswer:
    def edit(gateway: Gateway) -> Uplinks:
        found = _find(gateway, uplink)
        require_match(if_match, etag(found))
        return _put(gateway.uplinks, _parse(keyed(("name",), uplink, patched(plain(found), data))))

    return _change(context, caller, response, (name, uplink), "patch", dry_run, force, edit)


@router.delete("/{uplink}", response_model=ChangeAnswer, response_model_exclude_none=True, summary="Delete: uplink")
def delete_uplink(
    response: Response,
    context: Ctx,
    caller: Operator,
    name: str,
    uplink: str,
    dry_run: DryRun = False,
    force: Force = False,
    if_match: IfMatch = None,
) -> ChangeAnswer:
    def edit(gateway: Gateway) -> Uplinks:
        require_match(if_match, etag(_find(gateway, uplink)))
        return tuple(each for each in gateway.uplinks if each.name != uplink)

    return _change(context, caller, response, (name, uplink), "delete", dry_run, force, edit)
