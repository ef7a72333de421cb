"""TLS with the one certificate whose fingerprint is known, whoever has signed it and whatever name it bears."""

from __future__ import annotations

import hashlib
import hmac
import ssl
from typing import Any

OTHER_CERTIFICATE = "another certificate than the pinned one"
"""In every text about it: HTTP clients keep the words of an error, and not always the error."""


class OtherCertificate(ssl.SSLError):
    """What answers has another certificate than it must have. Nothing was sent to it."""

    def __str__(self) -> str:
        return str(self.args[0])  # SSLError shows the tuple of its arguments where there is no errno.


def pinned_context(fingerprint: str) -> ssl.SSLContext:
    """For clients. `fingerprint`: SHA-256 of the certificate (DER), 64 hex digits.

    A handshake with any other certificate raises OtherCertificate before a byte of the request is sent.
    """

    class Socket(ssl.SSLSocket):
        def do_handshake(self, block: bool = False) -> None:
            super().do_handshake(block)
            _check(self, fingerprint)

    class Object(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            _check(self, fingerprint)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # The certificate is the very one: its names say nothing more.
    context.verify_mode = ssl.CERT_NONE
    context.sslsocket_class = Socket
    context.sslobject_class = Object
    return context


def _check(connection: Any, wanted: str) -> None:
    seen = hashlib.sha256(connection.getpeercert(binary_form=True) or b"").hexdigest()
    if not hmac.compare_digest(seen, wanted):
        raise OtherCertificate(f"{OTHER_CERTIFICATE}: its SHA-256 is {seen}, not {wanted}")
