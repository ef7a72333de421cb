"""Bodies of requests: read with a bound, decoded once. What they mean is for controller.inventory to say."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import Depends, Request

from controller.api.errors import BodyTooLarge, MalformedBody

MAX_BODY_BYTES = 32 << 20


async def read_body(request: Request, most: int = MAX_BODY_BYTES) -> bytes:
    """The whole body. Raises BodyTooLarge as soon as that is certain."""
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared) > most:
        raise BodyTooLarge(f"{declared} bytes; at most {most} are accepted here")
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise BodyTooLarge(f"more than {most} bytes; no more are accepted here")
        parts.append(part)
    return b"".join(parts)


async def _json(request: Request) -> Any:
    return decode(await read_body(request))


def decode(data: bytes) -> Any:
    """JSON of any shape. Raises MalformedBody, whatever the bytes."""
    if not data:
        raise MalformedBody("the body is empty; JSON is expected")
    try:
        return msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedBody(str(error)) from None


Json = Annotated[Any, Depends(_json)]
