"""Settings -> the ZeroTier service that keeps the network."""

from __future__ import annotations

from pathlib import Path

from controller.api.settings import Settings
from controller.segment import Connect
from controller.zerotier.central import Central
from controller.zerotier.http import Patience
from controller.zerotier.port import SegmentApi, Unauthorised
from controller.zerotier.selfhosted import SelfHosted

PATIENCE = Patience(connect=3.0, answer=10.0, attempts=2)
"""A pass is repeated anyway; what hangs must not keep an operator's wish waiting for long."""
MAX_TOKEN = 4096


def service_of(settings: Settings) -> Connect | None:
    """None: none is configured."""
    file = settings.zerotier_token_file
    if file is None:
        return None

    def connect(network: str) -> SegmentApi:
        token = read_token(file)
        if settings.zerotier_central:
            return Central(token, network, patience=PATIENCE)
        return SelfHosted(settings.zerotier_url, token, network, patience=PATIENCE)

    return connect


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
