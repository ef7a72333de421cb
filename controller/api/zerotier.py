"""Settings -> the ZeroTier service that keeps the network."""

from __future__ import annotations

from controller.api.settings import Settings
from controller.segment import Connect
from controller.zerotier.central import Central
from controller.zerotier.http import Patience
from controller.zerotier.port import SegmentApi
from controller.zerotier.selfhosted import SelfHosted
from controller.zerotier.token_file import read_token

PATIENCE = Patience(connect=3.0, answer=10.0, attempts=2)
"""A pass is repeated anyway; what hangs must not keep an operator's wish waiting for long."""


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
