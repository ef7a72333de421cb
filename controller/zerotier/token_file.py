"""The file that holds the token of a ZeroTier service."""

from __future__ import annotations

from pathlib import Path

from controller.zerotier.port import Unauthorised

MAX_TOKEN = 4096


def read_token(file: Path) -> str:
    """Raises Unauthorised, which names the file and never what is in it."""
    try:
        with file.open() as opened:
            token = opened.read(MAX_TOKEN + 1).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is no text"
        raise Unauthorised(f"the ZeroTier token in {file} cannot be read: {reason}") from None
    if not token or len(token) > MAX_TOKEN or not token.isprintable() or " " in token:
        raise Unauthorised(f"{file} holds no ZeroTier token: one line, as in authtoken.secret, is expected")
    return token
