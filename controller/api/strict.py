"""Query parameters that an endpoint does not know are refused: a mistyped `dry_run` must not become a change."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from difflib import get_close_matches
from typing import Any

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from controller.api.errors import UnknownParameter


class StrictRoute(APIRoute):
    """A route that says no to what it would otherwise overlook."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle, known = super().get_route_handler(), _names(self.dependant)

        async def strict(request: Request) -> Response:
            for name in request.query_params:
                if name not in known:
                    raise UnknownParameter(_refusal(name, known))
            return await handle(request)

        return strict


def _names(dependant: Dependant) -> frozenset[str]:
    own = frozenset(parameter.alias for parameter in dependant.query_params)
    return own.union(*map(_names, dependant.dependencies))


def _refusal(name: str, known: frozenset[str]) -> str:
    close = get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(sorted(known)) or 'none'}"
    return f"query.{name[:100]}: there is no such parameter here; {hint}"
