"""Does the controller still let this gateway in, and for how long?"""

from __future__ import annotations

from collections.abc import Iterator

from speaker.doctor.facts import Facts
from speaker.doctor.finding import Found
from speaker.enroll.pin import OTHER_CERTIFICATE

SOON_SECONDS = 7 * 86_400.0
NEW_TOKEN = (
    "leyline enroll-key create --gateway {gateway}, then leyline speaker enroll here; or leyline gateway token"
    " {gateway}, and put it into the token file, if there is one. Then restart the agent"
)


def check(facts: Facts) -> Iterator[Found]:
    seen = facts.controller
    gateway = facts.plan.gateway if facts.plan is not None else "GATEWAY"
    if seen is not None and OTHER_CERTIFICATE in seen.error:
        fix = "leyline speaker trust FINGERPRINT, if the operator of the controller says that it has this one now"
        yield Found("error", "controller", f"{seen.url} shows {seen.error}", fix)
    elif seen is not None and seen.error:
        what = f"{seen.url} does not answer: {seen.error}; what is in force stays so"
        yield Found("warning", "controller", what, "see that it runs, and that nothing on the way blocks it")
    elif seen is not None and seen.status in (401, 403):
        what = f"{seen.url} does not accept the token ({seen.status}): it has expired or was revoked"
        yield Found("error", "token", what, NEW_TOKEN.format(gateway=gateway))
    if seen is not None and seen.token_expires is not None:
        yield from _ends("token", seen.token_expires - facts.now, NEW_TOKEN.format(gateway=gateway))
    if facts.tls_expires is not None:
        fix = "get a new one from whoever issued it, and name it by --cacert"
        yield from _ends("CA certificate", facts.tls_expires - facts.now, fix)


def _ends(what: str, left: float, fix: str) -> Iterator[Found]:
    if left <= 0:
        yield Found("error", what, "has expired", fix)
    elif left < SOON_SECONDS:
        days = f"{left / 86_400:.0f} days" if left >= 2 * 86_400 else f"{left / 3600:.0f} hours"
        yield Found("warning", what, f"expires in {days}", fix)
