"""The gateway's own token: it makes it, and tells the controller only its id and the hash of its secret."""

from __future__ import annotations

import hashlib
import re
import secrets
import string

_FORM = re.compile(r"leyline_([0-9a-z]{12})_([0-9A-Za-z]{43})", re.ASCII)
_ID_LETTERS = string.ascii_lowercase + string.digits
_SECRET_LETTERS = string.ascii_letters + string.digits  # 43 of 62 letters: 256 bits.


def make_token() -> str:
    """`leyline_ID_SECRET`, of 256 random bits."""
    public = "".join(secrets.choice(_ID_LETTERS) for _ in range(12))
    return f"leyline_{public}_" + "".join(secrets.choice(_SECRET_LETTERS) for _ in range(43))


def told(token: str) -> dict[str, str]:
    """What the controller is told of a token of `make_token`. Raises ValueError for another text."""
    found = _FORM.fullmatch(token)
    if found is None:
        raise ValueError("this is no token of this gateway's making")
    return {"id": found[1], "sha256": hashlib.sha256(found[2].encode()).hexdigest()}
