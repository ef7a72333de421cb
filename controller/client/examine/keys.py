"""Which tokens have expired, or will soon, with nobody to renew them? Have hubs MD5 keys, as is declared?"""

from __future__ import annotations

from collections.abc import Iterator

from controller.client.examine.facts import NEW_TOKEN, Facts, Found
from controller.client.tables import unix

SOON_SECONDS = 7 * 86_400.0


def check(facts: Facts) -> Iterator[Found]:
    for status in facts.statuses:
        token, name = status["token"], status["gateway"]
        fix = NEW_TOKEN.format(name)
        if token["state"] in ("expired", "revoked") and status["report"] is not None:
            yield Found("error", name, f"its last token is {token['state']}: it gets no new plan", fix)
        elif token["state"] == "usable":
            yield from _ends(name, "its token", token["expires_at"], facts.now, fix)
    for token in facts.tokens or ():
        if token.get("gateway") is None and token.get("state") == "usable":
            fix = f"leyline token rotate {token['id']}"
            yield from _ends(f"token {token['id']}", "it", token["expires_at"], facts.now, fix)
    for hub in facts.md5.get("hubs", ()):
        if bool(hub["key"]) is not bool(facts.md5["wanted"]):
            what = "its sessions still have a key" if hub["key"] else "its sessions have no key yet"
            said = f"{what}, and `md5` is {'on' if facts.md5['wanted'] else 'off'}"
            yield Found("warning", hub["hub"], said, f"leyline fabric rotate-md5 --hub {hub['hub']}")


def _ends(where: str, what: str, expires_at: str | None, now: float, fix: str) -> Iterator[Found]:
    left = unix(expires_at) - now if expires_at else SOON_SECONDS
    if left < SOON_SECONDS:
        hours = f"{left / 86_400:.0f} days" if left >= 2 * 86_400 else f"{max(0.0, left) / 3600:.0f} hours"
        yield Found("warning", where, f"{what} expires in {hours}", fix)
