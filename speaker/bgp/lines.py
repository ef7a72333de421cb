"""The JSON lines of the bridge and of ExaBGP under our launcher, as far as we read them."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Struct


class AddressLine(Struct, frozen=True):
    peer: str = ""


class MessageLine(Struct, frozen=True):
    body: str = ""  # "0x" and hex digits


class NeighborLine(Struct, frozen=True):
    address: AddressLine = AddressLine()
    state: str = ""
    reason: str = ""
    direction: str = ""
    message: MessageLine = MessageLine()


class SessionLine(Struct, frozen=True):
    peer: str
    up: bool
    description: str | None = ""
    leaving: bool = False
    sent: str | None = None  # Bodies of the OPENs, hex
    received: str | None = None


class Line(Struct, frozen=True):
    type: str
    neighbor: NeighborLine = NeighborLine()
    # hello
    mode: Literal["raw", "stock"] = "raw"
    pid: int = 0
    version: str = ""
    # answers of the launcher's commands
    id: int = 0
    backlog: dict[str, int | None] = {}
    sessions: tuple[SessionLine, ...] = ()


_decoder = msgspec.json.Decoder(Line)
NOT_JSON = Line(type="")


def parse_line(data: bytes) -> Line:
    """One line. What is no JSON object (`done`, `error`) has the type "". Raises msgspec.MsgspecError."""
    return _decoder.decode(data) if data.startswith(b"{") else NOT_JSON


def split_lines(rest: list[bytes], data: bytes) -> list[bytes]:
    """The lines that `data` completes; `rest` holds what came before it, and afterwards what is not complete yet."""
    end = data.rfind(b"\n")
    if end < 0:
        rest.append(data)
        return []
    rest.append(data[:end])
    lines = b"".join(rest).split(b"\n")
    rest[:] = [data[end + 1 :]] if end + 1 < len(data) else []
    return lines
