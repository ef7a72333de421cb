"""The fabric as one document: read it, replace it, merge a part into it, rename in it; and its history."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import Header, Query, Response
from pydantic import BaseModel, ConfigDict

from controller.api import answers, schemas
from controller.api.access import Ctx, Operator, Viewer
from controller.api.answers import (
    AllowRemovals,
    ChangeAnswer,
    Cursor,
    DryRun,
    Force,
    IfMatch,
    Limit,
    Page,
    change_answer,
    encode_cursor,
    number_cursor,
    require_match,
    tags_of,
    time_text,
    with_etag,
)
from controller.api.bodies import Json
from controller.api.errors import NotFound
from controller.inventory.document import parse_document
from controller.inventory.merge import merge
from controller.service import Edit, Wanted
from controller.store.state import State
from controller.store.store import RevisionEntry

router = answers.router(tag="fabric")

Prune = Annotated[bool, Query(description="Remove what the document lacks.")]


class Rename(BaseModel):
    """`kind` as in findings: site, gateway, uplink (old is GATEWAY/UPLINK), client, region, circuit-class, fabric."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"kind": "site", "old": "berlin", "new": "berlin-mitte"}}
    )
    kind: str
    old: str
    new: str


def state_tag(state: State) -> str:
    return f'"{state.digest}"'


@router.get("/fabric", summary="The whole document", responses={200: schemas.document_response()})
def read_fabric(context: Ctx, _: Viewer, if_none_match: Annotated[str | None, Header()] = None) -> Response:
    state = context.store.state()
    headers = {"ETag": state_tag(state), "Leyline-Revision": str(state.revision)}
    if state.digest in tags_of(if_none_match):
        return Response(status_code=304, headers=headers)
    return Response(state.encoded, media_type="application/json", headers=headers)


def _merging(data: Any, if_match: str | None, *, prune: bool) -> Edit:
    """The document put into what there is; `prune`: what it lacks goes."""
    part, findings = parse_document(data)

    def edit(state: State) -> Wanted:
        require_match(if_match, state_tag(state))
        return Wanted(merge(state.inventory, part, prune=prune), findings)

    return edit


@router.put(
    "/fabric",
    response_model=ChangeAnswer,
    response_model_exclude_none=True,
    summary="Replace the whole document",
    openapi_extra=schemas.document_body(),
)
def put_fabric(
    response: Response,
    context: Ctx,
    caller: Operator,
    data: Json,
    dry_run: DryRun = False,
    allow_removals: AllowRemovals = None,
    force: Force = False,
    if_match: IfMatch = None,
) -> ChangeAnswer:
    """What the document lacks is removed. Numbers and addresses that it leaves out stay as they are."""
    outcome = context.controller.change(
        _merging(data, if_match, prune=True),
        actor=caller.actor,
        action="put",
        subject="fabric",
        dry_run=dry_run,
        allow_removals=allow_removals,
        force=force,
    )
    if not dry_run:
        with_etag(response, state_tag(outcome.state))
    return change_answer(outcome)


@router.post(
    "/apply",
    response_model=ChangeAnswer,
    response_model_exclude_none=True,
    summary="Merge a document into the fabric",
    openapi_extra=schemas.document_body(),
)
def apply(
    response: Response,
    context: Ctx,
    caller: Operator,
    data: Json,
    dry_run: DryRun = False,
    prune: Prune = False,
    allow_removals: AllowRemovals = None,
    force: Force = False,
    if_match: IfMatch = None,
) -> ChangeAnswer:
    """Objects are put in whole, by their keys; all others stay, unless `prune` says otherwise."""
    outcome = context.controller.change(
        _merging(data, if_match, prune=prune),
        actor=caller.actor,
        action="apply",
        subject="",
        dry_run=dry_run,
        allow_removals=allow_removals,
        force=force,
    )
    if not dry_run:
        with_etag(response, state_tag(outcome.state))
    return change_answer(outcome)


@router.post(
    "/rename",
    response_model=ChangeAnswer,
    response_model_exclude_none=True,
    summary="Rename an object; its numbers and addresses stay",
)
def rename(context: Ctx, caller: Operator, data: Rename, dry_run: DryRun = False) -> ChangeAnswer:
    """A gateway's token follows it; its speaker must be told the new name."""
    outcome = context.controller.rename(data.kind, data.old, data.new, actor=caller.actor, dry_run=dry_run)
    return change_answer(outcome)


def _shown(entry: RevisionEntry) -> dict[str, Any]:
    return {
        "revision": entry.number,
        "digest": entry.digest,
        "created_at": time_text(entry.created_at),
        "actor": entry.actor,
        "summary": entry.summary,
    }


@router.get("/revisions", response_model=Page, summary="List: revisions, newest first")
def list_revisions(context: Ctx, _: Viewer, limit: Limit = 100, cursor: Cursor = None) -> Page:
    found = context.store.revisions(number_cursor(cursor), limit + 1)
    return Page(
        items=[_shown(each) for each in found[:limit]],
        next=encode_cursor(found[limit - 1].number) if len(found) > limit else None,
    )


@router.get("/revisions/{number}", summary="Read: revision, with its whole document")
def read_revision(response: Response, context: Ctx, _: Viewer, number: int) -> dict[str, Any]:
    found = context.store.revision(number) if 0 < number < 2**31 else None
    if found is None:
        raise NotFound(f"there is no revision {number}")
    entry, document = found
    with_etag(response, f'"{entry.digest}"')
    return {**_shown(entry), "document": document}


@router.get("/audit", response_model=Page, summary="List: the audit log, newest first")
def list_audit(context: Ctx, _: Operator, limit: Limit = 100, cursor: Cursor = None) -> Page:
    found = context.store.audit(number_cursor(cursor), limit + 1)
    return Page(
        items=[{**asdict(each), "at": time_text(each.at)} for each in found[:limit]],
        next=encode_cursor(found[limit - 1].id) if len(found) > limit else None,
    )
