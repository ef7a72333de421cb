"""Which certificate a controller shows: for keys that pin it."""

from __future__ import annotations

import hashlib
import socket
import ssl
from urllib.parse import urlsplit

from controller.client.errors import CommandFailed

CONNECT_SECONDS = 5.0


def fingerprint_of(url: str, ca_file: str) -> str:
    """SHA-256 (hex) of the certificate at an https:// URL, verified as for any request; "" for http://.

    Raises CommandFailed: what nobody vouches for must not be pinned for others unseen.
    """
    parts = urlsplit(url)
    if parts.scheme != "https":
        return ""
    host, port = parts.hostname or "", parts.port or 443
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
        with (
            socket.create_connection((host, port), CONNECT_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host) as tls,
        ):
            certificate = tls.getpeercert(binary_form=True)
    except OSError as error:  # ssl.SSLError is one.
        raise CommandFailed(
            f"cannot see which certificate {url} has: {error}; name its SHA-256 by --fingerprint"
        ) from None
    return hashlib.sha256(certificate or b"").hexdigest()
