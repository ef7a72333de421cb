"""How zerotier-one 1.14 reads JSON: everything is coerced, little is refused (osdep/OSUtils.cpp, nlohmann::json)."""

from __future__ import annotations

import json
import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

LITERALS = {"n": "null", "t": "true", "f": "false"}
KINDS = ((bool, "boolean"), ((int, float), "number"), (str, "string"), (list, "array"), (dict, "object"))


class Exploded(Exception):
    """An exception of the JSON library; the service answers 500 with its text."""


def parse(body: bytes) -> Any:
    text = body.decode(errors="replace")
    try:
        return json.loads(text)
    except ValueError:
        raise Exploded(f"[json.exception.parse_error.101] {_parse_error(text)}") from None


def fields(document: Any) -> dict[str, Any]:
    """What `b.count("name")` sees: an array, a number, a string have no fields, and are no error."""
    return document if isinstance(document, dict) else {}


def as_int(value: Any, default: int = 0) -> int:
    if isinstance(value, str):
        digits = re.match(r"\s*(\d*)", value, re.ASCII)
        return int(digits.group(1) or 0) if digits else 0
    return int(value) if isinstance(value, bool | int | float) else default


def as_bool(value: Any, default: bool = False) -> bool:
    if isinstance(value, str):
        return value[:1] in ("t", "T", "1")
    return value > 0 if isinstance(value, bool | int | float) else default


def as_text(value: Any, default: str = "") -> str:
    if isinstance(value, bool):
        return str(int(value))
    return str(int(value)) if isinstance(value, int | float) else value if isinstance(value, str) else default


def text_or_explode(value: Any) -> str:
    if isinstance(value, str):
        return value
    kind = next((name for types, name in KINDS if isinstance(value, types)), "null")
    raise Exploded(f"[json.exception.type_error.302] type must be string, but is {kind}")


def address(text: str) -> tuple[IPv4Address | IPv6Address, int] | None:
    """ZeroTier's InetAddress: an address and what stands behind the slash (port or mask; 0: nothing). None: neither."""
    host, _, behind = text.partition("/")
    try:
        return ip_address(host), as_int(behind)
    except ValueError:
        return None


def _parse_error(text: str) -> str:
    if not text.strip():
        return (
            "parse error at line 1, column 1: syntax error while parsing value - unexpected end of input;"
            " expected '[', '{', or a literal"
        )
    key = re.match(r"\{\s*([ntf])", text)
    if key is None:
        return f"parse error at line 1, column {len(text)}: syntax error while parsing value"
    literal, start, read = LITERALS[key.group(1)], key.end() - 1, 1
    while text[start + read : start + read + 1] == literal[read : read + 1] != "":
        read += 1
    end = start + read + 1
    return (
        f"parse error at line 1, column {end}: syntax error while parsing object key - invalid literal;"
        f" last read: '{text[:end]}'; expected string literal"
    )
