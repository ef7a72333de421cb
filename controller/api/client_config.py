"""What a router that is not ours must be configured with, as text for its software."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field

from controller.api import answers
from controller.api.access import Ctx, Viewer
from controller.api.errors import NotFound
from controller.inventory.fields import closest
from controller.policy.client_config import Format, client_config, render

router = answers.router(tag="clients")

Name = Annotated[str, Path(max_length=63)]
Software = Annotated[Format, Query(alias="format", description="Whose configuration is written.")]


class ClientConfigAnswer(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {"client": "partner", "format": "bird", "revision": 7, "text": "router id 10.42.0.21;\n"}
        }
    )
    client: str
    format: Format
    revision: int
    text: str = Field(description="Lines with FILL IN are for the operator of that router.")


@router.get("/clients/{name}/config", summary="The configuration of a router that is not ours")
def read_client_config(context: Ctx, _: Viewer, name: Name, software: Software) -> ClientConfigAnswer:
    """All hubs as neighbours, timers, graceful restart, BFD, and what the router may announce as its export filter."""
    state = context.store.state()
    known = [each.name for each in state.inventory.clients]
    if name not in known:
        raise NotFound(f"there is no client {name}{closest(name, known)}")
    text = render(client_config(state.inventory, name), software)
    return ClientConfigAnswer(client=name, format=software, revision=state.revision, text=text)
