"""What fails, and what that costs: asked of the intended state, so nothing is disturbed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from controller.api import answers
from controller.api.access import Context, Ctx, Viewer
from controller.api.errors import BadRequest
from controller.inventory.fields import closest
from controller.inventory.model import circuit_classes
from controller.policy.failures import NoSuchThing
from controller.policy.whatif import WhatIf

router = answers.router(tag="fabric")

MAX_NAMES = 1000
NAMED_OF_EACH = 3
"""Pairs that are named of one failure among many."""

Limit = Annotated[int, Field(ge=1, le=10_000)]


class Question(BaseModel):
    """`fail`: kind:name (gateway, uplink, client, site, hub, region, provider), or a name that means one thing."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"fail": ["gateway:berlin-1", "uplink:paris-1/main"], "floor": "broadband"}},
    )
    fail: list[str] = Field([], max_length=MAX_NAMES, description="All of them at once; with `each` one by one.")
    each: bool = Field(False, description="Every single failure, of `fail` or of everything, the worst first.")
    floor: str = Field("", max_length=63, description="Say which pairs fall to a circuit class worse than this one.")
    limit: Limit = Field(100, description="Pairs, or with `each` failures, that are named; totals count all.")


class WhatIfAnswer(BaseModel):
    """Pairs go one way: from the site that sends to the site whose prefixes are meant."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "revision": 7,
                "harmful": 1,
                "failures": [
                    {
                        "failed": ["gateway:york-1"],
                        "down": ["york"],
                        "control": "",
                        "lost": {
                            "total": 2,
                            "first": [{"source": "berlin", "target": "york", "what": ["10.4.1.0/24"]}],
                        },
                        "thin": {"total": 0, "first": []},
                        "below": {"total": 0, "first": []},
                        "capacity": [{"site": "york", "before": 1_000_000_000, "after": 0}],
                    }
                ],
            }
        }
    )
    revision: int
    harmful: int = Field(description="How many of the failures that were asked about do harm.")
    failures: list[dict[str, Any]] = Field(description="One, or with `each` the worst that do harm.")


@router.get("/whatif", summary="What failures would cost")
def read_whatif(
    context: Ctx,
    _: Viewer,
    fail: Annotated[list[str] | None, Query(max_length=MAX_NAMES, description="As of POST; may be repeated.")] = None,
    each: Annotated[bool, Query(description="As of POST.")] = False,
    floor: Annotated[str, Query(max_length=63, description="As of POST.")] = "",
    limit: Annotated[int, Query(ge=1, le=10_000, description="As of POST.")] = 100,
) -> WhatIfAnswer:
    return _answer(context, Question(fail=fail or [], each=each, floor=floor, limit=limit))


@router.post("/whatif", summary="What failures would cost, asked with a body")
def post_whatif(context: Ctx, _: Viewer, question: Question) -> WhatIfAnswer:
    """Changes nothing; for lists that are too long for a URL."""
    return _answer(context, question)


def _answer(context: Context, question: Question) -> WhatIfAnswer:
    state = context.store.state()
    classes = circuit_classes(state.inventory)
    if question.floor and question.floor not in classes:
        raise BadRequest(f"there is no circuit class {question.floor!r}{closest(question.floor, sorted(classes))}")
    if not (question.fail or question.each):
        raise BadRequest("nothing fails: name something, or ask for each")
    whatif = WhatIf(state.inventory, question.floor)
    try:
        things = [whatif.failures.named(name) for name in question.fail]
    except NoSuchThing as error:
        raise BadRequest(str(error)) from None
    if question.each:
        found, harmful = whatif.each(things, NAMED_OF_EACH, question.limit)
    else:
        found = [whatif.effect(things, question.limit)]
        harmful = sum(not effect.harmless for effect in found)
    return WhatIfAnswer(revision=state.revision, harmful=harmful, failures=[asdict(each) for each in found])
