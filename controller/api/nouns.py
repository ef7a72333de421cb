"""Create, read, replace, patch and delete: the same seven endpoints for every noun of the inventory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from controller.api import answers, schemas
from controller.api.access import Ctx, Operator, Viewer
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
from controller.api.errors import AlreadyExists, BadRequest, NotFound
from controller.inventory.document import order, parse_object, plain
from controller.inventory.findings import InventoryRefused
from controller.inventory.merge import merge
from controller.inventory.model import GLOBAL, SECTIONS, Inventory
from controller.inventory.specs import SPECS
from controller.service import Outcome, Wanted
from controller.store.state import State, etag

SiteFilter = Annotated[str | None, Query(description="Only those of this site.", max_length=63)]


@dataclass(frozen=True)
class Noun:
    """One section of the document, and its place in the URL."""

    section: str
    kind: str

    @property
    def path(self) -> str:
        return self.section.replace("_", "-")

    @property
    def words(self) -> str:
        return self.kind.replace("-", " ")

    @property
    def key_fields(self) -> tuple[str, ...]:
        return SPECS[self.kind].key

    def find(self, state: State, key: str) -> Any:
        """The object. Raises NotFound."""
        found = state.by_key[self.section].get(key)
        if found is None:
            raise NotFound(f"there is no {self.words} {key}")
        return found

    def parse(self, data: Any) -> Any:
        """Raises InventoryRefused."""
        found, findings = parse_object(self.kind, data)
        if findings:
            raise InventoryRefused(findings)
        return found

    def put(self, state: State, item: Any) -> Wanted:
        parts: dict[str, Any] = {self.section: (item,)}
        return Wanted(merge(state.inventory, Inventory(**parts)))

    def drop(self, state: State, key: str) -> Wanted:
        left = tuple(each for each in getattr(state.inventory, self.section) if each.key != key)
        parts: dict[str, Any] = {self.section: left}
        return Wanted(replace(state.inventory, **parts))


NOUNS = tuple(Noun(section, kind) for section, kind in SECTIONS.items())


def keyed(fields: tuple[str, ...], key: str, data: Any) -> Any:
    """`data` with the key from the URL put in where it is left out. Raises BadRequest when they differ."""
    if not isinstance(data, Mapping):
        return data
    parts = dict(zip(fields, key.split("/", len(fields) - 1), strict=False))
    for field, value in parts.items():
        given = data.get(field, value if field != "tenant" else GLOBAL)
        if given != value:
            raise BadRequest(
                f'"{field}" is {given!r} in the body and {value!r} in the URL; a rename is POST /api/v1/rename'
            )
    return {**parts, **data}


def patched(data: Any, patch: Any) -> Any:
    """JSON Merge Patch (RFC 7396): null takes a field away, lists are replaced whole."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(data) if isinstance(data, Mapping) else {}
    for field, value in patch.items():
        if value is None:
            result.pop(field, None)
        else:
            result[field] = patched(result.get(field), value)
    return result


def answer(noun: Noun, outcome: Outcome, key: str, response: Response) -> ChangeAnswer:
    """With the object as it is now: its numbers and addresses may have been allocated."""
    item = outcome.state.by_key[noun.section].get(key)
    if item is None:
        return change_answer(outcome)
    with_etag(response, etag(item))
    return change_answer(outcome, plain(item))


def router_of(noun: Noun) -> APIRouter:
    """The endpoints of one noun."""
    router = answers.router(f"/{noun.path}", noun.path)
    one = "/{key:path}" if len(noun.key_fields) > 1 else "/{key}"
    body = schemas.request_body(noun.kind)
    has_site = "site" in SPECS[noun.kind].readers

    @router.get("", response_model=Page, summary=f"List: {noun.words}", operation_id=f"list-{noun.kind}")
    def list_them(context: Ctx, _: Viewer, limit: Limit = 100, cursor: Cursor = None, site: SiteFilter = None) -> Page:
        if site is not None and not has_site:
            raise BadRequest(f"a {noun.words} has no site to select by")
        rows: list[Any] = list(context.store.state().by_key[noun.section].values())
        if site is not None:
            rows = [each for each in rows if each.site == site]
        return page(rows, order, plain, limit, cursor)

    @router.post(
        "",
        status_code=201,
        response_model=ChangeAnswer,
        response_model_exclude_none=True,
        summary=f"Create: {noun.words}",
        operation_id=f"create-{noun.kind}",
        openapi_extra=body,
    )
    def create(
        request: Request,
        response: Response,
        context: Ctx,
        caller: Operator,
        data: Json,
        dry_run: DryRun = False,
        force: Force = False,
    ) -> ChangeAnswer:
        item = noun.parse(data)

        def edit(state: State) -> Wanted:
            if item.key in state.by_key[noun.section]:
                raise AlreadyExists(f"{noun.words} {item.key} exists already: PUT or PATCH changes it")
            return noun.put(state, item)

        outcome = context.controller.change(
            edit, actor=caller.actor, action="create", subject=item.label, dry_run=dry_run, force=force
        )
        response.headers["Location"] = f"{request.url.path}/{item.key}"
        return answer(noun, outcome, item.key, response)

    @router.get(one, summary=f"Read: {noun.words}", operation_id=f"read-{noun.kind}")
    def read(response: Response, context: Ctx, _: Viewer, key: str) -> dict[str, Any]:
        item = noun.find(context.store.state(), key)
        with_etag(response, etag(item))
        return plain(item)

    @router.put(
        one,
        response_model=ChangeAnswer,
        response_model_exclude_none=True,
        summary=f"Create or replace: {noun.words}",
        operation_id=f"put-{noun.kind}",
        openapi_extra=body,
    )
    def put(
        response: Response,
        context: Ctx,
        caller: Operator,
        key: str,
        data: Json,
        dry_run: DryRun = False,
        force: Force = False,
        if_match: IfMatch = None,
    ) -> ChangeAnswer:
        item = noun.parse(keyed(noun.key_fields, key, data))

        def edit(state: State) -> Wanted:
            found = state.by_key[noun.section].get(item.key)
            require_match(if_match, None if found is None else etag(found))
            return noun.put(state, item)

        outcome = context.controller.change(
            edit, actor=caller.actor, action="put", subject=item.label, dry_run=dry_run, force=force
        )
        return answer(noun, outcome, item.key, response)

    @router.patch(
        one,
        response_model=ChangeAnswer,
        response_model_exclude_none=True,
        summary=f"Change some fields (RFC 7396): {noun.words}",
        operation_id=f"patch-{noun.kind}",
        openapi_extra=schemas.patch_body(noun.kind),
    )
    def patch(
        response: Response,
        context: Ctx,
        caller: Operator,
        key: str,
        data: Json,
        dry_run: DryRun = False,
        force: Force = False,
        if_match: IfMatch = None,
    ) -> ChangeAnswer:
        def edit(state: State) -> Wanted:
            found = noun.find(state, key)
            require_match(if_match, etag(found))
            return noun.put(state, noun.parse(keyed(noun.key_fields, key, patched(plain(found), data))))

        subject = f"{noun.kind} {key}"
        outcome = context.controller.change(
            edit, actor=caller.actor, action="patch", subject=subject, dry_run=dry_run, force=force
        )
        return answer(noun, outcome, key, response)

    @router.delete(
        one,
        response_model=ChangeAnswer,
        response_model_exclude_none=True,
        summary=f"Delete: {noun.words}",
        operation_id=f"delete-{noun.kind}",
    )
    def delete(
        context: Ctx,
        caller: Operator,
        key: str,
        dry_run: DryRun = False,
        force: Force = False,
        if_match: IfMatch = None,
    ) -> ChangeAnswer:
        def edit(state: State) -> Wanted:
            require_match(if_match, etag(noun.find(state, key)))
            return noun.drop(state, key)

        outcome = context.controller.change(
            edit,
            actor=caller.actor,
            action="delete",
            subject=f"{noun.kind} {key}",
            dry_run=dry_run,
            force=force,
            allow_removals=1,  # Who deletes one thing by its name means it; the guard is for what a file lacks.
        )
        return change_answer(outcome)

    return router


ROUTERS = tuple(map(router_of, NOUNS))
