"""What whoever starts the controller decides."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path

from controller.loopback import is_loopback

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8642


class BadSettings(ValueError):
    """The settings do not go together; the message names the way out."""


@dataclass(frozen=True)
class Settings:
    """`database` is a URL; `max_wait_seconds` bounds what a gateway may ask for with `wait`."""

    database: str
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    insecure_behind_proxy: bool = False
    max_wait_seconds: float = 60.0
    busy_timeout_seconds: float = 5.0
    zerotier_url: str = ""  # A self-hosted ZeroTier controller: http://127.0.0.1:9993
    zerotier_central: bool = False
    zerotier_token_file: Path | None = None  # Read anew after each failure: a token may be rotated.

    def check(self) -> None:
        """Raises BadSettings."""
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise BadSettings("TLS needs both files: --tls-certificate and --tls-key")
        for path in (self.tls_certificate, self.tls_key):
            if path is not None and not os.access(path, os.R_OK):
                raise BadSettings(f"{path} cannot be read")
        self._check_tls()
        self._check_zerotier()
        if self.tls_certificate is None and not self.insecure_behind_proxy and not is_loopback(self.host):
            raise BadSettings(
                f"{self.host} is not this machine alone, and tokens would travel in the clear: give --tls-certificate "
                "and --tls-key, or --insecure-behind-proxy when a proxy in front of it does TLS"
            )

    def _check_tls(self) -> None:
        if self.tls_certificate is None or self.tls_key is None:
            return
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(self.tls_certificate, self.tls_key)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError.
            raise BadSettings(
                f"{self.tls_certificate} and {self.tls_key} are no certificate (PEM) and its key: {error}"
            ) from None

    def _check_zerotier(self) -> None:
        if self.zerotier_url and self.zerotier_central:
            raise BadSettings("--zerotier-url and --zerotier-central exclude each other: who keeps the network?")
        chosen = bool(self.zerotier_url) or self.zerotier_central
        if chosen != (self.zerotier_token_file is not None):
            raise BadSettings(
                "ZeroTier needs both: --zerotier-url http://127.0.0.1:9993 or --zerotier-central, and"
                " --zerotier-token-file"
            )
        if self.zerotier_url and not self.zerotier_url.startswith(("http://", "https://")):
            raise BadSettings(
                f"--zerotier-url {self.zerotier_url} is no URL; of a local one it is http://127.0.0.1:9993"
            )
        if self.zerotier_token_file is not None and not os.access(self.zerotier_token_file, os.R_OK):
            raise BadSettings(f"{self.zerotier_token_file} cannot be read")


def default_database() -> str:
    """A SQLite file: /var/lib/leyline for root, the user's state directory for others."""
    if os.geteuid() == 0:
        return "sqlite:////var/lib/leyline/controller.sqlite"
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return f"sqlite:///{state}/leyline/controller.sqlite"
