"""An enrolment key's text -> its parts. Pure. The controller writes it (controller.enroll_key):

    leyline-key.1.ID.SECRET.FINGERPRINT.URL.CHECK

FINGERPRINT is the SHA-256 of the controller's TLS certificate (DER) in 64 hex digits, and empty for http:// on
loopback; URL is in base64url without padding; CHECK the first 8 hex digits of the SHA-256 of all before its dot.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import urlsplit

MAX_KEY = 1_000
"""Letters of a key. The controller's URL has at most 500."""

_FORM = re.compile(r"([0-9a-z]{12})\.([0-9A-Za-z]{43})\.([0-9a-f]{64}|)\.([0-9A-Za-z_-]{1,700})", re.ASCII)
_PREFIX = "leyline-key."


class KeyUnreadable(ValueError):
    """The text is no key that can be used. It says why, and never has the secret in it."""


@dataclass(frozen=True, slots=True)
class Key:
    """`fingerprint` is "" only when `url` is http:// on this machine."""

    id: str
    secret: str = field(repr=False)
    url: str
    fingerprint: str

    @property
    def bearer(self) -> str:
        """What is sent in the header Authorization."""
        return f"{self.id}.{self.secret}"


def parse(text: str) -> Key:
    """Raises KeyUnreadable, and nothing else, whatever the text."""
    text = text.strip()
    if not text.startswith(_PREFIX):
        raise KeyUnreadable("this is no enrolment key; one begins with leyline-key. (leyline enroll-key create)")
    if len(text) > MAX_KEY:
        raise KeyUnreadable(f"this key has {len(text)} letters, and none has more than {MAX_KEY}: copy it again, alone")
    version, _, rest = text.removeprefix(_PREFIX).partition(".")
    if version != "1" and version.isascii() and version.isdigit():
        raise KeyUnreadable(f"this key is of form {version[:10]}, and this speaker reads form 1: upgrade the speaker")
    body, _, check = rest.rpartition(".")
    found = _FORM.fullmatch(body)
    whole = hashlib.sha256(text.rpartition(".")[0].encode(errors="replace")).hexdigest()[:8]
    if version != "1" or found is None or check != whole:
        raise KeyUnreadable("this key is not whole, or was changed on the way: copy it again")
    url = _url(found[4])
    _check_trust(url, found[3])
    return Key(found[1], found[2], url, found[3])


def _url(text: str) -> str:
    try:
        url = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):  # UnicodeDecodeError is one.
        raise KeyUnreadable("the controller's URL in this key cannot be read: make another key") from None
    return url


def _check_trust(url: str, fingerprint: str) -> None:
    """A secret travels only to who proves itself, or stays on this machine."""
    scheme, host = _parts(url)
    if scheme == "https" and fingerprint:
        return
    if scheme == "http" and not fingerprint and _is_loopback(host):
        return
    raise KeyUnreadable(
        f"this key does not say which certificate {url} must have, and its secret would travel to whoever answers"
        " there: make another key"
    )


def _parts(url: str) -> tuple[str, str]:
    """(scheme, host)."""
    try:
        parts = urlsplit(url)
        host, has_port = parts.hostname or "", parts.port != 0
    except ValueError:
        host, has_port = "", False
    if not host or not has_port or not url.isprintable() or any(letter in url for letter in " @?#"):
        raise KeyUnreadable(f"{url[:100]!r} in this key is no controller's URL: make another key")
    return parts.scheme, host


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
