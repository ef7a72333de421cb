"""Another certificate of the controller: whom to trust from now on is an operator's word, tried before it is stored."""

from __future__ import annotations

import re
import ssl

import msgspec

from speaker.enroll import access as stored
from speaker.enroll.access import Access
from speaker.enroll.exchange import EnrolFailed, Exchange
from speaker.enroll.pin import pinned_context
from speaker.state import StateDir

_FINGERPRINT = re.compile(r"[0-9a-f]{64}", re.ASCII)


def parse_fingerprint(text: str) -> str:
    """64 hex digits, of those or of what `openssl x509 -fingerprint -sha256` prints. Raises EnrolFailed."""
    digits = text.rpartition("=")[2].replace(":", "").strip().lower()
    if not _FINGERPRINT.fullmatch(digits):
        raise EnrolFailed(
            f"{text[:100]!r} is no SHA-256 fingerprint, which has 64 hex digits: openssl x509 -noout -fingerprint"
            " -sha256 -in CERTIFICATE prints it"
        )
    return digits


def trust(state: StateDir, *, fingerprint: str = "", ca_file: str = "") -> Access:
    """Trust the one certificate, or the CAs of a file; neither: the system's CAs. What is stored then.

    Raises EnrolFailed when the controller is not reached so, AccessUnusable and OSError; nothing is changed then.
    """
    access = _enrolled(state)
    with Exchange(access.url, context_of(fingerprint, ca_file)) as controller:
        if why := controller.why_silent():
            raise EnrolFailed(f"{access.url}: {why}. Nothing was changed")
    trusted = msgspec.structs.replace(access, fingerprint=fingerprint, ca_file=ca_file)
    if trusted != access:
        stored.save(state, trusted)
    return trusted


def _enrolled(state: StateDir) -> Access:
    access = stored.load(state)
    if access is None:
        raise EnrolFailed("this box has not enrolled: whom to trust says the key (leyline speaker enroll)")
    if access.replaces:
        raise EnrolFailed("this gateway runs with --token-file: whom to trust says --cacert of leyline speaker run")
    if not access.url.startswith("https://"):
        raise EnrolFailed(f"{access.url} is not encrypted: there is no certificate to trust")
    return access


def context_of(fingerprint: str, ca_file: str) -> ssl.SSLContext | bool:
    """For a client that trusts as an Access says. Raises EnrolFailed."""
    if fingerprint:
        return pinned_context(fingerprint)
    if not ca_file:
        return True
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one.
        raise EnrolFailed(f"there is no CA in {ca_file}: {error}") from None
