"""The text of an enrolment key: all that a gateway needs to find its controller, to know it, and to be let in. Pure.

    leyline-key.1.ID.SECRET.FINGERPRINT.URL.CHECK

FINGERPRINT is the SHA-256 of the controller's TLS certificate (DER) in 64 hex digits, empty for http:// on loopback;
URL is in base64url without padding; CHECK the first 8 hex digits of the SHA-256 of all before its dot, so that a key
that was cut or mistyped is seen at once. Speakers read it with speaker.enroll.key.
"""

from __future__ import annotations

import base64
import hashlib
import re
from urllib.parse import urlsplit

from controller.loopback import is_loopback

FORM = "leyline-key.1"
MAX_URL = 500

_FINGERPRINT = re.compile(r"[0-9a-f]{64}", re.ASCII)


class BadAddress(ValueError):
    """No key can be made for this URL and certificate. The text has the way out."""


def render(public: str, secret: str, url: str, fingerprint: str) -> str:
    """The key's text. `url` and `fingerprint` are those that `checked` has let through."""
    address = base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")
    body = f"{FORM}.{public}.{secret}.{fingerprint}.{address}"
    return f"{body}.{hashlib.sha256(body.encode()).hexdigest()[:8]}"


def checked(url: str, fingerprint: str) -> tuple[str, str]:
    """(url, fingerprint) as they stand in a key: no trailing slash; lower case, no colons. Raises BadAddress."""
    url = url.strip().rstrip("/")
    scheme, host = _parts(url)
    if scheme == "http":
        if not is_loopback(host):
            raise BadAddress(
                f"{url} is not encrypted: the key's secret could be read on the way. Give the https:// URL by which "
                "gateways reach the controller"
            )
        return url, ""
    found = fingerprint.replace(":", "").strip().lower()
    if not found:
        raise BadAddress(
            f"nobody says which certificate {url} has: give the SHA-256 fingerprint of what answers there "
            "(openssl x509 -noout -fingerprint -sha256 -in CERTIFICATE)"
        )
    if not _FINGERPRINT.fullmatch(found):
        raise BadAddress(f"{fingerprint[:100]!r} is no SHA-256 fingerprint: it has 64 hex digits")
    return url, found


def _parts(url: str) -> tuple[str, str]:
    """(scheme, host). Raises BadAddress."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good or len(url) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise BadAddress(f"{url[:100]!r} is no controller URL; it looks like https://leyline.example")
    if parts.query or parts.fragment or parts.username or parts.password:
        raise BadAddress("the controller's URL must have no user, query or fragment")
    return parts.scheme, parts.hostname or ""
